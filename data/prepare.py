"""Get a task's data from its publisher, or from a local folder, and convert it to the files the programs read.

    python data/prepare.py all                                  # fetch all five into data/
    python data/prepare.py aqua --source_dir /copied/sources    # without network

Multiple choice (AQuA, Date Understanding): the options become part of the question, in one way for both tasks, that
of BIG-Bench Hard: the question, a line "Options:", then one line "(A) text" an option. AQuA's answer is the
rationale's lines, then "#### <letter>"; Date Understanding has no reasoning, its answer is the letter alone.

What is left out or repaired is counted on the screen and listed, one entry each, in <output_dir>/<task>/report.json.
The script needs Python and tqdm alone and knows nothing of models or prompts; data/README.md has the formats.
"""

import argparse
import hashlib
import http.client
import io
import json
import os
import re
import sys
import time
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

GSM8K = "https://raw.githubusercontent.com/openai/grade-school-math/master/grade_school_math/data/"
AQUA = "https://raw.githubusercontent.com/google-deepmind/AQuA/master/"
ASDIV = "https://huggingface.co/datasets/xuyige/ASDiv-Aug/resolve/main/"
STRATEGYQA = "https://storage.googleapis.com/ai2i/strategyqa/data/strategyqa_dataset.zip"
DU = "https://raw.githubusercontent.com/suzgunmirac/BIG-Bench-Hard/main/bbh/date_understanding.json"
STRATEGYQA_FILE = "strategyqa_train.json"  # in the publisher's archive: 2,290 questions
TRIES, TIMEOUT = 4, 60  # seconds


class PrepareError(Exception):
    """A task's data cannot be had: one line, what and what to do."""


class Drop(Exception):
    """An example that cannot be used: the reason."""


@dataclass(frozen=True)
class Source:
    """A file of a publisher. `optional`: may be missing from --source_dir; the publisher's copy never is."""

    name: str
    url: str
    sha256: str = ""  # empty: not known, printed only
    optional: bool = False


@dataclass(frozen=True)
class Output:
    """One file to write, made of one source. `expected`: the papers' number of examples."""

    name: str
    source: str
    split: str
    expected: int


SOURCES = {
    "gsm8k": ("gsm8k", [
        Source("train.jsonl", GSM8K + "train.jsonl",
               "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465"),
        Source("train_socratic.jsonl", GSM8K + "train_socratic.jsonl", optional=True),
        Source("test.jsonl", GSM8K + "test.jsonl",
               "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14"),
        Source("test_socratic.jsonl", GSM8K + "test_socratic.jsonl",
               "c96673362fa7a699f4836a9b6474a067448f95fe58064727501ee63ba4c3fdb6"),
    ]),
    "asdiv-aug": ("asdiv-aug", [Source(name, ASDIV + name) for name in ("aug-train.jsonl", "aug-dev.jsonl")]),
    "aqua": ("aqua", [
        Source("train.json", AQUA + "train.json", optional=True),
        Source("dev.json", AQUA + "dev.json", "4a52301d8a49ae0b286f8e697f9c5da1b109b247b825b47b4c6de34312dceec5"),
        Source("test.json", AQUA + "test.json", "de41581881ef95c5588c44ddc701c77fd480839241dd422a0d181262af24520c"),
    ]),
    "strategyqa": ("strategyqa", [Source(STRATEGYQA_FILE, STRATEGYQA)]),
    "du": ("date_understanding", [
        Source("date_understanding.json", DU, "0148d4ac5fca05b2f82373e5fef7208e15363b9c6079493034d77b3dab496bf5"),
    ]),
}  # fmt: skip

OUTPUTS = {
    "gsm8k": [
        Output(f"{split}{form}.jsonl", f"{split}{form}.jsonl", f"{split}{form}", count)
        for split, count in (("train", 7473), ("test", 1319))
        for form in ("", "_socratic")
    ],
    "asdiv-aug": [
        Output("aug-train.jsonl", "aug-train.jsonl", "train", 4183),
        Output("aug-dev.jsonl", "aug-dev.jsonl", "test", 1038),
    ],
    "aqua": [
        Output(f"gsm_style_{split}.jsonl", f"{split}.json", split, count)
        for split, count in (("train", 97467), ("dev", 254), ("test", 254))
    ],
    "strategyqa": [Output("strategyqa_train.json", STRATEGYQA_FILE, "all", 2290)],
    "du": [Output("date_understanding_gsm_style.json", "date_understanding.json", "test", 250)],
}
STRATEGYQA_TRAIN_SHARE = 0.8  # as data_loader/loaders.py cuts it: 1,832 / 458


