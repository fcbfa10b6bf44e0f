"""The whole story on the embedded default: zero-shot CoT, SoftCoT (also with a vote, as SoftCoT++ has), its control
with shuffled thoughts, and SoftCoT++, on data/mini.

SmolLM2-135M-Instruct reasons and assists, frozen. Prints the project's commands and runs each in this one process,
which imports the libraries once. Starts over each time: results/demo, where all files are, is removed first.
"""

import argparse
import functools
import math
import os
import shlex
import shutil
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import mean

import evaluate_softcot
import evaluate_softcotpp
import train_softcot
import train_softcotpp
from experiment.setup import emulates_bfloat16
from model.choices import EMBEDDED as MODEL
from report.output import comparison_table, markdown_table, overview
from report.plots import plot_tasks
from report.runs import read_runs
from report.summary import compare_methods, make_cells, make_table
from utils import run_main, write_json

ROOT = Path(__file__).resolve().parent
OUT = ROOT / "results" / "demo"
SEEDS = (41, 42)
LENGTH, CHAINS, SAMPLES = 16, 2, 2  # thought tokens; chains of SoftCoT++ and samples a chain that vote
LEARNING_RATE = 1e-2  # 160 steps must do what the papers' tens of thousands of 2e-5 do; 4e-3 learns more slowly
TEMPERATURE = 0.5  # for every method; the papers' 1.0 suits larger models
SAMPLING = f"--temperature {TEMPERATURE} --seed_from {SEEDS[0]} --seed_to {SEEDS[-1]}"
SPLITS = {"test": "test (kinds seen in training)", "unseen": "unseen (kinds never seen)"}
DATA = ("--data_dir", str(ROOT / "data/mini"), "--prompt_dir", str(ROOT / "data/mini/prompts"))
SHARES = (9, 22, 5, 10, 5, 39, 10)  # percent of the whole time that each stage took when it was measured


def run_stage(seconds, minutes, name, function, *arguments):
    """Run a function; print the time left, in the first stage `minutes`, and put its seconds into `seconds`."""
    done = sum(SHARES[: len(seconds)])
    whole = sum(seconds.values()) / done * 100 / 60 if done else minutes
    left = math.ceil(whole * (100 - done) / 100)
    print(f"\n== stage {len(seconds) + 1} of {len(SHARES)}, {name}; about {left} min left in all", flush=True)
    start = time.monotonic()
    result = function(*arguments)
    seconds[name] = time.monotonic() - start
    return result


def run(script, options):
    """Print a command line of one of the project's scripts, without `.py`, and run it here, on data/mini."""
    sys.argv = [str(ROOT / f"{script.__name__}.py"), *options.split(), *DATA]
    print(f"\n$ python {shlex.join(sys.argv)}", flush=True)
    script.main()


def train(script, name, plan, options=""):
    """Train for one epoch; return the options that take the projection. The loss curve is copied to results/demo."""
    size = f"--k_shot {plan['train']} --batch_size {plan['batch']} --n_epochs 1 --dev_k 32 --dtype {plan['dtype']}"
    models = f"--large_model_id {MODEL} --small_model_id {MODEL} --num_thought_tokens {LENGTH}"
    run(script, f"{models} --output_name demo {size} --learning_rate {LEARNING_RATE} {options}")
    (folder,) = (path for path in OUT.glob("results/demo-gsm8k-*") if path.name.endswith("-nce") == bool(options))
    shutil.copy(folder / "loss.png", OUT / f"loss_{name}.png")
    return f"--num_thought_tokens {LENGTH} --params_file_name ckpt/{folder.name}/projection.bin"


def evaluate(script, name, plan, options):
    """Evaluate all seeds on both splits."""
    models = f"--base_model_id {MODEL} --assistant_model_id {MODEL} --dtype {plan['dtype']} --eval_batch_size 192"
    models += f" --max_new_tokens {plan['tokens']} {SAMPLING}"
    for split in SPLITS:
        files = f"--split {split} --test_k {plan[split]} --print_response --log_dir logs/{name}/{split}"
        run(script, f"{models} {files} {options}")


