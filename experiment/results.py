"""Result files and logs of an evaluation: one writer a seed, rows, the log lines of a row.

A result file is JSON lines: `{"run": record}`, then one row a question. Its log has the published lines of the same
rows. report/logs.py reads logs.
"""

import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from data_loader.answers import count_votes, is_correct, majority_vote, verdicts
from data_loader.tasks import get_task
from experiment.run_files import VERSION, refuse_differences
from utils import UserError, flush, lock_file, replaced

ANOTHER_FILE = "use another --run_name or --log_dir, or --overwrite"


# ---- rows ----


def judge(task_name, question, responses, tokens):
    """Return the row of one question: published rule and strict rule side by side.

    question: Instance; responses: N x R texts, chain by chain; tokens: how many each took. A row may also have: input,
    the base's prompt; responses; raw_responses, with special tokens; unread, the raw responses without a number, if
    responses are not kept; skipped, why the question was not asked of the model.
    """
    row = {"index": question["index"], **verdicts(task_name, responses, question["answer"]), "tokens": tokens}
    row |= {field: without_infinity(row[field]) for field in ("gold", "vote")}
    return row | {"answers": [without_infinity(answer) for answer in row["answers"]]}


def without_infinity(answer):
    """Return the answer, or "inf" for an infinite one: JSON has none."""
    return "inf" if answer == math.inf else answer


def keep_texts(task_name, answers, responses, raw_responses, keep: bool) -> dict:
    """Return a row's fields of texts: all responses if they are to be kept, else those whose number is unread."""
    if keep:
        return {"responses": responses, "raw_responses": raw_responses}
    if get_task(task_name).answer_kind != "number":
        return {}
    unread = [text for text, answer in zip(raw_responses, answers, strict=True) if answer is None]
    return {"unread": unread} if unread else {}


def is_whole(row, questions: int) -> bool:
    """Return whether a row's fields agree; raise KeyError or TypeError if one is not there or of another type."""
    return (
        row["index"] in range(questions)
        and len(row["tokens"]) == len(row["answers"]) == len(row["answers_strict"])
        and sum(row["tokens"]) >= 0
        and row["vote"] == majority_vote(row["answers"])
        and row["correct"] == is_correct(row["vote"], row["gold"])
        and row["correct_strict"] in (True, False)
    )


# ---- reading ----


def read_result_file(path: Path) -> tuple[dict, list[dict]] | None:
    """Return the run's record and the rows of a result file; None if it is no result file of this project.

    A last line that a kill or a full disk cut off is dropped. Raises UserError, with file and line, if a line is not
    what an evaluation writes or a question stands twice.
    """
    lines, rows = path.read_bytes().split(b"\n")[:-1], {}
    try:
        run = json.loads(lines[0])["run"]
        version = run["version"]
    except (IndexError, ValueError, KeyError, TypeError):
        return None
    if version != VERSION:
        raise UserError(f"{path}, line 1: the run's record is version {version}, not version {VERSION}: move the file")
    for number, text in enumerate(lines[1:], 2):
        try:
            row = json.loads(text)
            good = is_whole(row, run.get("questions_in_split", sys.maxsize)) and row["index"] not in rows
        except (ValueError, KeyError, TypeError):
            good = False
        if not good:
            raise UserError(f"{path}, line {number}: damaged: correct the file, or start over with --overwrite")
        rows[row["index"]] = row
    return run, list(rows.values())


def read_own_rows(path: Path, run: dict) -> list[dict]:
    """Return the rows of an earlier start of the same run. Raises UserError if the file is of another run."""
    if not path.stat().st_size:  # a kill before the first line
        return []
    if not (found := read_result_file(path)):
        raise UserError(f"{path}, line 1: not what an evaluation writes: move the file away, or {ANOTHER_FILE}")
    refuse_differences(found[0], run, f"{path} holds results of", ANOTHER_FILE)
    return found[1]


# ---- log lines ----


@dataclass(frozen=True)
class LogForm:
    """What a run's log shows besides its rows."""

    questions: int  # that are evaluated
    samples: int = 1  # R
    lists_answers: bool = False  # as SoftCoT++'s log, with the average of generated tokens
    # The placeholders' text in the assistant's and the base's prompt; empty if text fills the slot, None without one.
    slot: tuple[str, ...] | None = None
    arguments: tuple[tuple[str, object], ...] = ()  # names and values of `ONLY_IN_LOGS`


