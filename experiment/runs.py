"""Evaluations read back: result files and logs as runs, each once; logs judged again.

Needs neither model nor torch.
"""

import json
import re
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from data_loader.answers import verdicts
from data_loader.tasks import TASKS
from experiment.logs import read_log
from experiment.protocol import protocol_name
from experiment.record import OF_THOUGHTS, VERSION, method_of, without_training
from experiment.results import read_result_file
from utils import UserError

RULES = ["correct", "correct_strict"]
NO_ASSISTANT = ("Zero-Shot CoT", "CoT-Unk", "LoRA", "Zero vectors")
# Fields of a record that the summary reads -> their type, or the known values.
NEEDED = {
    "task_name": tuple(TASKS),
    **dict.fromkeys(("seed", "num_thought_tokens", "num_return_sequences"), int),
    **dict.fromkeys(("base_model_id", "split"), str),
    "perturb_std": float,
    "thoughts": ("projected", *OF_THOUGHTS),
}
FIELDS = {
    **NEEDED,
    **dict.fromkeys(("num_scaling_times", "questions_in_split"), int),
    **dict.fromkeys(("assistant_model_id", "data_hash"), str),
}


@dataclass(eq=False)
class Run:
    """One seed of one evaluation.

    rows: a question each, by its index: gold (text), and 1.0 or 0.0 by each of RULES, NaN if not known. recorded: the
    published verdicts in the file's order, before anything was judged again. tokens: average a response, or None.
    """

    path: Path
    settings: dict  # the record without the seed and what the method does not use
    seed: int
    rows: pd.DataFrame
    tokens: float | None
    recorded: list[bool]
    skipped: int = 0  # questions that the model was not asked
    questions: int = 0  # that were to be asked, as far as a log says it
    rejudged: dict | None = None  # number of questions judged again; how many published verdicts differ
    flags: list[str] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)  # with the same verdicts

    def described(self) -> dict:
        """Return what table.json says of the run."""
        more = {"logs": [str(log) for log in self.logs], "rejudged": self.rejudged, "skipped": self.skipped}
        return {"file": str(self.path), "seed": self.seed} | {key: value for key, value in more.items() if value}

    @property
    def scores(self) -> pd.Series:
        """Return accuracy in percent by each of RULES, NaN if not known."""
        return (100 * self.rows[RULES]).mean(skipna=False)


def read_runs(paths) -> list[Run]:
    """Return the runs of all result files and logs under `paths`.

    A log is the same run as the result file of its name if every verdict is the same; else both are runs.
    """
    files = []
    for path in map(Path, paths):
        if path.is_dir():
            files += sorted(p for p in path.rglob("*") if p.suffix in (".jsonl", ".log") and p.is_file())
        elif path.is_file() and path.suffix in (".jsonl", ".log"):
            files.append(path)
        else:
            raise UserError(f"{path}: no folder, and no result file (.jsonl) or log (.log)")
    files = dict.fromkeys(file.resolve() for file in files)
    runs = [run for file in files if file.suffix == ".jsonl" and (run := run_of_results(file))]
    logs = [run for file in files if file.suffix == ".log" and (run := run_of_log(file))]
    by_name = grouped(runs, lambda run: run.path.stem)
    for log in logs:
        # A kill may keep the last row out of the log.
        same = [r for r in by_name.get(log.path.stem, ()) if log.recorded in (r.recorded, r.recorded[:-1])]
        for run in same:
            run.logs.append(log.path)
        runs += [] if same else [log]
    separate_logs(runs)
    join_trainings(runs)
    if not runs:
        raise UserError(f"no result file and no log of an evaluation in {', '.join(map(str, paths))}")
    return runs


def grouped(items, key) -> dict:
    groups = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups


def separate_logs(runs) -> None:
    """Make the folder a setting of runs that are equal in settings and seed, if one is a log: its name lacks some."""
    for group in grouped(runs, lambda run: json.dumps(run.settings, sort_keys=True)).values():
        if len({run.seed for run in group}) == len(group) or all(run.path.suffix == ".jsonl" for run in group):
            continue
        places = (lambda path: path.parent, lambda path: path.with_stem("*"), lambda path: path)
        place = next(p for p in places if len({(p(run.path), run.seed) for run in group}) == len(group))
        for run in group:
            run.settings = run.settings | {"files": str(place(run.path))}


def join_trainings(runs) -> None:
    """Make runs of trainings that differ in their seed alone share a cell: one run each, no seed twice."""
    known = [run for run in runs if {"training", "training_seed"} <= run.settings.keys()]
    without = {run: without_training(run.settings) for run in known}
    for group in grouped(known, lambda run: json.dumps(without[run], sort_keys=True)).values():
        trainings = {run.settings["training_seed"] for run in group}
        if 1 < len(group) == len(trainings) == len({run.seed for run in group}):
            for run in group:
                run.settings = without[run] | {"several_trainings": True}


