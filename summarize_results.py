"""Tables and plots from result files (JSON lines), or from logs alone, also those of the published code.

Mean and standard deviation over seeds for each task and method, by the published and by the strict answer rule,
average tokens, the papers' figures beside them, and paired bootstrap intervals between methods. Logs that hold
responses, and result files of an older answer rule, are judged again. What is missing or incomplete is shown as such
and never averaged in silence. Needs no model, and torch only to judge older result files again.
"""

import argparse
import csv
import hashlib
import io
import json
import re
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_loader.answers import ANSWER_RULE, verdicts
from data_loader.tasks import TASKS, get_task
from experiment.record import METHODS, OF_THOUGHTS, method_of
from utils import UserError, replaced, run_main

ROOT = Path(__file__).resolve().parent
PAPERS = json.loads((ROOT / "docs" / "paper_results.json").read_text(encoding="utf-8"))
NO_ASSISTANT = ("Zero-Shot CoT", "CoT-Unk", "LoRA", "Zero vectors")
# What a result file's record, or a log, is silent about.
DEFAULTS = {
    "thoughts": "projected",
    "perturb_std": 0.0,
    "split": "test",
    "data_hash": None,
    "num_return_sequences": 1,
    "base_model_ckpt": None,
    "assistant_model_ckpt": None,
    "answer_rule": 1,
}
IN_LABEL = (
    "num_thought_tokens",
    "num_scaling_times",
    "num_return_sequences",
    "perturb_std",
    "thoughts",
    "task_name",
    "split",
)


# ---- reading ----


@dataclass
class Run:
    """One seed of one evaluation. rows: question -> (gold, correct, correct_strict or None); tokens: average a
    response, or None. A log tells a question only by its place, and nothing of the strict rule unless it holds
    responses. rejudged: number of questions judged again, and of those whose published verdict differs."""

    path: Path
    settings: dict
    seed: int
    rows: dict
    tokens: float | None
    from_log: bool = False
    rejudged: dict | None = None
    flags: list = field(default_factory=list)


def read_results(path, data_dirs=()):
    """Return the Run of a result file, or None if the file is none of this project's.

    data_dirs: folders that may hold the gold answers of a file of an older answer rule.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    try:
        settings = dict(json.loads(lines[0])["run"])
    except (ValueError, KeyError, TypeError):
        return None
    results, rows, tokens = [], {}, []
    for number, text in enumerate(lines[1:], 2):
        try:
            row = json.loads(text)
            rows[row["index"]] = (row["gold"], bool(row["correct"]), bool(row["correct_strict"]))
            tokens += row["tokens"]
        except (ValueError, KeyError, TypeError):
            if number == len(lines):
                break  # the empty end of the file, or a line that a kill cut off
            raise UserError(f"{path}, line {number}: no row of results: {text[:80]!r}") from None
        results.append(row)
    missing = {"task_name", "seed", "num_thought_tokens", "base_model_id"} - settings.keys()
    if missing:
        raise UserError(f"{path}, line 1: the run's record has no {', '.join(sorted(missing))}")
    seed = settings.pop("seed")
    run = Run(path, {**DEFAULTS, **settings}, seed, rows, sum(tokens) / len(tokens) if tokens else None)
    if run.settings["answer_rule"] != ANSWER_RULE:
        judge_results_again(run, results, data_dirs)
    return run


def judge_results_again(run, results, data_dirs):
    """Replace the published verdicts of a result file of an older answer rule, or flag them if it has no responses.

    The strict rule is the same in all answer rules, so its verdicts stay.
    """
    if not all(isinstance(row.get("responses"), list) for row in results):
        run.flags.append("judged by an older answer rule, and the file holds no responses to judge again")
        return
    task = get_task(run.settings["task_name"])
    answers = gold_answers(run.settings, data_dirs)
    if answers and (unknown := run.rows.keys() - answers.keys()):
        raise UserError(f"{run.path}: its data have no question {min(unknown)}: a row is damaged, remove it")
    differ = 0
    for row in results:
        judged = verdicts(task, row["responses"], answers[row["index"]] if answers else str(row["gold"]))
        differ += judged["correct"] != row["correct"]
        run.rows[row["index"]] = (judged["gold"], judged["correct"], bool(row["correct_strict"]))
    run.rejudged = {"questions": len(results), "differ": differ}
    if answers or task.answer_kind != "number":
        run.settings["answer_rule"] = ANSWER_RULE
        run.flags.append(f"of an older answer rule, judged again: {differ} of {len(results)} verdicts differ")
    else:  # the older rule stays in the settings: the run shares no cell with exact ones
        run.flags.append(
            f"of an older answer rule, judged again without the sign of gold answers, which is unknown "
            f"({differ} of {len(results)} verdicts differ): give the data with --data_dir"
        )


def gold_answers(settings, data_dirs):
    """Return {index: answer} of the data that a run's record names by their hash, or None if they are not found."""
    from data_loader.loaders import DATA_DIR, DataError, load_task  # fastNLP takes seconds, and few runs need it
    from experiment.record import data_hash

    for folder in (DATA_DIR / settings["task_name"], *data_dirs):
        try:
            split = load_task(settings["task_name"], folder, settings["split"]).get_dataset(settings["split"])
        except DataError:
            continue
        if data_hash(split) == settings["data_hash"]:
            return {instance["index"]: instance["answer"] for instance in split}
    return None


