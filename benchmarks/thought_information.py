"""Measure what thoughts carry about their question: python -m benchmarks.thought_information states | cells | table

`states`, before any training: which share of the thought states' energy differs between questions, and what a ridge
probe reads from them, by filler, layer and scaling. `cells`: each row is trained at three learning rates. The one with
the lowest dev loss (on the last tokens of the dev examples) is measured: the target's bits (its cross-entropy, teacher
forced) and greedy accuracy by what is in the slot. A finished cell is one JSON file, so that a stopped run goes on.
`table` prints what is there.
"""

import argparse
import dataclasses
import json
import math
import re
import sys
import time
from pathlib import Path
from statistics import mean

import pandas as pd
import torch

import evaluate_softcot
import train_softcot
from benchmarks.speed import machine
from data_loader.loaders import load_task
from experiment.options import EvaluateSoftCoT
from experiment.responses import take_next_questions_thoughts
from experiment.results import read_result_file
from experiment.setup import load_instances, load_method, quiet_libraries, read_filler
from model import plain
from model.causal_lm import embed_ids
from model.choices import EMBEDDED
from model.softcot import SoftCoT, initial_tokens
from model.training import cut_in_parts
from report.output import markdown_table
from report.summary import bootstrap_interval
from utils import run_main, write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results/thoughts"
RATES, SEEDS, BATCH, PLACES = ("1e-3", "4e-3", "1e-2"), (42, 43, 44), 8, (1, 2, 4, 8)
FILLERS = {"published": None, "newline": "\n", " the": " the", ",": ",", "...": "...", " answer": " answer"}
STANDARDIZED = {"thought_scaling": "standardized"}
ROWS = {  # of the trainings: options beside those of all
    "published": {},
    "learned": {"thoughts": "learned"},  # every other row is read against it
    "newline": {"thought_filler": "\n"},
    " the": {"thought_filler": " the"},
    "published, standardized": STANDARDIZED,
    "newline, standardized": {"thought_filler": "\n", **STANDARDIZED},
    " the, standardized": {"thought_filler": " the", **STANDARDIZED},
}
GSM8K = ("published", "learned", "published, standardized", "newline", "newline, standardized")
MINI = str(ROOT / "data/mini")
CELLS = (  # data, whether the base sees the question, rows: in the order in which they run
    (MINI, "hidden", tuple(ROWS)),
    (MINI, "visible", tuple(ROWS)),
    ("gsm8k", "visible", GSM8K),
    ("gsm8k", "hidden", ("published", "learned", "newline, standardized")),
)
SIZES = {  # whether it is data/mini -> options of the training, of the evaluation
    True: ({"k_shot": 800, "dev_k": 32}, {"test_k": 200, "max_new_tokens": 120}),
    False: ({"k_shot": 2000, "dev_k": 64}, {"test_k": 200, "max_new_tokens": 400}),
}
LENGTH = 16


# ---- before training ----


@torch.no_grad()
def collect_states(assistant, prompts, tokens) -> torch.Tensor:
    """Return the states behind each layer at the placeholders, `[layers, N, B, L, d_a]`. tokens: `[N, d_a]`."""
    length, found = PLACES[-1], []
    for token in tokens:
        for ids in prompts:
            states = plain.layer_states(assistant.model, torch.tensor(ids), token, length)
            found.append(torch.stack(states[1:]).float())
    return torch.stack(found, 1).unflatten(1, (len(tokens), len(prompts)))


def share_between(states: torch.Tensor, axis: int) -> torch.Tensor:
    """Return which share of the energy of states `[N, B, L, d]` differs along an axis, `[L]`."""
    differs = states.var(axis, correction=0).sum(-1).mean(0)
    return differs / states.square().sum(-1).mean((0, 1))


