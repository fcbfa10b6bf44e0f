"""Result files and logs: the verdicts of a row, one writer a seed."""

import glob
import json
import os
from pathlib import Path

import torch

from data_loader.answers import ANSWER_RULE, count_votes, verdicts
from experiment.record import refuse_differences
from utils import UserError, deferred_signals, flush, lock_file, replaced


def judge(task_name, question, responses, tokens):
    """Return the result row of one question: published rule and strict rule side by side.

    question: Instance; responses: N x R texts, chain by chain; tokens: how many each took.
    """
    return {"index": question["index"], **verdicts(task_name, responses, question["answer"]), "tokens": tokens}


class SeedResults:
    """One seed's result file (JSON lines after a line that names the run) and its log.

    A row is flushed to disk before the next is computed. On a restart, finished rows are read back,
    a line cut off by a kill is dropped, and the log is written again from the rows, so both files
    always agree. The run's record holds the answer rule of its rows. Rows of part files (`{name}.part-*`, written by
    the further processes of a run of several) are taken over, and rows stand in the data's order. Raises UserError if
    the file belongs to a run with other arguments or another answer rule, is damaged otherwise or is being written by
    another process. log_path None: no log.
    """

    def __init__(self, results_path, log_path, run, votes, overwrite=False, echo=False):
        self.votes, self.echo = votes, echo
        self.rows, self.correct, self.tokens = {}, 0, []
        path = Path(results_path)
        new = not path.exists()
        self.file, self.log = self.open(path), self.open(Path(log_path)) if log_path else None
        if self.log and new and not overwrite and Path(log_path).stat().st_size:
            path.unlink()
            raise UserError(
                f"{log_path} is a log without its result file {path}: use another --run_name or "
                "--log_dir, or --overwrite"
            )
        run = json.loads(json.dumps({**run, "answer_rule": ANSWER_RULE}))
        parts = sorted(path.parent.glob(f"{glob.escape(path.name)}.part-*"))
        kept, end = ([], 0) if overwrite else self.read(path, run)
        if not overwrite:
            taken = {row["index"]: row for file in parts for row in self.read(file, run)[0]}
            taken |= {row["index"]: row for row in kept}
            if list(taken) != [row["index"] for row in kept] or list(taken) != sorted(taken):
                kept = [taken[index] for index in sorted(taken)]
                end = self.rewrite(path, run, kept)
        self.file.truncate(end)
        flush(path.parent)
        if not end:
            self.write({"run": run})
        for part in parts:
            part.unlink()
        if self.log:
            self.log.truncate(0)
            write_all(self.log, f"Args: {run}\n")
        for row in kept:
            self.note(row)

    def close(self):
        for file in (self.file, self.log):
            if file:
                file.close()

    def rewrite(self, path, run, rows):
        """Replace the file, open it and return its size (bytes)."""
        with replaced(path) as scratch:
            scratch.write_text(
                "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [{"run": run}, *rows]), encoding="utf-8"
            )
        self.file = self.open(path)
        return path.stat().st_size

    @staticmethod
    def open(path):
        """Open for appending, unbuffered, and lock as long as it is open."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab", buffering=0)  # noqa: SIM115 - open as long as the run
        lock_file(
            file,
            busy=f"{path} is being written by another process: wait for it, or use another --run_name or --log_dir",
        )
        return file

    @staticmethod
    def read(path, run):
        """Finished rows of an earlier start of the same run, and where they end in the file (bytes)."""
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a kill or a full disk cuts off the last line
        if not whole and content.strip(b"\0") and not b'{"run": '.startswith(content[:8]):
            raise UserError(f"{path} is no result file: move it away, or use another --run_name or --log_dir")
        lines = []
        for number, text in enumerate(whole.split(b"\n")[:-1], 1):
            try:
                line = json.loads(text)
                fits = (
                    isinstance(line["run"], dict)
                    if number == 1
                    else isinstance(line["index"], int)
                    and isinstance(line["tokens"], list)
                    and "correct_strict" in line
                )
            except (ValueError, KeyError, TypeError, RecursionError):
                fits = False
            if not fits:
                raise UserError(
                    f"{path}, line {number}: not what an evaluation writes: mend or move the file, or "
                    "start over with --overwrite"
                )
            lines.append(line)
        if not lines:
            return [], 0
        if lines[0]["run"].get("answer_rule") != ANSWER_RULE:
            raise UserError(
                f"{path} is judged by another answer rule (answer_rule {lines[0]['run'].get('answer_rule')}, now "
                f"{ANSWER_RULE}): summarize_results.py judges finished rows again; to evaluate anew, use another "
                "--run_name or --log_dir, or --overwrite"
            )
        refuse_differences(
            lines[0]["run"], run, f"{path} holds results of", "use another --run_name or --log_dir, or --overwrite"
        )
        return lines[1:], len(whole)

    def add(self, row):
        with deferred_signals():
            self.write(row)
            self.note(row)

    def write(self, line):
        """Append a line and bring it to the disk; after an error the file is as it was."""
        end = os.fstat(self.file.fileno()).st_size
        try:
            write_all(self.file, json.dumps(line, ensure_ascii=False) + "\n")
            os.fsync(self.file.fileno())
        except OSError:
            self.file.truncate(end)
            raise

    def note(self, row):
        """Take a row into the counts and write its log lines, worded as published."""
        self.rows[row["index"]] = row
        self.correct += row["correct"]
        self.tokens += row["tokens"]
        lines = [f"Input: {row['input']}"] if "input" in row else []
        lines += [f"Response: {response}" for response in row.get("responses", [])]
        lines.append(f"Ground Truth Answer: {row['gold']}")
        if self.votes:
            lines += [
                f"Model Answer: {row['answers']}",
                f"Model Answer Count: {count_votes(row['answers'])}",
                f"Final Model Answer: {row['vote']}",
            ]
        else:
            lines.append(f"Model Answer: {row['vote']}")
        lines.append(f"Is Correct: {row['correct']}")
        if self.votes:
            average = sum(self.tokens) / len(self.tokens)
            lines.append(f"Average generated tokens ({len(self.tokens)} instances): {average}")
        lines += [f"Correct Count: {self.correct}/{len(self.rows)}", "-" * 20]
        text = "\n".join(lines)
        if self.log:
            write_all(self.log, text + "\n")
        if self.echo:
            print(text, flush=True)

    def scores(self, asked):
        """Accuracy by both rules and average tokens a response, over the question indices `asked`."""
        rows = [row for index, row in self.rows.items() if index in asked]
        tokens = [count for row in rows for count in row["tokens"]]
        return {
            "accuracy": sum(row["correct"] for row in rows) / len(rows),
            "accuracy_strict": sum(row["correct_strict"] for row in rows) / len(rows),
            "tokens": sum(tokens) / len(tokens),
            "questions": len(rows),
        }


def write_all(file, text):
    """Write text to an unbuffered file, whatever part of it one call takes."""
    left = memoryview(text.encode("utf-8", errors="replace"))
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        error.filename = file.name
        raise


def mean_and_std(values):
    """Mean and sample standard deviation (0 for one value)."""
    values = torch.tensor(values, dtype=torch.float64)
    return values.mean().item(), values.std().item() if len(values) > 1 else 0.0
