"""docs/EVIDENCE.md is made from docs/evidence, and its intervals agree with formulas written out plainly."""

import csv
import random
import re

import pytest

from report.evidence import DATA, DOCS, PAIRS, compare_paired, compare_with_controls, main, read_reruns, read_verdicts

PAGE = (DOCS / "EVIDENCE.md").read_text(encoding="utf-8")
MADE = re.compile(r"(<!-- made: .*? -->\n)(.*?)(<!-- /made -->)", re.DOTALL)


def read_csv(name):
    with open(DATA / name, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def judge(answer, gold):
    """Return whether two numbers are equal, None for a question without an answer."""
    if not answer:
        return None
    return answer != "None" and float(answer) == float(gold)


VERDICTS = [
    {run: judge(row[run], row["gold"]) for run in row if run not in ("index", "gold")}
    for row in read_csv("qwen2.5-7b-1.5b-gsm8k.csv")
]


def test_the_page_is_what_the_command_makes(tmp_path):
    page = tmp_path / "EVIDENCE.md"
    own = MADE.pattern.replace("made: ", "made: (?!thought)")  # those are tests/test_thought_information.py's
    page.write_text(re.sub(own, r"\1\3", PAGE, flags=re.DOTALL), encoding="utf-8")
    main(page, tmp_path)
    assert page.read_text(encoding="utf-8") == PAGE
    assert {path.name for path in tmp_path.glob("*.png")} == {"reruns.png", "accuracy_by_thought_tokens.png"}
    assert all(path.stat().st_size > 20000 for path in tmp_path.glob("*.png"))


def test_the_answers_give_the_counts_of_the_runs():
    counted = [row for row in read_csv("runs.csv") if row["answers"]]
    assert len(counted) == 4
    for row in counted:
        verdicts = [each[row["answers"]] for each in VERDICTS if each[row["answers"]] is not None]
        assert (len(verdicts), sum(verdicts)) == (int(row["questions"]), int(row["correct"]))
        assert 100 * sum(verdicts) / len(verdicts) == pytest.approx(float(row["accuracy"]), abs=0.005)


@pytest.mark.parametrize(("a", "b"), PAIRS)
def test_paired_intervals_agree_with_the_formula_for_two_proportions(a, b):
    pairs = [(each[a], each[b]) for each in VERDICTS if None not in (each[a], each[b])]
    only_a, only_b = pairs.count((True, False)) / len(pairs), pairs.count((False, True)) / len(pairs)
    half = 196 * ((only_a + only_b - (only_a - only_b) ** 2) / len(pairs)) ** 0.5
    difference = 100 * (only_a - only_b)
    found = compare_paired(read_verdicts(), a, b)
    assert (found["questions"], found["difference"]) == (len(pairs), pytest.approx(difference))
    assert (found["low"], found["high"]) == pytest.approx((difference - half, difference + half), abs=0.3)


def test_unpaired_intervals_agree_with_a_simulation():
    rows = compare_with_controls(read_reruns(), read_verdicts())
    (row,) = rows[(rows.task == "strategyqa") & (rows.condition_c == "no slot")].to_dict("records")
    draw, differences = random.Random(0), []
    for _ in range(4000):
        soft, without = (sum(draw.random() < p / 100 for _ in range(200)) for p in (65.2, 53.7))
        differences.append((soft - without) / 2)
    differences.sort()
    assert row["difference"] == pytest.approx(65.2 - 53.7)
    assert (row["low"], row["high"]) == pytest.approx((differences[100], differences[3900]), abs=0.8)
    assert rows[rows.source == "MemGen"][["low", "high"]].isna().all(axis=None)  # questions not known


def test_the_readme_quotes_the_page():
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    number = r"([+-]\d+\.\d+)"
    interval = rf"{number}[^()+-]*\({number} to {number}\)"
    quoted = re.findall(interval, re.search(r"\[!IMPORTANT\](.*?)\n\n", readme, re.DOTALL)[1])
    known = [found for block in MADE.findall(PAGE) for found in re.findall(interval, block[1])]
    assert quoted
    for quote in quoted:  # to one decimal
        assert any([float(n) for n in quote] == pytest.approx([float(n) for n in found], abs=0.051) for found in known)
