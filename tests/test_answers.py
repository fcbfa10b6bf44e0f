"""Answer rules: what is read from real-looking responses, how it is compared and voted on."""

import time

import pytest

from data_loader.answers import (
    count_votes,
    extract,
    extract_strict,
    gold,
    is_correct,
    is_correct_strict,
    majority_vote,
    verdicts,
)


@pytest.mark.parametrize(
    "text, answer",
    [
        ("## Step 1: 48/2 = 24\nThe final answer is $\\boxed{72}$.", 72),
        ("She makes $1,450,000.", 1450000),
        ("That is 12.5% of it", 12.5),
        ("about 3.14159", 3.14),
        ("The answer is 72.0", 72.0),
        ("the balance is -5", 5),  # the published rule loses the sign
        ("\\boxed{18} dollars for 3 days", 3),
        ("no number here", None),
        ("", None),
    ],
)
def test_published_number_is_the_last_one(text, answer):
    assert extract("gsm8k", text) == answer
    assert type(extract("gsm8k", text)) is type(answer)


def test_a_number_of_ten_thousand_digits_is_no_crash():
    for task_rule in (extract, extract_strict):
        assert task_rule("gsm8k", "9" * 10000) is None
    assert gold("gsm8k", "9" * 10000) is None
    for same in (is_correct, is_correct_strict):
        assert not same(extract("gsm8k", "9" * 400 + ".0"), 5)
        assert not same(10**400, 5.0)
    assert extract_strict("gsm8k", "9" * 400 + "." + "9" * 5) is None


@pytest.mark.parametrize(
    "text, answer",
    [
        ("The final answer is $\\boxed{B}$.", "B"),
        ("(C) is right", "C"),
        ("The answer is B. I took a number.", "A"),  # the article counts as option A
        ("F", "F"),
        ("Nothing", None),
    ],
)
def test_published_choice_is_the_last_letter(text, answer):
    assert extract("aqua", text) == extract("du", text) == answer


@pytest.mark.parametrize(
    "text, answer",
    [
        ("## Step 1: No evidence.\nYes", True),
        ("Yes or no? NO.", False),
        ("I know nothing about it", None),
        ("That is true", None),
    ],
)
def test_published_yes_no_is_the_last_word(text, answer):
    assert extract("strategyqa", text) is answer


