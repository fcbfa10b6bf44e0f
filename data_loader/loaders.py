"""Files of a task -> fastNLP DataBundle of Instances.

Knows the files' format (data/README.md) and nothing of prompts or token ids. A bad line is a
DataError of one line that names file, line, field and what to do.
"""

import functools
import json
import re
import warnings
from pathlib import Path

from data_loader.answers import gold
from data_loader.tasks import RAW, get_task
from utils import UserError

with warnings.catch_warnings():
    # fastNLP 0.7.0 imports pkg_resources, which warns that it is deprecated.
    warnings.simplefilter("ignore")
    from fastNLP import DataSet, Instance
    from fastNLP.io import DataBundle, Loader

DATA_DIR = Path(__file__).resolve().parent.parent / "data"
STRATEGYQA_TRAIN_SHARE = 0.8  # 1,832 of 2,290: the papers' split


class DataError(UserError):
    """The data cannot be used as they are: file, line, field, what to do."""


def load_task(task_name, data_dir=None, split=None):
    """Return the task's data: a DataBundle with train, dev and test as far as there are files.

    data_dir: folder of the files (default data/<task> beside the code). split: only this data
    set; a name other than train, dev or test loads the file of that name ("unseen" ->
    unseen.jsonl). Raises DataError; ValueError for an unknown task.
    """
    task = get_task(task_name)
    return TaskLoader(task, split).load(DATA_DIR / task.name if data_dir is None else data_dir)


class TaskLoader(Loader):
    """fastNLP Loader of one task. Instances have the fields index (int), question (str), options
    (list[str], "A) text"; empty if the question has them), steps (list[str]: the
    reference solution's lines, the "####" line too), answer (str), facts (list[str]), raw (dict: the
    file's own question and answer; strategyqa: the answer as a boolean, and facts)."""

    def __init__(self, task, split=None):
        super().__init__()
        self.task = get_task(task)
        self.split = split
        if split is not None and (not split or Path(split).name != split):
            raise DataError(f"split {split!r}: give a plain name such as test, not a path")

    def load(self, paths):
        """Return the DataBundle of a folder. Raises DataError if there is no folder or no file."""
        folder = Path(paths)
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder: {self._how_to_get()}")
        splits = [self.split] if self.split else ["train", "dev", "test"]
        datasets = {split: self._load_split(folder, split) for split in splits}
        datasets = {split: data for split, data in datasets.items() if data is not None}
        if not datasets:
            wanted = [name for split in splits for name in self._names(split)]
            listed = " or ".join(dict.fromkeys(wanted)) or "no file of this task"
            raise DataError(
                f"{folder}: {self.task.name} has no {self.split or 'data'} here, expected "
                f"{listed}: {self._how_to_get()}"
            )
        return DataBundle(datasets=datasets)

    def _load(self, path):
        """Return the DataSet of one file, whole (no 80 % cut). Raises DataError."""
        path = Path(path)
        read = _READERS[self.task.form]
        rows = [
            Instance(index=index, **read(self.task, row, where)) for index, (row, where) in enumerate(read_json(path))
        ]
        if not rows:
            raise DataError(f"{path}: no examples in it: {self._how_to_get()}")
        return DataSet(rows)

    def _load_split(self, folder, split):
        path = self._find(folder, split)
        if path is None and split == "dev" and "dev" in self.task.files:
            path = self._find(folder, "test")  # the papers' dev set is the test set
        if path is None:
            return None
        data = self._load(path)
        if self.task.papers_form not in path.name:
            _note_other_form(folder, self.task.papers_form)
        if self.task.name != "strategyqa" or split not in self.task.files:
            return data
        cut = int(STRATEGYQA_TRAIN_SHARE * len(data))
        part = list(data)[:cut] if split == "train" else list(data)[cut:]
        if not part:
            raise DataError(f"{path}: {len(data)} example(s) leave none for {split}: add more")
        for index, instance in enumerate(part):
            instance["index"] = index
        return DataSet(part)

    def _names(self, split):
        if split in self.task.files:
            return self.task.files[split]
        if split in ("train", "dev"):  # du: test only
            return ()
        return tuple(
            dict.fromkeys(
                pattern.format(split=split) for pattern in (*self.task.files["other"], "{split}.jsonl", "{split}.json")
            )
        )

    def _find(self, folder, split):
        paths = [folder / name for name in self._names(split)]
        return next((path for path in paths if path.is_file()), None)

    def _how_to_get(self):
        prepare = f"run `python data/prepare.py {self.task.name}`"
        return f"{prepare} or give the folder that holds it (data/README.md has the format)"


@functools.cache
def _note_other_form(folder, papers_form):
    """Print, once for each folder, that not all of its files have the papers' form."""
    print(f"note: {folder} lacks {papers_form} files, which the papers use: the plain form is read", flush=True)


def read_json(path):
    """Return (value, where) of each example of a JSON list or of JSON lines, with any suffix.

    `where` names file and line (file and item of a list) for messages. Raises DataError.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")  # a BOM, if any, is no data
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: byte {error.start} is not UTF-8: save it as UTF-8") from None
    if text.lstrip().startswith("["):
        value = _parse(text, f"{path}", "fix the list")
        return [(row, f"{path}, item {i}") for i, row in enumerate(value, 1)]
    rows = []
    # Not splitlines(): it would also cut at U+2028, which JSON strings may hold.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{path}, line {number}"
            remedy = "expected one object a line, or one list for the whole file"
            rows.append((_parse(line, where, remedy), where))
    return rows


def _parse(text, where, remedy):
    """Return the value of JSON text. Raises DataError, also for what Python's json lets pass or cannot read."""
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text else ""
        raise DataError(f"{where}{line}: not JSON ({error.msg}): {remedy}") from None
    except (ValueError, RecursionError) as error:  # too many digits, too deep, a key twice
        raise DataError(f"{where}: not usable JSON ({str(error)[:80]}): {remedy}") from None