def write_report(folder, questions, seconds):
    """Write summary.json, table.md and accuracy.png of the result files in `folder`/logs/<method>/<split>."""
    runs = read_runs([folder / "logs"])
    scores = defaultdict(lambda: defaultdict(list))
    for run in runs:
        method, split = run.path.parts[-3:-1]
        scores[method][split].append(run.rows["correct"].mean())
    summary = {method: {split: mean(of) for split, of in splits.items()} for method, splits in scores.items()}
    summary |= {"questions": questions, "seconds": {key: round(value, 1) for key, value in seconds.items()}}
    write_json(summary | {"seeds": scores}, folder / "summary.json")

    cells = make_cells(runs)
    table = make_table(cells)
    pairs = [("SoftCoT", "Zero-Shot CoT"), ("SoftCoT", "Shuffled thoughts"), ("SoftCoT++", "SoftCoT-SC")]
    comparisons, _ = compare_methods(cells, pairs)
    titles = {"gsm8k" if split == "test" else f"gsm8k ({split})": title for split, title in SPLITS.items()}
    flags = dict.fromkeys(flag for flags in table["flags"] for flag in flags)
    report = f"""{markdown_table(overview(table).rename(columns=titles))}
Accuracy in percent, mean ± standard deviation over seeds {SEEDS[0]} and {SEEDS[-1]}, sampled at temperature \
{TEMPERATURE}. {MODEL}, frozen, is base and assistant model; {seconds["total"] / 60:.1f} minutes in all \
({seconds["total_cpu"] / 60:.1f} of the CPU). †: {"; ".join(flags)}.

Shuffled thoughts are SoftCoT's, but each question gets those of the next question. Only what SoftCoT has above them \
do its thoughts carry about their own question.

Paired differences in points, with 95 % bootstrap intervals over questions:

{markdown_table(comparison_table(comparisons).replace({"task": titles}).drop(columns="base"))}"""
    (folder / "table.md").write_text(report, encoding="utf-8")
    print("\n" + report)
    plot_tasks(table.replace({"task": titles}), folder / "accuracy.png")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps and questions: shows that everything runs")
    args = parser.parse_args()
    plan = {"train": 640, "batch": 4, "test": 64, "unseen": 24, "tokens": 120, "minutes": 8}
    plan["dtype"] = "float32" if emulates_bfloat16() else "bfloat16"
    if args.quick:
        plan |= {"train": 16, "batch": 8, "test": 2, "unseen": 2, "tokens": 16, "minutes": 1}

    print(f"{OUT.relative_to(ROOT)}: what an earlier demo has left there is removed", flush=True)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    os.chdir(OUT)
    start, cpu, seconds = time.monotonic(), time.process_time(), {}
    stage = functools.partial(run_stage, seconds, plan["minutes"])

    # 1) The base model alone
    stage("evaluate_zero_shot", evaluate, evaluate_softcot, "zero_shot", plan, "--num_thought_tokens 0")

    # 2) SoftCoT: one answer, a vote of as many as SoftCoT++ has, and one answer with another question's thoughts
    trained = stage("train_softcot", train, train_softcot, "softcot", plan)
    votes = f"--num_return_sequences {CHAINS * SAMPLES}"
    for name, more in (("softcot", ""), ("softcot_sc", votes), ("shuffled", "--thoughts shuffled")):
        stage(f"evaluate_{name}", evaluate, evaluate_softcot, name, plan, f"{trained} {more}")

    # 3) SoftCoT++
    chains = f"--num_scaling_times {CHAINS} --model_name scaling-nce"
    trained = stage("train_softcotpp", train, train_softcotpp, "softcotpp", plan, chains)
    trained += f" --num_return_sequences {SAMPLES} {chains}"
    stage("evaluate_softcotpp", evaluate, evaluate_softcotpp, "softcotpp", plan, trained)
    seconds |= {"total": time.monotonic() - start, "total_cpu": time.process_time() - cpu}

    # 4) Table and plot
    write_report(OUT, {split: plan[split] for split in SPLITS}, seconds)
    print(f"\nWrote {OUT.relative_to(ROOT)}: {', '.join(sorted(path.name for path in OUT.iterdir()))}")


if __name__ == "__main__":
    run_main(main, on_stop="run it again: it starts over")