@pytest.mark.parametrize(
    "text, answer",
    [
        ("\\boxed{72}", 72),
        ("\\boxed{10} and then \\boxed{72}. That took 3 steps.", 72),
        ("\\boxed{-5}", -5),
        ("\\boxed{-\\$1,234.50}", -1234.5),
        ("\\boxed{\\frac{3}{4}}", 0.75),
        ("\\boxed{\\dfrac{-3}{4}}", -0.75),
        ("\\boxed{-\\frac{10}{5}}", -2),
        ("\\boxed{3/4}", 0.75),
        ("\\boxed{1\\frac{1}{2}}", 1.5),
        ("\\boxed{1 1/2}", 1.5),
        ("\\boxed{1/0}", None),
        ("\\boxed{\\text{18 dollars}}", 18),
        ("\\boxed{18\\text{ dollars}}", 18),
        ("\\boxed{18 \\, \\text{cm}^2}", 18),
        ("\\boxed{50\\%}", 50),
        ("\\boxed{x = 5}", 5),
        ("\\boxed{2 \\times 9 = 18}", 18),
        ("\\boxed{1{,}000}", 1000),
        ("\\boxed{1,000,000}", 1000000),
        ("\\boxed{$42$}", 42),
        ("\\boxed{.5}", 0.5),
        ("\\boxed{}\nThe answer is 7.", 7),
        ("\\boxed{12} then \\boxed{13", 12),
        ("\\boxed{unknown}", None),
        ("The answer is 18 eggs, which takes 2 days.", 18),
        ("So the final answer is: **$1,080.00**.", 1080),
        ("Answer: 42\nI checked it 3 times.", 42),
        ("The answer is 10/4 = 2.5 litres. Done in 2 steps.", 2.5),
        ("The answer is \u22127 degrees", -7),
        ("He did 3 * 4 = 12\n#### 12", 12),
        ("It fell to -4", -4),
        ("We get 10-4", 4),
        ("We get 10 - 4", 4),
        ("between 5\u20136", 6),
        ("It costs $3.", 3),
        ("x=-3", -3),
        ("He has 20 left.", 20),
        # products: worked out where they are the answer, else unread; how an answer came about is no answer
        ("\\boxed{3*4}", 12),
        ("\\boxed{3*4 \\text{ apples}}", None),
        ("The answer is 2*6", 12),
        ("Total: 3*4", None),
        ("## Step 1: 48 *", None),
        ("3 * 4 = 12", 12),
        ("The final answer is 7 (7 = 3 + 4).", 7),
        ("\\boxed{\\frac{1}{3}}", 0.33),
        # decimals, currency, percent, degrees, thousands separators, units after the number
        ("\\boxed{-12.5^\\circ C}", -12.5),
        ("\\boxed{£3.50}", 3.5),
        ("\\boxed{\\$1,250.75}", 1250.75),
        ("The final answer is 12.5 %.", 12.5),
        ("\\boxed{1\\,000}", 1000),
        ("\\boxed{1 000 000}", 1000000),
        ("\\boxed{5 \\text{ km/h}}", 5),
        ("\\boxed{12 hours and 30 minutes}", 12),
        ("\\boxed{\\text{The answer is 12 apples}}", 12),
        ("So 25% of 80 is 20. The answer is \\boxed{20 \\text{ apples}}.", 20),
        ("Therefore, she has $18 left over.", 18),
        # expressions in place of one number
        ("\\boxed{\\sqrt{16}}", 4),
        ("\\boxed{\\sqrt[3]{27}}", 3),
        ("\\boxed{2^3}", 8),
        ("\\boxed{3 \\times 4}", 12),
        ("\\boxed{3*4}", 12),
        ("\\boxed{3 × 4}", 12),
        ("\\boxed{12 + 3}", 15),
        ("\\boxed{20 − 4}", 16),
        ("\\boxed{-3 - 4}", -7),
        ("\\boxed{(3+4) \\cdot 2}", 14),
        ("\\boxed{12 \\div 4}", 3),
        ("\\boxed{1.5 \\times 10^3}", 1500),
        ("\\boxed{\\frac{1.5}{3}}", 0.5),
        ("\\boxed{\\dfrac{1,200}{4}}", 300),
        ("\\boxed{\\frac34}", 0.75),
        ("\\boxed{\\frac34 + 1}", 1.75),
        ("\\boxed{2\\frac{1}{2}}", 2.5),
        # cut off
        ("## Step 2: 48+24 = 72\nThe final answer is $\\boxed{7", None),
        ("## Step 1: 48/2 = 24\n## Step 2: 48+24 =", None),
        ("## Step 1: 48/2 = 24\n## Step 2: 48 +", None),
        ("I cannot tell", None),
        ("", None),
    ],
)
def test_strict_number(text, answer):
    assert extract_strict("gsm8k", text) == answer


@pytest.mark.parametrize(
    "text, answer",
    [
        ("\\boxed{B}", "B"),
        ("\\boxed{b}", "B"),
        ("\\boxed{\\text{(D)}}", "D"),
        ("\\boxed{\\textbf{E}}", "E"),
        ("\\boxed{C) 12 km}", "C"),
        ("The answer is C, that is \\boxed{12}.", "C"),
        ("The correct answer is (B), because C is too large.", "B"),
        ("The answer is B. I took a number.", "B"),
        ("A number was chosen. So D", "D"),
        ("So A is correct.", "A"),
        ("A dog barks.", None),
        ("The answer is a dog.", None),
        ("a", None),
        ("I'd say E", "E"),
        ("Option **D**", "D"),
        ("F", None),
        ("nothing", None),
        ("\\boxed{\\text{B) } 12 \\text{ km}}", "B"),
        ("\\boxed{\\text{Option C}}", "C"),
        ("The answer is (c).", "C"),
        ("The final answer is e", "E"),
        ("A train leaves. In a way, b is large. So the answer is D", "D"),
        ("We need a number.\nTherefore C", "C"),
        ("## Step 1: 2/3 of A Street\nThe answer is \\boxed{", None),
    ],
)
def test_strict_choice(text, answer):
    assert extract_strict("aqua", text) == answer


def test_strict_choice_knows_the_tasks_letters():
    assert extract_strict("du", "\\boxed{F}") == "F"