LOG_NAME = re.compile(
    rf"(?P<run_name>.*)(?P<task>{'|'.join(map(re.escape, TASKS))})-(?P<model>[^/]*?)-seed_(?P<seed>-?\d+)"
    r"-ntt_(?P<L>\d+)-nrs_(?P<R>\d+)(?:-nst_(?P<N>\d+))?-(?P<models>.+?)"
    rf"(?:-(?P<thoughts>{'|'.join(OF_THOUGHTS)}))?(?:-perturb_(?P<std>[\d.e-]+))?"
)
# What a log says, in order. A response is read as a whole, so that nothing in it counts as a line of the log.
EVENT = re.compile(
    r"^Args: (?P<arguments>.*)"
    r"|(?<!Model )Answer \([\d-]+/\d+\): (?P<response>(?s:.*?))<\|end-of-response\|>"
    r"|^Response: (?P<our_response>(?s:.*?))\n(?=Response: |Ground Truth Answer: .*\nModel Answer: )"
    r"|Ground Truth Answer: ?(?P<gold>.*)"
    r"|Average generated tokens \(\d+ instances\): ?(?P<tokens>[\d.]+)"
    r"|Correct Count: ?(?P<correct>\d+)/(?P<asked>\d+)",
    re.M,
)
SPECIAL_TOKEN = re.compile(r"<\|[^|<>\s]*\|>")  # our logs' responses hold none


def read_log(path):
    """Return the Run of a log of ours or of the published code, or None if its name or content is another's.

    Progress bars may stand between the lines and before them on the same line. A log that was started over counts
    from its last start. A log that holds responses is judged again.
    """
    name = LOG_NAME.fullmatch(path.stem)
    if not name:
        return None
    rows, responses, gold, right, tokens, asked_before, rule = {}, {}, None, 0, None, [], None
    for event in EVENT.finditer(path.read_text(encoding="utf-8", errors="replace")):
        if event["arguments"] is not None:
            recorded = re.search(r"'answer_rule': (\d+)", event["arguments"])
            rule = int(recorded[1]) if recorded else ANSWER_RULE  # the published code records none
        elif event["response"] is not None:
            asked_before.append(SPECIAL_TOKEN.sub("", event["response"]))
        elif event["our_response"] is not None:
            asked_before.append(event["our_response"])
        elif event["gold"] is not None:
            gold = event["gold"].strip()
        elif event["tokens"]:
            tokens = float(event["tokens"].rstrip("."))
        else:
            correct, asked = int(event["correct"]), int(event["asked"])
            if asked == 1:
                rows, responses, right = {}, {}, 0
            if asked != len(rows) + 1 or correct - right not in (0, 1):
                raise UserError(
                    f"{path}: Correct Count goes from {right}/{len(rows)} to {correct}/{asked}: lines of "
                    "the log are missing"
                )
            rows[asked - 1] = (gold, correct > right, None)
            responses[asked - 1] = asked_before
            right, asked_before = correct, []
    base, assistant = split_models(name["models"])
    settings = {
        **DEFAULTS,
        "task_name": name["task"],
        "num_thought_tokens": int(name["L"]),
        "num_return_sequences": int(name["R"]),
        "base_model_id": base,
        "assistant_model_id": assistant,
        "thoughts": name["thoughts"] or "projected",
        "perturb_std": float(name["std"] or 0),
        "run_name": name["run_name"],
        "answer_rule": rule,
    }
    if name["N"]:
        settings |= {"num_scaling_times": int(name["N"]), "model_name": name["model"]}
    run = Run(path, settings, int(name["seed"]), rows, tokens, from_log=True)
    judge_log_again(run, responses)
    return run