def _without_duplicates(pairs):
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twice!r} is there twice")
    return row


def _read_gsm_style(task, row, where):
    """Return an example of GSM8K's style: `question`, `answer` = solution lines and `#### <final>`, maybe `options`."""
    question = _text(row, "question", where)
    solution = _text(row, "answer", where)
    if "####" not in solution:
        raise DataError(
            f"{where}, field answer: no '#### <final answer>' line: convert it "
            f"with `python data/prepare.py {task.name}`"
        )
    answer = solution.rsplit("####", 1)[1].strip()
    read = gold(task, answer)
    if read in (None, float("inf"), float("-inf")) or (task.choices and read not in task.choices):
        expected = f"one letter of {task.choices}" if task.choices else "a number"
        raise DataError(f"{where}, field answer: {answer[:80]!r} after '####' is not {expected}: fix it")
    return {
        "question": question,
        "options": _options(task, row, question, where),
        "steps": [line.strip() for line in solution.split("\n") if line.strip()],
        "answer": read if task.choices else answer,
        "facts": [],
        RAW: {key: row[key] for key in ("question", "answer")},
    }


def _read_letter(task, row, where):
    """Return an example of Date Understanding: `question`, `answer` (a letter alone), maybe `options`; no solution."""
    question = _text(row, "question", where)
    answer = _text(row, "answer", where)
    if "####" in answer:
        raise DataError(
            f"{where}, field answer: {answer[-80:]!r} is of an older form, {task.name} has a letter alone: "
            f"run `python data/prepare.py {task.name}` again"
        )
    if answer not in tuple(task.choices):
        raise DataError(f"{where}, field answer: {answer[:80]!r} is not one letter of {task.choices}: fix it")
    return {
        "question": question,
        "options": _options(task, row, question, where),
        "steps": [],
        "answer": answer,
        "facts": [],
        RAW: {key: row[key] for key in ("question", "answer")},
    }


def _read_facts(task, row, where):
    """Return an example of StrategyQA: `question`, `facts` (list of strings), `answer` (boolean, or yes/no)."""
    question = _text(row, "question", where)
    facts = _texts(row, "facts", where)
    answer = _field(row, "answer", where)
    words = {"true": "Yes", "yes": "Yes", "false": "No", "no": "No"}
    if str(answer).strip().lower() not in words:
        raise DataError(f"{where}, field answer: {str(answer)[:80]!r}: expected true or false")
    answer = words[str(answer).strip().lower()]
    return {
        "question": question,
        "options": [],
        "steps": list(facts),
        "answer": answer,
        "facts": facts,
        RAW: {"question": row["question"], "answer": answer == "Yes", "facts": row["facts"]},
    }


_READERS = {"gsm_style": _read_gsm_style, "letter": _read_letter, "facts": _read_facts}


def _shown(name):
    """Return a field's name for a message: short, on one line."""
    return name if re.fullmatch(r"[\w -]{1,40}", name) else ascii(name[:40])


def _field(row, field, where):
    if not isinstance(row, dict):
        raise DataError(f"{where}: expected an object, found {type(row).__name__}: see data/README.md")
    if field not in row:
        raise DataError(f"{where}, field {field}: missing (found {', '.join(map(_shown, row)) or 'none'}): add it")
    return row[field]


def _text(row, field, where):
    return _checked_text(_field(row, field, where), f"{where}, field {field}")


def _texts(row, field, where):
    value = _field(row, field, where)
    if not isinstance(value, list):
        raise DataError(f"{where}, field {field}: expected a list of strings, found {type(value).__name__}")
    return [_checked_text(v, f"{where}, field {field}[{i}]") for i, v in enumerate(value)]


def _checked_text(value, where):
    if not isinstance(value, str):
        raise DataError(f"{where}: expected a string, found {type(value).__name__}: quote it")
    if not value.strip():
        raise DataError(f"{where}: blank: fill it in or drop the example")
    if "\0" in value:
        raise DataError(f"{where}: a NUL character in it: the file is damaged or no text")
    if not value.isascii() and re.search("[\ud800-\udfff]", value):
        raise DataError(f"{where}: half of a surrogate pair in it: fix the escape")
    return value.strip().replace("\r\n", "\n")


def _options(task, row, question, where):
    """Return `options` as "A) text", also if they had other labels; [] if the question has them."""
    if row.get("options") is None:
        return []
    options = _texts(row, "options", where)
    if len(options) > len(task.choices):
        raise DataError(
            f"{where}, field options: {len(options)} options, {task.name} has "
            f"{task.choices or 'none'}: drop the field or the example"
        )
    labelled = []
    for letter, option in zip(task.choices, options, strict=False):
        labelled.append((letter, re.sub(rf"^\(?{letter}\s*[).:]\s*", "", option)))
    if all(re.search(rf"\b{letter}\s*[).:]\s*{re.escape(text)}", question) for letter, text in labelled):
        return []
    return [f"{letter}) {text}" for letter, text in labelled]
