"""Measure what the projection's dtype does at the published learning rate: python -m benchmarks.projection_dtype

Trains SoftCoT on data/mini with the embedded model, the projection (with its gradient and optimizer state) in float32
and in bfloat16, in evaluation too, all else equal: learning rate 2e-5, 800 examples, 10 epochs of batch 4 (2,000
steps), L = 16, frozen models in bfloat16. Evaluates each projection on the test questions, greedy. Prints the share of
weights that moved, how far, the last losses, the accuracy, and the paired difference with its 95 % interval over
questions; writes them as JSON and both loss curves as a picture into benchmarks/results. The runs stay in --out:
started again, it continues.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import mean

import torch
from transformers import set_seed

from benchmarks.speed import machine
from experiment.plots import plot_curves
from experiment.record import short_name
from experiment.results import read_result_file
from experiment.summary import bootstrap_interval
from model.choices import EMBEDDED
from model.weights import load_projection
from utils import write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
COMMON = f"--num_thought_tokens 16 --data_dir {ROOT}/data/mini --prompt_dir {ROOT}/data/mini/prompts --dtype bfloat16"
TRAIN = f"--large_model_id {EMBEDDED} --small_model_id {EMBEDDED} --batch_size 4 --resume {COMMON}"
EVALUATE = (
    f"--base_model_id {EMBEDDED} --assistant_model_id {EMBEDDED} --greedy --max_new_tokens 120 --eval_batch_size 200 "
    f"{COMMON}"
)


def run(folder, script, words):
    """Run one of the project's scripts in `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, ROOT / script, *words.split()], cwd=folder, check=True, env=environment)


def measure(args, dtype, seed):
    """Train and evaluate one projection; return its figures, its loss history and its verdicts by question."""
    name = f"{dtype}-{seed}-gsm8k-{float(args.n_epochs)}-16-{short_name(EMBEDDED)}-{short_name(EMBEDDED)}"
    run(
        args.out,
        "train_softcot.py",
        f"{TRAIN} --output_name {dtype}-{seed} --projection_dtype {dtype} --seed {seed} --k_shot {args.k_shot} "
        f"--n_epochs {args.n_epochs} --learning_rate {args.learning_rate}",
    )
    path = args.out / "ckpt" / name / "projection.bin"
    run(
        args.out,
        "evaluate_softcot.py",
        f"{EVALUATE} --params_file_name {path.resolve()} --projection_dtype {dtype} --test_k {args.test_k} "
        f"--log_dir logs/{dtype}-{seed}",
    )
    (file,) = (args.out / "logs" / f"{dtype}-{seed}").glob("*.jsonl")
    verdicts = {row["index"]: row["correct"] for row in read_result_file(file)[1]}
    history = json.loads((args.out / "results" / name / "loss.json").read_text(encoding="utf-8"))
    state = load_projection(path)
    set_seed(seed)  # the weights that training started from
    start = torch.nn.Linear(*state["weight"].shape[::-1], dtype=getattr(torch, dtype)).weight.detach()
    change = (state["weight"].double() - start.double()).abs()
    figures = {
        "dtype": dtype,
        "seed": seed,
        "share_of_weights_moved": (change > 0).double().mean().item(),
        "mean_change": change.mean().item(),
        "training_loss": [entry["loss"] for entry in history if "loss" in entry][-1],
        "dev_loss": [entry["eval_loss"] for entry in history if "eval_loss" in entry][-1],
        "accuracy": 100 * mean(verdicts.values()),
    }
    return figures, history, verdicts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/projection_dtype"), help="folder of the runs")
    parser.add_argument("--k_shot", type=int, default=800, help="training examples (default 800)")
    parser.add_argument("--n_epochs", type=float, default=10, help="passes over them, 4 a step (default 10)")
    parser.add_argument("--learning_rate", type=float, default=2e-5, help="start of the linear decay (default 2e-5)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44], help="of training (default 42 43 44)")
    parser.add_argument("--test_k", type=int, default=0, help="test questions (default: all 200)")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows, curves, verdicts = [], {}, {}
    for seed in args.seeds:
        for dtype in ("float32", "bfloat16"):
            figures, history, verdicts[dtype, seed] = measure(args, dtype, seed)
            rows.append(figures)
            curves[f"{dtype}, seed {seed}"] = history
    questions = verdicts["float32", args.seeds[0]]
    differences = [
        100 * mean(verdicts["float32", seed][index] - verdicts["bfloat16", seed][index] for seed in args.seeds)
        for index in questions
    ]
    found = {
        "rows": rows,
        "difference": mean(differences),
        "interval": bootstrap_interval(differences),
        "questions": len(questions),
        "arguments": {key: value for key, value in vars(args).items() if key != "out"},
        "machine": machine("cpu"),
    }
    write_json(found, RESULTS / "projection_dtype.json")
    plot_curves(
        curves, RESULTS / "projection_dtype.png", f"the projection's dtype, learning rate {args.learning_rate:g}"
    )
    print(json.dumps(found, indent=1), flush=True)


if __name__ == "__main__":
    main()
