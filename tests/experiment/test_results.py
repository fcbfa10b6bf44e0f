"""Result files and logs: what is written is read back, what is not ours is refused and left alone."""

import json
import os
import re
from pathlib import Path

import pytest

from evaluate_softcot import print_scores
from experiment.results import LogForm, SeedFiles, SeedResults, Totals, judge, keep_texts, log_lines, read_result_file
from experiment.run_files import VERSION
from utils import UserError, replaced

RUN = {"version": VERSION, "temperature": 1.0, "questions_in_split": 9}


def results(folder, name="a", **options):
    return SeedResults(folder / f"{name}.jsonl", folder / "a.log", RUN, LogForm(9), **options)


def row(index, answers=(1,), gold="1"):
    texts = [f"The answer is {answer}" for answer in answers]
    return judge("gsm8k", {"index": index, "answer": gold}, texts, [3] * len(texts))


def head(**run):
    return json.dumps({"run": {**RUN, **run}}).encode() + b"\n"


def line(**change):
    return json.dumps({**row(0), **change}).encode() + b"\n"


def test_the_printed_accuracy_is_that_of_the_questions_asked(tmp_path, capsys):
    paths = {seed: tmp_path / f"{seed}.jsonl" for seed in (41, 42)}
    files = SeedFiles(paths, RUN, LogForm(4))
    for seed, right in ((41, 1), (42, 3)):
        for index in range(5):  # the last one is of a longer run
            files.results[seed].add(row(index) | {"correct": index < right or index == 4, "correct_strict": index == 4})
    found = files.scores(range(4))
    assert [(score["correct"], score["correct_strict"], score["questions"]) for score in found.values()] == [
        (0.25, 0, 4),
        (0.75, 0, 4),
    ]
    capsys.readouterr()
    print_scores(found, "SoftCoT")
    *_, line = capsys.readouterr().out.splitlines()
    assert re.findall(r"\d+\.\d+", line) == ["50.00", "35.36", "0.00", "0.00"]


# ---- reading ----


def test_a_row_and_a_replaced_file_are_flushed(tmp_path, monkeypatch):
    first, flushed = results(tmp_path), []
    monkeypatch.setattr(os, "fsync", lambda file: flushed.append(Path(os.readlink(f"/proc/self/fd/{file}")).name))
    first.add(row(0))
    with replaced(tmp_path / "b") as scratch:
        scratch.touch()
    assert flushed == ["a.jsonl", scratch.name, tmp_path.name]


def test_what_is_written_is_read(tmp_path):
    written = results(tmp_path)
    for index in (0, 1):
        written.add(row(index, (index, 5)))
    run, rows = read_result_file(tmp_path / "a.jsonl")
    assert run == RUN
    assert rows == [row(0, (0, 5)), row(1, (1, 5))]
    with open(tmp_path / "a.jsonl", "ab") as file:
        file.write(line(index=2)[:-9])  # cut off
    assert read_result_file(tmp_path / "a.jsonl")[1] == rows


@pytest.mark.parametrize(
    "content",
    [
        b"{damaged\n",
        b"[1]\n",
        b'{"index": 0, "gold": 1}\n',
        line(gold=None),
        line(tokens=["3"]),
        line(tokens=[]),
        line(vote=2),
        line(correct=False),
        line(index=9),
        line(index=-1),
        line() + line(),
    ],
)
def test_a_damaged_row_is_refused_by_file_and_line(tmp_path, content):
    (tmp_path / "x.jsonl").write_bytes(head() + content)
    with pytest.raises(UserError, match=r"x\.jsonl, line [23]:"):
        read_result_file(tmp_path / "x.jsonl")


def test_an_infinite_answer_is_a_text_in_a_row_and_a_number_in_the_log(tmp_path):
    written = SeedResults(tmp_path / "a.jsonl", tmp_path / "a.log", RUN, LogForm(9, lists_answers=True))
    written.add(row(0, ("9" * 400 + ".5", 5)))
    _, (found,) = read_result_file(tmp_path / "a.jsonl")
    assert (found["answers"], found["vote"], found["correct"]) == (["inf", 5], "inf", False)
    assert "Model Answer: [inf, 5]\nModel Answer Count: {inf: 1, 5: 1}\nFinal Model Answer: inf\n" in (
        tmp_path / "a.log"
    ).read_text(encoding="utf-8")


# ---- going on ----


@pytest.mark.parametrize(
    "content, message",
    [
        (head() + b'{"index": 0, "tok\n{"index": 1}\n', "a.jsonl, line 2"),
        (b"my notes\nof last year\n", "a.jsonl, line 1"),
        (b"my notes", "a.jsonl, line 1"),
        (head(temperature=0.5), "temperature was 0.5, now 1.0"),
        (head(data_hash="a"), "data_hash was 'a', now None"),
        (head(version=VERSION + 1), "version"),
    ],
)
def test_a_damaged_or_foreign_result_file_is_refused_and_left_alone(tmp_path, content, message):
    (tmp_path / "a.jsonl").write_bytes(content)
    (tmp_path / "a.log").write_bytes(b"the log")
    with pytest.raises(UserError, match=message):
        results(tmp_path)
    assert (tmp_path / "a.jsonl").read_bytes() == content and (tmp_path / "a.log").read_bytes() == b"the log"


def test_a_file_whose_first_line_is_not_there_yet_is_started(tmp_path):
    (tmp_path / "a.jsonl").touch()
    results(tmp_path).add(row(0))
    assert list(results(tmp_path).rows) == [0]


