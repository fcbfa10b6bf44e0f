"""Files of a task -> fastNLP DataBundle of Instances.

Knows the files' format (data/README.md) and nothing of prompts or token ids. A bad line is a UserError of one line
that names file, line, field and what to do.
"""

import functools
import json
import math
import re
import warnings
from pathlib import Path

from data_loader.answers import read_gold
from data_loader.tasks import RAW, get_task
from utils import UserError

with warnings.catch_warnings():
    # fastNLP 0.7.0 imports pkg_resources, which warns that it is deprecated.
    warnings.simplefilter("ignore")
    from fastNLP import DataSet, Instance
    from fastNLP.io import DataBundle

DATA_DIR = Path(__file__).resolve().parent.parent / "data"
STRATEGYQA_TRAIN_SHARE = 0.8  # 1,832 of 2,290: the papers' split


def load_task(task_name, data_dir=None, split=None):
    """Return a DataBundle of the task's train, dev and test as far as there are files, or of one split alone.

    data_dir: folder of the files (default data/<task> beside the code). split: a name other than train, dev or test
    loads the file of that name ("unseen" -> unseen.jsonl). Instances have the fields index (int), question (str),
    steps (list[str]: the reference solution's lines, the "####" line too), answer (str), facts (list[str]), raw (dict:
    the file's own question and answer; strategyqa: the answer as a boolean, and facts). Raises UserError.
    """
    task = get_task(task_name)
    folder = DATA_DIR / task.name if data_dir is None else Path(data_dir)
    others = (*task.files.get(None, ()), "{split}.jsonl", "{split}.json")
    wanted, datasets = {}, {}
    for part in [split] if split else ["train", "dev", "test"]:
        names = task.files.get(part) or [name.format(split=part) for name in others]
        wanted |= dict.fromkeys(names)
        if path := next((folder / name for name in names if (folder / name).is_file()), None):
            datasets[part] = _load_file(task, path, part)
    if not datasets:
        raise UserError(
            f"{folder}: {task.name} has no {split or 'data'} here, expected {' or '.join(wanted)}: "
            f"run `python data/prepare.py {task.name}`, or give the folder that holds it (see data/README.md)"
        )
    return DataBundle(datasets=datasets)


def _load_file(task, path, split):
    """Return the DataSet of one file, of StrategyQA's the part of a split."""
    rows = [_read_example(task, row, where) for row, where in read_json(path)]
    if task.papers_form not in path.name:
        _note_other_form(path.parent, task.papers_form)
    if task.name == "strategyqa" and split in task.files:
        cut = int(STRATEGYQA_TRAIN_SHARE * len(rows))
        rows = rows[:cut] if split == "train" else rows[cut:]
    if not rows:
        raise UserError(f"{path}: no examples in it for {split}")
    return DataSet([Instance(index=index, **row) for index, row in enumerate(rows)])


@functools.cache
def _note_other_form(folder, papers_form):
    """Print, once for each folder, that not all of its files have the papers' form."""
    print(f"note: {folder} lacks {papers_form} files, which the papers use: the plain form is read", flush=True)


def read_json(path):
    """Return (value, where) of each example of a JSON list or of JSON lines, with any suffix.

    `where` names file and line (file and item of a list) for messages. Raises UserError.
    """
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")  # a BOM, if any, is no data
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: byte {error.start} is not UTF-8: save it as UTF-8") from None
    if text.lstrip().startswith("["):
        return [(row, f"{path}, item {i}") for i, row in enumerate(_parse(text, path), 1)]
    # Not splitlines(): it would also cut at U+2028, which JSON strings may hold.
    lines = [(line, f"{path}, line {number}") for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    return [(_parse(line, where), where) for line, where in lines]


def _parse(text, where):
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # no JSON, too many digits, too deep
        raise UserError(f"{where}: not JSON ({str(error)[:80]}): one object a line, or one list in all") from None


def _read_example(task, row, where):
    """Return the fields of an example (see `load_task`; data/README.md has the forms). Raises UserError."""
    if not isinstance(row, dict):
        raise UserError(f"{where}: expected an object, found {type(row).__name__}: see data/README.md")
    question = _text(row.get("question"), f"{where}, field question")
    if task.choices and row.get("options") and not re.search(r"\bA\s*[).:].*\bB\s*[).:]", question, re.S):
        raise UserError(f"{where}, field options: they belong in the question (`python data/prepare.py {task.name}`)")
    steps, facts, answer = [], [], row.get("answer")
    if task.form == "facts":
        steps = facts = _texts(row.get("facts"), f"{where}, field facts")
        answer = str(answer)
    else:
        answer = _text(answer, f"{where}, field answer")
    if task.form == "gsm_style":
        steps = [line.strip() for line in answer.split("\n") if line.strip()]
        answer = answer.rpartition("####")[2].strip()
    value = read_gold(task, answer)
    if value in (None, math.inf, -math.inf) or (task.choices and value not in task.choices):
        expected = {"number": "a number such as 7, -1,200 or 0.5", "yes_no": "true or false"}
        expected |= {"choice": f"one letter of {task.choices}"}
        raise UserError(f"{where}, field answer: {answer[:80]!r} is not {expected[task.answer_kind]}: correct it")
    raw = {"question": row["question"], "answer": row["answer"]}
    if task.form == "facts":
        answer, raw = "Yes" if value else "No", raw | {"answer": value, "facts": row["facts"]}
    return {
        "question": question,
        "steps": steps,
        "answer": value if task.choices else answer,
        "facts": facts,
        RAW: raw,
    }


def _text(value, where):
    # Half of a surrogate pair, as "\\ud83d" alone: no tokenizer takes it.
    if not isinstance(value, str) or not value.strip() or re.search("[\0\ud800-\udfff]", value):
        raise UserError(f"{where}: expected a text, found {ascii(value)[:80]}: fix it or drop the example")
    return value.strip().replace("\r\n", "\n")


def _texts(value, where):
    if not isinstance(value, list):
        raise UserError(f"{where}: expected a list of strings, found {ascii(value)[:80]}: fix it or drop the example")
    return [_text(one, f"{where}[{i}]") for i, one in enumerate(value)]
