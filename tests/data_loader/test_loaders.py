"""Files -> DataBundle: which file is read, what is read from it, and what a bad one says."""

import json
import re

import pytest

from data_loader.loaders import DATA_DIR, UserError, load_task
from data_loader.tasks import TASKS

EXAMPLE = {
    "question": "Ann has 3 pens and buys 4. How many are there?",
    "answer": "How many pens? ** She has 3+4=<<3+4=7>>7 pens.\n#### 7",
}


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def numbered(n):
    return [{"question": f"What is {i} + 0?", "answer": f"It is {i}.\n#### {i}"} for i in range(n)]


def write(folder, **files):
    for name, text in files.items():
        name = name.replace("__", "-") + (".jsonl" if "." not in name else "")
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def questions(bundle, split):
    return [i["question"] for i in bundle.get_dataset(split)]


def test_fields(tmp_path):
    write(tmp_path, train=lines(EXAMPLE))
    (example,) = load_task("gsm8k", tmp_path).get_dataset("train")
    assert dict(example.items()) == {
        "index": 0,
        "question": EXAMPLE["question"],
        "steps": ["How many pens? ** She has 3+4=<<3+4=7>>7 pens.", "#### 7"],
        "answer": "7",
        "facts": [],
        "raw": EXAMPLE,
    }


def test_socratic_file_comes_before_the_plain_one_and_has_no_note(tmp_path, capsys):
    write(tmp_path, train=lines(*numbered(3)), train_socratic=lines(EXAMPLE))
    assert questions(load_task("gsm8k", tmp_path), "train") == [EXAMPLE["question"]]
    assert capsys.readouterr().out == ""


def test_the_plain_form_is_read_with_one_note(tmp_path, capsys):
    write(tmp_path, train=lines(*numbered(3)), test_socratic=lines(EXAMPLE))
    for _ in range(2):
        assert len(load_task("gsm8k", tmp_path).get_dataset("train")) == 3
        assert len(load_task("gsm8k", tmp_path, split="train").get_dataset("train")) == 3
    out = capsys.readouterr().out
    assert out.count("note") == out.count(str(tmp_path)) == 1 and "socratic" in out


def test_dev_is_the_test_set_unless_there_is_a_dev_file(tmp_path):
    write(tmp_path, train=lines(*numbered(3)), test=lines(*numbered(2)))
    assert len(load_task("gsm8k", tmp_path).get_dataset("dev")) == 2
    write(tmp_path, dev=lines(*numbered(1)))
    bundle = load_task("gsm8k", tmp_path)
    assert {name: len(data) for name, data in bundle.datasets.items()} == {"train": 3, "dev": 1, "test": 2}


@pytest.mark.parametrize("name", ["unseen", "other"])
def test_one_split_alone_and_a_split_of_any_name(tmp_path, name):
    write(tmp_path, train="not read", test=lines(*numbered(2)), **{name: lines(*numbered(4))})
    assert list(load_task("gsm8k", tmp_path, split="test").datasets) == ["test"]
    found = load_task("gsm8k", tmp_path, split=name)
    assert list(found.datasets) == [name] and len(found.get_dataset(name)) == 4


@pytest.mark.parametrize("as_list", [True, False])
@pytest.mark.parametrize("bom", ["", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_list_or_lines_with_bom_and_any_newline(tmp_path, as_list, bom, newline):
    rows = [*numbered(2), {"question": "A \u2028 B?", "answer": "x\r\n\r\n#### 1"}]
    text = json.dumps(rows, indent=1, ensure_ascii=False)
    if not as_list:
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n"
    (tmp_path / "test.jsonl").write_bytes((bom + text.replace("\n", newline)).encode())
    data = load_task("gsm8k", tmp_path).get_dataset("test")
    assert [i["index"] for i in data] == [0, 1, 2]
    assert data[2]["question"] == "A \u2028 B?" and data[2]["steps"] == ["x", "#### 1"]


def test_asdiv_aug_tests_on_its_dev_file(tmp_path):
    write(tmp_path, aug__train=lines(*numbered(3)), aug__dev=lines(*numbered(2)))
    bundle = load_task("asdiv-aug", tmp_path)
    assert {n: len(d) for n, d in bundle.datasets.items()} == {"train": 3, "dev": 2, "test": 2}


def test_strategyqa_is_cut_at_80_percent(tmp_path):
    rows = [{"question": f"Q{i}?", "facts": [f"F{i}."], "answer": i % 2 == 0, "term": "x"} for i in range(10)]
    (tmp_path / "strategyqa_train.json").write_text(json.dumps(rows, indent=2))
    bundle = load_task("strategyqa", tmp_path)
    assert questions(bundle, "train") == [f"Q{i}?" for i in range(8)]
    assert questions(bundle, "dev") == questions(bundle, "test") == ["Q8?", "Q9?"]
    test = bundle.get_dataset("test")
    found = [(i["index"], i["answer"], i["facts"]) for i in test]
    assert found == [(0, "Yes", ["F8."]), (1, "No", ["F9."])]
    (tmp_path / "strategyqa_train.json").write_text(lines(rows[0]))
    with pytest.raises(UserError, match="train"):
        load_task("strategyqa", tmp_path)


def test_du_has_only_a_test_set(tmp_path):
    rows = [{"question": "Which day?\nOptions:\n(A) 1\n(F) 2", "answer": "F"}]
    (tmp_path / "date_understanding_gsm_style.json").write_text(json.dumps(rows))
    bundle = load_task("du", tmp_path)
    (example,) = bundle.get_dataset("test")
    assert list(bundle.datasets) == ["test"] and (example["answer"], example["steps"]) == ("F", [])


@pytest.mark.parametrize("folder, split", [("none", None), ("", None), ("", "unseen")])
def test_without_files_it_says_which_ones_are_expected(tmp_path, folder, split):
    with pytest.raises(UserError, match=f"{split or 'train'}_socratic.jsonl.*prepare.py gsm8k"):
        load_task("gsm8k", tmp_path / folder, split)


def test_tasks_and_lengths():
    assert list(TASKS) == ["gsm8k", "asdiv-aug", "aqua", "strategyqa", "du"]
    lengths = {name: task.generation_length(True) for name, task in TASKS.items()}
    assert lengths == {"gsm8k": 4096, "asdiv-aug": 4096, "aqua": 4096, "strategyqa": 1024, "du": 1024}
    assert {task.generation_length(False) for task in TASKS.values()} == {1024}
    assert [n for n, t in TASKS.items() if t.keep_checkpoints == 10] == ["gsm8k", "aqua"]


def test_the_documented_examples_of_gsm8k_load_in_both_forms(tmp_path):
    """data/gsm8k/README.md, which lies among the files, is not read itself."""
    document = (DATA_DIR / "gsm8k" / "README.md").read_text(encoding="utf-8")
    steps = {}
    for name, lines in zip(("plain", "socratic"), re.findall(r"```json\n(.*?)```", document, re.DOTALL), strict=True):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "README.md").write_text(document, encoding="utf-8")
        (folder / f"train{'_socratic' * (name == 'socratic')}.jsonl").write_text(lines, encoding="utf-8")
        data = load_task("gsm8k", folder, "train").get_dataset("train")
        assert [instance["answer"] for instance in data] == ["7", "20"]
        steps[name] = [step for instance in data for step in instance["steps"]]
    assert [re.sub(r"^.*\? \*\* ", "", step) for step in steps["socratic"]] == steps["plain"]
