"""Measure what a linear map can read from thought states, layer by layer: python -m benchmarks.thought_probe

The embedded assistant reads data/mini's questions and L placeholders, as in training. Ridge regression from its hidden
states at the placeholders (all L of them), fitted on the training set, its strength chosen on the dev set: how often it
finds a test question's kind (ten), and which share of the variance of the question's first and second number and of its
answer it explains. The last layer's states are what SoftCoT projects.
"""

import argparse
import json
import re
from pathlib import Path

import torch

from data_loader.loaders import DATA_DIR
from data_loader.prompts import PromptEncoder
from experiment.loading import quiet_libraries
from model.backbone import load_backbone
from model.embedded import EMBEDDED
from model.prefix import positions
from utils import run_main, write_json

EVERY = 5  # layers
STRENGTHS = [10.0**power for power in range(-5, 2)]  # times the mean of the kernel's diagonal
FIELDS = {"index": 0, "options": [], "steps": [], "facts": []}  # of an instance, besides question and answer


def read(split, count):
    lines = (DATA_DIR / "mini" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines][:count]


@torch.no_grad()
def states_of(assistant, encoder, rows, batch=16) -> dict[int, torch.Tensor]:
    """Return {layer: hidden states at the L placeholders, side by side, `[Q, L * d_a]`}."""
    found = {}
    for first in range(0, len(rows), batch):
        fields = {"index": 0, "options": [], "steps": ["1<<1=1>>"], "answer": "1", "facts": []}
        ids = [
            encoder.encode({**fields, "question": row["question"]}, "eval")["assistant_ids"]
            for row in rows[first:][:batch]
        ]
        width = max(map(len, ids))
        real = torch.tensor([[0] * (width - len(own)) + [1] * len(own) for own in ids])
        padded = torch.tensor([[0] * (width - len(own)) + own for own in ids])
        output = assistant.model(
            input_ids=padded,
            attention_mask=real,
            position_ids=positions(real),
            output_hidden_states=True,
            use_cache=False,
        )
        layers = output.hidden_states
        for layer in sorted({*range(EVERY, len(layers), EVERY), len(layers) - 1}):
            found.setdefault(layer, []).append(layers[layer][:, -encoder.length :].flatten(1))
    return {layer: torch.cat(parts) for layer, parts in found.items()}


def targets_of(rows) -> dict[str, torch.Tensor]:
    """Return {name: `[Q, columns]`}: kind as one-hot rows, numbers as they are."""
    kinds = sorted({row["kind"] for row in read("train", None)})
    numbers = [[float(n) for n in re.findall(r"\d+", row["question"])] for row in rows]
    return {
        "kind": torch.tensor([[float(row["kind"] == kind) for kind in kinds] for row in rows]),
        "first number": torch.tensor([[own[0]] for own in numbers]),
        "second number": torch.tensor([[own[1] if len(own) > 1 else 0.0] for own in numbers]),
        "answer": torch.tensor([[float(row["answer"].split("#### ")[1])] for row in rows]),
    }


def score(name, found, target) -> float:
    """Return the share of kinds found, or R squared, in percent."""
    if name == "kind":
        return 100 * (found.argmax(1) == target.argmax(1)).float().mean().item()
    return 100 * (1 - (found - target).square().sum() / (target - target.mean()).square().sum()).item()


def probed(train, dev, test, targets) -> dict[str, float]:
    """Return {target: score on the test set}. train, dev, test: features; targets: of the three, by name."""
    mean, std = train.mean(0), train.std(0) + 1e-6
    train, dev, test = ((part - mean) / std for part in (train, dev, test))
    kernel = train @ train.T
    scale, scores = kernel.diagonal().mean(), {}
    for name, (fitted, chosen, wanted) in targets.items():
        center = fitted.mean(0)
        tried = []
        for strength in STRENGTHS:
            weights = train.T @ torch.linalg.solve(kernel + strength * scale * torch.eye(len(kernel)), fitted - center)
            tried.append((score(name, dev @ weights + center, chosen), score(name, test @ weights + center, wanted)))
        scores[name] = max(tried)[1]
    return scores


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompt_dir", default="data/mini/prompts", help="(default: %(default)s)")
    parser.add_argument("--num_thought_tokens", type=int, default=16, help="L (default: %(default)s)")
    parser.add_argument("--out", default="results/information", help="(default: %(default)s)")
    args = parser.parse_args()
    quiet_libraries()
    assistant = load_backbone(EMBEDDED)
    models = (assistant.tokenizer, assistant.thought_tokens) * 2
    encoder = PromptEncoder("gsm8k", *models, args.num_thought_tokens, args.prompt_dir)
    parts = [read("train", 800), read("dev", None), read("test", None)]
    states = [states_of(assistant, encoder, rows) for rows in parts]
    targets = {name: [targets_of(rows)[name] for rows in parts] for name in targets_of(parts[0])}
    found = {}
    print("| layer | " + " | ".join(targets) + " |\n" + "| --- |" * (1 + len(targets)))
    for layer in states[0]:
        found[layer] = probed(*(part[layer].float() for part in states), targets)
        print(f"| {layer} | " + " | ".join(f"{value:.0f}" for value in found[layer].values()) + " |", flush=True)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    write_json(found, Path(args.out) / "thought_probe.json")


if __name__ == "__main__":
    run_main(main)