def votes_of(settings) -> int:
    """Return the number of answers a question, N x R."""
    return (settings.get("num_scaling_times") or 1) * settings["num_return_sequences"]


# ---- one file ----


def run_of_results(path) -> Run | None:
    """Return the run of a result file, None if it is none of this project's."""
    found = read_result_file(path)
    if not found:
        return None
    record, rows = found
    check_record(path, record)
    tokens = [count for row in rows for count in row["tokens"]]
    votes = {len(row["answers"]) for row in rows if "skipped" not in row}
    run = run_of(path, record, rows, sum(tokens) / len(tokens) if tokens else None)
    if votes - {votes_of(run.settings)}:
        raise UserError(
            f"{path}: rows have {', '.join(map(str, sorted(votes)))} answers, and the run's record says "
            f"{votes_of(run.settings)} (num_return_sequences, num_scaling_times): correct or move the file"
        )
    return run


def run_of_log(path) -> Run | None:
    """Return the run of a log, None if it is none of an evaluation."""
    found = read_log(path)
    if not found:
        return None
    record, rows, tokens, questions = found
    check_record(path, record)
    run = run_of(path, record, rows, tokens)
    run.questions = questions
    judge_log_again(run, rows)
    return run


def check_record(path, record) -> None:
    """Raise UserError, with file and field, if a run's record is not what the summary reads."""
    for name, wanted in FIELDS.items():
        value, needed = record.get(name), name in NEEDED
        if isinstance(wanted, tuple):
            fits, text = value in wanted, f"one of {', '.join(wanted)}"
        elif wanted is str:
            fits, text = isinstance(value, str) and value and value.isprintable(), "a text"
        else:
            least = {"seed": -(2**63), "num_return_sequences": 1}.get(name, 0)
            text = "a whole number" if wanted is int else "a number"
            fits = type(value) in (int, wanted) and least <= value < 2**63
        if not fits and (needed or value is not None):
            raise UserError(f"{path}, line 1: the run's {name} is {json.dumps(value)[:80]}, not {text}: correct it")
    if (version := record.get("version", VERSION)) != VERSION:  # a log's: published ones have none
        raise UserError(f"{path}, line 1: the run's record is version {version}, not version {VERSION}: move the file")
    if re.search(r"[\ud800-\udfff]", json.dumps(record, ensure_ascii=False)):
        raise UserError(f"{path}, line 1: the run's record has half a character (a surrogate): correct it")


def run_of(path, record, rows, tokens) -> Run:
    settings = {key: value for key, value in record.items() if value is not None and key != "seed"}
    unused = ["assistant_model_id", "assistant_thought_tokens"] if method_of(settings) in NO_ASSISTANT else []
    unused += [] if settings["num_thought_tokens"] else ["num_scaling_times", "model_name"]  # no slot, no chains
    settings = {key: value for key, value in settings.items() if key not in unused}
    protocol = protocol_name(settings)
    settings |= {"evaluated_with": protocol} if protocol else {}
    recorded, skipped = [row["correct"] for row in rows], sum("skipped" in row for row in rows)
    return Run(path, settings, record["seed"], frame_of(rows), tokens, recorded, skipped)


def frame_of(rows) -> pd.DataFrame:
    """Return rows of a file as `Run.rows`."""
    frame = pd.DataFrame(rows, columns=["index", "gold", *RULES]).set_index("index").sort_index()
    return frame.astype({"gold": str} | dict.fromkeys(RULES, float))


# ---- judging again ----


def judge_log_again(run, rows) -> None:
    """Judge a log again if it holds all responses, by its own gold answers; else flag what its verdicts are."""
    votes = votes_of(run.settings)
    asked = [row for row in rows if "skipped" not in row]
    whole = [row for row in asked if len(row["responses"]) == votes]
    if whole and len(whole) == len(asked):
        judged = [row | verdicts(run.settings["task_name"], row["responses"], row["gold"]) for row in rows]
        differ = sum(new["correct"] != row["correct"] for new, row in zip(judged, rows, strict=True))
        run.rows, run.rejudged = frame_of(judged), {"questions": len(rows), "differ": differ}
        if differ:
            run.flags.append(f"judged again from its log: {differ} of {len(rows)} verdicts differ from the logged")
    elif any(row["responses"] for row in rows):
        held = f"{len(whole)} of {len(asked)} questions"
        run.flags.append(f"verdicts as logged: the log holds all {votes} responses of only {held}")
