"""Get a task's data from its publisher, or from a local folder, and convert it to the files the programs read.

    python data/prepare.py all                                  # fetch all five into data/
    python data/prepare.py aqua --source_dir /copied/sources    # without network

What is left out or repaired is listed, one entry each, in <output_dir>/<task>/report.json. With `all`, a task that
cannot be had does not stop the others. Exit code: 0, or 1 if any task failed. data/README.md has the files that
--source_dir must hold, and the formats.
"""

import argparse
import contextlib
import hashlib
import http.client
import io
import json
import os
import re
import sys
import urllib.request
import zipfile
from pathlib import Path
from typing import NamedTuple

GSM8K = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data/"
AQUA = "https://raw.githubusercontent.com/google-deepmind/AQuA/master/"
ASDIV = "https://huggingface.co/datasets/xuyige/ASDiv-Aug/resolve/main/"
STRATEGYQA = "https://storage.googleapis.com/ai2i/strategyqa/data/strategyqa_dataset.zip"
DU = "https://raw.githubusercontent.com/suzgunmirac/BIG-Bench-Hard/main/bbh/date_understanding.json"
STRATEGYQA_TRAIN_SHARE = 0.8  # as data_loader/loaders.py cuts it: 1,832 / 458


class PrepareError(Exception):
    """A task's data cannot be had: one line, what and what to do."""


class Drop(Exception):
    """An example that cannot be used: the reason."""


class File(NamedTuple):
    """A file of a publisher and the file it becomes. `optional`: may be missing from --source_dir."""

    source: str
    url: str
    split: str
    expected: int  # the papers' number of examples
    output: str = ""  # empty: the source's name
    optional: bool = False


SHA256 = {
    f"{GSM8K}train.jsonl": "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    f"{GSM8K}test.jsonl": "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    f"{GSM8K}test_socratic.jsonl": "c96673362fa7a699f4836a9b6474a067448f95fe58064727501ee63ba4c3fdb6",
    f"{AQUA}dev.json": "4a52301d8a49ae0b286f8e697f9c5da1b109b247b825b47b4c6de34312dceec5",
    f"{AQUA}test.json": "de41581881ef95c5588c44ddc701c77fd480839241dd422a0d181262af24520c",
    DU: "0148d4ac5fca05b2f82373e5fef7208e15363b9c6079493034d77b3dab496bf5",
}
# Task -> its folder in --source_dir and its files.
SOURCES = {
    "gsm8k": ("gsm8k", [
        File(f"{split}.jsonl", f"{GSM8K}{split}.jsonl", split, count, optional=split == "train_socratic")
        for split, count in (("train", 7473), ("train_socratic", 7473), ("test", 1319), ("test_socratic", 1319))
    ]),
    "asdiv-aug": ("asdiv-aug", [
        File("aug-train.jsonl", f"{ASDIV}aug-train.jsonl", "train", 4183),
        File("aug-dev.jsonl", f"{ASDIV}aug-dev.jsonl", "test", 1038),
    ]),
    "aqua": ("aqua", [
        File(f"{split}.json", f"{AQUA}{split}.json", split, count, f"gsm_style_{split}.jsonl", split == "train")
        for split, count in (("train", 97467), ("dev", 254), ("test", 254))
    ]),
    "strategyqa": ("strategyqa", [File("strategyqa_train.json", STRATEGYQA, "all", 2290)]),
    "du": ("date_understanding", [
        File("date_understanding.json", DU, "test", 250, "date_understanding_gsm_style.json")
    ]),
}  # fmt: skip


def read(file, source_dir, folder):
    """Return (bytes, path) of a file, fetched into `folder` without a source_dir; (None, path) if it may be missing."""
    path = source_dir / file.source if source_dir else folder / "source" / file.url.rsplit("/", 1)[1]
    if source_dir and not path.is_file():
        if file.optional:
            return None, path
        raise PrepareError(f"{path}: no such file: copy it from {file.url}")
    if not path.is_file():
        try:
            request = urllib.request.Request(file.url, headers={"User-Agent": "data-prepare"})
            with urllib.request.urlopen(request, timeout=60) as reply:
                write(path, reply.read())  # a connection cut short is an IncompleteRead
        except (OSError, http.client.HTTPException) as error:
            raise PrepareError(f"{file.url}: {error}: try again, or copy the file and give --source_dir") from None
    return path.read_bytes(), path