@dataclass
class Totals:
    """Running totals of a seed, as its log shows them."""

    questions: int = 0
    correct: int = 0
    asked: int = 0  # questions that were not skipped
    tokens: float = 0.0  # sum of `call_length` over them

    def add(self, row, samples):
        self.questions += 1
        self.correct += row["correct"]
        self.asked += bool(row["tokens"])
        self.tokens += call_length(row["tokens"], samples)


def call_length(tokens: list[int], samples: int) -> float:
    """Return how long the published `generate` calls of a question are, the mean over its responses; 0 without any.

    tokens: true lengths, chain by chain; samples: R. With R = 1 one call makes all chains, else each chain is a call.
    A call is as long as its longest response: shorter ones are padded.
    """
    together = samples if samples > 1 else len(tokens)
    calls = [tokens[start : start + together] for start in range(0, len(tokens), together or 1)]
    return mean(map(max, calls)) if calls else 0.0


def first_lines(record: dict, form: LogForm) -> str:
    """Return the log's lines before the first question: the arguments, then as many lines on loading as published."""
    arguments = dict(form.arguments) | record
    file, base, assistant = map(arguments.get, ("params_file_name", "base_model_id", "assistant_model_id"))
    loaded = [f"projection: {file}", f"models: {base}, {assistant}"]
    if form.lists_answers:
        loaded = [f"projection: {file}", f"initial tokens: {file}", f"base: {base}", f"assistant: {assistant}"]
    return "".join(f"{line}\n" for line in [f"Args: {arguments}", *(f"Loaded {what}" for what in loaded)])


def log_lines(row: dict, totals: Totals, form: LogForm) -> str:
    """Return the log's lines of a row, as published. totals: with this row in them."""
    gold, answers = f"Ground Truth Answer: {row['gold']}", [math.inf if a == "inf" else a for a in row["answers"]]
    lines = [gold, *input_lines(row, form), *response_lines(row, form), gold]
    if form.lists_answers:
        lines += [
            f"Model Answer: {answers}",
            f"Model Answer Count: {count_votes(answers)}",
            f"Final Model Answer: {row['vote']}",
        ]
    else:
        lines.append(f"Model Answer: {row['vote']}")
    lines.append(f"Is Correct: {row['correct']}")
    if form.lists_answers:
        average = round(totals.tokens / max(1, totals.asked), 2)
        lines.append(f"Average generated tokens ({totals.asked} instances): {average}")
    return "\n".join([*lines, f"Correct Count: {totals.correct}/{totals.questions}", "-" * 20]) + "\n"


def input_lines(row, form) -> list[str]:
    """Return the lines on the prompt, or on why there was none."""
    if "skipped" in row:
        return [f"Skipped: {row['skipped']}"]
    if "input" not in row:
        return []
    lines = [f"Raw Inputs for Base Model: {row['input']}"]
    if form.slot is None:
        return [*lines, "Number of thought tokens is zero, so the prompt has no slot"]
    sides = zip(("from", "to"), form.slot, strict=False)
    return lines + [f"Instance 1/1 - Embeddings {side}: <|start|>{text}<|end|>" for side, text in sides]


def response_lines(row, form) -> list[str]:
    """Return a line a response if the row has them, else one for each response whose number is unread.

    As published, SoftCoT numbers samples, SoftCoT++ chains and samples, but with one sample a chain, 1 and chains.
    """
    texts = row.get("raw_responses")
    places = range(len(row["answers"]))
    if texts is None:
        places, texts = [place for place in places if row["answers"][place] is None], row.get("unread", [])
        start, end = "None Model Answer", ""
    else:
        start, end = "Answer", "<|end-of-response|>"
    lines = []
    for place, text in zip(places, texts, strict=False):
        chain, sample = divmod(place, form.samples) if form.samples > 1 else (0, place)
        number = f"{chain + 1}-{sample + 1}" if form.lists_answers else place + 1
        lines.append(f"{start} ({row['index'] + 1}-{number}/{form.questions}): {text}{end}")
    return lines


# ---- writing ----