@pytest.mark.parametrize(
    "text, answer",
    [
        ("## Step 1: There is no sea.\nThe final answer is Yes", True),
        ("The final answer is **No**.", False),
        ("\\boxed{\\text{No}}", False),
        ("No, he could not.", False),
        ("Yes.", True),
        ("There is no evidence for it.", None),
        ("The answer is yes. I hope there is no doubt left.", True),
        ("Yes, at first.\nThen the verdict is no.", False),
        ("## Step 1: Would it float? Yes, in salt water.\n## Step 2: Lakes are fresh.\nNo", False),
        ("Is it so? Yes. But that was long ago. The final answer is \\boxed{No}.", False),
        ("No sea is near. Yes, there are lakes. The answer is: YES", True),
        ("## Step 1: Yes, at first, but the sea is", None),
        ("Maybe", None),
        ("", None),
    ],
)
def test_strict_yes_no(text, answer):
    assert extract_strict("strategyqa", text) is answer


@pytest.mark.parametrize(
    "task, answer, published, strict",
    [
        ("gsm8k", "1,080", 1080, 1080),
        ("gsm8k", "-5", -5, -5),
        ("asdiv-aug", "-1,234.5", -1234.5, -1234.5),
        ("asdiv-aug", "3.14159", 3.14159, 3.14),
        ("asdiv-aug", "7.0", 7.0, 7),
        ("gsm8k", "none", None, None),
        ("gsm8k", "$5", None, 5),
        ("gsm8k", "5 eggs", None, 5),
        ("aqua", "C", "C", "C"),
        ("du", "F", "F", "F"),
        ("du", "f", "F", "F"),
        ("du", "a dog", None, None),
        ("aqua", "AB", None, None),
        ("aqua", "", None, None),
        ("strategyqa", "Yes", True, True),
        ("strategyqa", "No", False, False),
        ("strategyqa", "True", True, True),
        ("strategyqa", "maybe", None, None),
    ],
)
def test_gold_answers(task, answer, published, strict):
    for rule, expected in ((gold(task, answer), published), (gold(task, answer, strict=True), strict)):
        assert rule == expected and (rule is None) is (expected is None)
    assert type(gold(task, answer)) is type(published)


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
        ("asdiv-aug", "72", "72.0", True, True),
        ("asdiv-aug", "$1,450,000", "1,450,000", True, True),
        ("asdiv-aug", "\\boxed{-5}", "-5", False, True),  # the response's sign is lost, the gold's is kept
        ("asdiv-aug", "\\boxed{5}", "-5", False, False),
        ("asdiv-aug", "\\boxed{-5}", "5", True, False),
        ("asdiv-aug", "3.14", "3.14159", False, True),  # the response is rounded, the gold is not
        ("asdiv-aug", "3.14159", "3.14159", False, True),
        ("asdiv-aug", "3.14159", "3.14", True, True),
        ("asdiv-aug", "0.333", "0.33", True, True),
        ("asdiv-aug", "\\boxed{1/2}", "0.5", False, True),
        ("asdiv-aug", "nothing", "5", False, False),
        ("gsm8k", "nothing", "unreadable", False, False),
        ("du", "\\boxed{F}", "F", True, True),
        ("du", "", "F", False, False),
        ("strategyqa", "So the answer is No", "No", True, True),
        ("strategyqa", "So the answer is No", "Yes", False, False),
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
        ([5, 3, 3, 5, 5], {5: 3, 3: 2}, 5),
        ([5, 5.0, 3], {5: 2, 3: 1}, 5),
        ([3, None, None, None], {3: 1, None: 1}, 3),
        ([None, None, None, 3], {None: 1, 3: 1}, None),  # one each: the first
        ([None, None, 3, 3], {None: 1, 3: 2}, 3),
        ([None, 4, None, 3, None, 3], {None: 1, 4: 1, 3: 2}, 3),
        ([4, None, 3, None], {4: 1, None: 1, 3: 1}, 4),
        ([None, None], {None: 1}, None),
        ([None, True, False, False], {None: 1, True: 1, False: 2}, False),
        (["B", None, "A", "A"], {"B": 1, None: 1, "A": 2}, "A"),
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


def test_unknown_task_lists_the_tasks():
    with pytest.raises(ValueError, match="unknown task 'math'.*gsm8k.*du"):
        extract("math", "1")


def test_a_number_beyond_floats_is_unread():
    assert extract("gsm8k", "9" * 400 + ".5") is None
