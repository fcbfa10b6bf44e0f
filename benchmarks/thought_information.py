"""Measure what thoughts carry about their question: python -m benchmarks.thought_information states | cells | table

`states`, before any training: which share of the thought states' energy differs between questions, what bfloat16 rounds
of that, and what a ridge probe reads from them, by filler and layer. `cells`: each row is trained on data/mini at three
learning rates. The one whose own thoughts leave the fewest bits of the dev targets (their cross-entropy, teacher
forced) is measured on test questions: the target's bits and accuracy by what is in the slot. Other seeds, GSM8K and
SoftCoT++ take that rate. A cell is one JSON file, written after each measurement, so that a stopped run goes on.
`table` prints what is there. Each also writes docs/EVIDENCE.md's tables.
"""

import argparse
import contextlib
import json
import math
import os
import re
import sys
from collections import Counter
from itertools import groupby
from pathlib import Path
from statistics import mean

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

import evaluate_softcot
import evaluate_softcotpp
import train_softcot
import train_softcotpp
from benchmarks.speed import machine
from experiment.options import EvaluateSoftCoT, EvaluateSoftCoTPlusPlus, TrainSoftCoT, TrainSoftCoTPlusPlus
from experiment.responses import take_next_questions_thoughts
from experiment.results import read_result_file
from experiment.setup import load_backbones, load_instances, load_method, quiet_libraries, read_filler
from model.causal_lm import embed_ids
from model.choices import EMBEDDED
from model.softcot import SoftCoT, published_filler
from model.training import cut_in_parts, on_device
from report.evidence import write_tables
from report.output import markdown_table
from report.plots import save_figure
from report.summary import bootstrap_interval
from utils import fingerprint, run_main, write_json

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks/results/thoughts"
RATES, SEEDS, BATCH, PLACES = ("1e-3", "4e-3", "1e-2"), (42, 43, 44), 8, (1, 2, 4, 8, 16)
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
SOFTCOT_ROW = {"SoftCoT++": "published", "SoftCoT++, newlines": "newline"}  # whose learning rate they take
WITH_NEWLINE = ("published", "learned", "published, standardized", "newline", "newline, standardized")
MINI = str(ROOT / "data/mini")
CELLS = (  # data, whether the base sees the question, rows: in the order in which they run
    ("mini", "hidden", tuple(row for row in ROWS if row not in SOFTCOT_ROW)),
    ("mini", "visible", tuple(ROWS)),
    ("gsm8k", "visible", WITH_NEWLINE),
    ("gsm8k", "hidden", ("published", "learned", "newline", "newline, standardized")),
)
SIZES = {True: (800, 32, 120), False: (2000, 64, 400)}  # data/mini or not: --k_shot, --dev_k, --max_new_tokens
LENGTH, CHAINS = 16, 4  # L; initial tokens whose states are measured
TEST_QUESTIONS, DEV_QUESTIONS, VOTES = 200, 64, 4
UNITS = {"bits": -1, "correct": 100}  # of what own thoughts save, or gain in %


# ---- before training ----


@torch.no_grad()
def collect_states(model, prompts, tokens, layers) -> torch.Tensor:
    """Return the states at the placeholders behind some layers of the assistant, `[layers, N, B, L, d_a]`.

    prompts: ids without the placeholders; tokens: `[N, d_a]`, what fills them. A prompt runs once for all tokens.
    """
    found, length = [], PLACES[-1]
    fill = tokens.to(model.dtype)[:, None].expand(-1, length, -1)
    for ids in prompts:
        before = model(torch.tensor([ids], device=model.device), use_cache=True).past_key_values
        before.batch_repeat_interleave(len(tokens))
        states = model(inputs_embeds=fill, past_key_values=before, output_hidden_states=True).hidden_states
        found.append(torch.stack([states[layer] for layer in layers]).float().cpu())
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


