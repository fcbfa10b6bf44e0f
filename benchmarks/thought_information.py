"""Measure what thoughts carry about their question: python -m benchmarks.thought_information states | cells | table

`states`, before any training: which share of the thought states' energy differs between questions, what bfloat16 rounds
of that, and what a ridge probe reads from them, by filler, layer and scaling. `cells`: each row is trained at three
learning rates. The one whose own thoughts leave the fewest bits of the dev targets (their cross-entropy, teacher
forced) is measured on test questions: the target's bits and greedy accuracy by what is in the slot. A finished cell is
one JSON file, so that a stopped run goes on. `table` prints what is there.
"""

import argparse
import contextlib
import json
import math
import os
import re
import sys
import time
from collections import Counter
from itertools import groupby
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
import torch

import evaluate_softcot
import evaluate_softcotpp
import train_softcot
import train_softcotpp
from benchmarks.speed import machine
from data_loader.loaders import load_task
from experiment.options import EvaluateSoftCoT, EvaluateSoftCoTPlusPlus, TrainSoftCoT, TrainSoftCoTPlusPlus
from experiment.responses import take_next_questions_thoughts
from experiment.results import read_result_file
from experiment.setup import load_instances, load_method, quiet_libraries, read_filler
from model.attention import use_stock_attention
from model.causal_lm import embed_ids
from model.choices import EMBEDDED
from model.softcot import SoftCoT, initial_tokens
from model.training import cut_in_parts
from report.evidence import write_tables
from report.output import markdown_table
from report.summary import bootstrap_interval
from utils import run_main, write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results/thoughts"
RATES, SEEDS, BATCH, PLACES = ("1e-3", "4e-3", "1e-2"), (42, 43, 44), 8, (1, 2, 4, 8)
VECTOR_RATES = ("4e-3", "1e-2", "4e-2")  # an Adam step moves a free vector less than it moves W times a state
FILLERS = {"published": None, "newline": "\n", " the": " the", ",": ",", "...": "...", " answer": " answer"}
STANDARDIZED = {"thought_scaling": "standardized"}
PLUS_PLUS = {"num_scaling_times": 2, "model_name": "scaling-nce"}
ROWS = {  # of the trainings: options beside those of all
    "published": {},
    "learned": {"thoughts": "learned"},  # every other row is read against it
    "newline": {"thought_filler": "\n"},
    " the": {"thought_filler": " the"},
    "published, standardized": STANDARDIZED,
    "newline, standardized": {"thought_filler": "\n", **STANDARDIZED},
    " the, standardized": {"thought_filler": " the", **STANDARDIZED},
    "SoftCoT++": PLUS_PLUS,
    "SoftCoT++, newlines": {"thought_filler": "\n,\n\n", **PLUS_PLUS},
}
SINGLE = {"SoftCoT++": "published", "SoftCoT++, newlines": "newline"}  # SoftCoT's row, whose learning rate they take
WITH_NEWLINE = ("published", "learned", "published, standardized", "newline", "newline, standardized")
MINI = str(ROOT / "data/mini")
CELLS = (  # data, whether the base sees the question, rows: in the order in which they run
    (MINI, "hidden", tuple(row for row in ROWS if row not in SINGLE)),
    (MINI, "visible", tuple(ROWS)),
    ("gsm8k", "visible", WITH_NEWLINE),
    ("gsm8k", "hidden", ("published", "learned", "newline, standardized")),
)
SIZES = {  # whether it is data/mini -> options of the training, of the evaluation
    True: ({"k_shot": 800, "dev_k": 32}, {"test_k": 200, "max_new_tokens": 120}),
    False: ({"k_shot": 2000, "dev_k": 64}, {"test_k": 200, "max_new_tokens": 400}),
}
LENGTH, CHAINS, DEV_QUESTIONS, VOTES = 16, 4, 64, 4  # CHAINS: of the states of initial tokens


