"""The whole story on the embedded default: zero-shot CoT, SoftCoT (also with a vote, as SoftCoT++ has) and SoftCoT++
on data/mini.

SmolLM2-135M-Instruct reasons and assists, frozen. Runs the project's own scripts one after the other, in results/demo,
which then holds all that they write, summary.json, table.md, accuracy.png and the loss curves. Table and plot are made
as summarize_results.py makes them. Starts from nothing each time: results/demo is removed first.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean

import torch

from experiment.arguments import FASTEST
from experiment.plots import plot_tasks
from experiment.runs import read_runs
from experiment.summary import compare_methods, make_cells, make_table
from experiment.tables import comparison_table, markdown_table, overview
from model.choices import DTYPES
from model.embedded import EMBEDDED as MODEL
from model.fastest import fastest_dtype
from utils import replaced, run_main, write_json

ROOT = Path(__file__).resolve().parent
OUT = ROOT / "results" / "demo"
SHORT = MODEL.split("/")[1]
SEEDS = (41, 42)
LENGTH, CHAINS, SAMPLES = 16, 2, 2  # thought tokens; chains of SoftCoT++ and samples a chain that vote
LEARNING_RATE = 4e-3  # 200 steps must do what the papers' tens of thousands of 2e-5 do
TEMPERATURE = 0.5  # for every method; the papers' 1.0 suits larger models
SPLITS = {"test": "test (kinds seen in training)", "unseen": "unseen (kinds never seen)"}
DATA = ("--data_dir", str(ROOT / "data/mini"), "--prompt_dir", str(ROOT / "data/mini/prompts"))


def run(script, options):
    """Run one of the project's scripts in OUT, on data/mini; its progress shows. Return the seconds it took."""
    words = [str(ROOT / script), *options.split(), *DATA]
    print(f"\n$ python {shlex.join(words)}", flush=True)
    start = time.monotonic()
    if subprocess.run([sys.executable, *words], cwd=OUT).returncode:
        sys.exit(f"error: {script} failed; see above")
    return time.monotonic() - start


def train(script, name, plan, options=""):
    """Train for one epoch; return the run's name and seconds. The loss curve is copied to results/demo."""
    size = f"--k_shot {plan['train']} --batch_size {plan['batch']} --n_epochs 1 --dtype {plan['dtype']}"
    models = f"--large_model_id {MODEL} --small_model_id {MODEL} --num_thought_tokens {LENGTH}"
    seconds = run(script, f"{models} --output_name demo {size} --learning_rate {LEARNING_RATE} {options}")
    (folder,) = (path for path in OUT.glob("results/demo-gsm8k-*") if path.name.endswith("-nce") == bool(options))
    shutil.copy(folder / "loss.png", OUT / f"loss_{name}.png")
    return folder.name, seconds


def evaluate(script, name, plan, options):
    """Evaluate all seeds on both splits; return the seconds."""
    sampling = f"--max_new_tokens 120 --temperature {TEMPERATURE} --seed_from {SEEDS[0]} --seed_to {SEEDS[-1]}"
    fixed = (
        f"--base_model_id {MODEL} --assistant_model_id {MODEL} {sampling} --dtype {plan['dtype']} --eval_batch_size 192"
    )
    return sum(
        run(
            script,
            f"{fixed} --split {split} --test_k {plan[split]} --print_response --log_dir logs/{name}/{split} {options}",
        )
        for split in SPLITS
    )


