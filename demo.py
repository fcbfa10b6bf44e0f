"""The whole story on the embedded default: zero-shot CoT, SoftCoT (also with a vote, as SoftCoT++ has) and SoftCoT++
on data/mini.

SmolLM2-135M-Instruct reasons and assists, frozen. Runs the project's own scripts one after the
other and writes results/demo: summary.json, table.md, accuracy.png, the loss curves, and every log
and result file. Starts from nothing each time: what an earlier demo wrote is removed first.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OUT = ROOT / "results" / "demo"
MODEL = "embedded/SmolLM2-135M-Instruct"
SHORT = MODEL.split("/")[1]
SEEDS = (41, 42)
LENGTH, CHAINS, SAMPLES = 16, 2, 2  # thought tokens; chains of SoftCoT++ and samples a chain that vote
LEARNING_RATE = 4e-3  # 200 steps must do what the papers' tens of thousands of 2e-5 do
TEMPERATURE = 0.5  # for every method; the papers' 1.0 suits larger models
METHODS = {
    "zero_shot": "Zero-shot CoT",
    "softcot": "SoftCoT",
    "softcot_sc": f"SoftCoT-SC (vote of {CHAINS * SAMPLES})",
    "softcotpp": f"SoftCoT++ ({CHAINS} chains x {SAMPLES})",
}
SPLITS = {"test": "test (kinds seen in training)", "unseen": "unseen (kinds never seen)"}
DATA = ["--data_dir", "data/mini", "--prompt_dir", "data/mini/prompts"]


def run(script, *arguments):
    """Run one of the project's scripts; its progress shows. Returns the seconds it took."""
    command = [sys.executable, script, *map(str, arguments)]
    print(f"\n$ {' '.join(command[1:])}", flush=True)
    start = time.monotonic()
    if subprocess.run(command, cwd=ROOT).returncode:
        sys.exit(f"error: {script} failed; see above")
    return time.monotonic() - start


def train(script, name, size, *options):
    """Train; returns (run folder's name, seconds). Puts the loss curve into results/demo."""
    seconds = run(
        script,
        "--large_model_id",
        MODEL,
        "--small_model_id",
        MODEL,
        "--output_name",
        "demo",
        "--num_thought_tokens",
        LENGTH,
        *DATA,
        *size,
        *options,
    )
    chains = f"-{CHAINS}" if name == "softcotpp" else ""
    epochs = float(size[size.index("--n_epochs") + 1])
    folder = f"demo-gsm8k-{epochs}-{LENGTH}{chains}-{SHORT}-{SHORT}" + ("-nce" if chains else "")
    shutil.copy(ROOT / "results" / folder / "loss.png", OUT / f"loss_{name}.png")
    return folder, seconds


def evaluate(script, name, questions, *options):
    """Evaluate all seeds on both splits; returns ({split: [accuracy of each seed]}, seconds)."""
    accuracies, seconds = {}, 0.0
    for split in SPLITS:
        logs = OUT / "logs" / name / split
        seconds += run(
            script,
            "--base_model_id",
            MODEL,
            "--assistant_model_id",
            MODEL,
            *DATA,
            "--split",
            split,
            "--max_new_tokens",
            120,
            "--temperature",
            TEMPERATURE,
            "--test_k",
            questions[split],
            "--eval_batch_size",
            192,
            "--seed_from",
            SEEDS[0],
            "--seed_to",
            SEEDS[-1],
            "--print_response",
            "--log_dir",
            logs,
            *options,
        )
        accuracies[split] = [accuracy(path) for path in sorted(logs.glob("*.jsonl"))]
    return accuracies, seconds


def accuracy(path):
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()][1:]
    return sum(row["correct"] for row in rows) / len(rows)


def mean(values):
    return sum(values) / len(values)