def judge_log_again(run, responses):
    """Replace a log's verdicts by those of its responses (question -> texts), or flag why they stay as logged.

    The gold answers are the log's own. Our logs of the first answer rule lack their sign; they have no `Args` line.
    """
    settings = run.settings
    votes = (settings.get("num_scaling_times") or 1) * settings["num_return_sequences"]
    whole = [index for index, texts in responses.items() if len(texts) == votes]
    if whole and len(whole) == len(run.rows):
        differ = 0
        for index, (gold, correct, _) in run.rows.items():
            judged = verdicts(settings["task_name"], responses[index], gold)
            differ += judged["correct"] != correct
            run.rows[index] = (judged["gold"], judged["correct"], judged["correct_strict"])
        run.rejudged = {"questions": len(run.rows), "differ": differ}
        if differ:
            run.flags.append(f"judged again from its log: {differ} of {len(run.rows)} verdicts differ from the logged")
    elif any(responses.values()):
        run.flags.append(
            f"verdicts as logged: the log holds all {votes} responses of only {len(whole)} of {len(run.rows)} questions"
        )
    if settings["answer_rule"] != ANSWER_RULE:
        run.flags.append(
            "gold answers may lack their sign: the log's Args line is missing or names another answer rule"
        )


def split_models(text):
    """`base-assistant` of a log's name: a base of the papers, or cut where the two names begin most alike."""
    for paper in PAPERS["papers"]:
        for base in paper["models"]:
            if text.startswith(f"{base}-"):
                return base, text[len(base) + 1 :]
    cuts = [match.start() for match in re.finditer("-", text)]

    def likeness(cut):
        base, assistant = text[:cut], text[cut + 1 :]
        same = next(
            (i for i, (a, b) in enumerate(zip(base, assistant, strict=False)) if a != b), min(len(base), len(assistant))
        )
        return same, -abs(len(base) - len(assistant))

    best = max(cuts, key=likeness, default=None)
    return (text, "") if best is None else (text[:best], text[best + 1 :])


def read_all(paths, data_dirs=()):
    """Return the Runs of all result files and logs under `paths`; a log beside its result file is left out."""
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.suffix in (".jsonl", ".log"))
        elif path.is_file() and path.suffix in (".jsonl", ".log"):
            files.append(path)
        else:
            raise UserError(f"{path}: no folder, and no result file (.jsonl) or log (.log)")
    files = list(dict.fromkeys(file.resolve() for file in files))
    runs = [run for file in files if file.suffix != ".log" and (run := read_results(file, data_dirs))]
    verdicts = defaultdict(list)
    for run in runs:
        verdicts[run.path.stem].append(run)
    for file in files:
        if file.suffix != ".log":
            continue
        beside = any(run.path.parent == file.parent for run in verdicts[file.stem])
        log = None if beside else read_log(file)
        # With --results_dir the two stand apart: the same name and the same score are the same run.
        if log and (len(log.rows), score(log)) not in [(len(run.rows), score(run)) for run in verdicts[file.stem]]:
            runs.append(log)
    tell_logs_apart([run for run in runs if run.from_log])
    if not runs:
        raise UserError(f"no result file and no log of an evaluation in {', '.join(map(str, paths))}")
    return runs


def tell_logs_apart(logs):
    """A log's name does not tell all arguments (LoRA's, for one): logs alike but for their folder get its name."""
    groups = defaultdict(list)
    for log in logs:
        groups[json.dumps(log.settings, sort_keys=True)].append(log)
    for group in groups.values():
        if len({log.seed for log in group}) < len(group) == len({(log.path.parent, log.seed) for log in group}):
            for log in group:
                log.settings = log.settings | {"folder": log.path.parent.name}


# ---- cells: seeds of the same task and method ----


@dataclass
class Cell:
    """All seeds of one task, split, base model and method with its arguments."""

    method: str
    settings: dict
    runs: list = field(default_factory=list)
    left_out: list = field(default_factory=list)  # incomplete runs
    aside: list = field(default_factory=list)  # runs that another of the same seed holds whole
    label: str = ""
    expected: int = 0  # questions of a whole run

    @property
    def base(self):
        return short(self.settings["base_model_id"])

    @property
    def column(self):
        split = self.settings["split"]
        return self.settings["task_name"] + ("" if split == "test" else f" ({split})")

    @property
    def votes(self):
        return (self.settings.get("num_scaling_times") or 1) * self.settings["num_return_sequences"]

    def statistics(self, strict=False):
        """(mean, sample standard deviation or None) of the accuracy in percent; None where nothing is known."""
        values = [score(run, strict) for run in self.runs]
        if not values or None in values:
            return None
        return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None

    @property
    def tokens(self):
        known = [run.tokens for run in self.runs if run.tokens is not None]
        return sum(known) / len(known) if known else None


def short(model_id):
    return str(model_id).rstrip("/").split("/")[-1]


def score(run, strict=False):
    """Accuracy in percent by one of the rules; None where the run does not tell."""
    verdicts = [row[2 if strict else 1] for row in run.rows.values()]
    return None if not verdicts or None in verdicts else 100 * sum(verdicts) / len(verdicts)