def probe(features: torch.Tensor, labels: list) -> tuple[float, float]:
    """Return a ridge probe's accuracy and chance: the first half of the questions trains, the other is classified.

    features: `[B, D]`; chance: the share of the class that is most frequent in the other half.
    """
    half, classes = len(labels) // 2, sorted(set(labels), key=str)
    x = (features - features[:half].mean(0)) / (features[:half].std(0) + 1e-6)
    wanted = torch.tensor([classes.index(label) for label in labels])
    y = torch.nn.functional.one_hot(wanted[:half], len(classes)).float()
    kernel = x[:half] @ x[:half].T
    ridge = kernel.diagonal().mean() * torch.eye(half)
    found = (x[half:] @ x[:half].T) @ torch.linalg.solve(kernel + ridge, y - y.mean(0)) + y.mean(0)
    correct = (found.argmax(1) == wanted[half:]).float().mean().item()
    return correct, wanted[half:].bincount().max().item() / (len(labels) - half)


def read_labels(question) -> dict:
    """Return what probes are asked of a question of data/mini: kind of problem, operations, first number."""
    steps = re.findall(r"<<(.*?)=", question["answer"])
    number = re.search(r"\d+", question["question"])
    return {
        "kind": question["kind"],
        "operations": "".join(re.findall(r"[-+*/]", "".join(steps))),
        "first number": number and number[0],
    }


