"""Measure how many bits of the answer come through the thought slot: python -m benchmarks.slot_bits ckpt/RUN ...

For each run of train_softcot.py and the first --questions of its training and test set: the code length of the target
(its cross-entropy in bits, teacher forced) with soft thoughts of the question, of the next question, of the untrained
projection, and with zero vectors in the slot. Bits that own thoughts save over those of the next question are about
this question; the interval is over questions. Prints a table, and writes it as JSON and as a picture into --out.
"""

import argparse
import math
from pathlib import Path

import torch

from benchmarks.speed import machine
from experiment.arguments import EvaluateSoftCoT
from experiment.loading import load_instances, quiet_libraries
from experiment.method import load_method, load_softcot
from experiment.plots import pyplot, save
from experiment.record import trained_with
from experiment.responses import take_next_questions_thoughts
from experiment.summary import bootstrap_interval
from model.controls import ThoughtSlot
from model.frozen_lm import frozen_lm_loss
from utils import run_main, write_json

CONTENTS = {
    "own": "SoftCoT",
    "shuffled": "shuffled thoughts",
    "untrained": "untrained projection",
    "zero": "zero vectors",
}
BATCH = 16


def load(run, data_dir):
    """Return the options and the method of a run's projection, as evaluation loads them."""
    file = Path(run, "projection.bin")
    known = {k: v for k, v in trained_with(file).items() if k in EvaluateSoftCoT.__dataclass_fields__}
    args = EvaluateSoftCoT(**known, params_file_name=str(file), data_dir=data_dir)
    return args, load_method(args, None)


@torch.no_grad()
def answer_bits(method, untrained, split, questions) -> list[list[float]]:
    """Return the bits of each target under each of CONTENTS, `[questions][4]`. split: its Instances."""
    base, length, rows = method.base, method.encoder.length, []
    slots = [ThoughtSlot("untrained", base, untrained, length, 1), ThoughtSlot("zero", base, None, length, 1)]
    for first in range(0, questions, BATCH):
        part = split[first : min(first + BATCH, questions)]
        examples = [method.encoder.encode(instance, "train") for instance in part]
        others = [dict(example) for example in examples]
        take_next_questions_thoughts(others, split, method.encoder)
        filled = [method.slot.fill(examples, method.collate), method.slot.fill(others, method.collate)]
        filled += [slot.fill(examples, method.collate) for slot in slots]
        # The four contents of a question are four chains: the prefix runs once.
        soft = torch.stack([torch.cat(contents) for contents in zip(*filled, strict=True)])
        batch = method.collate(examples)
        prompts = method.softcot.run_prompts(
            base.model, batch["instruction"], batch["prefix_ids"], batch["prefix_lengths"]
        )
        suffix = (batch[key] for key in ("suffix_ids", "suffix_lengths", "label_columns"))
        nats = frozen_lm_loss(base.model, prompts, soft, *suffix, weights=[1.0] * len(examples))
        rows += (nats / math.log(2)).tolist()
    return rows


def measured(run, split, bits) -> dict:
    """Return mean bits of each content, and what own thoughts save over each other with its interval."""
    columns = dict(zip(CONTENTS, zip(*bits, strict=True), strict=True))
    found = {"run": Path(run).name, "split": split, "questions": len(bits)}
    for name, column in columns.items():
        found[name] = sum(column) / len(column)
        saved = [other - own for own, other in zip(columns["own"], column, strict=True)]
        if name != "own":
            found[f"saved over {name}"] = sum(saved) / len(saved)
            found[f"interval over {name}"] = bootstrap_interval(saved)
    return found


def table(rows) -> str:
    lines = ["| run | questions | " + " | ".join(CONTENTS) + " | own thoughts save over shuffled |"]
    lines.append("| --- | --- |" + " --- |" * (len(CONTENTS) + 1))
    for row in rows:
        low, high = row["interval over shuffled"]
        bits = " | ".join(f"{row[name]:.1f}" for name in CONTENTS)
        saved = f"{row['saved over shuffled']:+.2f} ({low:+.2f} to {high:+.2f})"
        lines.append(f"| {row['run']} | {row['split']}, {row['questions']} | {bits} | {saved} |")
    return "\n".join(lines)


def draw(rows, path):
    """Draw the bits of each content, a group of bars a run and split."""
    figure, axes = pyplot().subplots(figsize=(1.2 * len(rows) + 4, 4), layout="constrained")
    for place, name in enumerate(CONTENTS):
        left = [row + (place - 1.5) * 0.2 for row in range(len(rows))]
        axes.bar(left, [row[name] for row in rows], 0.2, label=name)
    axes.set_xticks(range(len(rows)), [f"{row['run'].split('-gsm8k')[0]}\n{row['split']}" for row in rows], fontsize=8)
    axes.set(ylabel="bits of an answer")
    axes.legend(fontsize="small", title="the slot holds")
    save(figure, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders that train_softcot.py wrote, ckpt/<run>")
    parser.add_argument("--data_dir", default="data/mini", help="(default: %(default)s)")
    parser.add_argument("--questions", type=int, default=100, help="of each split (default: %(default)s)")
    parser.add_argument("--out", default="results/information", help="(default: %(default)s)")
    args = parser.parse_args()
    quiet_libraries()
    rows = []
    for run in args.runs:
        options, method = load(run, args.data_dir)
        untrained = load_softcot(options, method.base, method.assistant, None, None)
        for split in ("train", "test"):
            instances = load_instances(options, split)
            bits = answer_bits(method, untrained, instances, min(args.questions, len(instances)))
            rows.append(measured(run, split, bits))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    write_json({"machine": machine("cpu"), "rows": rows}, folder / "slot_bits.json")
    draw(rows, folder / "slot_bits.png")
    print("\n" + table(rows))


if __name__ == "__main__":
    run_main(main)