def make_cells(runs, include_incomplete=False):
    """Cells in the tables' order. Of two result files with the same seed of the same run the longer counts. Raises
    UserError where their answers differ, and for two such logs, which do not tell all arguments."""
    cells = {}
    for run in runs:
        settings, method = run.settings, method_of(run.settings)
        if method in NO_ASSISTANT:
            settings = {key: value for key, value in settings.items() if not key.startswith("assistant_")}
        if not settings["num_thought_tokens"]:  # no slot, no chains
            settings = {key: value for key, value in settings.items() if key not in ("num_scaling_times", "model_name")}
        cell = cells.setdefault(json.dumps(settings, sort_keys=True), Cell(method, settings))
        twice = next((other for other in cell.runs if other.seed == run.seed), None)
        shorter, longer = sorted((run, twice or run), key=lambda r: len(r.rows))
        if twice and not (twice.from_log or run.from_log) and shorter.rows.items() <= longer.rows.items():
            run = longer
            cell.runs.remove(twice)
            cell.aside.append(shorter)
        elif twice:
            raise UserError(
                f"{twice.path} and {run.path} are both seed {run.seed} of the same run: remove one, or "
                "name the folders to summarize one by one"
            )
        cell.runs.append(run)
    largest = defaultdict(int)
    for cell in cells.values():
        largest[data_of(cell)] = max([largest[data_of(cell)], *(len(run.rows) for run in cell.runs)])
    for cell in cells.values():
        cell.expected = largest[data_of(cell)]
        cell.runs.sort(key=lambda run: run.seed)
        cell.left_out = [run for run in cell.runs if len(run.rows) < cell.expected]
        if not include_incomplete:
            cell.runs = [run for run in cell.runs if len(run.rows) == cell.expected]
    cells = sorted(
        cells.values(),
        key=lambda c: (
            c.base,
            METHODS.index(c.method),
            c.settings["num_thought_tokens"],
            c.votes,
            list(TASKS).index(c.settings["task_name"]),
        ),
    )
    name_cells(cells)
    return cells


def data_of(cell):
    return cell.base, cell.column, cell.settings["data_hash"]


def name_cells(cells):
    """Label each cell by method, L, N and R, and by the arguments in which cells of the same label differ."""
    groups = defaultdict(list)
    for cell in cells:
        s = cell.settings
        parts = [f"L={s['num_thought_tokens']}"] if s["num_thought_tokens"] else []
        parts += [f"N={s['num_scaling_times']}"] if s.get("num_scaling_times") else []
        parts += [f"R={s['num_return_sequences']}"] if s["num_return_sequences"] > 1 else []
        parts += [f"std={s['perturb_std']:g}"] if s["perturb_std"] else []
        cell.label = cell.method + (f" ({', '.join(parts)})" if parts else "")
        groups[cell.base, cell.column, cell.label].append(cell)
    for group in groups.values():
        keys = sorted({key for cell in group for key in cell.settings} - set(IN_LABEL))
        keys = [key for key in keys if len({json.dumps(cell.settings.get(key)) for cell in group}) > 1]
        for cell in group if len(group) > 1 else []:
            cell.label += " [" + ", ".join(f"{key}={brief(cell.settings.get(key))}" for key in keys) + "]"


def brief(value):
    if isinstance(value, str):
        return short(value)
    text = json.dumps(value)
    return text if len(text) < 12 else hashlib.sha256(text.encode()).hexdigest()[:6]


# ---- the papers' figures ----


def published(base, method, column, votes):
    """The papers' (mean, std or None, source) of a task or average, None where they give none."""
    for paper in PAPERS["papers"]:
        row = paper["models"].get(base, {}).get(method, {})
        if votes not in (None, paper["votes"]):  # None: of a row that is missing here
            continue
        value, tasks = row.get(column), PAPERS["averages"].get(column)
        if value is None and tasks and None not in [row.get(task) for task in tasks]:
            value = sum(row[task] for task in tasks) / len(tasks)
        if value is not None:
            return value, paper["std"].get(base, {}).get(method, {}).get(column), paper["source"]
    return None


# ---- tables ----


def tabulate(cells, tasks=(), methods=()):
    """One record a cell, for every method and task of a base model: what all outputs are made of."""
    records = []
    for base in dict.fromkeys(cell.base for cell in cells):
        mine = [cell for cell in cells if cell.base == base]
        columns = in_order({cell.column for cell in mine} | set(tasks))
        labels = {cell.label: cell.method for cell in mine}
        labels |= {method: method for method in methods if method not in labels.values()}
        most_seeds = max(len(cell.runs) for cell in mine)
        for label in sorted(labels, key=lambda label: METHODS.index(labels[label])):
            row = [
                record_of(
                    base,
                    label,
                    labels[label],
                    column,
                    most_seeds,
                    next((c for c in mine if c.label == label and c.column == column), None),
                )
                for column in columns
            ]
            records += row + averages_of(row)
    return records


def in_order(columns):
    """Tasks in the papers' order, each with its other splits, then averages."""
    order = [*TASKS, *PAPERS["averages"]]
    return sorted(columns, key=lambda column: (order.index(column.split(" (")[0]), column))


