"""Answer rules: what is read from real-looking responses, how it is compared and voted on."""

import json
import math
import re
import time

import pytest

from data_loader.answers import count_votes, extract, majority_vote, read_gold, read_strict, verdicts
from tests.commands import ROOT

CASES = ROOT.parent / "shared" / "cases"


# The published rule, and golds: task, text => answer. The types are compared too.
PUBLISHED = [
    ("gsm8k", "## Step 1: 48/2 = 24\nThe final answer is $\\boxed{72}$.", 72),
    ("gsm8k", "She makes $1,450,000.", 1450000),
    ("gsm8k", "That is 12.5% of it", 12.5),
    ("gsm8k", "about 3.14159", 3.14),
    ("gsm8k", "the balance is -5", 5),  # the sign is lost
    ("gsm8k", "It is ٣٫ or ٤٢.٥", 42.5),
    ("gsm8k", "9" * 400 + ".5", math.inf),
    ("gsm8k", "9" * 10000, None),  # more digits than Python reads
    ("gsm8k", "no number here", None),
    ("aqua", "The final answer is $\\boxed{B}$.", "B"),
    ("aqua", "The answer is B. I took a number.", "A"),  # the article counts as option A
    ("du", "F", "F"),
    ("aqua", "Nothing", None),
    ("strategyqa", "## Step 1: No evidence.\nYes", True),
    ("strategyqa", "Yes or no? NO.", False),
    ("strategyqa", "I know nothing about it", None),
]
GOLDS = [
    ("gsm8k", "1,080", 1080),
    ("gsm8k", "-5", -5),
    ("gsm8k", "1,00,000", 100000),
    ("gsm8k", "2.0107e-06", 2.0107e-06),
    ("asdiv-aug", "-1,234.5", -1234.5),
    ("asdiv-aug", "3.14159", 3.14159),  # not rounded
    ("asdiv-aug", "7.0", 7.0),
    ("gsm8k", "9" * 10000, None),
    ("aqua", "C", "C"),
    ("du", "f", "F"),
    ("aqua", "AB", None),
    ("strategyqa", "Yes", True),
    ("strategyqa", "False", False),
    ("strategyqa", "maybe", None),
]


@pytest.mark.parametrize(
    "rule, task, text, answer", [*((extract, *case) for case in PUBLISHED), *((read_gold, *case) for case in GOLDS)]
)
def test_the_published_rule_and_golds(rule, task, text, answer):
    assert rule(task, text) == answer and type(rule(task, text)) is type(answer)


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{9^{9^{9^{9}}}}",
        "\\boxed{99999999^{99999999}}",
        "\\boxed{" + "(" * 5000 + "1",
        "\\boxed{" + "1+" * 5000 + "1}",
        "\\boxed{\\frac{1}{0}}",
        "\\boxed{\\sqrt{-4}}",
        "\\boxed{1/0}",
        *(
            part * 5000
            for part in ("(", "1(", "1 ", "2^", "1/7+", "\\boxed{", "answer is ", "\n", "<think>", "Q: ", "*a ")
        ),
    ],
)
def test_no_expression_takes_long_or_stops_the_run(text):
    start = time.monotonic()
    read_strict("gsm8k", text)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "task, response, answer, published, strict",
    [
        ("asdiv-aug", "72.0", "72", True, True),
        ("asdiv-aug", "$1,450,000", "1,450,000", True, True),
        ("asdiv-aug", "\\boxed{-5}", "-5", False, True),  # the response's sign is lost, the gold's is kept
        ("asdiv-aug", "\\boxed{-5}", "5", True, False),
        ("asdiv-aug", "3.14", "3.14159", False, True),  # the response is rounded, the gold is not
        ("asdiv-aug", "3.14159", "3.14", True, True),
        ("asdiv-aug", "\\boxed{1/2}", "0.5", False, True),
        ("asdiv-aug", "nothing", "5", False, False),
        ("asdiv-aug", "9" * 400, "5.0", False, False),  # no crash
        ("gsm8k", "9" * 400 + ".0", "5", False, False),
        ("gsm8k", "9" * 400 + ".99999", "5", False, False),
        ("gsm8k", "\\boxed{7.13}", "7.125", False, True),
        ("gsm8k", "\\boxed{7.14}", "7.125", False, False),
        ("gsm8k", "\\boxed{0.0402}", "0.0401", False, False),  # below 0.1, two places are too few
        ("gsm8k", "\\boxed{\\frac{1}{64}}", "0.015625", False, True),
        ("gsm8k", "\\boxed{2.5 \\text{ million}}", "2500000", False, True),
        ("gsm8k", "\\boxed{2.5 \\text{ million}}", "2.5", True, True),  # asked in millions
        ("gsm8k", "\\boxed{2.5}", "2500000", False, False),
        ("gsm8k", "nothing", "unreadable", False, False),
        ("du", "\\boxed{F}", "F", True, True),
        ("strategyqa", "So the answer is No", "No", True, True),
    ],
)
def test_verdicts_of_one_response(task, response, answer, published, strict):
    row = verdicts(task, [response], answer)
    assert (row["correct"], row["correct_strict"]) == (published, strict)