# ---- before training ----


@torch.no_grad()
def collect_states(model, prompts, tokens, layers) -> torch.Tensor:
    """Return the states at the placeholders behind some layers of the assistant, `[layers, N, B, L, d_a]`.

    prompts: ids without the placeholders; tokens: `[N, d_a]`, what fills them. A prompt runs once for all tokens.
    """
    found, length = [], PLACES[-1]
    fill = tokens.to(model.dtype)[:, None].expand(-1, length, -1)
    for ids in prompts:
        before = model(torch.tensor([ids]), use_cache=True).past_key_values
        before.batch_repeat_interleave(len(tokens))
        states = model(inputs_embeds=fill, past_key_values=before, output_hidden_states=True).hidden_states
        found.append(torch.stack([states[layer] for layer in layers]).float())
    return torch.stack(found, 2)


def share_between(states: torch.Tensor, axis: int) -> torch.Tensor:
    """Return which share of the energy of states `[N, B, L, d]` differs along an axis, `[L]`."""
    differs = states.var(axis, correction=0).sum(-1).mean(0)
    return differs / states.square().sum(-1).mean((0, 1))


def probe(features: torch.Tensor, labels: list) -> float:
    """Return a ridge probe's accuracy: the first half of the questions trains, the other is classified.

    features: `[B, D]`.
    """
    half, classes = len(labels) // 2, sorted(set(labels), key=str)
    x = (features - features[:half].mean(0)) / (features[:half].std(0) + 1e-6)
    wanted = torch.tensor([classes.index(label) for label in labels])
    y = torch.nn.functional.one_hot(wanted[:half], len(classes)).float()
    kernel = x[:half] @ x[:half].T
    ridge = kernel.diagonal().mean() * torch.eye(half)
    found = (x[half:] @ x[:half].T) @ torch.linalg.solve(kernel + ridge, y - y.mean(0)) + y.mean(0)
    return (found.argmax(1) == wanted[half:]).float().mean().item()


def read_labels(question) -> dict:
    """Return what probes are asked of a question of data/mini: kind of problem, operations, first number."""
    steps = re.findall(r"<<(.*?)=", question["answer"])
    number = re.search(r"\d+", question["question"])
    return {
        "kind": question["kind"],
        "operations": "".join(re.findall(r"[-+*/]", "".join(steps))),
        "first number": number and number[0],
    }