def test_a_log_without_its_result_file_is_left_as_it_is(tmp_path):
    (tmp_path / "a.log").write_text("of the published code", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(UserError, match="a.log"):
            results(tmp_path)
        assert (tmp_path / "a.log").read_text(encoding="utf-8") == "of the published code"
    results(tmp_path, overwrite=True)
    assert (tmp_path / "a.log").read_text(encoding="utf-8").startswith("Args: {")


def test_two_evaluations_of_one_result_file_or_log_refuse(tmp_path):
    first = results(tmp_path)
    first.add(row(0))
    with pytest.raises(UserError, match="a.jsonl"):
        results(tmp_path)
    with pytest.raises(UserError, match="a.log"):
        results(tmp_path, name="b")
    first.add(row(1))
    del first
    assert list(results(tmp_path).rows) == [0, 1]


# ---- the log ----


def blocks(form, *rows):
    """The log's blocks of rows, each a list of lines."""
    totals, found = Totals(), []
    for each in rows:
        totals.add(each, form.samples)
        found.append(log_lines(each, totals, form).splitlines())
    return found


def judged(index, texts, gold, tokens, keep=True, task="gsm8k", **more):
    row = judge(task, {"index": index, "answer": gold}, texts, tokens)
    return row | keep_texts(task, row["answers"], texts, [f"{text}<|im_end|>" for text in texts], keep) | more


def test_the_block_of_softcot():
    rows = row(0, (3,)), judged(1, ["It is 18."], "18", [5], input="<|im_start|>user\nHow many?<|im_end|>")
    assert blocks(LogForm(1319, slot=("<|end_of_text|>" * 2, "<|endoftext|>" * 2)), *rows)[1] == [
        "Ground Truth Answer: 18",
        "Raw Inputs for Base Model: <|im_start|>user",
        "How many?<|im_end|>",
        "Instance 1/1 - Embeddings from: <|start|><|end_of_text|><|end_of_text|><|end|>",
        "Instance 1/1 - Embeddings to: <|start|><|endoftext|><|endoftext|><|end|>",
        "Answer (2-1/1319): It is 18.<|im_end|><|end-of-response|>",
        "Ground Truth Answer: 18",
        "Model Answer: 18",
        "Is Correct: True",
        "Correct Count: 1/2",
        "-" * 20,
    ]


def test_the_block_of_softcotpp():
    form = LogForm(1319, lists_answers=True, slot=("<|endoftext|>" * 2,) * 2)
    texts = ["It is $\\boxed{18}$.", "I do not know."]
    rows = judged(0, texts, "18", [154, 20], input="<|im_start|>user ..."), row(1, (2, 3)), row(2, ())
    block, _, last = blocks(form, *rows)
    assert "Average generated tokens (2 instances): 78.5" in last  # of the longest response; none of what is skipped
    assert block == [
        "Ground Truth Answer: 18",
        "Raw Inputs for Base Model: <|im_start|>user ...",
        "Instance 1/1 - Embeddings from: <|start|><|endoftext|><|endoftext|><|end|>",
        "Instance 1/1 - Embeddings to: <|start|><|endoftext|><|endoftext|><|end|>",
        "Answer (1-1-1/1319): It is $\\boxed{18}$.<|im_end|><|end-of-response|>",
        "Answer (1-1-2/1319): I do not know.<|im_end|><|end-of-response|>",
        "Ground Truth Answer: 18",
        "Model Answer: [18, None]",
        "Model Answer Count: {18: 1, None: 1}",
        "Final Model Answer: 18",
        "Is Correct: True",
        "Average generated tokens (1 instances): 154.0",
        "Correct Count: 1/1",
        "-" * 20,
    ]


def test_softcotpp_with_several_samples_numbers_chains_then_samples():
    (block,) = blocks(LogForm(3, samples=2, lists_answers=True), judged(0, ["1"] * 4, "1", [1] * 4))
    numbers = re.findall(r"Answer \(([\d-]+)/3", "\n".join(block))
    assert numbers == ["1-1-1", "1-1-2", "1-2-1", "1-2-2"]


def test_without_the_responses_those_without_a_number_are_shown():
    unread = judged(0, ["5", "?", "7", "none\nat all"], "5", [1] * 4, keep=False)
    assert "responses" not in unread and unread["unread"] == ["?<|im_end|>", "none\nat all<|im_end|>"]
    (block,) = blocks(LogForm(3, lists_answers=True), unread)
    assert block[1:4] == [
        "None Model Answer (1-1-2/3): ?<|im_end|>",
        "None Model Answer (1-1-4/3): none",
        "at all<|im_end|>",
    ]
    for task, gold in (("aqua", "B"), ("strategyqa", "Yes")):  # no number is expected
        (block,) = blocks(LogForm(3), judged(0, ["?"], gold, [1], keep=False, task=task))
        assert not any("None Model Answer" in line for line in block)
    assert "unread" not in judged(0, ["5"], "5", [1], keep=False)


def test_a_log_written_again_from_its_rows_is_the_same(tmp_path):
    first = results(tmp_path)
    first.add(judged(0, ["5", "?"], "5", [1, 2], input="<|x|> 2 + 3"))
    first.add(judged(1, ["?"], "5", [1], keep=False))
    del first  # with its lock
    log = (tmp_path / "a.log").read_bytes()
    assert log.startswith(b"Args: {") and b"Answer (1-2/9): ?<|im_end|>" in log and b"None Model Answer (2-1/9)" in log
    results(tmp_path)
    assert (tmp_path / "a.log").read_bytes() == log
