"""Answer rules: what is read from real-looking responses, how it is compared and voted on."""

import json
import math
import re
import time

import pytest

from data_loader.answers import (
    clean_up,
    count_votes,
    extract,
    extract_strict,
    gold,
    is_correct,
    is_correct_strict,
    majority_vote,
    verdicts,
)
from tests.commands import ROOT

CASES = ROOT.parent / "shared" / "cases"


# The published rule, and golds: task, text => answer. The types are compared too.
PUBLISHED = [
    ("gsm8k", "## Step 1: 48/2 = 24\nThe final answer is $\\boxed{72}$.", 72),
    ("gsm8k", "She makes $1,450,000.", 1450000),
    ("gsm8k", "That is 12.5% of it", 12.5),
    ("gsm8k", "about 3.14159", 3.14),
    ("gsm8k", "The answer is 72.0", 72.0),
    ("gsm8k", "the balance is -5", 5),  # the sign is lost
    ("gsm8k", "It is ٣٫ or ٤٢.٥", 42.5),
    ("gsm8k", "9" * 400 + ".5", math.inf),
    ("gsm8k", "9" * 10000, None),  # more digits than Python reads
    ("gsm8k", "no number here", None),
    ("aqua", "The final answer is $\\boxed{B}$.", "B"),
    ("aqua", "(C) is right", "C"),
    ("aqua", "The answer is B. I took a number.", "A"),  # the article counts as option A
    ("du", "F", "F"),
    ("aqua", "Nothing", None),
    ("strategyqa", "## Step 1: No evidence.\nYes", True),
    ("strategyqa", "Yes or no? NO.", False),
    ("strategyqa", "I know nothing about it", None),
    ("strategyqa", "That is true", None),
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
    ("gsm8k", "5 eggs", None),
    ("aqua", "C", "C"),
    ("du", "f", "F"),
    ("aqua", "AB", None),
    ("strategyqa", "Yes", True),
    ("strategyqa", "False", False),
    ("strategyqa", "maybe", None),
]


@pytest.mark.parametrize(
    "rule, task, text, answer", [*((extract, *case) for case in PUBLISHED), *((gold, *case) for case in GOLDS)]
)
def test_the_published_rule_and_golds(rule, task, text, answer):
    assert rule(task, text) == answer and type(rule(task, text)) is type(answer)


