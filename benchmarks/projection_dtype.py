"""What the projection's dtype does to training at the published learning rate: python -m benchmarks.projection_dtype

Trains SoftCoT twice on data/mini with the embedded model, the projection once in float32 and once in
bfloat16 (with its gradient and optimizer state), all else equal: learning rate 2e-5, 160 examples, one
epoch of 40 steps of 4, L = 16. Prints the share of the projection's weights that moved, how far, the
training loss of the last ten steps, the dev loss (answer's last five tokens) and the accuracy on the first
`--test_k` test questions, greedy. The runs are left in `--out`.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
from transformers import set_seed

from experiment.record import short_name
from model.backbone import DTYPES
from model.embedded import EMBEDDED
from model.softcot import load_projection

ROOT = Path(__file__).resolve().parent.parent
SEED = 42


def run(out, script, *arguments):
    """One of the project's scripts on data/mini, in the folder `out`."""
    mini = ROOT / "data" / "mini"
    subprocess.run(
        [
            sys.executable,
            ROOT / script,
            *map(str, arguments),
            "--num_thought_tokens",
            "16",
            "--data_dir",
            mini,
            "--prompt_dir",
            mini / "prompts",
            "--seed",
            str(SEED),
            "--device",
            "cpu",
        ],
        cwd=out,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def train(out, dtype, k_shot, learning_rate):
    """Train one projection; returns (its path, the Trainer's log history)."""
    name = f"{dtype}-gsm8k-1.0-16-{short_name(EMBEDDED)}-{short_name(EMBEDDED)}"
    run(
        out,
        "train_softcot.py",
        "--large_model_id",
        EMBEDDED,
        "--small_model_id",
        EMBEDDED,
        "--output_name",
        dtype,
        "--batch_size",
        4,
        "--n_epochs",
        1,
        "--k_shot",
        k_shot,
        "--learning_rate",
        learning_rate,
        "--projection_dtype",
        dtype,
    )
    history = json.loads((out / "results" / name / "loss.json").read_text(encoding="utf-8"))
    return out / "ckpt" / name / "projection.bin", history


def accuracy(out, dtype, projection, test_k):
    run(
        out,
        "evaluate_softcot.py",
        "--base_model_id",
        EMBEDDED,
        "--assistant_model_id",
        EMBEDDED,
        "--greedy",
        "--params_file_name",
        projection.resolve(),
        "--test_k",
        test_k,
        "--max_new_tokens",
        120,
        "--log_dir",
        dtype,
    )
    (path,) = (out / dtype).glob("*.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()[1:]]
    return sum(row["correct"] for row in rows) / len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/projection_dtype"), help="folder of the runs; new")
    parser.add_argument("--k_shot", type=int, default=160, help="training examples, 4 a step")
    parser.add_argument("--learning_rate", type=float, default=2e-5, help="start of the linear decay")
    parser.add_argument("--test_k", type=int, default=100, help="test questions")
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    lines = ["projection | weights moved | mean change | training loss, last ten steps | dev loss | accuracy"]
    for dtype in ("float32", "bfloat16"):
        path, history = train(args.out, dtype, args.k_shot, args.learning_rate)
        state = load_projection(path)
        set_seed(SEED)  # the weights that training started from
        start = torch.nn.Linear(*state["weight"].shape[::-1], dtype=DTYPES[dtype]).weight.detach()
        change = (state["weight"].double() - start.double()).abs()
        losses = [entry["loss"] for entry in history if "loss" in entry]
        dev = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
        right = accuracy(args.out, dtype, path, args.test_k)
        lines.append(
            f"{dtype} | {100 * (change > 0).double().mean():.1f} % | {change.mean():.2e} | {losses[-1]:.4f} | "
            f"{dev[-1]:.4f} | {100 * right:.1f} %"
        )
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