@pytest.mark.parametrize(
    "answers, counts, vote",
    [
        ([3, 5, 5, 3], {3: 2, 5: 2}, 3),  # a tie goes to the first
        ([5, 5.0, 3], {5: 2, 3: 1}, 5),
        ([3, None, None, None], {3: 1, None: 1}, 3),
        ([None, None, None, 3], {None: 1, 3: 1}, None),  # one each: the first
        ([None, 4, None, 3, None, 3], {None: 1, 4: 1, 3: 2}, 3),
        ([None, True, False, False], {None: 1, True: 1, False: 2}, False),
        ([], {}, None),
    ],
)
def test_an_unread_answer_never_counts_above_one(answers, counts, vote):
    assert list(count_votes(answers).items()) == list(counts.items())
    assert majority_vote(answers) is vote or majority_vote(answers) == vote


def test_the_strict_vote_ignores_unread_answers():
    row = verdicts("gsm8k", ["nothing", "nothing", "It is 3."], "3")
    assert (row["vote"], row["correct"]) == (None, False)
    assert (row["vote_strict"], row["correct_strict"]) == (3, True)
    row = verdicts("strategyqa", ["?", "?"], "Yes")
    assert row["vote"] is row["vote_strict"] is None and not row["correct"] and not row["correct_strict"]


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no {CASES}")
def test_shared_cases_are_read_right():
    for line in (CASES / "responses.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        row = verdicts(case["task"], [case["response"]], case["gold"])
        assert row["answers_strict"][0] in case.get("strict_one_of", [case.get("strict")]), case
        assert row["correct_strict"] is case.get("correct_strict", row["correct_strict"]), case
    for value in json.loads((CASES / "golds_gsm_hard.json").read_text()):
        assert read_gold("gsm8k", str(value)) == value
        assert verdicts("gsm8k", [f"The answer is {value:,}."], str(value))["correct_strict"]


# The strict rule, by task and kind: text => answer, or several that are right. ⏎ is a new line.
STRICT = r"""
# gsm8k: plain
\boxed{-\$1,234.50} => -1234.5 | \boxed{\dfrac{-3}{4}} => -0.75 | \boxed{12} then \boxed{13 => 12
So the final answer is: **$1,080.00**. => 1080 | ## Step 1: 48 * => None | \boxed{\frac{1}{3}} => 0.33
$\boxed{180^\circ}$ => 180 | \boxed{20 \u2212 4} => 16
# gsm8k: expressions
\boxed{2 \cdot 10^3 \text{ m}} => 2000 | \boxed{12 apples + 3 pears} => 15 or None | \boxed{25\% of 80} => 20 or None
25 percent of 80 => 20 or None | \boxed{√16} => 4 | \boxed{\sqrt{9+16}} => 5
\boxed{1.5 \text{ hours} \times 60} => 90 or None | \boxed{3\left(4+5\right)} => 27
\boxed{60 \frac{\text{miles}}{\text{hour}}} => 60
# gsm8k: exponents and magnitude words
\boxed{1.5 x 10^6} => 1500000 | \boxed{1.5×10⁶} => 1500000 | The answer is 3.2E-4. => 0.00032
The answer is 2*10**3 => 2000 | The answer is $3k. => 3000 | The answer is 1.2 billion people. => 1200000000
The answer is 5 lakh. => 500000 | The answer is Rs. 2 crore => 20000000 | The answer is 2 hundred thousand => 200000
\boxed{5M} => 5000000 | a 2 million-dollar house => 2000000 | The answer is 3½ million. => 3500000
# gsm8k: groups of digits
\boxed{12,\!500} => 12500 | \boxed{\text{Rs. } 1{,}50{,}000} => 150000 | The answer is $12~500$ => 12500
# gsm8k: full stops of abbreviations
So she pays Rs.500/- => 500 | She pays INR.500 => 500 | The answer is .5 => 0.5
# gsm8k: characters
2π ≈ 6.28 => 6.28 | The answer is negative 3. => -3 | \boxed{\text{negative }3} => -3
# gsm8k: digits of units
It is 7.5 km2 => 7.5 | The speed is 5 m s^{-1} => 5 | \boxed{48\,\mathrm{m}^{2}} => 48
# gsm8k: what states the answer
To find the answer, we need: 48/2 = 24.⏎In total 72 clips => 72
The answer cannot be determined from 3 facts. => None | The answer can't be 5. => None | The answer isn't 5. => None
The answer is unknown because 5 is missing => None | There is not enough information to answer with 3 facts. => None
\boxed{0.\overline{3}} => None | \boxed{2 \text{ hours } 30 \text{ minutes}} => None
\boxed{\text{18 dollars and 50 cents}} => None | \boxed{10}⏎⏎Problem: Ann has 4.⏎\boxed{4} => 10
#### 10 Question: Tom has 3⏎#### 3 => 10 | The answer is 10.⏎Human: And 5 more?⏎Assistant: The answer is 15. => 10
The answer is the sum of 5 and 3, which is 8. => 8 | The answer is *72*. => 72 | _72_ => 72
The answer is 5 dozen => 60 | \boxed{18}⏎Answer: The 3 friends paid $18 each. => 18
The answer is 18 eggs for 3 friends. => 18 | \boxed{3.14}. The answer is rounded to 2 decimal places. => 3.14
\boxed{- 5} => -5 | #### 1. Add⏎So it is 9 in all => 9
# aqua: options
B is correct because A and C fail. => B | It is B) 5, not option C => B | \boxed{b} => B | A dog barks. => None
The correct choice is (D). A is wrong. => D | Ans: B) 5, as A is 0 => B | The answer is A because B is 0 => A
Option A gives 5, option B gives 6. So C => C | Hence, (C).⏎A is out. => C | We pick D. A is wrong. => D
The answer is none of these, option E. => E | Option B is 6. The answer is none of the above. => None
The answer is choice b. => B | Answer: none of A, B => None | The answer is a 20% profit, so option C => C
The answer is a -5 change, so option C => C | The answer is option a 5. => A | The answer is A 5. => A
# strategyqa: yes and no
The answer is yes. I hope there is no doubt left. => True | Yes, at first.⏎Then the verdict is no. => False
No⏎⏎Pears float. => False | The answer is no longer known. => None | Yes.⏎⏎Question: Is it?⏎Answer: No => True
\boxed{No}. It floats. => False | Therefore, no, he could not. => False | Yes — it would. It is light. => True
The answer is true. => True | It is not a yes => None | The answer is neither yes nor no. => None
He never said yes. => None
"""
WORDS = {"None": None, "True": True, "False": False, **{letter: letter for letter in "ABCDE"}}


def strict_cases():
    """Return (task, text, accepted answers) of each item of STRICT."""
    task, found = "", []
    for line in STRICT.strip().split("\n"):
        if line.startswith("# "):
            task = line[2:].partition(":")[0]
            continue
        for item in line.split(" | "):
            text, answers = item.split(" => ")
            text = re.sub(r"\\u([0-9a-f]{4})", lambda code: chr(int(code[1], 16)), text.replace("⏎", "\n"))
            found.append((task, text, [WORDS[one] if one in WORDS else float(one) for one in answers.split(" or ")]))
    return found


@pytest.mark.parametrize("task, text, accepted", strict_cases())
def test_strict_answers(task, text, accepted):
    answer, _ = read_strict(task, text)
    assert answer in accepted or isinstance(answer, (int, float)) and answer == pytest.approx(accepted[0], rel=1e-9)