def measure_states(assistant_id: str, questions: int, chains: int) -> dict:
    """Return shares of energy and probes by filler, layer and scaling."""
    split = list(load_task("gsm8k", ROOT / "data/mini", "train").get_dataset("train"))[:questions]
    options = EvaluateSoftCoT(base_model_id=assistant_id, assistant_model_id=assistant_id, thoughts="untrained")
    method = load_method(dataclasses.replace(options, num_thought_tokens=PLACES[-1], dtype="float32"), None)
    assistant = method.assistant
    prompts = [method.encoder.encode(instance, "eval")["assistant_ids"] for instance in split]
    tables = {
        name: embed_ids(assistant.model, read_filler(assistant, text, None)) if text else method.slot.softcot.embedding
        for name, text in FILLERS.items()
    }
    tables[f"{chains} initial tokens"] = initial_tokens(assistant, chains)
    lines = Path(MINI, "train.jsonl").read_text(encoding="utf-8").splitlines()[:questions]
    labels, rows = [read_labels(json.loads(line)) for line in lines], []
    for name, tokens in tables.items():
        asked = prompts if len(tokens) == 1 else prompts[: questions // chains]
        layers = collect_states(assistant, asked, tokens)
        for layer in (len(layers) // 2, 3 * len(layers) // 4, len(layers)):
            states = layers[layer - 1]
            flat = states.flatten(0, 2)
            for scaling, own in (
                ("none", states),
                ("standardized", (states - flat.mean(0)) / flat.std(0, correction=0).clamp(min=1e-12)),
            ):
                row = {"filler": name, "layer": layer, "scaling": scaling}
                row["between questions"] = [share_between(own, 1)[place - 1].item() for place in PLACES]
                if len(tokens) > 1:
                    row["between chains"] = [share_between(own, 0)[place - 1].item() for place in PLACES]
                else:
                    for what in labels[0]:
                        row[what], row[f"{what}, chance"] = (
                            100 * value for value in probe(own[0].flatten(1), [label[what] for label in labels])
                        )
                rows.append(row)
        print(f"{name}: done", flush=True)
    return {"machine": machine(), "assistant": assistant_id, "questions": questions, "rows": rows}


# ---- trainings ----


def run(script, **options) -> None:
    """Run one of the project's scripts here, with options by name; True: a flag."""
    words = [[f"--{name}"] if value is True else [f"--{name}", str(value)] for name, value in options.items()]
    sys.argv = [f"{script.__name__}.py", *sum(words, [])]
    script.main()


def shared_options(data: str, question: str) -> dict:
    """Return the options of training and evaluation. data: data/mini, or a folder of GSM8K (its own prompts)."""
    folder = ROOT / "data/mini" / ("prompts_hidden" if question == "hidden" else "prompts")
    prompts = {"prompt_dir": str(folder)} if question == "hidden" or data == MINI else {}
    return {"data_dir": data, "num_thought_tokens": LENGTH, "dtype": "float32", **prompts}


def train(pair, data, question, row, rate, seed) -> tuple[Path, float]:
    """Train, or find it trained; return the run's folder and the last dev loss."""
    name = "-".join([Path(data).name, question, row, rate, str(seed)]).replace(", ", "-").replace(" ", "")
    options = {"n_epochs": 1, "batch_size": 4, "learning_rate": rate, "seed": seed, "resume": True}
    options |= SIZES[data == MINI][0] | shared_options(data, question) | ROWS[row]
    models = dict(zip(("large_model_id", "small_model_id"), pair, strict=True))
    run(train_softcot, **models, output_name=name, **options)
    (folder,) = Path("ckpt").glob(f"{name}-gsm8k-*")
    history = json.loads(Path("results", folder.name, "loss.json").read_text(encoding="utf-8"))
    return folder, [entry["eval_loss"] for entry in history if "eval_loss" in entry][-1]


def evaluate(pair, data, question, folder, contents) -> dict[str, list[bool]]:
    """Return whether each question is answered right, by what is in the slot."""
    models, found = dict(zip(("base_model_id", "assistant_model_id"), pair, strict=True)), {}
    for name, options in contents.items():
        options = shared_options(data, question) | SIZES[data == MINI][1] | options
        file, logs = folder / "projection.bin", Path("logs", folder.name, name)
        run(evaluate_softcot, **models, params_file_name=file, greedy=True, log_dir=logs, **options)
        (path,) = logs.glob("*.jsonl")
        found[name] = [row["correct"] for row in read_result_file(path)[1]]
    return found


@torch.no_grad()
def target_bits(pair, data, question, folder, contents) -> dict[str, list[float]]:
    """Return the bits of each question's target, by what is in the slot. contents: as for `evaluate`."""
    found = {}
    models = dict(zip(("base_model_id", "assistant_model_id"), pair, strict=True))
    for name, options in contents.items():
        options = shared_options(data, question) | {"params_file_name": str(folder / "projection.bin")} | options
        args = EvaluateSoftCoT(**models, **options)
        method = load_method(args, None)
        split = load_instances(args, "test")
        examples = [method.encoder.encode(instance, "train") for instance in split[: SIZES[data == MINI][1]["test_k"]]]
        if args.thoughts == "shuffled":
            take_next_questions_thoughts(examples, split, method.encoder)
        loss_of, bits = SoftCoT(method.base, None, args.num_thought_tokens, learned=True), []
        for part in cut_in_parts(examples, BATCH):
            batch = method.collate(part)
            soft = torch.stack(method.slot.fill(part, method.collate)) if method.slot else loss_of.batch_thoughts(batch)
            nats, _ = loss_of.token_losses(batch, soft, weights=[1.0] * len(part))
            bits += [round(value / math.log(2), 4) for value in nats[:, 0].tolist()]
        found[name] = bits
    return found


def run_cell(pair, data, question, row, seed, out: Path) -> None:
    """Train a row at its best learning rate, measure it and write its file, unless that is there."""
    file = out / "-".join([Path(data).name, question, row.replace(", ", "-").strip(), f"{seed}.json"])
    if file.is_file():
        return
    first = out / file.name.replace(f"{seed}.json", f"{SEEDS[0]}.json")
    chosen = json.loads(first.read_text(encoding="utf-8"))["learning_rate"] if seed != SEEDS[0] else None
    start, trained = time.monotonic(), {}
    for rate in [chosen] if chosen else RATES:
        trained[rate] = train(pair, data, question, row, rate, seed)
    rate = min(trained, key=lambda rate: trained[rate][1])
    folder = trained[rate][0]
    contents = (
        {"own": {"thoughts": "learned"}}
        if row == "learned"
        else {"own": {}, "shuffled": {"thoughts": "shuffled"}, "mean": {"thoughts": "mean"}}
    )
    baselines = {"zero": {"thoughts": "zero"}, "none": {"num_thought_tokens": 0}} if row == "learned" else {}
    cell = {"machine": machine(), "pair": pair, "data": Path(data).name, "question": question, "row": row, "seed": seed}
    cell |= {"learning_rate": rate, "dev_losses": {rate: loss for rate, (_, loss) in trained.items()}}
    cell["bits"] = target_bits(pair, data, question, folder, contents | baselines)
    cell["correct"] = evaluate(pair, data, question, folder, contents | baselines)
    write_json(cell | {"seconds": round(time.monotonic() - start)}, file)


# ---- tables ----


def state_table(out: Path) -> pd.DataFrame:
    """Return the shares of energy and probes before training, in percent."""
    rows = json.loads((out / "states.json").read_text(encoding="utf-8"))["rows"]

    def text(value):
        if isinstance(value, list):
            return ", ".join(f"{100 * number:.2g}" for number in value)
        return f"{value:.1f}" if isinstance(value, float) else str(value)

    return pd.DataFrame([{name: text(value) for name, value in row.items()} for row in rows]).fillna("")


def cell_table(out: Path) -> pd.DataFrame:
    """Return a row a cell: bits by content, what own thoughts save over others with its interval, accuracy in %."""
    cells = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("*-4?.json"))]
    learned = {(c["data"], c["question"], c["seed"]): c["bits"]["own"] for c in cells if c["row"] == "learned"}
    rows = []
    for cell in cells:
        row = {name: cell[name] for name in ("data", "question", "row", "learning_rate", "seed")}
        row |= {f"bits, {name}": f"{mean(bits):.1f}" for name, bits in cell["bits"].items()}
        others = cell["bits"] | {"learned": learned.get((cell["data"], cell["question"], cell["seed"]))}
        for name in ("learned", "mean", "shuffled"):
            if cell["row"] != "learned" and others[name]:
                saved = [other - own for own, other in zip(cell["bits"]["own"], others[name], strict=True)]
                low, high = bootstrap_interval(saved)
                row[f"own saves over {name}"] = f"{mean(saved):+.2f} ({low:+.2f} to {high:+.2f})"
        row |= {f"accuracy, {name}": f"{100 * mean(right):.1f}" for name, right in cell["correct"].items()}
        rows.append(row)
    return pd.DataFrame(rows).fillna("")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("states", "cells", "table"))
    parser.add_argument("--base", default=EMBEDDED, help="base model (default: %(default)s)")
    parser.add_argument("--assistant", default=EMBEDDED, help="assistant (default: %(default)s)")
    parser.add_argument(
        "--gsm8k", type=Path, help="folder with GSM8K's train, dev and test.jsonl; default: only data/mini"
    )
    parser.add_argument("--questions", type=int, default=320, help="of data/mini, for states (default: %(default)s)")
    parser.add_argument("--chains", type=int, default=4, help="of SoftCoT++, for states (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the files (default: %(default)s)")
    args = parser.parse_args()
    quiet_libraries()
    args.out.mkdir(parents=True, exist_ok=True)
    pair = (args.base, args.assistant)
    if args.part == "states":
        write_json(measure_states(args.assistant, args.questions, args.chains), args.out / "states.json")
    if args.part == "cells":
        for data, question, rows in CELLS:
            for seed in SEEDS:
                for row in rows:
                    if folder := MINI if data == MINI else args.gsm8k and str(args.gsm8k.absolute()):
                        run_cell(pair, folder, question, row, seed, args.out)
    print(markdown_table(state_table(args.out) if args.part == "states" else cell_table(args.out)))


if __name__ == "__main__":
    run_main(main)