def write_report(folder, questions, seconds):
    """Write summary.json, table.md and accuracy.png of the result files in `folder`/logs/<method>/<split>."""
    runs = read_runs([folder / "logs"])
    scores = defaultdict(lambda: defaultdict(list))
    for run in runs:
        method, split = run.path.parts[-3:-1]
        scores[method][split].append(run.rows["correct"].mean())
    summary = {method: {split: mean(of) for split, of in splits.items()} for method, splits in scores.items()}
    times = {key: round(value, 1) for key, value in seconds.items()}
    write_json(summary | {"seeds": scores, "questions": questions, "seconds": times}, folder / "summary.json")

    cells = make_cells(runs)
    table = make_table(cells)
    comparisons, _ = compare_methods(cells, [("SoftCoT", "Zero-Shot CoT"), ("SoftCoT++", "SoftCoT-SC")])
    titles = {"gsm8k" if split == "test" else f"gsm8k ({split})": title for split, title in SPLITS.items()}
    flags = dict.fromkeys(flag for flags in table["flags"] for flag in flags)
    report = f"""{markdown_table(overview(table).rename(columns=titles))}
Accuracy in percent, mean ± standard deviation over seeds {SEEDS[0]} and {SEEDS[-1]}, sampled at temperature \
{TEMPERATURE}. {SHORT}, frozen, is base and assistant model; {seconds["total"] / 60:.1f} minutes in all. \
†: {"; ".join(flags)}.

Paired differences in points, with 95 % bootstrap intervals over questions:

{markdown_table(comparison_table(comparisons).replace({"task": titles}).drop(columns="base"))}"""
    with replaced(folder / "table.md") as scratch:
        scratch.write_text(report, encoding="utf-8")
    print("\n" + report)
    plot_tasks(table.replace({"task": titles}), folder / "accuracy.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    quick = "a few steps and questions: shows that everything runs, its accuracies mean nothing"
    parser.add_argument("--quick", action="store_true", help=quick)
    dtype = "of the frozen models in all runs; fastest: measured once (default: %(default)s)"
    parser.add_argument("--dtype", default=FASTEST, choices=[*DTYPES, FASTEST], help=dtype)
    args = parser.parse_args()
    plan = {"train": 800, "batch": 4, "test": 64, "unseen": 24, "dtype": args.dtype}
    if args.quick:
        plan |= {"train": 16, "batch": 8, "test": 4, "unseen": 4}
    if args.dtype == FASTEST:
        plan["dtype"], reason = fastest_dtype(MODEL, "cuda" if torch.cuda.is_available() else "cpu")
        print(f"--dtype {FASTEST}: {plan['dtype']}, {reason}", flush=True)

    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    start, seconds = time.monotonic(), {}

    # 1) The base model alone
    script = "evaluate_softcot.py"
    seconds["evaluate_zero_shot"] = evaluate(script, "zero_shot", plan, "--num_thought_tokens 0")

    # 2) SoftCoT: one answer, and a vote of as many as SoftCoT++ has
    folder, seconds["train_softcot"] = train("train_softcot.py", "softcot", plan)
    trained = f"--num_thought_tokens {LENGTH} --params_file_name ckpt/{folder}/projection.bin"
    for name, samples in (("softcot", 1), ("softcot_sc", CHAINS * SAMPLES)):
        votes = f"--num_return_sequences {samples}"
        seconds[f"evaluate_{name}"] = evaluate(script, name, plan, f"{trained} {votes}")

    # 3) SoftCoT++
    chains = f"--num_scaling_times {CHAINS} --model_name scaling-nce"
    folder, seconds["train_softcotpp"] = train("train_softcotpp.py", "softcotpp", plan, chains)
    trained = f"--num_thought_tokens {LENGTH} --params_file_name ckpt/{folder}/projection.bin"
    votes = f"--num_return_sequences {SAMPLES} {chains}"
    seconds["evaluate_softcotpp"] = evaluate("evaluate_softcotpp.py", "softcotpp", plan, f"{trained} {votes}")
    seconds["total"] = time.monotonic() - start

    # 4) Table and plot
    write_report(OUT, {split: plan[split] for split in SPLITS}, seconds)
    written = "summary.json, table.md, accuracy.png, loss_softcot.png, loss_softcotpp.png, logs/, ckpt/"
    print(f"\nWrote {OUT.relative_to(ROOT)}: {written}")


if __name__ == "__main__":
    run_main(main)
