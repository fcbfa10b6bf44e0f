"""Evaluations read back: result files and logs as runs, each once; logs judged again."""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from data_loader.answers import verdicts
from data_loader.tasks import TASKS
from experiment.protocol import protocol_name
from experiment.results import read_result_file
from experiment.run_files import without_training
from model.slot import assistant_thinks
from report.logs import read_log
from utils import UserError, naming

RULES = ["correct", "correct_strict"]
OF_ASSISTANT = {"assistant_model_id", "assistant_thought_tokens", "assistant_model_ckpt", "tune_assistant_model"}


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
    questions: int  # that were to be asked, as far as a log says it
    skipped: int  # questions that the model was not asked
    rejudged: dict | None = None  # number of questions judged again; how many published verdicts differ
    flags: list[str] = field(default_factory=list)
    logs: list[Path] = field(default_factory=list)  # with the same verdicts

    def describe(self) -> dict:
        """Return what table.json says of the run."""
        more = {"logs": [str(log) for log in self.logs], "rejudged": self.rejudged, "skipped": self.skipped}
        return {"file": str(self.path), "seed": self.seed} | {key: value for key, value in more.items() if value}

    @property
    def scores(self) -> pd.Series:
        """Return accuracy in percent by each of RULES, NaN if not known."""
        return (100 * self.rows[RULES]).mean(skipna=False)


def read_runs(paths) -> list[Run]:
    """Return the runs of all result files and logs under `paths`.

    A log is the same run as the result file of its name if settings and every verdict that both have are the same; else
    both are runs.
    """
    files, runs = {}, []
    for path in map(Path, paths):
        if not path.exists():
            raise UserError(f"{path}: no such file or folder: name result files (.jsonl), logs (.log) or their folders")
        found = sorted(path.rglob("*")) if path.is_dir() else [path]
        files |= {p.resolve(): None for p in found if p.suffix in (".jsonl", ".log") and p.is_file()}
    for file in sorted(files, key=lambda file: file.suffix):  # result files first
        if not (run := read_run(file)):
            continue
        named = [r for r in runs if r.path.stem == file.stem and r.path.suffix != file.suffix]
        same = [  # an evaluation may be writing, or a kill kept the last row out of the log
            r
            for r in named
            if r.settings == run.settings and all(a == b for a, b in zip(r.recorded, run.recorded, strict=False))
        ]
        for other in same:
            other.logs.append(file)
            other.questions = max(other.questions, run.questions)
        runs += [] if same else [run]
    if not runs:
        raise UserError(f"no result file and no log of an evaluation in {', '.join(map(str, paths))}")
    separate_logs(runs)
    join_trainings(runs)
    return runs


def read_run(path) -> Run | None:
    """Return the run of a result file or log, None if no evaluation wrote it."""
    found = read_log(path) if path.suffix == ".log" else read_result_file(path)
    if not found:
        return None
    record, rows, *rest = found
    if record.get("task_name") not in TASKS:
        raise UserError(f"{path}: the run's task {record.get('task_name')!r} is not known here")
    with naming(path, KeyError):
        thinks = assistant_thinks(record["num_thought_tokens"], record["thoughts"])
        unused = {"seed"} | (set() if thinks else OF_ASSISTANT)
        unused |= set() if record["num_thought_tokens"] else {"num_scaling_times", "model_name", "params_file_name"}
        settings = {key: value for key, value in record.items() if value is not None and key not in unused}
    protocol = protocol_name(settings)
    settings |= {"evaluated_with": protocol} if protocol else {}
    counts = [count for row in rows for count in row.get("tokens", ())]
    tokens = sum(counts) / len(counts) if counts else None
    questions = rest[0] if rest else 0  # a result file does not say it
    recorded, skipped = [row["correct"] for row in rows], sum("skipped" in row for row in rows)
    run = Run(path, settings, record["seed"], make_frame(rows), tokens, recorded, questions, skipped)
    if path.suffix == ".log":
        judge_log_again(run, rows)
    return run


def make_frame(rows) -> pd.DataFrame:
    """Return rows of a file as `Run.rows`."""
    rows = [row | {"gold": str(row["gold"])} for row in rows]  # pandas would make 18 and 0.5 floats
    frame = pd.DataFrame(rows, columns=["index", "gold", *RULES]).set_index("index").sort_index()
    return frame.astype(dict.fromkeys(RULES, float))


def judge_log_again(run, rows) -> None:
    """Judge a log again if it holds all responses, by its own gold answers; else flag what its verdicts are."""
    votes = count_answers(run.settings)
    asked = [row for row in rows if "skipped" not in row]
    whole = [row for row in asked if len(row["responses"]) == votes]
    if whole and len(whole) == len(asked):
        judged = [row | verdicts(run.settings["task_name"], row["responses"], row["gold"]) for row in rows]
        differ = sum(new["correct"] != row["correct"] for new, row in zip(judged, rows, strict=True))
        run.rows, run.rejudged = make_frame(judged), {"questions": len(rows), "differ": differ}
        if differ:
            run.flags.append(f"judged again from its log: {differ} of {len(rows)} verdicts differ from the logged")
    elif any(row["responses"] for row in rows):
        held = f"{len(whole)} of {len(asked)} questions"
        run.flags.append(f"verdicts as logged: the log holds all {votes} responses of only {held}")


def separate_logs(runs) -> None:
    """Add the folder to the settings of runs that share settings and seed if one is a log: it may lack settings."""
    places = (lambda path: path.parent, lambda path: path.with_stem("*"), lambda path: path)
    for same in group(runs, lambda run: run.settings):
        if len({run.seed for run in same}) < len(same) and any(run.path.suffix == ".log" for run in same):
            place = next(p for p in places if len({(p(run.path), run.seed) for run in same}) == len(same))
            for run in same:
                run.settings = run.settings | {"files": str(place(run.path))}


def join_trainings(runs) -> None:
    """Put runs whose trainings differ only in their seed into one cell: one run each, no seed twice."""
    known = [run for run in runs if {"training", "training_seed"} <= run.settings.keys()]
    for same in group(known, lambda run: without_training(run.settings)):
        trainings = {run.settings["training_seed"] for run in same}
        if 1 < len(same) == len(trainings) == len({run.seed for run in same}):
            for run in same:
                run.settings = without_training(run.settings) | {"several_trainings": True}


def group(items, key) -> list[list]:
    """Return items in groups of the same key, in the order of each group's first."""
    groups = defaultdict(list)
    for item in items:
        groups[to_json(key(item))].append(item)
    return list(groups.values())


def to_json(value) -> str:
    return json.dumps(value, sort_keys=True)


def count_answers(settings) -> int:
    """Return the number of answers a question, N x R. Without a slot there is one chain."""
    chains = settings.get("num_scaling_times") if settings["num_thought_tokens"] else 1
    return (chains or 1) * settings["num_return_sequences"]