def read_examples(file, source_dir, folder, report):
    """Return the examples of a file as (line or item, value), None if it is optional and not there."""
    content, path = read(file, source_dir, folder)
    if content is None:
        return None
    digest, expected = hashlib.sha256(content).hexdigest(), SHA256.get(file.url, "")
    known = {"": "not known beforehand", digest: "as known"}.get(expected, "DIFFERS")
    print(f"  {path}: {len(content):,} bytes, SHA-256 {digest} ({known})")
    origin = str(path) if source_dir else file.url
    report["sources"].append({"origin": origin, "bytes": len(content), "sha256": digest, "check": known})
    if known == "DIFFERS" and source_dir:
        warn(report, f"{path} is not the publisher's file: SHA-256 {expected} was expected")
    try:
        if known == "DIFFERS" and not source_dir:
            raise PrepareError(f"{file.url}: not the known file (its SHA-256 differs): try again, or give --source_dir")
        return parse(unzip(content, path, file.source) if path.suffix == ".zip" else content, path)
    except PrepareError:
        if not source_dir:  # an error page, say: fetched again next time
            path.unlink()
        raise


def joined(file, source_dir, report):
    """Return the examples of the published repository's own split of StrategyQA, train before dev."""
    warn(report, "train.json and dev.json are joined in this order. The publisher's single file "
         f"{file.source} has 2,290 questions, maybe in another order: then the cut at 80 % puts other "
         "questions into the test set than the papers'")  # fmt: skip
    parts = [read_examples(file._replace(source=name), source_dir, None, report) for name in ("train.json", "dev.json")]
    return list(enumerate((value for part in parts for _, value in part), 1))


def unzip(content, path, name):
    """Return the bytes of the archive's file of this name, in whatever folder of it."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return archive.read(next(member for member in archive.namelist() if Path(member).name == name))
    except (zipfile.BadZipFile, StopIteration):
        raise PrepareError(f"{path}: no {name} in it: try again, or give --source_dir") from None


def parse(content, path):
    """Return [(line or item, value)] of a JSON list, of BIG-Bench Hard's {"examples": list}, or of JSON lines."""
    number, rows = 0, []
    try:
        text = content.decode("utf-8-sig")
        with contextlib.suppress(json.JSONDecodeError, RecursionError):
            whole = json.loads(text)
            whole = whole.get("examples") if isinstance(whole, dict) else whole
            if isinstance(whole, list):
                return list(enumerate(whole, 1))
        for number, line in enumerate(text.split("\n"), 1):  # not splitlines(): strings may hold U+2028
            if line.strip():
                rows.append((number, json.loads(line)))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or too deep
        raise PrepareError(f"{path}, line {number}: {error}: copy the file again") from None
    return rows


# Converting: one example of a source -> (the example to write, what was repaired). Drop says why it cannot be used.