class SeedResults:
    """The result file and the log of one seed.

    A row is on the disk before the next is computed. On a restart the rows are read back and the log is written again
    from them, so both files always agree, in the data's order. Raises UserError if the file belongs to another run, is
    damaged, or is being written by another process.
    """

    def __init__(self, results_path, log_path, run, form: LogForm, overwrite=False, echo=False):
        self.path, self.form, self.echo = Path(results_path), form, echo
        self.run = run
        new = not self.path.exists()
        self.file, self.log = open_locked(self.path), open_locked(Path(log_path))
        if new and not overwrite and Path(log_path).stat().st_size:
            self.path.unlink()
            raise UserError(f"{log_path} is a log without its result file {self.path}: {ANOTHER_FILE}")
        self.write_rows([] if overwrite else read_own_rows(self.path, self.run))

    def write_rows(self, rows) -> None:
        """Bring the files to hold exactly these rows, in the data's order."""
        rows = sorted(rows, key=lambda row: row["index"])
        self.rows, self.totals = {}, Totals()
        content = b"".join(json_line(line) for line in [{"run": self.run}, *rows])
        if not self.path.read_bytes().startswith(content):
            with replaced(self.path) as scratch:
                scratch.write_bytes(content)
            self.file.close()
            self.file = open_locked(self.path)
        self.file.truncate(len(content))
        flush(self.path.parent)
        self.log.truncate(0)
        write_all(self.log, first_lines(self.run, self.form).encode("utf-8", errors="replace"))
        for row in rows:
            self.note(row)

    def add(self, row: dict) -> None:
        """Append a row to the result file, flushed, and then to the log; after an error the file is unchanged."""
        end = os.fstat(self.file.fileno()).st_size
        try:
            write_all(self.file, json_line(row))
            os.fsync(self.file.fileno())
        except OSError:
            self.file.truncate(end)
            raise
        self.note(row)

    def note(self, row: dict) -> None:
        """Count a row and write its log lines."""
        self.rows[row["index"]] = row
        self.totals.add(row, self.form.samples)
        text = log_lines(row, self.totals, self.form)
        write_all(self.log, text.encode("utf-8", errors="replace"))
        if self.echo:
            print(text, end="", flush=True)


def json_line(value) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode("utf-8", errors="replace")


def open_locked(path: Path):
    """Return the file open for appending, unbuffered, locked as long as it is open."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "ab", buffering=0)  # noqa: SIM115 - open as long as the run
    busy = f"{path} is being written by another process: wait for it, or use another --run_name or --log_dir"
    lock_file(file, busy=busy)
    return file


def write_all(file, content: bytes) -> None:
    """Write to an unbuffered file, however little of it one call takes."""
    left = memoryview(content)
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        error.filename = file.name
        raise


class SeedFiles:
    """The files of all seeds of an evaluation. Raises UserError as `SeedResults` does."""

    def __init__(self, paths: dict[int, Path], record: dict, form: LogForm, overwrite=False):
        """paths: seed -> its result file; the log lies beside it."""
        echo = len(paths) == 1
        self.results = {
            seed: SeedResults(path, path.with_suffix(".log"), record | {"seed": seed}, form, overwrite, echo)
            for seed, path in paths.items()
        }

    def todo(self, examples) -> list[tuple[dict, list[int]]]:
        """Return the examples that are not finished for all seeds, each with those seeds."""
        open_seeds = [(e, [s for s, result in self.results.items() if e["index"] not in result.rows]) for e in examples]
        return [pair for pair in open_seeds if pair[1]]

    def add_missing(self, rows) -> None:
        """Add rows to the files of all seeds that do not have them."""
        for row in rows:
            for result in self.results.values():
                if row["index"] not in result.rows:
                    result.add(row)

    def finish(self) -> None:
        """Bring the rows into the data's order."""
        for result in self.results.values():
            result.echo = False
            if list(result.rows) != sorted(result.rows):
                result.write_rows(result.rows.values())

    def scores(self, asked) -> dict[int, dict]:
        """Return seed -> accuracy by both rules (shares) and average tokens a response, over the indices `asked`."""
        found = {}
        for seed, result in self.results.items():
            rows = [row for index, row in result.rows.items() if index in asked]
            found[seed] = {rule: mean(row[rule] for row in rows) for rule in ("correct", "correct_strict")}
            found[seed] |= {"tokens": mean([n for row in rows for n in row["tokens"]] or [0]), "questions": len(rows)}
        return found