def record_of(base, label, method, column, most_seeds, cell):
    record = {
        "base": base,
        "method": method,
        "label": label,
        "task": column,
        "status": "missing",
        "mean": None,
        "std": None,
        "strict_mean": None,
        "strict_std": None,
        "tokens": None,
        "seeds": [],
        "questions": None,
        "votes": cell.votes if cell else None,
        "flags": [],
    }
    if cell:
        mean, strict = cell.statistics(), cell.statistics(strict=True)
        record |= {
            "status": "ok" if mean else "incomplete",
            "seeds": [run.seed for run in cell.runs],
            "questions": cell.expected,
            "tokens": cell.tokens,
            **dict(zip(("mean", "std"), mean or (None, None), strict=True)),
            **dict(zip(("strict_mean", "strict_std"), strict or (None, None), strict=True)),
            "accuracies": {run.seed: score(run) for run in cell.runs},
            "files": [str(run.path) for run in cell.runs],
            "runs": [
                {"file": str(run.path), "seed": run.seed} | ({"rejudged": run.rejudged} if run.rejudged else {})
                for run in cell.runs
            ],
        }
        flags = [
            f"seed {run.seed}: {len(run.rows)} of {cell.expected} questions, "
            + ("averaged all the same" if run in cell.runs else "left out")
            for run in cell.left_out
        ]
        flags += [
            f"seed {run.seed}: {run.path.name} is left aside, another file has the same answers and more"
            for run in cell.aside
        ]
        in_split = cell.settings.get("questions_in_split")
        if in_split and cell.expected < in_split:
            flags.append(f"{cell.expected} of the split's {in_split} questions")
        if 0 < len(cell.runs) < most_seeds:
            flags.append(f"{len(cell.runs)} of {most_seeds} seeds")
        wanted = PAPERS["questions"].get(column)
        if in_split and wanted and in_split != wanted:
            flags.append(f"not the papers' data: {in_split} questions in place of {wanted}")
        if published(base, method, column, cell.votes) and wanted and cell.expected != wanted:
            flags.append(f"{cell.expected} questions, the papers' {wanted}: the difference does not compare")
        record["flags"] = flags + [f"seed {run.seed}: {flag}" for run in cell.runs for flag in run.flags]
    return with_published(record)


def with_published(record):
    found = published(record["base"], record["method"], record["task"], record["votes"])
    value, std, source = found or (None, None, None)
    known = None not in (value, record["mean"])
    return record | {
        "published": value,
        "published_std": std,
        "source": source,
        "difference": record["mean"] - value if known else None,
    }


def averages_of(row):
    """The papers' averages over tasks, where all their tasks are there."""
    records = []
    for name, tasks in PAPERS["averages"].items():
        parts = [record for record in row if record["task"] in tasks and record["status"] == "ok"]
        if len(parts) == len(tasks):
            mean = {
                key: sum(p[key] for p in parts) / len(parts) if None not in [p[key] for p in parts] else None
                for key in ("mean", "strict_mean", "tokens")
            }
            records.append(
                with_published(
                    row[0]
                    | {
                        "task": name,
                        "status": "ok",
                        "std": None,
                        "strict_std": None,
                        "questions": None,
                        **mean,
                        "files": [],
                        "seeds": [],
                        "accuracies": {},
                        "runs": [],
                        "votes": parts[0]["votes"],
                        "flags": [f"{part['task']}: {flag}" for part in parts for flag in part["flags"]],
                    }
                )
            )
    return records


def number(mean, std=None, sign="±"):
    if mean is None:
        return "-"
    return f"{mean:.2f}" + (f" {sign} {std:.2f}" if std is not None else "")


def cell_text(record, sign="±"):
    if record is None:
        return ""
    text = number(record["mean"], record["std"], sign) if record["status"] == "ok" else record["status"]
    return text + (" †" if record["flags"] and record["status"] == "ok" else "")


def seed_list(seeds):
    """41, 42, 43, 45 -> 41-43, 45"""
    parts = []
    for seed in sorted(seeds):
        if parts and parts[-1][-1] == seed - 1:
            parts[-1] = (parts[-1][0], seed)
        else:
            parts.append((seed, seed))
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in parts) or "-"


def by_base(records):
    """base -> (columns, labels, {(label, column): record})"""
    for base in dict.fromkeys(r["base"] for r in records):
        mine = [r for r in records if r["base"] == base]
        columns = in_order({r["task"] for r in mine})
        yield base, columns, list(dict.fromkeys(r["label"] for r in mine)), {(r["label"], r["task"]): r for r in mine}


def markdown_row(cells):
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"


