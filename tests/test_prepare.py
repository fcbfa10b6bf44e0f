"""data/prepare.py: conversion, report, errors of one line, and fetched files."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import pytest

from data import prepare
from data_loader.loaders import load_task

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT.parent / "shared" / "data"

AQUA = {"question": "3 * 4?", "options": ["A)7", "B)12", "C)3", "D)1", "E)0"], "rationale": "x\n\ny", "correct": "B"}
FACTS = {"question": "Can a whale climb?", "facts": ["No legs."], "answer": False, "qid": "1"}
DATES = {"input": "Today is May 1. Tomorrow?\nOptions:\n(A) May 2\n(B) May 3", "target": "(A)"}


def put(path, rows, as_lines=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) if as_lines else json.dumps(rows), encoding="utf-8")


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def convert_aqua(**changes):
    return prepare.convert_aqua(AQUA | changes)


def test_options_stand_in_the_question_in_one_way_for_both_tasks():
    assert convert_aqua() == (
        {"question": "3 * 4?\nOptions:\n(A) 7\n(B) 12\n(C) 3\n(D) 1\n(E) 0", "answer": "x\ny\n#### B"},
        [],
    )
    assert prepare.convert_du(DATES) == ({"question": DATES["input"], "answer": "A"}, [])


def test_aqua_repaired():
    example, repaired = convert_aqua(rationale=" \n")
    assert example["answer"] == "#### B" and len(repaired) == 1
    example, repaired = convert_aqua(options=["7", "12", "3", "1", "0"])
    assert example == convert_aqua()[0] and len(repaired) == 1
    example, repaired = convert_aqua(options=["A)7", "B)12", "C)3", "D)1", "E)"])
    assert example["question"].endswith("(D) 1\n(E) ") and len(repaired) == 1


@pytest.mark.parametrize(
    ("function", "row"),
    [
        ("aqua", AQUA | {"options": ["A)7", "B)12"]}),
        ("aqua", AQUA | {"options": ["B)7", "A)12", "C)3", "D)1", "E)0"]}),
        ("aqua", AQUA | {"correct": "F"}),
        ("aqua", AQUA | {"rationale": "\ud835"}),
        ("gsm_style", {"question": "q", "answer": "no number\n#### none"}),
        ("gsm_style", {"question": "q", "answer": "no number alone\n#### 5 apples"}),
        ("gsm_style", {"question": "q", "answer": "12"}),
        ("strategyqa", FACTS | {"answer": "maybe"}),
        ("strategyqa", FACTS | {"facts": "one"}),
        ("du", DATES | {"target": "(C)"}),
        ("du", {"input": "no options", "target": "(A)"}),
    ],
)
def test_dropped(function, row):
    with pytest.raises(prepare.Drop):
        getattr(prepare, f"convert_{function}")(row)


def test_report_counts_and_lists_what_changed(tmp_path, capsys):
    rows = [AQUA, AQUA | {"options": []}, AQUA | {"rationale": ""}]
    for name in ("train", "dev", "test"):
        put(tmp_path / "src/aqua" / f"{name}.json", rows, as_lines=True)
    assert prepare.main(["aqua", "--source_dir", str(tmp_path / "src"), "--output_dir", str(tmp_path)]) == 0
    report = read(tmp_path / "aqua/report.json")
    assert report["splits"]["train"] == {"examples": 2, "papers": 97467}
    assert [(e["source"], e["line"]) for e in report["dropped"]] == [
        (f"{name}.json", 2) for name in ("train", "dev", "test")
    ]
    assert [e["line"] for e in report["repaired"]] == [3, 3, 3]
    warned = capsys.readouterr().err
    assert len(report["warnings"]) == 5 and all(warning in warned for warning in report["warnings"])  # counts, SHA-256
    assert len(read(tmp_path / "aqua/gsm_style_train.jsonl")) == 2  # a JSON list


def test_strategyqa_joined_train_first_or_the_single_file(tmp_path):
    source, out = tmp_path / "src/strategyqa", tmp_path / "strategyqa/strategyqa_train.json"
    arguments = ["strategyqa", "--source_dir", str(tmp_path / "src"), "--output_dir", str(tmp_path)]
    put(source / "train.json", [FACTS | {"question": "first"}])
    put(source / "dev.json", [FACTS | {"question": "second", "facts": [*FACTS["facts"], " "]}])
    assert prepare.main(arguments) == 0
    assert [row["question"] for row in read(out)] == ["first", "second"]
    report = read(tmp_path / "strategyqa/report.json")
    assert "joined" in report["warnings"][0] and "dev.json" in report["repaired"][0]["source"]
    put(source / "strategyqa_train.json", [FACTS])
    assert prepare.main(arguments) == 0
    assert read(out) == [{"question": FACTS["question"], "facts": FACTS["facts"], "answer": False}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"b":', "line 2"),
        (b'[{"input": ""}, {"input": "x"}]', "line 1: input"),
    ],
)
def test_a_broken_file_is_one_line_and_writes_nothing(tmp_path, capsys, content, message):
    source = tmp_path / "src/date_understanding"
    source.mkdir(parents=True)
    (source / "date_understanding.json").write_bytes(content)
    assert prepare.main(["du", "--source_dir", str(tmp_path / "src"), "--output_dir", str(tmp_path)]) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in errors[0]
    assert not (tmp_path / "du").exists()


def test_no_source_dir_or_no_file(tmp_path, capsys):
    assert prepare.main(["du", "--source_dir", str(tmp_path / "none"), "--output_dir", str(tmp_path)]) == 1
    assert prepare.main(["du", "--source_dir", str(tmp_path), "--output_dir", str(tmp_path)]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2 and all("date_understanding.json" in error and "https://" in error for error in errors)


@pytest.mark.skipif(not REAL.is_dir(), reason="the publishers' files are not beside the project")
def test_all_from_the_real_sources(tmp_path, capsys):
    assert prepare.main(["all", "--source_dir", str(REAL), "--output_dir", str(tmp_path)]) == 1
    assert [line.split(":")[1] for line in capsys.readouterr().err.splitlines() if "error" in line][0] == " asdiv-aug"
    counts = {}
    for task in ("gsm8k", "aqua", "strategyqa", "du"):
        report = read(tmp_path / task / "report.json")
        assert not report["dropped"] and not report["repaired"]
        counts[task] = {split: n["examples"] for split, n in report["splits"].items()}
    assert counts == {
        "gsm8k": {"train": 7473, "train_socratic": 0, "test": 1319, "test_socratic": 1319},
        "aqua": {"train": 0, "dev": 254, "test": 254},
        "strategyqa": {"all": 2290, "train": 1832, "test": 458},
        "du": {"test": 250},
    }
    source = json.loads((REAL / "date_understanding/date_understanding.json").read_text(encoding="utf-8"))["examples"]
    dates = load_task("du", tmp_path / "du").get_dataset("test")
    assert [(row["question"], row["answer"]) for row in dates] == [
        (row["input"], row["target"].strip("()")) for row in source
    ]
    assert not any(row["steps"] for row in dates)


@pytest.fixture
def publish(monkeypatch, tmp_path):
    """Return a function that makes a task's only file one of a local publisher with the given content."""

    def publish(task, name, content, sha256=""):
        path = tmp_path / "publisher" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        folder, (file,) = prepare.SOURCES[task]
        monkeypatch.setitem(prepare.SOURCES, task, (folder, [file._replace(url=path.as_uri())]))
        monkeypatch.setitem(prepare.SHA256, path.as_uri(), sha256)
        return path

    return publish