def most_frequent(labels: list) -> float:
    """Return the share of the most frequent label of those that `probe` classifies: chance."""
    classified = Counter(labels[len(labels) // 2 :])
    return classified.most_common(1)[0][1] / classified.total()


def measure_states(assistant_id: str, questions=320) -> dict:
    """Return shares of energy and probes by filler and layer; what bfloat16 rounds, from a fifth of the questions."""
    lines = Path(MINI, "train.jsonl").read_text(encoding="utf-8").splitlines()[:questions]
    asked, states = [json.loads(line) for line in lines], {}
    steps = ["".join(re.findall(r"<<(.*?)=", question["answer"])) for question in asked]
    labels = {
        "kind": [question["kind"] for question in asked],
        "operations": ["".join(re.findall(r"[-+*/]", step)) for step in steps],
        "first number": [re.search(r"\d+", question["question"])[0] for question in asked],
    }
    for dtype, count in (("float32", questions), ("bfloat16", questions // 5)):
        args = EvaluateSoftCoT(**shared_options(MINI, "visible") | {"dtype": dtype})
        _, assistant, encoder, _ = load_backbones(args, assistant_id, assistant_id, embeddings_only=True)
        split = load_instances(args, "train", count)
        prompts = [encoder.encode(instance, "eval")["assistant_ids"][:-LENGTH] for instance in split]
        fillers = [read_filler(assistant, text, None) for text in FILLERS.values() if text]
        ids = [*published_filler(assistant, None), *sum(fillers, []), *published_filler(assistant, CHAINS)]
        tokens = embed_ids(assistant.model, ids)
        layers = [assistant.model.config.num_hidden_layers * part // 4 for part in (2, 3, 4)]
        states[dtype] = collect_states(assistant.model, prompts, tokens, layers)
    groups = {name: slice(place, place + 1) for place, name in enumerate(FILLERS)}
    groups[f"{CHAINS} initial tokens"] = slice(len(FILLERS), None)
    rows = []
    for name, group in groups.items():
        for layer, exact, rounded in zip(
            layers, states["float32"][:, group], states["bfloat16"][:, group], strict=True
        ):
            flat, row = exact.flatten(0, 2), {"filler": name, "layer": layer}
            scaled = (exact - flat.mean(0)) / flat.std(0, correction=0).clamp(min=1e-12)
            for scaling, of_scaling in (("", exact), (", standardized", scaled)):
                for axis, what in ((1, "questions"), (0, "chains")):
                    if exact.shape[axis] > 1:
                        share = share_between(of_scaling, axis)
                        row[f"between {what}{scaling}"] = [share[place - 1].item() for place in PLACES]
            same = exact[:, : rounded.shape[1]]
            noise, signal = (part.var(1, correction=0).sum((0, 2)) for part in (rounded - same, same))
            row["rounding"] = [(noise / signal)[place - 1].item() for place in PLACES]
            if len(exact) == 1:
                row |= {what: probe(exact[0].flatten(1), of_all) for what, of_all in labels.items()}
            rows.append(row)
    chance = {what: most_frequent(of_all) for what, of_all in labels.items()}
    return {"machine": machine(), "assistant": assistant_id, "questions": questions, "chance": chance, "rows": rows}


# ---- trainings ----


def run(script, **options) -> None:
    """Run one of the project's scripts here, with options by name; True: a flag, False: none."""
    given = {name: value for name, value in options.items() if value is not False}
    words = [[f"--{name}"] if value is True else [f"--{name}", str(value)] for name, value in given.items()]
    sys.argv = [f"{script.__name__}.py", *sum(words, [])]
    script.main()


def shared_options(data: str, question: str) -> dict:
    """Return the options of training and evaluation. data: data/mini, or a folder of GSM8K.

    GSM8K visible has the project's prompts. All others are data/mini's, whose target is the calculations alone.
    """
    folder = ROOT / "data/mini" / ("prompts_hidden" if question == "hidden" else "prompts")
    prompts = {"prompt_dir": str(folder)} if question == "hidden" or data == MINI else {}
    return {"data_dir": data, "num_thought_tokens": LENGTH, "dtype": "float32", **prompts}


def evaluation_options(pair, data, question, folder) -> dict:
    """Return the options of evaluating a run."""
    own = {"base_model_id": pair[0], "assistant_model_id": pair[1], "params_file_name": str(folder / "projection.bin")}
    return shared_options(data, question) | own


def name_cell(data, question, row, *more) -> str:
    """Return a cell's name, for its file and its runs."""
    return "-".join(["mini" if data == MINI else "gsm8k", question, row.replace(", ", "-").replace(" ", ""), *more])


def train(pair, data, question, row, rate, seed) -> Path:
    """Train, or find it trained; return the run's folder."""
    k_shot, dev_k, _ = SIZES[data == MINI]
    options = {"n_epochs": 1, "batch_size": 4, "learning_rate": float(rate), "k_shot": k_shot, "dev_k": dev_k}
    options |= {"seed": seed, "resume": True, "output_name": name_cell(data, question, row, rate, str(seed))}
    options |= {"large_model_id": pair[0], "small_model_id": pair[1]} | shared_options(data, question) | ROWS[row]
    script, of_script = (train_softcotpp, TrainSoftCoTPlusPlus) if row in SOFTCOT_ROW else (train_softcot, TrainSoftCoT)
    folder = Path("ckpt", of_script(**options).name_run())
    folder.mkdir(parents=True, exist_ok=True)
    for states in Path("ckpt").glob("*/thoughts-*.bin"):  # of all runs: the training knows its own by their names
        with contextlib.suppress(FileExistsError):
            os.link(states, folder / states.name)
    run(script, **options)
    return folder


def evaluate(pair, data, question, folder, name, options) -> list[bool]:
    """Return whether each test question is answered right; greedily but for votes.

    name, options: of what is in the slot.
    """
    known = evaluation_options(pair, data, question, folder) | {"log_dir": Path("logs", folder.name, name)}
    known |= {"test_k": TEST_QUESTIONS, "max_new_tokens": SIZES[data == MINI][2], "greedy": True}
    run(evaluate_softcotpp if "num_scaling_times" in options else evaluate_softcot, **known | options)
    (path,) = known["log_dir"].glob("*.jsonl")
    return [row["correct"] for row in read_result_file(path)[1]]


@torch.no_grad()
def target_bits(pair, data, question, folder, options, split="test") -> list[float]:
    """Return the bits of each question's target; of several chains their mean.

    options: as for `evaluate`, with a slot: without one the target has other tokens.
    """
    of_script = EvaluateSoftCoTPlusPlus if "num_scaling_times" in options else EvaluateSoftCoT
    args = of_script(**evaluation_options(pair, data, question, folder) | options)
    method = load_method(args)
    asked = load_instances(args, split)
    count = TEST_QUESTIONS if split == "test" else DEV_QUESTIONS
    examples = [method.encoder.encode(instance, "train") for instance in asked[:count]]
    if args.thoughts == "shuffled":
        take_next_questions_thoughts(examples, asked, method.encoder)
    loss_of, bits = SoftCoT(method.base, None, LENGTH, learned=True), []  # of any soft thoughts
    for part in cut_in_parts(examples, BATCH):
        soft = torch.stack(method.slot.fill(part, method.collate))
        batch = on_device(method.collate(part), loss_of.device_name)
        nats, _ = loss_of.token_losses(batch, soft, weights=[1.0] * len(part))
        bits += [round(value / math.log(2), 4) for value in nats.mean(1).tolist()]
    return bits


def run_cell(pair, data, question, row, seed, out: Path) -> None:
    """Train a row at its best learning rate and measure it; what its file holds is not measured again."""
    file = out / f"{name_cell(data, question, row, str(seed))}.json"
    cell = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"bits": {}, "correct": {}}
    own = {"thoughts": "learned"} if row == "learned" else PLUS_PLUS if row in SOFTCOT_ROW else {}
    contents = {"own": own} | {name: own | {"thoughts": name} for name in ("shuffled", "mean")}
    if row == "learned":
        contents = {"own": own, "zero": {"thoughts": "zero"}, "none": {"num_thought_tokens": 0}}
    votes = {"greedy": False, "num_return_sequences": VOTES} if row in SOFTCOT_ROW else {}
    measures = [("bits", name, options) for name, options in contents.items() if name != "none"]
    if votes:  # beside as many of SoftCoT's samples
        half = votes | {"num_return_sequences": VOTES // own["num_scaling_times"]}
        contents = {name: options | half for name, options in contents.items()} | {"SoftCoT-SC": votes}
    answered = contents if data == MINI else {"own": own}  # too few of GSM8K are right to compare contents
    measures += [("correct", name, options) for name, options in answered.items()]
    todo = [(measure, name, options) for measure, name, options in measures if name not in cell[measure]]
    if not todo:
        return
    first = out / f"{name_cell(MINI, question, SOFTCOT_ROW.get(row, row), str(SEEDS[0]))}.json"
    rates, dev_bits = VECTOR_RATES if row == "learned" else RATES, {}
    if first != file or file.is_file():
        rates = [json.loads(first.read_text(encoding="utf-8"))["learning_rate"]]
    folders = {rate: train(pair, data, question, row, rate, seed) for rate in rates}
    if len(rates) > 1:
        for rate, folder in folders.items():
            dev_bits[rate] = round(mean(target_bits(pair, data, question, folder, own, "dev")), 4)
    rate = min(rates, key=dev_bits.get) if dev_bits else rates[0]
    projection = fingerprint(folders[rate] / "projection.bin")
    if cell.get("projection") != projection:  # measured of another training
        cell |= {"learning_rate": rate, "machine": machine(), "projection": projection, "bits": {}, "correct": {}}
        todo = measures
    known = {"pair": pair, "data": "mini" if data == MINI else "gsm8k", "question": question, "row": row, "seed": seed}
    cell = known | {"dev_bits": dev_bits} | cell
    of_cell = (pair, data, question, folders[rate])
    for measure, name, options in todo:
        if name == "SoftCoT-SC":
            single = train(pair, data, question, SOFTCOT_ROW[row], rate, seed) / "projection.bin"
            options = options | {"params_file_name": single}
        bits = measure == "bits"
        cell[measure][name] = target_bits(*of_cell, options) if bits else evaluate(*of_cell, name, options)
        write_json(cell, file, indent=None)


# ---- tables ----


def read_cells(out: Path) -> dict[tuple, dict]:
    """Return the cells of a folder by (data, question, row, seed), in the order in which they run."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*-4?.json")]
    cells = {(cell["data"], cell["question"], cell["row"], cell["seed"]): cell for cell in found}
    order = [(data, question, row) for data, question, rows in CELLS for row in rows]
    return {key: cells[key] for key in sorted(cells, key=lambda key: (order.index(key[:3]), key[3]))}


def make_tables(out: Path, cells: dict) -> dict[str, str]:
    """Return docs/EVIDENCE.md's tables of a folder's files, by name; "trainings": each training's, which it links."""
    states, tables = out / "states.json", {}
    if states.exists():
        tables["thought states"] = markdown_table(state_table(json.loads(states.read_text(encoding="utf-8"))))
    each, rows = [[key] for key in cells], [list(keys) for _, keys in groupby(cells, key=lambda key: key[:3])]
    titles = {"bits": "Bits of the target", "correct": "Accuracy in percent"}
    for measure, title in titles.items() if cells else ():
        together = cell_table(cells, rows, measure).drop(columns="dev bits by rate", errors="ignore")
        tables[f"thoughts {measure}"] = markdown_table(together)
        tables["trainings"] = tables.get("trainings", "") + f"{title}\n\n"
        tables["trainings"] += markdown_table(cell_table(cells, each, measure)) + "\n"
    return tables


def show(row: str) -> str:
    """Return a row's or filler's name, as code if it is the filler's own text."""
    filler, comma, rest = row.partition(", ")
    return f"`{filler}`{comma}{rest}" if FILLERS.get(filler) == filler else row


def state_table(found: dict) -> pd.DataFrame:
    """Return the last layer's shares of energy (at the placeholders of PLACES) and probes, in percent."""
    last = max(row["layer"] for row in found["rows"])
    rows = [row for row in found["rows"] if row["layer"] == last]
    chance = {what: f"{what} (chance {100 * value:.1f})" for what, value in found["chance"].items()}

    def text(value):
        if isinstance(value, list):
            return ", ".join(f"{100 * number:.2g}" for number in value)
        return f"{100 * value:.1f}" if isinstance(value, float) else show(value)

    cells = [{chance.get(key, key): text(row[key]) for key in row if key != "layer"} for row in rows]
    return pd.DataFrame(cells).fillna("")


def cell_table(cells: dict, groups: list[list], measure: str) -> pd.DataFrame:
    """Return a line for each group of cells, the trainings of one row. measure: "bits", or "correct" in %.

    groups: the keys of `cells`. What own thoughts save or gain over other contents of the slot has a paired bootstrap
    interval over questions, of which each is averaged over the trainings first.
    """
    lines = []
    for keys in groups:
        if not (keys := [key for key in keys if "own" in cells[key][measure]]):
            continue
        (data, question, row, _), chosen = keys[0], [cells[key] for key in keys]
        line = {"data, question": f"{data}, {question}", "row": show(row)}
        line |= {"seeds": ", ".join(str(key[3]) for key in keys), "learning rate": chosen[0]["learning_rate"]}
        if len(found := chosen[0].get("dev_bits", {})) > 1 and measure == "bits":
            line["dev bits by rate"] = ", ".join(f"{rate}: {value:.2f}" for rate, value in found.items())
        for name in chosen[0][measure]:
            if all(name in cell[measure] for cell in chosen):
                line[name] = f"{abs(UNITS[measure]) * mean(mean(cell[measure][name]) for cell in chosen):.1f}"
        votes = measure == "correct" and row in SOFTCOT_ROW  # those rows answer greedily
        for name in ("mean", "shuffled", "SoftCoT-SC") if votes else ("learned", "published", "mean", "shuffled"):
            if (gained := find_gains(cells, keys, measure, name)) is not None:
                low, high = bootstrap_interval(gained.mean(0))
                line[f"own over {name}"] = f"{gained.mean():+.2f} ({low:+.2f} to {high:+.2f})"
        lines.append(line)
    table = pd.DataFrame(lines).fillna("")
    return table[sorted(table, key=lambda column: column.startswith("own over"))]


def find_gains(cells: dict, keys: list, measure: str, name: str) -> np.ndarray | None:
    """Return what own thoughts save or gain, `[trainings, questions]`, over the row or content `name`; None without.

    keys: of one row's cells. Learned vectors are only compared with.
    """
    if not keys or keys[0][2] in (name, "learned"):
        return None
    of_row = [cells.get((*key[:2], name, key[3]), {measure: {}})[measure].get("own") for key in keys]
    others = [other or cells[key][measure].get(name) for other, key in zip(of_row, keys, strict=True)]
    if not all(others):
        return None
    return UNITS[measure] * (np.array([cells[key][measure]["own"] for key in keys], float) - np.array(others, float))


def plot_cells(cells: dict, path: Path) -> None:
    """Draw the bits that own thoughts save over learned vectors: each training, and the row with its interval."""
    figure = Figure(figsize=(10, 6), layout="constrained")
    for axes, (data, question, rows) in zip(figure.subplots(2, 2).flat, CELLS, strict=True):
        names = []
        for row in rows:
            keys = [key for key in cells if key[:3] == (data, question, row)]
            if (gained := find_gains(cells, keys, "bits", "learned")) is None:
                continue
            middle, place = gained.mean(), len(names)
            low, high = bootstrap_interval(gained.mean(0))
            axes.errorbar(middle, place, xerr=[[middle - low], [high - middle]], fmt="oC0", capsize=4)
            axes.plot(gained.mean(1), [place] * len(gained), "|k", markersize=14)
            names.append(show(row).replace("`", "'"))
        axes.set_yticks(range(len(names)), names)
        axes.axvline(0, color="black", linewidth=1)
        axes.set(title=f"{data}, question {question}", ylim=(max(1, len(names)) - 0.5, -0.5))
    figure.supxlabel("bits that own thoughts save over learned vectors; ticks: each training; bar: 95 % over questions")
    save_figure(figure, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("states", "cells", "table"))
    parser.add_argument("--base", default=EMBEDDED, help="base model (default: %(default)s)")
    parser.add_argument("--assistant", default=EMBEDDED, help="assistant (default: %(default)s)")
    parser.add_argument("--gsm8k", type=Path, help="folder with GSM8K's files; default: only data/mini")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the files (default: %(default)s)")
    args = parser.parse_args()
    pair = (args.base, args.assistant)
    if pair != (EMBEDDED, EMBEDDED) and args.out.resolve() == RESULTS:
        parser.error("another pair needs another --out")
    if args.gsm8k and not args.gsm8k.is_dir():
        parser.error(f"--gsm8k {args.gsm8k}: no such folder")
    quiet_libraries()
    args.out.mkdir(parents=True, exist_ok=True)
    if args.part == "cells":
        folders = {"mini": MINI, "gsm8k": args.gsm8k and str(args.gsm8k.absolute())}
        for seed in SEEDS:
            for data, question, rows in CELLS:
                for row in rows if data == "mini" or (args.gsm8k and seed == SEEDS[0]) else ():
                    run_cell(pair, folders[data], question, row, seed, args.out)
    if args.part == "states":
        write_json(measure_states(args.assistant), args.out / "states.json")
    cells = read_cells(args.out)
    tables = make_tables(args.out, cells)
    print(*tables.values(), sep="\n")
    if cells:
        plot_cells(cells, args.out / "thoughts.png")
        (args.out / "trainings.md").write_text(tables["trainings"], encoding="utf-8")
    if args.out.resolve() == RESULTS:
        write_tables(tables)


if __name__ == "__main__":
    run_main(main)