def take_text(row, field):
    value = row.get(field) if isinstance(row, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise Drop(f"{field} is missing or blank")
    if re.search("[\0\ud800-\udfff]", value):
        raise Drop(f"{field} has a NUL or half of a surrogate pair")
    return value.replace("\r\n", "\n").strip()


def with_options(question, options):
    """Return the one form of a multiple-choice question, that of BIG-Bench Hard."""
    lines = [f"({letter}) {option}" for letter, option in zip("ABCDEF", options, strict=False)]
    return "\n".join([question, "Options:", *lines])


def convert_gsm_style(row):
    question, answer = take_text(row, "question"), take_text(row, "answer")
    if not re.search(r"####\s*[-+]?(?=[.,]*\d)[\d,]*\.?[\d,]*$", answer):
        raise Drop("answer does not end in '#### <number>'")
    return {"question": question, "answer": answer}, []


def convert_aqua(row):
    question, letter, repaired = take_text(row, "question"), take_text(row, "correct"), []
    options = row.get("options")
    if not isinstance(options, list) or len(options) != 5:
        raise Drop("options are not five")
    if letter not in tuple("ABCDE"):
        raise Drop(f"correct is {letter!r}, not a letter A to E")
    options = [take_text({"option": option}, "option") for option in options]
    labels = [re.match(r"\(?([A-E])\s*[).:]", option) for option in options]
    if [label and label[1] for label in labels] == list("ABCDE"):
        options = [option[label.end() :].strip() for option, label in zip(options, labels, strict=True)]
    elif not any(labels):
        repaired.append("options had no letters: A to E in their order")
    else:
        raise Drop("options are not labelled A to E in order")
    if not all(options):
        repaired.append("an option is blank: kept so")
    steps = []
    if isinstance(row.get("rationale"), str) and row["rationale"].strip():
        steps = [line.strip() for line in take_text(row, "rationale").split("\n") if line.strip()]
    else:
        repaired.append("rationale is blank: the answer is its letter alone")
    return {"question": with_options(question, options), "answer": "\n".join([*steps, f"#### {letter}"])}, repaired


def convert_strategyqa(row):
    question, facts = take_text(row, "question"), row.get("facts")
    if not isinstance(facts, list):
        raise Drop("facts are not a list")
    if not isinstance(row.get("answer"), bool):
        raise Drop("answer is not true or false")
    kept = [take_text({"fact": fact}, "fact") for fact in facts if not isinstance(fact, str) or fact.strip()]
    repaired = ["blank facts left out"] if len(kept) < len(facts) else []
    return {"question": question, "facts": kept, "answer": row["answer"]}, repaired


def convert_du(row):
    question, _, tail = take_text(row, "input").partition("\nOptions:\n")
    options = re.findall(r"^\(([A-F])\) (.+)$", tail, re.M)
    if not options or [letter for letter, _ in options] != list("ABCDEF")[: len(options)]:
        raise Drop("options are not labelled (A), (B) ... in order")
    letter = take_text(row, "target").strip("()")
    if letter not in dict(options):
        raise Drop(f"target {letter!r} is none of the options")
    return {"question": with_options(question, [text for _, text in options]), "answer": letter}, []


CONVERT = {"gsm8k": convert_gsm_style, "asdiv-aug": convert_gsm_style, "aqua": convert_aqua,
           "strategyqa": convert_strategyqa, "du": convert_du}  # fmt: skip


def convert(task, file, rows, report):
    """Return examples to write for one file; the report gets what was dropped or repaired, and the counts."""
    examples, changed = [], {"dropped": [], "repaired": []}
    for number, row in rows:
        try:
            example, reasons = CONVERT[task](row)
            examples.append(example)
            kind = "repaired"
        except Drop as error:
            reasons, kind = [str(error)], "dropped"
        if reasons:
            question = str(row.get("question") or row.get("input"))[:80] if isinstance(row, dict) else ""
            entry = {"source": file.source, "line": number, "reason": "; ".join(reasons), "question": question}
            changed[kind].append(entry)
    if not examples:
        why = "line {line}: {reason}".format(**changed["dropped"][0]) if rows else "it is empty"
        raise PrepareError(f"{file.source}: no usable example in it ({why}): is it the publisher's file?")
    counts = [(file.split, len(examples), file.expected)]
    if task == "strategyqa":
        cut = [int(STRATEGYQA_TRAIN_SHARE * n) for n in (len(examples), file.expected)]
        counts += [("train", cut[0], cut[1]), ("test", len(examples) - cut[0], file.expected - cut[1])]
    for split, count, expected in counts:
        print(f"  {split}: {count:,} examples (papers: {expected:,})")
        report["splits"][split] = {"examples": count, "papers": expected}
        if count != expected:
            warn(report, f"{split}: {count:,} examples, the papers have {expected:,}")
    if any(changed.values()):
        print(f"  {file.source}: {', '.join(f'{len(of)} {kind}' for kind, of in changed.items())}: see report.json")
    for kind, entries in changed.items():
        report[kind] += entries
    return examples


def warn(report, text):
    report["warnings"].append(text)
    print(f"warning: {report['task']}: {text}", file=sys.stderr)


def write(path, content):
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    partial.write_bytes(content)
    os.replace(partial, path)


def prepare(task, source_dir, output_dir):
    """Get, convert and write one task; nothing is written unless all of it worked. PrepareError if not."""
    print(task)
    folder, (directory, sources) = Path(output_dir) / task, SOURCES[task]
    source_dir = source_dir and Path(source_dir) / directory
    report = {"task": task, "sources": [], "splits": {}, "dropped": [], "repaired": [], "warnings": []}
    files = {}
    for file in sources:
        name, is_there = file.output or file.source, source_dir and (source_dir / file.source).is_file()
        if task == "strategyqa" and source_dir and not is_there and (source_dir / "train.json").is_file():
            rows = joined(file, source_dir, report)
            file = file._replace(source="train.json, then dev.json")
        else:
            rows = read_examples(file, source_dir, folder, report)
        if rows is not None:
            files[name] = convert(task, file, rows, report)
        else:
            report["splits"][file.split] = {"examples": 0, "papers": file.expected}
            warn(report, f"{file.split}: no {file.source}, so 0 examples, the papers have {file.expected:,}")
    for name, examples in files.items():
        lines = [json.dumps(example) for example in examples]  # ASCII: no reader cuts lines at U+2028
        # GSM8K's and ASDiv-Aug's files are JSON lines, the others one list, as the papers' code reads them.
        as_lines = task in ("gsm8k", "asdiv-aug")
        text = "\n".join(lines) + "\n" if as_lines else "[\n" + ",\n".join(lines) + "\n]\n"
        write(folder / name, text.encode())
    write(folder / "report.json", (json.dumps(report, indent=1) + "\n").encode())
    print(f"  -> {folder}: {', '.join(files)}, report.json")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=[*SOURCES, "all"])
    parser.add_argument("--source_dir", help="folder of the publishers' files; default: fetch them")
    folder = str(Path(__file__).resolve().parent)
    parser.add_argument("--output_dir", default=folder, help="where <task>/ is written (default: %(default)s)")
    args = parser.parse_args(argv)
    failed = False
    for task in SOURCES if args.task == "all" else [args.task]:
        try:
            prepare(task, args.source_dir, args.output_dir)
        except (PrepareError, OSError) as error:
            print(f"error: {task}: {error}", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