def markdown(records, comparisons):
    """The report: for each base model an overview and the details, then comparisons and notes."""
    lines = [
        "# Results",
        "",
        "Accuracy in percent, mean ± sample standard deviation over seeds. *Accuracy*: the "
        "published answer rule; *strict*: the final answer as stated. `-`: not known.",
    ]
    for base, columns, labels, cells in by_base(records):
        lines += ["", f"## {base}", "", markdown_row(["method", *columns]), markdown_row(["---"] * (1 + len(columns)))]
        for label in labels:
            lines.append(markdown_row([label, *(cell_text(cells.get((label, c))) for c in columns)]))
            figures = [cells[label, c]["published"] if (label, c) in cells else None for c in columns]
            if any(figure is not None for figure in figures):
                lines.append(markdown_row(["*published*", *(number(figure) for figure in figures)]))
        head = ["task", "method", "accuracy", "strict", "tokens", "seeds", "questions", "published", "difference"]
        lines += ["", markdown_row(head), markdown_row(["---"] * len(head))]
        for column in columns:
            for label in labels:
                if r := cells.get((label, column)):
                    lines.append(
                        markdown_row(
                            [
                                column,
                                label,
                                cell_text(r),
                                number(r["strict_mean"], r["strict_std"]),
                                "-" if r["tokens"] is None else f"{r['tokens']:.1f}",
                                seed_list(r["seeds"]),
                                r["questions"] or "-",
                                number(r["published"], r["published_std"]),
                                "-" if r["difference"] is None else f"{r['difference']:+.2f}",
                            ]
                        )
                    )
    if comparisons:
        head = ["base", "task", "A", "B", "questions", "A - B", "95 % interval", "A - B, strict", "95 % interval"]
        lines += [
            "",
            "## Paired differences",
            "",
            "Points of accuracy on the same questions, each question's verdicts "
            "averaged over seeds; percentile bootstrap over questions.",
            "",
            markdown_row(head),
            markdown_row(["---"] * len(head)),
        ]
        for c in comparisons:
            cells = [part for rule in ("published", "strict") for part in interval_text(c[rule])]
            lines.append(markdown_row([c["base"], c["task"], c["a"], c["b"], c["questions"], *cells]))
    notes = notes_of(records)
    lines += ["", "## Notes", "", *(f"- {note}" for note in notes)] if notes else []
    return "\n".join(lines) + "\n"


def notes_of(records):
    notes = [f"† {r['base']}, {r['task']}, {r['label']}: {'; '.join(r['flags'])}." for r in records if r["flags"]]
    sources = dict.fromkeys(r["source"] for r in records if r["published"] is not None)
    notes += [f"Published figures: {source}." for source in sources]
    return notes + ([PAPERS["note"]] if sources else [])


def interval_text(found):
    if found is None:
        return "-", "-"
    return f"{found['difference']:+.2f}", f"{found['low']:+.2f} to {found['high']:+.2f}"


def comma_separated(records):
    out = io.StringIO()
    names = [
        "base",
        "task",
        "method",
        "label",
        "status",
        "mean",
        "std",
        "strict_mean",
        "strict_std",
        "tokens",
        "seeds",
        "questions",
        "votes",
        "published",
        "published_std",
        "difference",
        "source",
        "flags",
    ]
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerow(record | {"seeds": " ".join(map(str, record["seeds"])), "flags": "; ".join(record["flags"])})
    return out.getvalue()