# Getting the sources


def download(url, path):
    """Download url to path, tried again after a fault of the network; the file appears whole or not at all."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    for attempt in range(1, TRIES + 1):
        try:
            request = urllib.request.Request(url, headers={"User-Agent": "data-prepare"})
            with urllib.request.urlopen(request, timeout=TIMEOUT) as reply, open(partial, "wb") as file:
                size = int(reply.headers.get("Content-Length") or 0)
                with tqdm(total=size or None, unit="B", unit_scale=True, desc=path.name) as bar:
                    while block := reply.read(1 << 16):
                        bar.update(file.write(block))
                if size and file.tell() != size:  # read() says nothing of a connection cut short
                    raise http.client.IncompleteRead(b"", size - file.tell())
            os.replace(partial, path)
            return
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            refused = isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code != 429
            reason = getattr(error, "reason", None) or error
            if refused or attempt == TRIES:
                raise PrepareError(
                    f"{url}: {reason} (tried {attempt} time(s)): try again, or copy the file and give --source_dir"
                ) from None
            print(f"{url}: {reason}: trying again", file=sys.stderr)
            time.sleep(2**attempt)
        finally:
            partial.unlink(missing_ok=True)


def fetch(source, folder):
    """Return (bytes, path) of a file, fetched into `folder` unless there. PrepareError if it is not the known file."""
    path = folder / source.url.rsplit("/", 1)[1]
    if not path.is_file():
        download(source.url, path)
    content = path.read_bytes()
    if source.sha256 and hashlib.sha256(content).hexdigest() != source.sha256:
        path.unlink()
        raise PrepareError(f"{source.url}: not the known file (its SHA-256 differs): try again, or give --source_dir")
    return content, path


def read_local(source, folder):
    """Return (bytes, path) of a local copy; (None, path) if an optional file is missing."""
    path = folder / source.name
    if not path.is_file() and not source.optional:
        raise PrepareError(f"{path}: no such file: copy it from {source.url}")
    return (path.read_bytes() if path.is_file() else None), path


def describe(source, content, path, report, origin):
    """Print size and SHA-256 and put them into the report. A local file that differs is a warning."""
    digest = hashlib.sha256(content).hexdigest()
    known = {"": "not known beforehand", digest: "as known"}.get(source.sha256, "DIFFERS")
    print(f"  {path}: {len(content):,} bytes, SHA-256 {digest} ({known})")
    report["sources"].append({"origin": origin, "bytes": len(content), "sha256": digest, "check": known})
    if known == "DIFFERS":
        warn(report, f"{path} is not the publisher's file: SHA-256 {source.sha256} was expected")


def get_sources(task, source_dir, folder, report):
    """Return {source's name: its examples as (line or item, value)}."""
    found = {}
    directory, sources = SOURCES[task]
    for source in sources:
        if task == "strategyqa" and source_dir and not (Path(source_dir) / directory / source.name).is_file():
            # The published repository's own split: joined, train before dev.
            rows = []
            for name in ("train.json", "dev.json"):
                part = Source(name, source.url)
                content, path = read_local(part, Path(source_dir) / directory)
                describe(part, content, path, report, str(path))
                rows += parse(content, path)
            found[source.name] = list(enumerate((value for _, value in rows), 1))
            note(report, "train.json and dev.json are joined in this order. The publisher's single file "
                 f"{STRATEGYQA_FILE} has 2,290 questions, maybe in another order: then the cut at 80 % puts other "
                 "questions into the test set than the papers'")  # fmt: skip
            continue
        if source_dir:
            content, path = read_local(source, Path(source_dir) / directory)
        else:
            content, path = fetch(source, folder / "source")
        if content is None:
            note(report, f"{path} is not there: done without it")
            continue
        describe(source, content, path, report, str(path) if source_dir else source.url)
        try:
            place = path
            if path.suffix == ".zip":
                content, place = unzip(content, path, source.name), f"{path}/{source.name}"
            found[source.name] = parse(content, place)
        except PrepareError:
            if not source_dir:  # an error page, say: fetched again next time
                path.unlink()
            raise
    return found


def unzip(content, path, name):
    """Return the bytes of the archive's file of this name, in whatever folder of it."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [m for m in archive.namelist() if m.rsplit("/", 1)[-1] == name]
            if not members:
                raise PrepareError(f"{path}: no {name} in it: give --source_dir")
            return archive.read(min(members, key=len))
    except zipfile.BadZipFile as error:
        raise PrepareError(f"{path}: {error}: try again") from None


def parse(content, path):
    """Return [(line or item, value)] of a JSON list, of BIG-Bench Hard's {"examples": list}, or of JSON lines."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PrepareError(f"{path}: byte {error.start} is not UTF-8: copy the file again") from None
    try:
        whole = json.loads(text)
    except json.JSONDecodeError:
        whole = None
    if isinstance(whole, dict) and isinstance(whole.get("examples"), list):
        whole = whole["examples"]
    if isinstance(whole, list):
        return list(enumerate(whole, 1))
    rows = []
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines(): strings may hold U+2028
        try:
            if line.strip():
                rows.append((number, json.loads(line)))
        except json.JSONDecodeError as error:
            raise PrepareError(f"{path}, line {number}: not JSON ({error.msg}): copy the file again") from None
    return rows


# Converting: one example of a source -> (the example to write, what was repaired). Drop says why it cannot be used.


def text_of(row, field):
    value = row.get(field) if isinstance(row, dict) else None
    if not isinstance(value, str) or not value.strip():
        raise Drop(f"{field} is missing or blank")
    if re.search("[\ud800-\udfff]", value):
        raise Drop(f"{field} has half of a surrogate pair")
    return value.replace("\r\n", "\n").strip()


def with_options(question, options):
    """Return the one form of a multiple-choice question (see the top of this file)."""
    lines = [f"({letter}) {option}" for letter, option in zip("ABCDEF", options, strict=False)]
    return "\n".join([question, "Options:", *lines])


def convert_gsm_style(row):
    question, answer = text_of(row, "question"), text_of(row, "answer")
    if not re.search(r"####[^#\n]*\d[^#\n]*$", answer):
        raise Drop("answer does not end in '#### <number>'")
    return {"question": question, "answer": answer}, []


def convert_aqua(row):
    question, letter, repaired = text_of(row, "question"), text_of(row, "correct"), []
    options = row.get("options")
    if not isinstance(options, list) or len(options) != 5 or not all(isinstance(o, str) for o in options):
        raise Drop("options are not five")
    if letter not in tuple("ABCDE"):
        raise Drop(f"correct is {letter!r}, not a letter A to E")
    options = [text_of({"option": option}, "option") for option in options]
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
        steps = [line.strip() for line in text_of(row, "rationale").split("\n") if line.strip()]
    else:
        repaired.append("rationale is blank: the answer is its letter alone")
    return {"question": with_options(question, options), "answer": "\n".join([*steps, f"#### {letter}"])}, repaired


def convert_strategyqa(row):
    question, facts = text_of(row, "question"), row.get("facts")
    if not isinstance(facts, list):
        raise Drop("facts are not a list")
    if not isinstance(row.get("answer"), bool):
        raise Drop("answer is not true or false")
    kept = [text_of({"fact": fact}, "fact") for fact in facts if not isinstance(fact, str) or fact.strip()]
    repaired = ["blank facts left out"] if len(kept) < len(facts) else []
    return {"question": question, "facts": kept, "answer": row["answer"]}, repaired


def convert_du(row):
    question, _, tail = text_of(row, "input").partition("\nOptions:\n")
    options = re.findall(r"^\(([A-F])\) (.+)$", tail, re.M)
    if not options or [letter for letter, _ in options] != list("ABCDEF")[: len(options)]:
        raise Drop("options are not labelled (A), (B) ... in order")
    letter = text_of(row, "target").strip("()")
    if letter not in dict(options):
        raise Drop(f"target {letter!r} is none of the options")
    return {"question": with_options(question, [text for _, text in options]), "answer": letter}, []


CONVERT = {"gsm8k": convert_gsm_style, "asdiv-aug": convert_gsm_style, "aqua": convert_aqua,
           "strategyqa": convert_strategyqa, "du": convert_du}  # fmt: skip


def convert(task, output, rows, report):
    """Return examples to write for one file; the report gets what was dropped or repaired, and the counts."""
    examples, changed = [], {"dropped": 0, "repaired": 0}
    for number, row in rows:
        try:
            example, reasons = CONVERT[task](row)
            examples.append(example)
            kind = "repaired"
        except Drop as error:
            reasons, kind = [str(error)], "dropped"
        if reasons:
            changed[kind] += 1
            question = str(row.get("question") or row.get("input"))[:80] if isinstance(row, dict) else ""
            entry = {"source": output.source, "line": number, "reason": "; ".join(reasons), "question": question}
            report[kind].append(entry)
    if not examples:
        dropped = [entry for entry in report["dropped"] if entry["source"] == output.source]
        why = f"line {dropped[0]['line']}: {dropped[0]['reason']}" if dropped else "it is empty"
        raise PrepareError(f"{output.source}: no usable example in it ({why}): is it the publisher's file?")
    counts = [(output.split, len(examples), output.expected)]
    if task == "strategyqa":
        cut = [int(STRATEGYQA_TRAIN_SHARE * n) for n in (len(examples), output.expected)]
        counts += [("train", cut[0], cut[1]), ("test", len(examples) - cut[0], output.expected - cut[1])]
    for split, count, expected in counts:
        print(f"  {split}: {count:,} examples (papers: {expected:,})")
        report["splits"][split] = {"examples": count, "papers": expected}
        if count != expected:
            warn(report, f"{split}: {count:,} examples, the papers have {expected:,}")
    if any(changed.values()):
        print(f"  {output.source}: {changed['dropped']} dropped, {changed['repaired']} repaired: see report.json")
    return examples


# Writing


def warn(report, text):
    report["warnings"].append(text)
    print(f"warning: {report['task']}: {text}", file=sys.stderr)


def note(report, text):
    report["notes"].append(text)
    print(f"  note: {text}")


def write(path, text):
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def prepare(task, source_dir, output_dir):
    """Get, convert and write one task; nothing is written unless all of it worked. PrepareError if not."""
    print(task)
    folder = Path(output_dir) / task
    report = {"task": task, "sources": [], "splits": {}, "dropped": [], "repaired": [], "notes": [], "warnings": []}
    found = get_sources(task, source_dir, folder, report)
    files = {}
    for output in OUTPUTS[task]:
        if output.source in found:
            files[output.name] = convert(task, output, found[output.source], report)
        else:
            report["splits"][output.split] = {"examples": 0, "papers": output.expected}
            warn(report, f"{output.split}: no {output.source}, so 0 examples, the papers have {output.expected:,}")
    for name, examples in files.items():
        lines = [json.dumps(example) for example in examples]  # ASCII: no reader cuts lines at U+2028
        # GSM8K's and ASDiv-Aug's files are JSON lines, the others one list, as the papers' code reads them.
        as_lines = task in ("gsm8k", "asdiv-aug")
        write(folder / name, "\n".join(lines) + "\n" if as_lines else "[\n" + ",\n".join(lines) + "\n]\n")
    write(folder / "report.json", json.dumps(report, indent=1) + "\n")
    print(f"  -> {folder}: {', '.join(files)}, report.json")


def main(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="--source_dir has the folders gsm8k (train, test, test_socratic and maybe train_socratic.jsonl), "
        "asdiv-aug\n(aug-train, aug-dev.jsonl), aqua (dev, test and maybe train.json), strategyqa "
        "(strategyqa_train.json, or\ntrain.json and dev.json), date_understanding (date_understanding.json). "
        "With `all`, a task that cannot be\nhad does not stop the others. Exit code: 0, or 1 if any task failed.",
    )  # fmt: skip
    parser.add_argument("task", choices=[*SOURCES, "all"])
    parser.add_argument("--source_dir", help="folder of the publishers' files; default: fetch them")
    parser.add_argument("--output_dir", default=str(Path(__file__).resolve().parent),
                        help="where <task>/ is written (default: %(default)s)")  # fmt: skip
    args = parser.parse_args(argv)
    failed = []
    if args.source_dir and not Path(args.source_dir).is_dir():
        print(f"error: --source_dir {args.source_dir}: no such folder", file=sys.stderr)
        return 1
    for task in SOURCES if args.task == "all" else [args.task]:
        try:
            prepare(task, args.source_dir, args.output_dir)
        except (PrepareError, OSError) as error:
            print(f"error: {task}: {error}", file=sys.stderr)
            failed.append(task)
    if failed and args.task == "all":
        done = [task for task in SOURCES if task not in failed]
        print(f"error: unavailable: {', '.join(failed)}; ready: {', '.join(done) or 'none'}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
