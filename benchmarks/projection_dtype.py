"""Measure what the projection's dtype does at the published learning rate: python -m benchmarks.projection_dtype

Trains SoftCoT on data/mini with the embedded model, the projection (with its gradient and optimizer state) in float32
and in bfloat16, in evaluation too, all else equal: learning rate 2e-5, 800 examples, 10 epochs of batch 4 (2,000
steps), L = 16, frozen models in bfloat16. Evaluates each projection on the test questions, greedy. Prints the share of
weights that moved, how far, the last losses, the accuracy, and the paired difference with its 95 % interval over
questions; writes them as JSON and both loss curves as a picture into benchmarks/results. The runs stay in
results/projection_dtype: started again, it continues.
"""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from statistics import mean

import torch
from matplotlib.figure import Figure
from transformers import set_seed

from benchmarks.speed import machine
from experiment.results import read_result_file
from experiment.run_files import short_name
from model.choices import EMBEDDED
from model.weights import load_projection
from report.plots import save_figure
from report.summary import bootstrap_interval
from utils import write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
OUT = Path("results/projection_dtype")
SEEDS, EPOCHS = (42, 43, 44), 10
MINI = shlex.quote(str(ROOT / "data/mini"))
COMMON = f"--num_thought_tokens 16 --data_dir {MINI} --prompt_dir {MINI}/prompts --dtype bfloat16"
TRAIN = (
    f"--large_model_id {EMBEDDED} --small_model_id {EMBEDDED} --batch_size 4 --k_shot 800 --n_epochs {EPOCHS} "
    f"--learning_rate 2e-5 --resume {COMMON}"
)
EVALUATE = (
    f"--base_model_id {EMBEDDED} --assistant_model_id {EMBEDDED} --greedy --max_new_tokens 120 --eval_batch_size 200 "
    f"{COMMON}"
)


def run(script, words):
    """Run one of the project's scripts in OUT."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, ROOT / script, *shlex.split(words)], cwd=OUT, check=True, env=environment)


def measure(dtype, seed):
    """Train and evaluate one projection; return its figures, its loss history and its verdicts by question."""
    name = f"{dtype}-{seed}-gsm8k-{float(EPOCHS)}-16-{short_name(EMBEDDED)}-{short_name(EMBEDDED)}"
    own = f"--projection_dtype {dtype}"
    run("train_softcot.py", f"{TRAIN} --output_name {dtype}-{seed} {own} --seed {seed}")
    file = f"ckpt/{name}/projection.bin"
    run("evaluate_softcot.py", f"{EVALUATE} --params_file_name {file} {own} --log_dir logs/{dtype}-{seed}")
    (rows,) = (OUT / "logs" / f"{dtype}-{seed}").glob("*.jsonl")
    verdicts = {row["index"]: row["correct"] for row in read_result_file(rows)[1]}
    history = json.loads((OUT / "results" / name / "loss.json").read_text(encoding="utf-8"))
    state = load_projection(OUT / file)
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


def plot_curves(histories: dict[str, list[dict]], path, title) -> None:
    """Draw training and dev losses of several runs against optimizer steps. histories: label -> history."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, key, name in zip(panels, ("loss", "eval_loss"), ("training loss", "dev loss"), strict=True):
        for label, history in histories.items():
            points = [(entry["step"], entry[key]) for entry in history if key in entry]
            panel.plot(*zip(*points, strict=True), label=label, linewidth=1)
        panel.set(xlabel="optimizer step", ylabel=name, title=title)
        panel.set_yscale("log")
    panels[0].legend(fontsize="small")
    save_figure(figure, path)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    rows, curves, verdicts = [], {}, {}
    for seed in SEEDS:
        for dtype in ("float32", "bfloat16"):
            figures, history, verdicts[dtype, seed] = measure(dtype, seed)
            rows.append(figures)
            curves[f"{dtype}, seed {seed}"] = history
    questions = verdicts["float32", SEEDS[0]]
    differences = [
        100 * mean(verdicts["float32", seed][index] - verdicts["bfloat16", seed][index] for seed in SEEDS)
        for index in questions
    ]
    found = {
        "rows": rows,
        "difference": mean(differences),
        "interval": bootstrap_interval(differences),
        "questions": len(questions),
        "machine": machine(),
    }
    write_json(found, RESULTS / "projection_dtype.json")
    plot_curves(curves, RESULTS / "projection_dtype.png", "the projection's dtype, learning rate 2e-05")
    print(json.dumps(found, indent=1), flush=True)


if __name__ == "__main__":
    main()