def write_report(scores, seconds, questions):
    summary = {name: {split: mean(values) for split, values in score.items()} for name, score in scores.items()}
    summary |= {
        "seeds": {name: score for name, score in scores.items()},
        "questions": questions,
        "seconds": {key: round(value, 1) for key, value in seconds.items()},
    }
    (OUT / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")

    lines = ["| method | " + " | ".join(SPLITS.values()) + " |", "| --- | --- | --- |"]
    for name, title in METHODS.items():
        cells = [
            f"{100 * mean(values):.1f} % ({' / '.join(f'{100 * v:.1f}' for v in values)})"
            for values in scores[name].values()
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Accuracy, mean over seeds {SEEDS[0]} and {SEEDS[-1]} (each seed in brackets), sampling at "
        f"temperature {TEMPERATURE}; {questions['test']} test and {questions['unseen']} unseen questions of "
        f"data/mini, {SHORT} frozen in both roles; {seconds['total'] / 60:.1f} minutes in all.",
    ]
    (OUT / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n" + "\n".join(lines))

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for place, (split, title) in enumerate(SPLITS.items()):
        for row, name in enumerate(METHODS):
            values = [100 * value for value in scores[name][split]]
            middle = mean(values)
            axes.bar(
                row + 0.38 * place - 0.19,
                middle,
                0.36,
                color=f"C{place}",
                label=title if row == 0 else None,
                yerr=[[middle - min(values)], [max(values) - middle]],
                capsize=4,
            )
    axes.set_xticks(range(len(METHODS)), [title.replace(" (", "\n(") for title in METHODS.values()])
    axes.set(ylabel="accuracy in %, bars: lowest and highest seed", ylim=(0, 100), title=f"data/mini, {SHORT}")
    axes.legend()
    figure.savefig(OUT / "accuracy.png", dpi=120)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a few steps and questions: shows that everything runs, its accuracies mean nothing",
    )
    args = parser.parse_args()
    if args.quick:
        size = ["--k_shot", 16, "--n_epochs", 1, "--batch_size", 8]
        questions = {"test": 4, "unseen": 4}
    else:
        size = ["--k_shot", 800, "--n_epochs", 1, "--batch_size", 4]
        questions = {"test": 64, "unseen": 24}

    shutil.rmtree(OUT, ignore_errors=True)
    for old in (*ROOT.glob("ckpt/demo-gsm8k-*"), *ROOT.glob("logs/demo-gsm8k-*"), *ROOT.glob("results/demo-gsm8k-*")):
        shutil.rmtree(old)
    OUT.mkdir(parents=True)
    start, seconds, scores = time.monotonic(), {}, {}
    scores["zero_shot"], seconds["evaluate_zero_shot"] = evaluate(
        "evaluate_softcot.py", "zero_shot", questions, "--num_thought_tokens", 0
    )

    folder, seconds["train_softcot"] = train("train_softcot.py", "softcot", size, "--learning_rate", LEARNING_RATE)
    for name, samples in (("softcot", 1), ("softcot_sc", CHAINS * SAMPLES)):
        scores[name], seconds[f"evaluate_{name}"] = evaluate(
            "evaluate_softcot.py",
            name,
            questions,
            "--num_thought_tokens",
            LENGTH,
            "--params_file_name",
            f"ckpt/{folder}/projection.bin",
            "--num_return_sequences",
            samples,
        )

    chains = ["--num_scaling_times", CHAINS, "--model_name", "scaling-nce"]
    folder, seconds["train_softcotpp"] = train(
        "train_softcotpp.py", "softcotpp", size, "--learning_rate", LEARNING_RATE, *chains
    )
    scores["softcotpp"], seconds["evaluate_softcotpp"] = evaluate(
        "evaluate_softcotpp.py",
        "softcotpp",
        questions,
        "--num_thought_tokens",
        LENGTH,
        "--params_file_name",
        f"ckpt/{folder}/projection.bin",
        "--num_return_sequences",
        SAMPLES,
        *chains,
    )
    seconds["total"] = time.monotonic() - start
    write_report(scores, seconds, questions)
    print(
        f"\nWrote {OUT.relative_to(ROOT)}: summary.json, table.md, accuracy.png, loss_softcot.png, "
        "loss_softcotpp.png, logs/"
    )


if __name__ == "__main__":
    main()