def test_a_file_is_fetched_once(publish, tmp_path):
    body = json.dumps({"examples": [DATES]}).encode()
    published = publish("du", "du.json", body, hashlib.sha256(body).hexdigest())
    for _ in range(2):
        assert prepare.main(["du", "--output_dir", str(tmp_path)]) == 0
        published.unlink(missing_ok=True)
    assert (tmp_path / "du/source/du.json").read_bytes() == body
    assert read(tmp_path / "du/report.json")["sources"][0]["check"] == "as known"
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("content", [b"[]", b"<html>", None])
def test_a_fetched_file_that_is_not_the_publishers_or_not_there_is_refused_and_not_kept(
    publish, tmp_path, capsys, content
):
    published = publish("du", "du.json", content or b"", "0" * 64)
    if content is None:
        published.unlink()
    assert prepare.main(["du", "--output_dir", str(tmp_path)]) == 1
    (error,) = capsys.readouterr().err.splitlines()
    assert error.startswith("error: du: ") and "--source_dir" in error
    assert not [path for path in (tmp_path / "du").rglob("*") if path.is_file()]


def test_strategyqa_is_taken_out_of_the_archive(publish, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__MACOSX/dir/._strategyqa_train.json", "x")
        file.writestr("dir/strategyqa_train.json", json.dumps([FACTS] * 5))
    publish("strategyqa", "s.zip", archive.getvalue())
    assert prepare.main(["strategyqa", "--output_dir", str(tmp_path)]) == 0
    assert len(read(tmp_path / "strategyqa/strategyqa_train.json")) == 5
