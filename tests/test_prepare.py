"""data/prepare.py: conversion, report, messages and the download, against a local server."""

import hashlib
import http.server
import importlib.util
import io
import json
import threading
import zipfile
from pathlib import Path

import pytest

from data_loader.loaders import load_task

ROOT = Path(__file__).resolve().parent.parent
REAL = ROOT.parent / "shared" / "data"
spec = importlib.util.spec_from_file_location("prepare", ROOT / "data" / "prepare.py")
prepare = importlib.util.module_from_spec(spec)
spec.loader.exec_module(prepare)

AQUA = {"question": "3 * 4?", "options": ["A)7", "B)12", "C)3", "D)1", "E)0"], "rationale": "x\n\ny", "correct": "B"}
FACTS = {"question": "Can a whale climb?", "facts": ["No legs."], "answer": False, "qid": "1"}
DATES = {"input": "Today is May 1. Tomorrow?\nOptions:\n(A) May 2\n(B) May 3", "target": "(A)"}
MATH = {"question": "1 + 1?", "answer": "It is 2.\n#### 2"}


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
    example, (reason,) = convert_aqua(rationale=" \n")
    assert example["answer"] == "#### B" and "rationale is blank" in reason
    example, (reason,) = convert_aqua(options=["7", "12", "3", "1", "0"])
    assert example == convert_aqua()[0] and "no letters" in reason
    example, (reason,) = convert_aqua(options=["A)7", "B)12", "C)3", "D)1", "E)"])
    assert "option is blank" in reason


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"options": ["A)7", "B)12"]}, "not five"),
        ({"options": None}, "not five"),
        ({"options": ["B)7", "A)12", "C)3", "D)1", "E)0"]}, "in order"),
        ({"correct": "F"}, "'F'"),
        ({"question": " "}, "question is missing or blank"),
        ({"rationale": "\ud835"}, "surrogate"),
    ],
)
def test_aqua_dropped(changes, reason):
    with pytest.raises(prepare.Drop, match=reason):
        convert_aqua(**changes)


@pytest.mark.parametrize(
    ("function", "row"),
    [
        ("gsm_style", {"question": "q", "answer": "no number\n#### none"}),
        ("gsm_style", {"question": "q", "answer": "12"}),
        ("strategyqa", FACTS | {"answer": "maybe"}),
        ("strategyqa", FACTS | {"facts": "one"}),
        ("du", DATES | {"target": "(C)"}),
        ("du", {"input": "no options", "target": "(A)"}),
        ("du", ["a list"]),
    ],
)
def test_other_tasks_dropped(function, row):
    with pytest.raises(prepare.Drop):
        getattr(prepare, f"convert_{function}")(row)


def test_report_counts_and_lists_what_changed(tmp_path, capsys):
    rows = [AQUA, AQUA | {"options": []}, AQUA | {"rationale": ""}]
    for name in ("train", "dev", "test"):
        put(tmp_path / "src/aqua" / f"{name}.json", rows, as_lines=True)
    assert prepare.main(["aqua", "--source_dir", str(tmp_path / "src"), "--output_dir", str(tmp_path)]) == 0
    report = read(tmp_path / "aqua/report.json")
    assert report["splits"]["train"] == {"examples": 2, "papers": 97467}
    assert [(e["source"], e["line"], e["reason"]) for e in report["dropped"]] == [
        (f"{name}.json", 2, "options are not five") for name in ("train", "dev", "test")
    ]
    assert [e["line"] for e in report["repaired"]] == [3, 3, 3]
    out, err = capsys.readouterr()
    assert "train.json: 1 dropped, 1 repaired" in out
    assert "warning: aqua: train: 2 examples, the papers have 97,467" in err
    assert "dev.json is not the publisher's file: SHA-256" in err
    assert len(read(tmp_path / "aqua/gsm_style_train.jsonl")) == 2  # a JSON list