def test_a_number_of_ten_thousand_digits_is_no_crash():
    assert extract_strict("gsm8k", "9" * 10000) is None
    assert extract_strict("gsm8k", "9" * 400 + "." + "9" * 5) is None
    for same in (is_correct, is_correct_strict):
        assert not same(extract("gsm8k", "9" * 400 + ".0"), 5)
        assert not same(10**400, 5.0)


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
    extract_strict("gsm8k", text)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "task, response, answer, published, strict",
    [
        ("asdiv-aug", "72.0", "72", True, True),
        ("asdiv-aug", "$1,450,000", "1,450,000", True, True),
        ("asdiv-aug", "\\boxed{-5}", "-5", False, True),  # the response's sign is lost, the gold's is kept
        ("asdiv-aug", "\\boxed{5}", "-5", False, False),
        ("asdiv-aug", "\\boxed{-5}", "5", True, False),
        ("asdiv-aug", "3.14", "3.14159", False, True),  # the response is rounded, the gold is not
        ("asdiv-aug", "3.14159", "3.14", True, True),
        ("asdiv-aug", "\\boxed{1/2}", "0.5", False, True),
        ("asdiv-aug", "nothing", "5", False, False),
        ("gsm8k", "\\boxed{0.0402}", "0.0401", False, False),  # below 0.1, two places are too few
        ("gsm8k", "\\boxed{\\frac{1}{64}}", "0.015625", False, True),
        ("gsm8k", "\\boxed{2.5 \\text{ million}}", "2500000", False, True),
        ("gsm8k", "\\boxed{2.5 \\text{ million}}", "2.5", True, True),  # asked in millions
        ("gsm8k", "\\boxed{2.5}", "2500000", False, False),
        ("gsm8k", "nothing", "unreadable", False, False),
        ("du", "\\boxed{F}", "F", True, True),
        ("strategyqa", "So the answer is No", "No", True, True),
        ("strategyqa", "Perhaps", "No", False, False),
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


@pytest.mark.parametrize(
    "text, cleaned",
    [("It is 3 .5 , or 4 ? No !", "It is 3.5, or 4? No!"), ("I do n't ' x ' 's 'm 've 're", "I don't'x''s'm've're")],
)
def test_text_is_cleaned_up_as_the_published_version_of_transformers_does(text, cleaned):
    assert clean_up(text) == cleaned


@pytest.mark.skipif(not CASES.is_dir(), reason=f"no {CASES}")
def test_shared_cases_are_read_right():
    for line in (CASES / "responses.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        row = verdicts(case["task"], [case["response"]], case["gold"])
        assert row["answers_strict"][0] in case.get("strict_one_of", [case.get("strict")]), case
        assert row["correct_strict"] is case.get("correct_strict", row["correct_strict"]), case
    for value in json.loads((CASES / "golds_gsm_hard.json").read_text()):
        assert gold("gsm8k", str(value)) == value
        assert verdicts("gsm8k", [f"The answer is {value:,}."], str(value))["correct_strict"]


# The strict rule, by task and kind: text => answer, or several that are right. ⏎ is a new line.
STRICT = r"""
# gsm8k: plain
\boxed{72} => 72 | \boxed{10} and then \boxed{72}. That took 3 steps. => 72 | \boxed{-5} => -5
\boxed{-\$1,234.50} => -1234.5 | \boxed{\frac{3}{4}} => 0.75 | \boxed{\dfrac{-3}{4}} => -0.75
\boxed{-\frac{10}{5}} => -2 | \boxed{3/4} => 0.75 | \boxed{1\frac{1}{2}} => 1.5 | \boxed{1 1/2} => 1.5
\boxed{1/0} => None | \boxed{\text{18 dollars}} => 18 | \boxed{18\text{ dollars}} => 18
\boxed{18 \, \text{cm}^2} => 18 | \boxed{50\%} => 50 | \boxed{x = 5} => 5 | \boxed{2 \times 9 = 18} => 18
\boxed{1{,}000} => 1000 | \boxed{1,000,000} => 1000000 | \boxed{$42$} => 42 | \boxed{.5} => 0.5
\boxed{}⏎The answer is 7. => 7 | \boxed{12} then \boxed{13 => 12 | \boxed{unknown} => None
The answer is 18 eggs, which takes 2 days. => 18 | So the final answer is: **$1,080.00**. => 1080
Answer: 42⏎I checked it 3 times. => 42 | The answer is 10/4 = 2.5 litres. Done in 2 steps. => 2.5
The answer is \u22127 degrees => -7 | He did 3 * 4 = 12⏎#### 12 => 12 | It fell to -4 => -4 | We get 10-4 => None
We get 10 - 4 => None | between 5\u20136 => None | It costs $3. => 3 | x=-3 => -3 | He has 20 left. => 20
\boxed{3*4} => 12 | \boxed{3*4 \text{ apples}} => None | The answer is 2*6 => 12 | Total: 3*4 => None
## Step 1: 48 * => None | 3 * 4 = 12 => 12 | The final answer is 7 (7 = 3 + 4). => 7 | \boxed{\frac{1}{3}} => 0.33
\boxed{-12.5^\circ C} => -12.5 | \boxed{£3.50} => 3.5 | \boxed{\$1,250.75} => 1250.75
The final answer is 12.5 %. => 12.5 | \boxed{1\,000} => 1000 | \boxed{1 000 000} => 1000000
\boxed{5 \text{ km/h}} => 5 | \boxed{12 hours and 30 minutes} => 12 | \boxed{\text{The answer is 12 apples}} => 12
So 25% of 80 is 20. The answer is \boxed{20 \text{ apples}}. => 20 | Therefore, she has $18 left over. => 18
\boxed{\sqrt{16}} => 4 | \boxed{\sqrt[3]{27}} => 3 | \boxed{2^3} => 8 | \boxed{3 \times 4} => 12 | \boxed{3*4} => 12
\boxed{3 × 4} => 12 | \boxed{12 + 3} => 15 | \boxed{20 \u2212 4} => 16 | \boxed{-3 - 4} => -7
\boxed{(3+4) \cdot 2} => 14 | \boxed{12 \div 4} => 3 | \boxed{1.5 \times 10^3} => 1500 | \boxed{\frac{1.5}{3}} => 0.5
\boxed{\dfrac{1,200}{4}} => 300 | \boxed{\frac34} => 0.75 | \boxed{\frac34 + 1} => 1.75 | \boxed{2\frac{1}{2}} => 2.5
## Step 2: 48+24 = 72⏎The final answer is $\boxed{7 => None | ## Step 1: 48/2 = 24⏎## Step 2: 48+24 = => None
## Step 1: 48/2 = 24⏎## Step 2: 48 + => None | I cannot tell => None
# gsm8k: expressions
\boxed{6.02 \times 10^{23}} => 602000000000000000000000 | \boxed{2 \cdot 10^3 \text{ m}} => 2000
\boxed{7 \times 8 \text{ eggs}} => 56 or None | \boxed{12 \text{ apples} + 3 \text{ apples}} => 15 or None
\boxed{12 apples + 3 pears} => 15 or None | \boxed{25\% of 80} => 20 or None | The answer is 25% of 80 => 20 or None
25 percent of 80 => 20 or None
\boxed{3\pi \text{ cm}} => 9.42 or None | \boxed{\pi} => 3.14 or None | \boxed{2\pi r} => None | \boxed{3x} => None
\boxed{2x + 3} => None | \boxed{\tfrac{3}{4}} => 0.75 | \boxed{1\tfrac{1}{2} \text{ cups}} => 1.5
The answer is \dfrac{7}{2} cups. => 3.5 | \boxed{\frac{3+4}{2}} => 3.5 | \boxed{\frac{1}{2} \text{ cup}} => 0.5
\boxed{3/4 \text{ cup}} => 0.75 | The answer is 3/4 of a cup. => 0.75 | \boxed{\sqrt{2} \text{ m}} => 1.41 or None
\boxed{√16} => 4 | \boxed{\sqrt{9+16}} => 5 | The answer is 3 * 4 apples. => 12 or None
The answer is 3 × 4 = 12 apples. => 12 | She pays 5 × 3 => 15 or None | \boxed{48 \div 2 \text{ clips}} => 24 or None
\boxed{10 - 3 \text{ kg}} => 7 or None | \boxed{2(3+4)} => 14 | \boxed{(2)(3)} => 6 | \boxed{100 - 25 \%} => 75 or None
\boxed{3:4} => None | The answer is 5:30. => None | \boxed{3^2 \times 2} => 18 | \boxed{2^{10} \text{ bytes}} => 1024
\boxed{20 \text{ miles/hour}} => 20 | \boxed{20/\text{hour}} => 20 | \boxed{\frac{\sqrt{3}}{2}} => 0.87
\boxed{1.5 \text{ hours} \times 60} => 90 or None
# gsm8k: exponents and magnitude words
\boxed{1.5 x 10^6} => 1500000 | \boxed{1.5×10⁶} => 1500000 | The answer is 3.2E-4. => 0.00032
\boxed{3.2e4 \text{ m}} => 32000 | The answer is 1.5*10^6 watts. => 1500000 | The answer is 1.5 × 10⁻³. => 0.0015
The answer is 2*10**3 => 2000 | She makes 2.5 million dollars => 2500000 | The answer is $3k. => 3000
\boxed{3 \text{ million}} => 3000000 | The answer is 1.2 billion people. => 1200000000
The answer is 5 lakh. => 500000 | The answer is Rs. 2 crore => 20000000 | \boxed{\$1.5M} => 1500000
The answer is 2 hundred thousand => 200000 | The answer is 2 thousand. => 2000 | \boxed{5 km} => 5 | \boxed{5 kg} => 5
\boxed{5 m} => 5 | \boxed{5M} => 5000000 | a 2 million-dollar house => 2000000 | The answer is 3½ million. => 3500000
\boxed{1/2 \text{ million}} => 500000 | The answer is $2.5 Million. => 2500000 | The answer is 1.5E+06. => 1500000
The answer is 2.5-million dollars. => 2500000 | \boxed{10^6} => 1000000 | \boxed{10^{-3}} => 0.001
It is 4.5e3 in total => 4500 | The answer is 50 percent. => 50 | The answer is 50 %. => 50
The answer is 12.5％ => 12.5
# gsm8k: groups of digits
The answer is 1 250 000. => 1250000 | The answer is 12\u202f500. => 12500 | The answer is 12\u00a0500 dollars => 12500
The answer is 12\u2009500 => 12500 | \boxed{12\,500\,000} => 12500000 | \boxed{12\;500} => 12500
\boxed{12\ 500} => 12500 | \boxed{1,23,45,678} => 12345678 | Rs. 12,34,567 => 1234567
The answer is ₹1,50,000 => 150000 | The answer is 1'250'000 => 1250000 | The answer is 1_000_000 => 1000000
\boxed{12{,}500} => 12500 | \boxed{12,\!500} => 12500 | She has 12 500 dollars left => 12500
The answer is 3 200-gram bags => 3 | \boxed{1 250.50} => 1250.5 | The answer is 12,500.75 dollars => 12500.75
\boxed{12 500 \text{ dollars}} => 12500 | The answer is 1,250, and that is all. => 1250
The answer is 12 500 km. => 12500 | The answer is 1,000,000,000. => 1000000000
\boxed{\text{Rs. } 1{,}50{,}000} => 150000 | The answer is $12~500$ => 12500
# gsm8k: full stops of abbreviations
So she pays Rs.500/- => 500 | The answer is Rs.500.50 => 500.5 | The answer is Rs. 500. => 500
So the answer is..72 => 72 | Approx.72 => 72 | The answer is No.5 => 5 | \boxed{Rs.\,500} => 500
She pays INR.500 => 500 | The answer is .5 => 0.5 | It is 0.5. => 0.5 | \boxed{\text{Rs.}500} => 500
The total is…72 => 72 | So the cost is $.75 => 0.75
# gsm8k: characters
The answer is \u22125. => -5 | The answer is \u20105. => -5 | The answer is \u20115. => -5
The answer is \u20125. => -5 | The answer is \u20135. => -5 | The answer is \uff0d5. => -5
The answer is \ufe635. => -5 | \boxed{\u2212½} => -0.5 | The answer is 3½ cups => 3.5 | The answer is 2 ½. => 2.5
\boxed{2¾} => 2.75 | The answer is ⅔ => 0.67 | The answer is 1⁄2 => 0.5 | The answer is ７２ => 72
\boxed{１，２５０} => 1250 | The answer is ٧٢ => 72 | The answer is 𝟕𝟐. => 72 | The answer is 5² => 25
\boxed{2⁵} => 32
The answer is 3\u200b5 => 35 | The answer is 2 1/2. => 2.5 | \boxed{2 \frac{1}{2}} => 2.5
\boxed{-2\frac{1}{2}} => -2.5 | It is \u22123.5°C => -3.5 | The answer is ＄７２ => 72
# gsm8k: digits of units
The volume is 125 cm³. => 125 | The area is 48 m^2 => 48 | It is 7.5 km2 => 7.5 | It is 9.8 m/s2 => 9.8
It is 9.8 m/s^2. => 9.8 | It emits 44 g of CO2 => 44 | She needs 18 g of H2O. => 18 | There are 6 H_2O molecules => 6
There are 6 of H₂O => 6 | The area is 12 ft2. => 12 | \boxed{125 \text{ cm}^3} => 125 | \boxed{48m2} => 48
So she pays USD500. => 500 | So she pays USD 500 => 500 | It costs US$500 => 500 | It costs EUR20 => 20
She pays rs500 => 500 | It is 12 m3 of CO2 => 12 | 5 g/cm3 => 5 | The answer is 60 kg/m^{3} => 60
The speed is 5 m s^{-1} => 5 | \boxed{48\,\mathrm{m}^{2}} => 48
# gsm8k: what states the answer
To answer this, we need: 48/2 = 24.⏎In total 48+24 = 72. => 72
To find the answer, we need: 48/2 = 24.⏎In total 72 clips => 72 | Let's answer this: 5 + 3⏎She has 8 => 8
In order to answer the question: first, 24 is half.⏎Total 72 => 72
Before we answer: 24 is half. The total is 72 => 72 | We add them to get the final answer: 72. It took 2 steps => 72
The answer cannot be determined from 3 facts. => None | The answer can't be 5. => None | The answer isn't 5. => None
The answer is unknown because 5 is missing => None | The answer is not 5. => None
There is not enough information to answer with 3 facts. => None
<think>It is 5. The answer is 6.</think>The answer is 7. => 7 | <think>⏎The answer is 6. => None
so 6⏎</think>⏎⏎It is 7 in all => 7 | <think>\boxed{6}</think> => None | 5+5=10⏎#### 10⏎⏎Q: Tom has 3 cats?⏎A: 3 => 10
The answer is 10.⏎⏎**Question 2:** Tom has 3 cats.⏎The answer is 3. => 10
\boxed{10}⏎⏎Problem: Ann has 4.⏎\boxed{4} => 10 | #### 10 Question: Tom has 3⏎#### 3 => 10
Question: Tom has 3 cats.⏎Answer: 7 => 7 | The answer is 10.⏎Human: And 5 more?⏎Assistant: The answer is 15. => 10
\boxed{12}. Wait, that is wrong. The answer is 13. => 13 | The final answer is: $\boxed{-7}$ => -7
**Final Answer**: 72 => 72 | **Answer:** 72 clips => 72 | ### Answer⏎72 => 72 | Answer:⏎⏎72 => 72 | ANSWER: 72 => 72
Ans. 72 => 72 | Ans: 72, as 48+24=72. => 72 | The answer, rounded to two places, is 3.14. => 3.14
The answer is 18, where x = 6. => 18 | The answer is the sum of 5 and 3, which is 8. => 8
The answer is that she has 5 apples. => 5 | The answer is approximately 3.14. => 3.14
The answer to question 3 is 8. => 8 | The answer is obtained by adding 5 and 3, giving 8. => 8
The answer is *72*. => 72 | _72_ => 72 | The answer is 72! => 72 | The answer is therefore 72. => 72
The final answer is 7 (7 = 3 + 4). => 7 | The correct answer is 5, not 6. => 5
Your answer of 5 is wrong. It is 6 => 6 | #### Step 2: 3+4 = 7⏎She has 9 => 9 | #### -5 => -5 | Answer = 72 => 72
answer: $72$ dollars => 72 | The answer should be 72. => 72
The answer is 72 clips - 48 in April and 24 in May. => 72 or None | She pays 12 dollars, i.e. 3 × 4. => 12 or None
\boxed{5 + 3 => None | The answer is 5 dozen => 60 | The number of eggs is 18 (3 × 6). => 18 or None
So the total cost is $72.00. => 72 | The answer is $1,080. => 1080 | The answer is 3 hours and 20 minutes. => 3
\boxed{\$18\text{ per day}} => 18 | \boxed{\approx 3.14} => 3.14 | x \approx 3.14 => 3.14 | \boxed{x \geq 5} => 5
# aqua: options
\boxed{B} => B | \boxed{b} => B | \boxed{\text{(D)}} => D | \boxed{\textbf{E}} => E | \boxed{C) 12 km} => C
The answer is C, that is \boxed{12}. => C | The correct answer is (B), because C is too large. => B
The answer is B. I took a number. => B | A number was chosen. So D => D | So A is correct. => A | A dog barks. => None
The answer is a dog. => None | a => None | I'd say E => E | Option **D** => D | F => None | nothing => None
\boxed{\text{B) } 12 \text{ km}} => B | \boxed{\text{Option C}} => C | The answer is (c). => C
The final answer is e => E | A train leaves. In a way, b is large. So the answer is D => D
We need a number.⏎Therefore C => C | ## Step 1: 2/3 of A Street⏎The answer is \boxed{ => None
The answer is option C. => C | The correct choice is (D). A is wrong. => D | Ans: B) 5, as A is 0 => B | Ans. (E) => E
**B** => B | (B) 12 km => B | B) 12 km, since A is too small => B | the correct answer is B) 5 => B
choice (C) matches. A and B do not. => C | Option B is correct. A forgets tax. => B | I choose C because A is low. => C
This matches option B. Note that A is a distractor. => B | Answer: (a) => A | answer: option c => C
The answer is not A. => None | The answer is not A but B. => None or B | \boxed{\text{choice (D)}} => D
The answer is A because B is 0 => A | The answer is A. => A | Option A gives 5, option B gives 6. So C => C
So, the answer is (C) 12. Question: What? A) 1⏎Answer: A => C | <think>Option A</think>Option D => D
The answer is 12 km, which is option E. A is 3. => E | Answer: **C**⏎A: no, B: no => C | The correct option: D => D
Correct answer - B => B | D. 12 => D | Hence, (C).⏎A is out. => C | The best choice is B, not A => B
The answer is Ｃ. => C | \boxed{C: 5} => C | Therefore, option D is the correct answer, as A and E fail. => D
The right answer is B; C was close. => B | The option B => B | We pick D. A is wrong. => D
To answer this, A is 5. B is 6. The answer is C. => C | The answer cannot be determined. => None | option (B) 15 => B
Option A is wrong. Option B is right. C is silly. => B | The answer is $\boxed{B}$. A is wrong. => B | #### D => D
The answer is choice b. => B | Answer: C. A is cheap => C | Answer: none of A, B => None
A) 5⏎B) 6⏎C) 7⏎The sum is 7, so C => C | The answer is: C⏎⏎Explanation: A is 0. => C
Thus the answer is E and not D. => E | the answer is (B), and not (A) => B | My answer: D => D
# strategyqa: yes and no
## Step 1: There is no sea.⏎The final answer is Yes => True | The final answer is **No**. => False
\boxed{\text{No}} => False | No, he could not. => False | Yes. => True | There is no evidence for it. => None
The answer is yes. I hope there is no doubt left. => True | Yes, at first.⏎Then the verdict is no. => False
## Step 1: Would it float? Yes, in salt water.⏎## Step 2: Lakes are fresh.⏎No => False
Is it so? Yes. But that was long ago. The final answer is \boxed{No}. => False
No sea is near. Yes, there are lakes. The answer is: YES => True | ## Step 1: Yes, at first, but the sea is => None
Maybe => None | No. It would sink. => False | Yes! It would. => True | No, pears float. They would not. => False
No⏎⏎Pears float. => False | No: it floats. It is light. => False | The answer is not no. => None
The answer isn't yes. => None | I would not say yes. => None | The answer is no, as yes would need 5. => False
The answer is definitely yes. => True | The answer is a clear no. => False | Answer: **No**. Yes is wrong. => False
So the answer is: yes. => True | No one knows it. It is old. => None | No evidence exists. It is old. => None
The answer is no longer known. => None | The answer is unclear. => None | The answer cannot be yes. => None
Yes.⏎⏎Question: Is it?⏎Answer: No => True | <think>No.</think>Yes. => True | <think>The answer is no. => None
**No.** It floats. => False | \boxed{No}. It floats. => False | #### Yes => True
Therefore, no, he could not. => False | Yes — it would. It is light. => True | The answer is true. => True
The final answer would be no. => False | To answer yes, we need proof. It is not there. => None
It is not a yes => None | The answer is neither yes nor no. => None | So, yes. => True | Ans: No => False
YES. It would. => True | The answer is probably no => False | No way to tell it is there. He ran. => None
Final answer: NO! => False | He never said yes. => None
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
    answer = extract_strict(task, text)
    assert answer in accepted or isinstance(answer, (int, float)) and answer == pytest.approx(accepted[0], rel=1e-9)
