"""Files -> DataBundle: which file is read, what is read from it, and what a bad one says."""

import json
import re
from pathlib import Path

import pytest

from data_loader.loaders import DATA_DIR, DataError, load_task
from data_loader.tasks import TASKS, get_task

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"  # the publishers' files
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
        "options": [],
        "steps": ["How many pens? ** She has 3+4=<<3+4=7>>7 pens.", "#### 7"],
        "answer": "7",
        "facts": [],
        "raw": EXAMPLE,
    }


def test_socratic_file_comes_before_the_plain_one(tmp_path):
    write(tmp_path, train=lines(*numbered(3)), train_socratic=lines(EXAMPLE))
    assert questions(load_task("gsm8k", tmp_path), "train") == [EXAMPLE["question"]]


def test_the_plain_form_is_read_with_one_note(tmp_path, capsys):
    write(tmp_path, train=lines(*numbered(3)), test_socratic=lines(EXAMPLE))
    for _ in range(2):
        assert len(load_task("gsm8k", tmp_path).get_dataset("train")) == 3
        assert len(load_task("gsm8k", tmp_path, split="train").get_dataset("train")) == 3
    out = capsys.readouterr().out
    assert out.count("note") == out.count(str(tmp_path)) == 1 and "socratic" in out


def test_no_note_about_socratic_files_or_other_tasks(tmp_path, capsys):
    write(tmp_path, train_socratic=lines(EXAMPLE), test_socratic=lines(EXAMPLE), aug__dev=lines(*numbered(2)))
    load_task("gsm8k", tmp_path)
    load_task("asdiv-aug", tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(not REAL.is_dir(), reason="the publishers' files are not beside the project")
def test_the_publishers_plain_training_and_socratic_test_files(capsys):
    bundle = load_task("gsm8k", REAL / "gsm8k")
    assert {split: len(data) for split, data in bundle.datasets.items()} == {"train": 7473, "dev": 1319, "test": 1319}
    assert " ** " in bundle.get_dataset("test")[0]["steps"][0]
    assert " ** " not in bundle.get_dataset("train")[0]["steps"][0]
    assert capsys.readouterr().out.count("socratic") == 1


def test_dev_is_the_test_set_unless_there_is_a_dev_file(tmp_path):
    write(tmp_path, train=lines(*numbered(3)), test=lines(*numbered(2)))
    assert len(load_task("gsm8k", tmp_path).get_dataset("dev")) == 2
    write(tmp_path, dev=lines(*numbered(1)))
    bundle = load_task("gsm8k", tmp_path)
    assert {n: len(bundle.get_dataset(n)) for n in ("train", "dev", "test")} == {
        "train": 3,
        "dev": 1,
        "test": 2,
    }


def test_one_split_alone_and_a_split_of_any_name(tmp_path):
    write(tmp_path, train="not read", test=lines(*numbered(2)), unseen=lines(*numbered(4)))
    assert list(load_task("gsm8k", tmp_path, split="test").datasets) == ["test"]
    unseen = load_task("gsm8k", tmp_path, split="unseen")
    assert list(unseen.datasets) == ["unseen"] and len(unseen.get_dataset("unseen")) == 4


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
    assert [(i["index"], i["answer"], i["facts"]) for i in test] == [
        (0, "Yes", ["F8."]),
        (1, "No", ["F9."]),
    ]
    (tmp_path / "strategyqa_train.json").write_text(lines(*rows))  # JSON lines as well
    assert len(load_task("strategyqa", tmp_path).get_dataset("train")) == 8


def test_strategyqa_split_of_the_papers_size():
    assert int(0.8 * 2290) == 1832


def test_du_has_only_a_test_set(tmp_path):
    rows = [{"question": "Which day?\nOptions:\n(A) 1\n(F) 2", "answer": "F"}]
    (tmp_path / "date_understanding_gsm_style.json").write_text(json.dumps(rows))
    bundle = load_task("du", tmp_path)
    (example,) = bundle.get_dataset("test")
    assert list(bundle.datasets) == ["test"] and (example["answer"], example["steps"]) == ("F", [])
    with pytest.raises(DataError, match="du has no train here"):
        load_task("du", tmp_path, split="train")


def test_options_get_one_form_and_are_not_said_twice(tmp_path):
    row = {"question": "2+2?", "options": ["A)3", "(B) 4", "5"], "answer": "#### B"}
    both = {**row, "question": "2+2? Options: A) 3 B)4 C) 5"}
    write(tmp_path, gsm_style_test=json.dumps([row, both]))
    data = load_task("aqua", tmp_path).get_dataset("test")
    assert data[0]["options"] == ["A) 3", "B) 4", "C) 5"] and data[0]["answer"] == "B"
    assert data[1]["options"] == []


@pytest.mark.parametrize(
    "text, message",
    [
        (lines(EXAMPLE) + "\n{'question': 1}\n", "line 3: not JSON"),
        ("[\n{},\n", "line 3: not JSON"),
        ("3\n", "line 1: expected an object, found int"),
        ("[3]", "item 1: expected an object, found int"),
        (lines({"answer": "#### 1"}), r"line 1, field question: missing \(found answer\)"),
        (lines({"question": "Q"}), r"line 1, field answer: missing \(found question\)"),
        (lines({}), r"field question: missing \(found none\)"),
        (lines({"question": 1, "answer": "#### 1"}), "question: expected a string, found int"),
        (lines({"question": "Q", "answer": "1"}), "field answer: no '#### <final answer>'"),
        (lines({"question": "Q", "answer": "#### B"}), "'B' after '####' is not a number"),
        (
            lines({"question": "Q", "answer": "#### 1", "options": ["1"]}),
            "field options: 1 options, gsm8k has none",
        ),
    ],
)
def test_bad_file_names_file_line_field_and_remedy(tmp_path, text, message):
    write(tmp_path, test=text)
    with pytest.raises(DataError, match=message) as error:
        load_task("gsm8k", tmp_path)
    assert "test.jsonl" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "row, message",
    [
        ({"question": "Q", "answer": "#### F"}, "'F' after '####' is not one letter of ABCDE"),
        ({"question": "Q", "answer": "#### A", "options": "A"}, "options: expected a list"),
        ({"question": "Q", "answer": "#### A", "options": [1]}, r"options\[0\]: expected a str"),
        ({"question": "Q", "answer": "#### A", "options": list("uvwxyz")}, "6 options, aqua has"),
        ({"question": "Q", "correct": "A"}, "field answer: missing"),
    ],
)
def test_bad_choice_data(tmp_path, row, message):
    write(tmp_path, gsm_style_test=json.dumps([row]))
    with pytest.raises(DataError, match=message):
        load_task("aqua", tmp_path)


