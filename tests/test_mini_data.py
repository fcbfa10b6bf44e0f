"""data/mini: the committed files are the generator's, and every problem has exactly its answer."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from data import make_mini

DATA = Path(__file__).resolve().parent.parent / "data"
COUNTS = {"train": 960, "dev": 64, "test": 200, "unseen": 100}


def committed(split):
    text = (DATA / "mini" / f"{split}.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]


SPLITS = {split: committed(split) for split in COUNTS}


def test_regenerating_gives_the_committed_bytes(tmp_path):
    make_mini.main(["--output_dir", str(tmp_path / "new")])
    assert sorted(path.stem for path in (tmp_path / "new").iterdir()) == sorted(COUNTS)
    for split in COUNTS:
        name = f"{split}.jsonl"
        assert (tmp_path / "new" / name).read_bytes() == (DATA / "mini" / name).read_bytes(), name


@pytest.mark.parametrize("split", COUNTS)
def test_counts_and_balance_of_kinds(split):
    kinds = make_mini.UNSEEN_KINDS if split == "unseen" else make_mini.KINDS
    counts = Counter(example["kind"] for example in SPLITS[split])
    assert len(SPLITS[split]) == COUNTS[split]
    assert set(counts) == {kind.__name__ for kind in kinds}
    assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("split", COUNTS)
def test_each_step_has_one_true_annotation_and_the_last_is_the_answer(split):
    for example in SPLITS[split]:
        assert set(example) == {"question", "answer", "kind"}
        *steps, final = example["answer"].split("\n")
        assert 1 <= len(steps) <= 3
        for step in steps:
            # 3 * 4 = <<3*4=12>>12, with a $ before the marks where the value is money
            shown, expression, value, after = re.fullmatch(
                r"\D*(?:In \d+ years, \w+ will be )?(\d+ [-+*/] \d+) = \$?<<(.+?)=(\d+)>>(\d+)\D*", step
            ).groups()
            assert shown.replace(" ", "") == expression and value == after, step
            assert eval(expression) == int(value), step  # a quotient is whole
        assert final == f"#### {value}"


def test_no_question_twice():
    questions = [example["question"] for examples in SPLITS.values() for example in examples]
    assert len(set(questions)) == len(questions)
