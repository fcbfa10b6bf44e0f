"""Logs of evaluations, ours and those of the published code, read into the form of a result file."""

import ast
import json
import os
import re
from pathlib import Path

from data_loader.tasks import TASKS
from experiment.run_files import ONLY_IN_LOGS, VERSION
from report.papers import PAPERS
from utils import UserError

# As `Evaluation.name_log` in experiment/options.py builds it.
NAME = re.compile(
    rf"(?P<run_name>.*)(?P<task>{'|'.join(map(re.escape, TASKS))})-(?P<model>[^/]*?)-seed_(?P<seed>-?\d+)"
    r"-ntt_(?P<L>\d+)-nrs_(?P<R>\d+)(?:-nst_(?P<N>\d+))?-(?P<models>.+)"
)
# What a log says, in order. Prompts and responses are read as a whole: nothing in them counts as a line of the log.
EVENT = re.compile(
    r"^Args: (?P<arguments>.*)"
    r"|(?<!Model )Answer \([\d-]+/(?P<questions>\d+)\): (?P<response>(?s:.*?))<\|end-of-response\|>"
    r"|^Skipped: (?P<skipped>.*)\n(?=Ground Truth Answer: .*\nModel Answer: )"
    r"|^Raw Inputs for Base Model: (?P<input>(?s:.*?))\n"
    r"(?=Instance 1/1 - |Number of thought tokens is zero,|(?:None Model )?Answer \(|"
    r"Ground Truth Answer: .*\nModel Answer: )"
    r"|^None Model Answer \([\d-]+/(?P<of_questions>\d+)\): (?P<unread>(?s:.*?))\n"
    r"(?=None Model Answer \(|Ground Truth Answer: .*\nModel Answer: )"
    r"|Ground Truth Answer: ?(?P<gold>.*)"
    r"|Correct Count: ?(?P<count>\d+/\d+)",
    re.M,
)
SPECIAL_TOKEN = re.compile(r"<\|[^|<>\s]*\|>")  # answers are read without them
# Arguments of the published code that its logs' names lack.
FORMS = ("{}_model_id", "tune_{}_model", "{}_model_ckpt")
NOT_IN_NAME = ["params_file_name", *(form.format(part) for form in FORMS for part in ("base", "assistant"))]


def read_log(path: Path) -> tuple[dict, list[dict], int] | None:
    """Return a run's record, rows, number of questions; None for another's log.

    The number is that of the questions that were to be asked, as far as the log says it: a log may be cut off.
    A row has index, gold (text), correct and responses, as far as the log holds them. Progress bars may stand between
    the lines and before them on the same line. A log that was started over counts from its last start. Raises UserError
    if lines are missing.
    """
    name = NAME.fullmatch(path.stem)
    if not name:
        return None
    arguments, rows, correct, row, questions = {}, [], 0, {"responses": []}, 0
    for event in EVENT.finditer(path.read_text(encoding="utf-8", errors="replace")):
        kind, text = event.lastgroup, event[event.lastgroup]
        questions = int(event["questions"] or event["of_questions"] or questions)
        if kind == "arguments":
            arguments, row = parse_arguments(path, text), {"responses": []}  # of a question that was cut off
        elif kind == "response":
            row["responses"].append(SPECIAL_TOKEN.sub("", text))
        elif kind in ("gold", "skipped"):
            row[kind] = text.strip()
        elif kind == "count":
            now, asked = map(int, text.split("/"))
            if asked == 1:
                rows, correct = [], 0
            if asked != len(rows) + 1 or now - correct not in (0, 1) or "gold" not in row:
                found = f"{correct}/{len(rows)} to {text}"
                raise UserError(f"{path}: Correct Count goes from {found}: lines of the log are missing")
            rows.append(row | {"index": asked - 1, "correct": now > correct})
            correct, row = now, {"responses": []}
    begun, in_split = len(rows) + (row != {"responses": []}), arguments.get("questions_in_split", 0)
    wanted = min(filter(None, (arguments.get("test_k"), in_split)), default=0)
    return read_settings(name, arguments), rows, max(begun, questions or wanted)


def parse_arguments(path, text) -> dict:
    """Return what a log's first line, `Args: {...}`, holds, with JSON's types, as a result file's record."""
    try:
        arguments = json.loads(json.dumps(dict(ast.literal_eval(text))))
    except (ValueError, TypeError, SyntaxError):
        raise UserError(f"{path}: the line of Args is no dictionary: {text[:80]!r}: correct or remove it") from None
    if (version := arguments.get("version", VERSION)) != VERSION:  # logs of the published code have none
        raise UserError(f"{path}: the run's record is version {version}, not version {VERSION}: move the file")
    return arguments


def read_settings(name, arguments) -> dict:
    """Return the record of a run: our logs hold it, of the published code's the name and some arguments give it."""
    if "version" in arguments:
        return {key: value for key, value in arguments.items() if key not in ONLY_IN_LOGS}
    base, assistant = split_models(name["models"])
    record = {
        "task_name": name["task"],
        "seed": int(name["seed"]),
        "num_thought_tokens": int(name["L"]),
        "num_return_sequences": int(name["R"]),
        "base_model_id": base,
        "assistant_model_id": assistant,
        "thoughts": "projected",
        "perturb_std": 0.0,
        "run_name": name["run_name"] or None,
        "split": "test",
    }
    if name["N"]:
        record |= {"num_scaling_times": int(name["N"]), "model_name": name["model"]}
    given = {key: arguments[key] for key in NOT_IN_NAME if arguments.get(key) not in (None, "None", "")}
    if given.get("tune_base_model") or given.get("base_model_ckpt"):
        record["base_adapter"] = "ignored"
    return record | {key: value.rstrip("/") if isinstance(value, str) else value for key, value in given.items()}


def split_models(text) -> tuple[str, str]:
    """Return base and assistant of a log's name: a base of the papers, else cut where the two begin most alike."""
    cuts = [(text[: dash.start()], text[dash.end() :]) for dash in re.finditer("-", text)]
    known = [cut for cut in cuts if any(cut[0] in paper["models"] for paper in PAPERS["papers"])]
    alike = {cut: (len(os.path.commonprefix(cut)), -abs(len(cut[0]) - len(cut[1]))) for cut in known or cuts}
    return max(alike, key=alike.get, default=(text, ""))