def measure_states(assistant_id: str, questions: int) -> dict:
    """Return shares of energy and probes by filler and layer; what bfloat16 rounds, from a fifth of the questions."""
    lines = Path(MINI, "train.jsonl").read_text(encoding="utf-8").splitlines()[:questions]
    each, found = [read_labels(json.loads(line)) for line in lines], {}
    labels = {what: [label[what] for label in each] for what in each[0]}
    split = list(load_task("gsm8k", ROOT / "data/mini", "train").get_dataset("train"))[:questions]
    for dtype, asked in (("float32", split), ("bfloat16", split[: questions // 5])):
        models = {"base_model_id": assistant_id, "assistant_model_id": assistant_id, "dtype": dtype}
        method = load_method(EvaluateSoftCoT(**models, thoughts="untrained", num_thought_tokens=PLACES[-1]), None)
        assistant, published = method.assistant, method.slot.softcot.embedding
        ids = [method.encoder.encode(instance, "eval")["assistant_ids"][: -PLACES[-1]] for instance in asked]
        others = [embed_ids(assistant.model, read_filler(assistant, text, None)) for text in FILLERS.values() if text]
        tokens = torch.cat([published, *others, initial_tokens(assistant, CHAINS)]).float()
        use_stock_attention(assistant.model)
        layers = [assistant.model.config.num_hidden_layers * part // 4 for part in (2, 3, 4)]
        found[dtype] = collect_states(assistant.model, ids, tokens, layers)
    groups = {name: slice(place, place + 1) for place, name in enumerate(FILLERS)}
    groups[f"{CHAINS} initial tokens"] = slice(len(FILLERS), None)
    rows = []
    for name, group in groups.items():
        for layer, exact, rounded in zip(layers, found["float32"][:, group], found["bfloat16"][:, group], strict=True):
            flat, row = exact.flatten(0, 2), {"filler": name, "layer": layer}
            scaled = (exact - flat.mean(0)) / flat.std(0, correction=0).clamp(min=1e-12)
            for kind, states in (("", exact), (", standardized", scaled)):
                row[f"between questions{kind}"] = [share_between(states, 1)[place - 1].item() for place in PLACES]
                if len(states) > 1:
                    row[f"between chains{kind}"] = [share_between(states, 0)[place - 1].item() for place in PLACES]
            same = exact[:, : rounded.shape[1]]
            row["rounding"] = ((rounded - same).square().mean(1).sum() / same.var(1, correction=0).sum()).item()
            if len(exact) == 1:
                row |= {what: probe(exact[0].flatten(1), of_all) for what, of_all in labels.items()}
            rows.append(row)
    half = questions // 2  # chance: the most frequent answer of the other half
    chance = {what: Counter(of_all[half:]).most_common(1)[0][1] / half for what, of_all in labels.items()}
    return {"machine": machine(), "assistant": assistant_id, "questions": questions, "chance": chance, "rows": rows}


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


def train(pair, data, question, row, rate, seed) -> Path:
    """Train, or find it trained; return the run's folder."""
    name = "-".join([Path(data).name, question, row, rate, str(seed)]).replace(", ", "-").replace(" ", "")
    options = {"n_epochs": 1, "batch_size": 4, "learning_rate": float(rate), "seed": seed, "resume": True}
    options |= SIZES[data == MINI][0] | shared_options(data, question) | ROWS[row]
    options |= dict(zip(("large_model_id", "small_model_id"), pair, strict=True)) | {"output_name": name}
    script, kind = (train_softcotpp, TrainSoftCoTPlusPlus) if row in SINGLE else (train_softcot, TrainSoftCoT)
    folder = Path("ckpt", kind(**options).name_run())
    folder.mkdir(parents=True, exist_ok=True)
    for states in Path("ckpt").glob("*/thoughts-*.bin"):  # another run's, of the same examples
        with contextlib.suppress(FileExistsError):
            os.link(states, folder / states.name)
    run(script, **options)
    return folder


def evaluate(pair, data, question, folder, contents) -> dict[str, list[bool]]:
    """Return whether each question is answered right, by what is in the slot; greedily but for votes."""
    models, found = dict(zip(("base_model_id", "assistant_model_id"), pair, strict=True)), {}
    for name, options in contents.items():
        options = shared_options(data, question) | SIZES[data == MINI][1] | {"greedy": True} | options
        options = {key: value for key, value in options.items() if value is not False}
        script = evaluate_softcotpp if "num_scaling_times" in options else evaluate_softcot
        file, logs = folder / "projection.bin", Path("logs", folder.name, name)
        run(script, **models, **{"params_file_name": file, "log_dir": logs} | options)
        (path,) = logs.glob("*.jsonl")
        found[name] = [row["correct"] for row in read_result_file(path)[1]]
    return found


@torch.no_grad()
def target_bits(pair, data, question, folder, contents, split="test", count=None) -> dict[str, list[float]]:
    """Return the bits of each question's target, by what is in the slot; of several chains their mean.

    contents: as for `evaluate`; count: of questions, by default as many as `evaluate` asks.
    """
    found, count = {}, count or SIZES[data == MINI][1]["test_k"]
    models = dict(zip(("base_model_id", "assistant_model_id"), pair, strict=True))
    for name, options in contents.items():
        options = shared_options(data, question) | {"params_file_name": str(folder / "projection.bin")} | options
        kind = EvaluateSoftCoTPlusPlus if "num_scaling_times" in options else EvaluateSoftCoT
        args = kind(**models, **options)
        method = load_method(args, args.num_scaling_times)
        asked = load_instances(args, split)
        examples = [method.encoder.encode(instance, "train") for instance in asked[:count]]
        if args.thoughts == "shuffled":
            take_next_questions_thoughts(examples, asked, method.encoder)
        loss_of, bits = SoftCoT(method.base, None, args.num_thought_tokens, learned=True), []
        for part in cut_in_parts(examples, BATCH):
            batch = method.collate(part)
            soft = torch.stack(method.slot.fill(part, method.collate)) if method.slot else loss_of.batch_thoughts(batch)
            nats, _ = loss_of.token_losses(batch, soft, weights=[1.0] * len(part))
            bits += [round(value / math.log(2), 4) for value in nats.mean(1).tolist()]
        found[name] = bits
    return found


def run_cell(pair, data, question, row, seed, out: Path) -> None:
    """Train a row at its best learning rate, measure it and write its file, unless that is there."""
    cell = {"machine": machine(), "pair": pair, "data": Path(data).name, "question": question, "row": row, "seed": seed}

    def file_of(row, seed):
        return out / "-".join([cell["data"], question, row.replace(", ", "-").strip(), f"{seed}.json"])

    if (file := file_of(row, seed)).is_file():
        return
    rates = VECTOR_RATES if row == "learned" else RATES
    if row in SINGLE or seed != SEEDS[0]:
        first = file_of(SINGLE.get(row, row), SEEDS[0])
        rates = [json.loads(first.read_text(encoding="utf-8"))["learning_rate"]]
    own = {"thoughts": "learned"} if row == "learned" else PLUS_PLUS if row in SINGLE else {}
    start, folders, dev_bits = time.monotonic(), {}, {}
    for rate in rates:
        folders[rate] = train(pair, data, question, row, rate, seed)
        found = target_bits(pair, data, question, folders[rate], {"own": own}, "dev", DEV_QUESTIONS)
        dev_bits[rate] = round(mean(found["own"]), 4)
    rate = min(dev_bits, key=dev_bits.get)
    if row == "learned":
        contents = {"own": own, "zero": {"thoughts": "zero"}, "none": {"num_thought_tokens": 0}}
    else:
        contents = {"own": own, "shuffled": own | {"thoughts": "shuffled"}, "mean": own | {"thoughts": "mean"}}
    cell |= {"learning_rate": rate, "dev_bits": dev_bits}
    cell["bits"] = target_bits(pair, data, question, folders[rate], contents)
    if row in SINGLE:  # votes, beside as many of SoftCoT's samples
        single = train(pair, data, question, SINGLE[row], rate, seed) / "projection.bin"
        chains = {"greedy": False, "num_return_sequences": VOTES // own["num_scaling_times"]}
        contents = {name: options | chains for name, options in contents.items()}
        samples = {"greedy": False, "num_return_sequences": VOTES, "params_file_name": single}
        contents["SoftCoT-SC"] = samples
    cell["correct"] = evaluate(pair, data, question, folders[rate], contents)
    write_json(cell | {"seconds": round(time.monotonic() - start)}, file)


# ---- tables ----


def make_tables(out: Path) -> dict[str, str]:
    """Return docs/EVIDENCE.md's tables of a folder's files, by name."""
    states, cells = out / "states.json", {}
    for path in sorted(out.glob("*-4?.json")):
        cell = json.loads(path.read_text(encoding="utf-8"))
        cells[cell["data"], cell["question"], cell["row"], cell["seed"]] = cell
    order = [(Path(data).name, question, row) for data, question, rows in CELLS for row in rows]
    cells = {key: cells[key] for key in sorted(cells, key=lambda key: (order.index(key[:3]), key[3]))}
    tables = {"thought states": state_table(json.loads(states.read_text(encoding="utf-8")))} if states.exists() else {}
    if cells:
        tables |= {f"thoughts {measure}": cell_table(cells, measure) for measure in ("bits", "correct")}
    return {name: markdown_table(table) for name, table in tables.items()}


def state_table(found: dict) -> pd.DataFrame:
    """Return the shares of energy (at the placeholders of PLACES) and probes before training, in percent."""
    chance = {what: f"{what} (chance {100 * value:.1f})" for what, value in found["chance"].items()}

    def text(value):
        if isinstance(value, list):
            return ", ".join(f"{100 * number:.2g}" for number in value)
        return f"{100 * value:.1f}" if isinstance(value, float) else str(value)

    return pd.DataFrame([{chance.get(key, key): text(row[key]) for key in row} for row in found["rows"]]).fillna("")


def cell_table(cells: dict, measure: str) -> pd.DataFrame:
    """Return a line for each cell, and for the seeds of a row together. measure: "bits", or "correct" in %.

    cells: by (data, question, row, seed). What own thoughts save or gain over other contents of the slot has a
    paired bootstrap interval over questions, of which each is averaged over the seeds first.
    """
    lines, unit = [], {"bits": -1, "correct": 100}[measure]
    for key, group in groupby(cells, key=lambda key: key[:3]):
        group = [cells[key] for key in group]
        for chosen in [[cell] for cell in group] + ([group] if len(group) > 1 else []):
            line = dict(zip(("data", "question", "row"), key, strict=True))
            line |= {"seeds": ", ".join(str(cell["seed"]) for cell in chosen)}
            line |= {"learning rate": chosen[0]["learning_rate"]}
            for name in chosen[0][measure]:
                line[name] = f"{abs(unit) * mean(mean(cell[measure][name]) for cell in chosen):.1f}"
            for name in ("learned", "published", "mean", "shuffled", "SoftCoT-SC"):
                others = [find_values(cells, cell, measure, name) for cell in chosen]
                if key[2] != name and all(others):
                    own = np.mean([cell[measure]["own"] for cell in chosen], 0)
                    gained = unit * (own - np.mean(others, 0))
                    low, high = bootstrap_interval(gained)
                    line[f"own over {name}"] = f"{gained.mean():+.2f} ({low:+.2f} to {high:+.2f})"
            lines.append(line)
    return pd.DataFrame(lines).fillna("")


def find_values(cells, cell, measure, name) -> list | None:
    """Return the values of the row `name` with a cell's data and seed, else of the cell's content of that name."""
    row = cells.get((cell["data"], cell["question"], name, cell["seed"]))
    return row[measure]["own"] if row else cell[measure].get(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("states", "cells", "table"))
    parser.add_argument("--base", default=EMBEDDED, help="base model (default: %(default)s)")
    parser.add_argument("--assistant", default=EMBEDDED, help="assistant (default: %(default)s)")
    parser.add_argument(
        "--gsm8k", type=Path, help="folder with GSM8K's train, dev and test.jsonl; default: only data/mini"
    )
    parser.add_argument("--questions", type=int, default=320, help="of data/mini, for states (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the files (default: %(default)s)")
    args = parser.parse_args()
    quiet_libraries()
    args.out.mkdir(parents=True, exist_ok=True)
    pair = (args.base, args.assistant)
    if args.part == "cells":
        for seed in SEEDS:
            for data, question, rows in CELLS:
                for row in rows:
                    if folder := MINI if data == MINI else args.gsm8k and str(args.gsm8k.absolute()):
                        run_cell(pair, folder, question, row, seed, args.out)
    if args.part == "states":
        write_json(measure_states(args.assistant, args.questions), args.out / "states.json")
    tables = make_tables(args.out)
    print(*tables.values(), sep="\n")
    if args.out == RESULTS:
        write_tables(tables)


if __name__ == "__main__":
    run_main(main)
