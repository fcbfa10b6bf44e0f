"""Measure how many bits of the answer come through the thought slot: python -m benchmarks.slot_bits ckpt/RUN ...

For each run of train_softcot.py and the first --questions of its training and test set: the code length of the target
(its cross-entropy in bits, teacher forced) with soft thoughts of the question, of the next question, of the untrained
projection, and with zero vectors in the slot. Bits that own thoughts save over those of the next question are about
this question. Prints a table with intervals over questions, and writes it as JSON into results/information.
"""

import argparse
import math
from pathlib import Path
from statistics import mean

import torch

from benchmarks.speed import machine
from experiment.options import EvaluateSoftCoT
from experiment.responses import take_next_questions_thoughts
from experiment.run_files import trained_with
from experiment.setup import build_for_evaluation, load_instances, load_method, quiet_libraries
from model.slot import ThoughtSlot
from report.summary import bootstrap_interval
from utils import run_main, write_json

CONTENTS = ("own", "shuffled", "untrained", "zero")
BATCH = 16
OUT = Path("results/information")


def load(run, data_dir):
    """Return the options and the method of a run's projection, as evaluation loads them."""
    file = Path(run, "projection.bin")
    known = {k: v for k, v in trained_with(file).items() if k in EvaluateSoftCoT.__dataclass_fields__}
    args = EvaluateSoftCoT(**known, params_file_name=str(file), data_dir=data_dir)
    return args, load_method(args, None)


@torch.no_grad()
def answer_bits(method, untrained, split, questions) -> dict[str, list[float]]:
    """Return {content: bits of each target}. split: its Instances, of which the first `questions` count."""
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
        nats, _ = method.softcot.token_losses(batch, soft, weights=[1.0] * len(examples))
        rows += (nats / math.log(2)).tolist()
    return dict(zip(CONTENTS, zip(*rows, strict=True), strict=True))


def measured(run, split, bits) -> dict:
    """Return mean bits of each content, and what own thoughts save over each other with its interval."""
    found = {"run": Path(run).name, "split": split, "questions": len(bits["own"])}
    for name, column in bits.items():
        found[name] = mean(column)
        if name != "own":
            saved = [other - own for own, other in zip(bits["own"], column, strict=True)]
            found[f"saved over {name}"] = mean(saved)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folders that train_softcot.py wrote, ckpt/<run>")
    parser.add_argument("--data_dir", default="data/mini", help="(default: %(default)s)")
    parser.add_argument("--questions", type=int, default=100, help="of each split (default: %(default)s)")
    args = parser.parse_args()
    quiet_libraries()
    rows = []
    for run in args.runs:
        options, method = load(run, args.data_dir)
        untrained = build_for_evaluation(options, method.base, method.assistant, None, None)
        for split in ("train", "test"):
            instances = load_instances(options, split)
            bits = answer_bits(method, untrained, instances, min(args.questions, len(instances)))
            rows.append(measured(run, split, bits))
            print(table(rows[-1:]).splitlines()[-1], flush=True)
    OUT.mkdir(parents=True, exist_ok=True)
    write_json({"machine": machine(), "rows": rows}, OUT / "slot_bits.json")
    print("\n" + table(rows))


if __name__ == "__main__":
    run_main(main)