def test_strategyqa_joined_train_first_or_the_single_file(tmp_path, capsys):
    source, out = tmp_path / "src/strategyqa", tmp_path / "strategyqa/strategyqa_train.json"
    arguments = ["strategyqa", "--source_dir", str(tmp_path / "src"), "--output_dir", str(tmp_path)]
    put(source / "train.json", [FACTS | {"question": "first"}])
    put(source / "dev.json", [FACTS | {"question": "second"}])
    assert prepare.main(arguments) == 0
    assert [row["question"] for row in read(out)] == ["first", "second"]
    assert "2,290" in read(tmp_path / "strategyqa/report.json")["notes"][0]
    put(source / "strategyqa_train.json", [FACTS])
    assert prepare.main(arguments) == 0
    assert read(out) == [{"question": FACTS["question"], "facts": FACTS["facts"], "answer": False}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"b":', "line 2: not JSON"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b"[]", "no usable example in it (it is empty)"),
        (b'[{"input": ""}, {"input": "x"}]', "line 1: input is missing or blank"),
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
    first, second = capsys.readouterr().err.splitlines()
    assert "no such folder" in first and "no such file: copy it from https://" in second


@pytest.mark.skipif(not REAL.is_dir(), reason="the publishers' files are not beside the project")
def test_all_from_the_real_sources(tmp_path, capsys):
    assert prepare.main(["all", "--source_dir", str(REAL), "--output_dir", str(tmp_path)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "error: unavailable: asdiv-aug; ready: gsm8k, aqua, strategyqa, du"
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
    assert not any(row["steps"] or row["options"] for row in dates)


@pytest.mark.slow
def test_the_loader_reads_what_is_written(tmp_path):
    source = tmp_path / "src"
    for name in ("train", "test", "test_socratic"):
        put(source / "gsm8k" / f"{name}.jsonl", [MATH] * 2, as_lines=True)
    for name in ("aug-train", "aug-dev"):
        put(source / "asdiv-aug" / f"{name}.jsonl", [MATH] * 3, as_lines=True)
    for name in ("train", "dev", "test"):
        put(source / "aqua" / f"{name}.json", [AQUA, AQUA | {"rationale": ""}], as_lines=True)
    put(source / "strategyqa/strategyqa_train.json", [FACTS] * 10)
    put(source / "date_understanding/date_understanding.json", {"canary": "x", "examples": [DATES]})
    assert prepare.main(["all", "--source_dir", str(source), "--output_dir", str(tmp_path / "out")]) == 0
    sizes = {}
    for task in prepare.SOURCES:
        bundle = load_task(task, tmp_path / "out" / task)
        sizes[task] = [len(bundle.get_dataset(split)) for split in bundle.datasets]
        assert bundle.get_dataset("test")[0]["options"] == []  # the question carries them
    assert sizes == {"gsm8k": [2, 2, 2], "asdiv-aug": [3, 3, 3], "aqua": [2, 2, 2], "strategyqa": [8, 2, 2], "du": [1]}


# Download


@pytest.fixture
def server(monkeypatch):
    """A local publisher: .replies[path] is a list of (status, body, promised length), the last one stays."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.seen.append(self.path)
            replies = self.server.replies.get(self.path, [(404, b"", 0)])
            status, body, length = replies.pop(0) if len(replies) > 1 else replies[0]
            self.send_response(status)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    monkeypatch.setattr(prepare.time, "sleep", lambda seconds: None)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.replies, running.seen = {}, []
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        running.url = f"http://127.0.0.1:{running.server_port}"
        yield running
        running.shutdown()
        thread.join()


def publish(server, monkeypatch, task, name, url, sha256=""):
    folder = prepare.SOURCES[task][0]
    monkeypatch.setitem(prepare.SOURCES, task, (folder, [prepare.Source(name, server.url + url, sha256)]))


def test_download_tries_again_after_a_fault_and_a_cut(server, monkeypatch, tmp_path, capsys):
    body = json.dumps({"examples": [DATES]}).encode()
    digest = hashlib.sha256(body).hexdigest()
    server.replies["/du.json"] = [(503, b"", 0), (200, body[:9], len(body)), (200, body, len(body))]
    publish(server, monkeypatch, "du", "date_understanding.json", "/du.json", digest)
    assert prepare.main(["du", "--output_dir", str(tmp_path)]) == 0
    assert len(server.seen) == 3 and digest in capsys.readouterr().out
    assert (tmp_path / "du/source/du.json").read_bytes() == body
    assert read(tmp_path / "du/report.json")["sources"][0]["check"] == "as known"
    assert not list(tmp_path.rglob("*.part"))
    assert prepare.main(["du", "--output_dir", str(tmp_path)]) == 0
    assert len(server.seen) == 3  # the fetched file is used again


def test_download_refuses_another_file_and_does_not_keep_it(server, monkeypatch, tmp_path, capsys):
    server.replies["/du.json"] = [(200, b"[]", 2)]
    publish(server, monkeypatch, "du", "date_understanding.json", "/du.json", "0" * 64)
    assert prepare.main(["du", "--output_dir", str(tmp_path)]) == 1
    assert "not the known file" in capsys.readouterr().err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(("status", "requests"), [(404, 1), (503, prepare.TRIES)])
def test_download_gives_up_in_one_line(server, monkeypatch, tmp_path, capsys, status, requests):
    server.replies["/du.json"] = [(status, b"", 0)]
    publish(server, monkeypatch, "du", "date_understanding.json", "/du.json")
    assert prepare.main(["du", "--output_dir", str(tmp_path)]) == 1
    assert len(server.seen) == requests
    assert "copy the file and give --source_dir" in capsys.readouterr().err.splitlines()[-1]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_strategyqa_is_taken_out_of_the_archive(server, monkeypatch, tmp_path):
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("__MACOSX/dir/._strategyqa_train.json", "x")
        file.writestr("dir/strategyqa_train.json", json.dumps([FACTS] * 5))
    server.replies["/s.zip"] = [(200, archive.getvalue(), len(archive.getvalue()))]
    publish(server, monkeypatch, "strategyqa", "strategyqa_train.json", "/s.zip")
    assert prepare.main(["strategyqa", "--output_dir", str(tmp_path)]) == 0
    assert len(read(tmp_path / "strategyqa/strategyqa_train.json")) == 5


def test_every_task_has_sources_and_outputs():
    for task, (_, sources) in prepare.SOURCES.items():
        assert {o.source for o in prepare.OUTPUTS[task]} == {s.name for s in sources}
        assert all(s.url.startswith("https://") for s in sources)


def test_help_explains(capsys):
    with pytest.raises(SystemExit):
        prepare.main(["--help"])
    out = capsys.readouterr().out
    assert "Options:" in out and "--source_dir" in out and "report.json" in out