@pytest.mark.parametrize(
    "answer, message",
    [
        ("#### F", "prepare.py du"),  # as an earlier prepare.py wrote it
        ("It is 2.\n#### F", "prepare.py du"),
        ("G", "'G'.*ABCDEF"),
        ("f", "'f'.*ABCDEF"),
        ("AB", "'AB'.*ABCDEF"),
        ("(A)", "ABCDEF"),
        ("", "blank"),
        (1, "found int"),
    ],
)
def test_bad_letter_data(tmp_path, answer, message):
    (tmp_path / "date_understanding_gsm_style.json").write_text(json.dumps([{"question": "Q", "answer": answer}]))
    with pytest.raises(DataError, match=f"item 1, field answer: .*{message}") as error:
        load_task("du", tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "row, message",
    [
        ({"question": "Q", "answer": True}, "field facts: missing"),
        ({"question": "Q", "answer": True, "facts": "F"}, "facts: expected a list of strings"),
        ({"question": "Q", "answer": True, "facts": ["F", 1]}, r"facts\[1\]: expected a string"),
        ({"question": "Q", "answer": "maybe", "facts": ["F"]}, "'maybe': expected true or false"),
        ({"question": "Q", "answer": True, "facts": ["F"]}, "1 example.s. leave none for train"),
    ],
)
def test_bad_yes_no_data(tmp_path, row, message):
    (tmp_path / "strategyqa_train.json").write_text(json.dumps([row]))
    with pytest.raises(DataError, match=message):
        load_task("strategyqa", tmp_path)


def test_missing_folder_and_files_say_how_to_get_the_data(tmp_path):
    with pytest.raises(DataError, match="no such folder: run `python data/prepare.py gsm8k`"):
        load_task("gsm8k", tmp_path / "none")
    with pytest.raises(DataError, match="train_socratic.jsonl or train.jsonl.*give the folder"):
        load_task("gsm8k", tmp_path)
    with pytest.raises(DataError, match="has no unseen here, expected unseen_socratic.jsonl"):
        load_task("gsm8k", tmp_path, split="unseen")


def test_split_is_a_name_and_not_a_path(tmp_path):
    for split in ("../test", "a/b", ""):
        with pytest.raises(DataError, match="give a plain name"):
            load_task("gsm8k", tmp_path, split=split)


def test_tasks_and_lengths():
    assert list(TASKS) == ["gsm8k", "asdiv-aug", "aqua", "strategyqa", "du"]
    lengths = {name: task.generation_length(True) for name, task in TASKS.items()}
    assert lengths == {
        "gsm8k": 4096,
        "asdiv-aug": 4096,
        "aqua": 4096,
        "strategyqa": 1024,
        "du": 1024,
    }
    assert {task.generation_length(False) for task in TASKS.values()} == {1024}
    assert [n for n, t in TASKS.items() if t.keep_checkpoints == 10] == ["gsm8k", "aqua"]
    with pytest.raises(ValueError, match="unknown task 'x': choose one of gsm8k, asdiv-aug"):
        get_task("x")


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
    for step in steps["plain"]:
        for expression, value in re.findall(r"<<([\d.*/+-]+)=(\d+)>>", step):
            assert eval(expression) == int(value)