def latex(records):
    """A booktabs table a base model: methods down, tasks across, the papers' figures in italics below."""

    def plain(text):
        text = re.sub(r"([&%$#_{}])", r"\\\1", text)
        return text.replace("~", r"\textasciitilde{}").replace("^", r"\textasciicircum{}").replace("†", r"$^\dagger$")

    lines = ["% needs \\usepackage{booktabs}"]
    for base, columns, labels, cells in by_base(records):
        lines += [
            r"\begin{table}[t]",
            r"\centering",
            rf"\begin{{tabular}}{{l{'c' * len(columns)}}}",
            r"\toprule",
            " & ".join(["Method", *map(plain, columns)]) + r" \\",
            r"\midrule",
        ]
        for label in labels:
            row = [plain(cell_text(cells.get((label, c)), "@")).replace("@", r"$\pm$") for c in columns]
            lines.append(" & ".join([plain(label), *row]) + r" \\")
            figures = [cells[label, c]["published"] if (label, c) in cells else None for c in columns]
            if any(figure is not None for figure in figures):
                lines.append(
                    " & ".join([r"\quad\emph{published}", *(rf"\emph{{{number(f)}}}" for f in figures)]) + r" \\"
                )
        lines += [
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{Accuracy in percent, mean $\pm$ standard deviation over seeds; {plain(base)}. "
            r"$^\dagger$: see the notes in table.md.}",
            r"\end{table}",
            "",
        ]
    return "\n".join(lines)


# ---- paired bootstrap ----


def bootstrap_interval(differences, resamples=10000, seed=0, level=0.95):
    """Percentile interval of the mean of `differences` (one a question) over resampled questions."""
    differences, generator = np.asarray(differences, dtype=float), np.random.default_rng(seed)
    count = len(differences)
    means = [
        differences[generator.integers(0, count, size=(min(500, resamples - start), count))].mean(axis=1)
        for start in range(0, resamples, 500)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def per_question(cell, strict):
    """question -> share of seeds that answered it right, None where the rule's verdicts are not known."""
    rows = [run.rows for run in cell.runs]
    if not rows or any(row[1 + strict] is None for run in rows for row in run.values()):
        return None
    return {
        key: sum(run[key][1 + strict] for run in rows) / len(rows) for key in rows[0] if all(key in run for run in rows)
    }


def compare(a, b, resamples):
    """Paired comparison of two cells of a task, or None where they do not answer the same questions."""
    if not a.statistics() or not b.statistics():
        return None
    questions = {key: str(row[0]) for key, row in a.runs[0].rows.items()}
    for run in (*a.runs, *b.runs):
        if {key: str(row[0]) for key, row in run.rows.items()} != questions:
            return None
    found = {"base": a.base, "task": a.column, "a": a.label, "b": b.label, "questions": len(questions)}
    for name, strict in (("published", False), ("strict", True)):
        left, right = per_question(a, strict), per_question(b, strict)
        if left is None or right is None:
            found[name] = None
            continue
        differences = [100 * (left[key] - right[key]) for key in sorted(left)]
        low, high = bootstrap_interval(differences, resamples)
        found[name] = {"difference": float(np.mean(differences)), "low": low, "high": high}
    return found


def comparisons_of(cells, pairs, baseline, resamples):
    """Comparisons of the asked pairs (method names or labels), else of every method with the baseline."""
    names = {cell.method for cell in cells} | {cell.label for cell in cells}
    for name in {name for pair in pairs for name in pair} - names:
        raise UserError(f"--compare {name!r}: no such method here; there are {', '.join(sorted(names))}")
    pairs = pairs or [(name, baseline) for name in dict.fromkeys(cell.method for cell in cells) if name != baseline]
    found, refused = [], []
    for left, right in pairs:
        for a in (cell for cell in cells if left in (cell.method, cell.label)):
            for b in (
                cell
                for cell in cells
                if right in (cell.method, cell.label)
                and cell is not a
                and (cell.base, cell.column) == (a.base, a.column)
            ):
                result = compare(a, b, resamples)
                if result and result not in found:
                    found.append(result)
                elif not result:
                    refused.append(
                        f"{a.base}, {a.column}: {a.label} and {b.label} are not compared: "
                        "no whole seed of one, or not the same questions in the same order"
                    )
    return found, refused


# ---- plots ----


def plots(cells, folder):
    """Write what there is to plot; returns {file name: None, or why it is not there}."""
    import matplotlib

    matplotlib.use("Agg")
    done = [cell for cell in cells if cell.statistics()]
    return {
        "per_task.png": bars(done, folder / "per_task.png"),
        "accuracy_by_thought_tokens.png": lines_plot(
            [c for c in done if c.settings["num_thought_tokens"]],
            folder / "accuracy_by_thought_tokens.png",
            "number of thought tokens L",
            lambda c: c.settings["num_thought_tokens"],
            "num_thought_tokens",
        ),
        "accuracy_by_chains.png": lines_plot(
            [c for c in done if c.settings.get("num_scaling_times") and c.settings["num_thought_tokens"]],
            folder / "accuracy_by_chains.png",
            "number of chains N",
            lambda c: c.settings["num_scaling_times"],
            "num_scaling_times",
        ),
    }


def lines_plot(cells, path, title, place, key):
    """Accuracy against one argument, a line for all cells that differ in nothing else."""
    from matplotlib import pyplot as plt

    groups = defaultdict(list)
    for cell in cells:
        # Each L or N may have its own projection; the rest must be equal.
        rest = {k: v for k, v in cell.settings.items() if k not in (key, "projection", "prompt_hash", "run_name")}
        groups[cell.method, json.dumps(rest, sort_keys=True)].append(cell)
    groups = {name: sorted(group, key=place) for name, group in groups.items() if len({place(c) for c in group}) > 1}
    if not groups:
        path.unlink(missing_ok=True)
        return f"needs two values of {title} with all else equal"
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for group in groups.values():
        means = [cell.statistics() for cell in group]
        s = group[0].settings
        fixed = [
            f"{letter}={s[k]}"
            for letter, k in (("L", "num_thought_tokens"), ("N", "num_scaling_times"), ("R", "num_return_sequences"))
            if k != key and s.get(k)
        ]
        axes.errorbar(
            [place(c) for c in group],
            [m for m, _ in means],
            yerr=[std or 0 for _, std in means],
            marker="o",
            capsize=4,
            label=f"{group[0].base}, {group[0].column}, {group[0].method} ({', '.join(fixed)})",
        )
    axes.set(xlabel=title, ylabel="accuracy in %, bars: standard deviation over seeds")
    axes.set_xticks(sorted({place(c) for group in groups.values() for c in group}))
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return None


def bars(cells, path):
    """A panel a base model, a group of bars a task, a bar a method; the papers' figures as black lines."""
    from matplotlib import pyplot as plt

    bases = list(dict.fromkeys(cell.base for cell in cells))
    if not bases:
        path.unlink(missing_ok=True)
        return "no whole run"
    figure, panels = plt.subplots(
        len(bases), squeeze=False, layout="constrained", figsize=(max(7, 0.4 * len(cells) + 3), 4.5 * len(bases))
    )
    for base, axes in zip(bases, panels[:, 0], strict=True):
        mine = [cell for cell in cells if cell.base == base]
        labels = list(dict.fromkeys(cell.label for cell in mine))
        columns = in_order({cell.column for cell in mine})
        width = 0.85 / len(labels)
        for cell in mine:
            row = labels.index(cell.label)
            x = columns.index(cell.column) + (row - (len(labels) - 1) / 2) * width
            mean, std = cell.statistics()
            axes.bar(
                x, mean, width * 0.95, yerr=std, capsize=3, color=plt.get_cmap("tab20")(row % 20), label=cell.label
            )
            if found := published(base, cell.method, cell.column, cell.votes):
                axes.hlines(found[0], x - width / 2, x + width / 2, color="black", label="published")
        handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        axes.legend(handles.values(), handles.keys(), fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
        axes.set_xticks(range(len(columns)), columns)
        axes.set(ylim=(0, 100), ylabel="accuracy in %", title=f"{base}, bars: standard deviation over seeds")
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return None


# ---- the script ----


def write(text, path):
    with replaced(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def number_above_99(text):
    value = int(text)
    if value < 100:
        raise argparse.ArgumentTypeError(f"want 100 or more, got {value}")
    return value


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "paths",
        nargs="*",
        default=["inference_logs"],
        metavar="PATH",
        help="result files, logs, or folders of them at any depth (default: inference_logs); a log "
        "counts only where its result file is not there",
    )
    parser.add_argument(
        "--out",
        default="results/summary",
        metavar="FOLDER",
        help="where table.md, .csv, .json, .tex and the plots go (default: %(default)s)",
    )
    parser.add_argument(
        "--data_dir",
        action="append",
        default=[],
        metavar="FOLDER",
        help="data of a task beside data/<task>, where gold answers of result files of an older answer rule are "
        "looked up by the recorded hash; may be given again",
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        default=[],
        choices=list(TASKS),
        metavar="TASK",
        help=f"show these even where all is missing: {', '.join(TASKS)}",
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=[],
        choices=METHODS,
        metavar="METHOD",
        help=f"show these even where all is missing: {', '.join(METHODS)}",
    )
    parser.add_argument(
        "--compare",
        nargs=2,
        action="append",
        default=[],
        metavar=("A", "B"),
        help="paired bootstrap of these two, by method name or by a label of the table; may be given "
        "again (default: every method against --baseline)",
    )
    parser.add_argument(
        "--baseline",
        default="Zero-Shot CoT",
        choices=METHODS,
        metavar="METHOD",
        help="what methods are compared with (default: %(default)s)",
    )
    parser.add_argument(
        "--resamples", type=number_above_99, default=10000, metavar="K", help="of the bootstrap (default: %(default)s)"
    )
    parser.add_argument(
        "--include_incomplete",
        action="store_true",
        help="average runs with fewer questions than others of their task too, flagged",
    )
    parser.add_argument("--no_plots", action="store_true", help="tables only")
    return parser.parse_args()


def main():
    args = arguments()
    cells = make_cells(read_all(args.paths, args.data_dir), args.include_incomplete)
    records = tabulate(cells, args.tasks, args.methods)
    comparisons, refused = comparisons_of(cells, args.compare, args.baseline, args.resamples)
    folder = Path(args.out)
    folder.mkdir(parents=True, exist_ok=True)
    report = markdown(records, comparisons)
    whole = {"cells": records, "comparisons": comparisons, "not_compared": refused, "notes": notes_of(records)}
    write(report, folder / "table.md")
    write(comma_separated(records), folder / "table.csv")
    write(json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n", folder / "table.json")
    write(latex(records), folder / "table.tex")
    print(report)
    for line in refused:
        print(line, file=sys.stderr)
    written = ["table.md", "table.csv", "table.json", "table.tex"]
    for name, reason in ({} if args.no_plots else plots(cells, folder)).items():
        if reason:
            print(f"no {name}: {reason}", file=sys.stderr)
        else:
            written.append(name)
    print(f"Wrote {folder}: {', '.join(written)}")


if __name__ == "__main__":
    run_main(main)
