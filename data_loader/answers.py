"""Answers: reading them from text, comparing them, voting.

Two rules. The published one is exact, faults included, so that numbers compare with the papers': minus signs of
responses are lost, a stand-alone "a" is option A. Its source is the published code of 2025-05-31, checked against
public logs of 6,033 answers. The strict one reads what the response says. Answers are int or float for number tasks,
"A".."F" for choice tasks, True (yes) or False (no) for yes/no tasks, None if none could be read. Knows nothing of
models or prompts.
"""

import math
import re
from collections import Counter
from fractions import Fraction

from data_loader.tasks import get_task

# Result files record it. 1: gold numbers lost their sign and were rounded, and each unread answer was a vote.
# 2: the published rule.
ANSWER_RULE = 2
_YES_NO = {"yes": True, "true": True, "no": False, "false": False}


def extract(task, text):
    """Return the answer in `text` by the published rule: the last number, letter a-f, or yes/no.

    Published: a number is a run of digits with an optional fraction, found after `,`, `%` and `$` are removed. It is
    an int, or a float rounded to two places. Letters and words stand alone, in either case.
    """
    kind = get_task(task).answer_kind
    if kind == "number":
        found = re.findall(r"[0-9]+(?:\.[0-9]+)?", re.sub(r"[,%$]", "", text))
        return _to_number(found[-1]) if found else None
    if kind == "choice":
        found = re.findall(r"\b[a-f]\b", text.lower())
        return found[-1].upper() if found else None
    found = re.findall(r"\b(?:yes|no)\b", text.lower())
    return _YES_NO[found[-1]] if found else None


def extract_strict(task, text):
    """Return the answer that `text` gives as its final one, or None if it gives none.

    The last complete `\\boxed{...}` first; else what follows the last "answer is" or "answer:";
    else the last number with its sign, the last stand-alone capital letter among the task's
    choices, or the yes/no that opens or closes the last sentence. A response that ends inside its
    only box, or its calculation, gives none.
    """
    task, boxed = get_task(task), last_boxed(text)
    if boxed is None and re.search(r"\\boxed\s*\{[^}]*$", text):
        return None  # cut off inside the box: a number there may have more digits
    return _STRICT[task.answer_kind](task, text, boxed)


def gold(task, answer, strict=False):
    """Return the gold answer (text of the data) as a value to compare with, or None if it is unreadable.

    Published: a number without its `,` is `float(...)` if it has a point, else `int(...)`. It keeps its sign and is
    not rounded, so `extract` never gives a negative one. strict=True reads numbers as `extract_strict` does.
    """
    kind, text = get_task(task).answer_kind, answer.strip()
    if kind == "number":
        return _read_number(text) if strict else _gold_number(text.replace(",", ""))
    if kind == "choice":
        return text.upper() if re.fullmatch("[A-Fa-f]", text) else None
    return _YES_NO.get(text.lower())


def _gold_number(text):
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return None


def is_correct(predicted, gold):
    """Return whether a published answer is the gold one: `==`. An unread answer is never correct."""
    return predicted is not None and predicted == gold


def is_correct_strict(predicted, gold):
    """Return whether a strict answer is the gold one; numbers are compared to two decimal places."""
    if predicted is None or gold is None:
        return False
    if isinstance(gold, (int, float)):
        return round(predicted, 2) == round(gold, 2)
    return predicted == gold


def count_votes(answers):
    """Return {answer: count} in the order of first appearance.

    Published: None (unread) never counts above one, however many there are.
    """
    counts = Counter(answers)
    if None in counts:
        counts[None] = 1
    return dict(counts)


def majority_vote(answers):
    """Return the answer with the highest count of `count_votes`, the first such; None if there are no answers."""
    counts = count_votes(answers)
    return max(counts, key=counts.get, default=None)


def verdicts(task, responses, answer):
    """Return what both rules make of a question's responses: the fields of its result row.

    responses: N x R texts without special tokens; answer: text of the data. The strict vote ignores unread answers.
    """
    answers = [extract(task, text) for text in responses]
    strict = [extract_strict(task, text) for text in responses]
    vote, vote_strict = majority_vote(answers), majority_vote([read for read in strict if read is not None])
    right = gold(task, answer)
    return {
        "gold": right,
        "answers": answers,
        "vote": vote,
        "correct": is_correct(vote, right),
        "answers_strict": strict,
        "vote_strict": vote_strict,
        "correct_strict": is_correct_strict(vote_strict, gold(task, answer, strict=True)),
    }


def last_boxed(text):
    """Return the content of the last `\\boxed{...}` whose braces balance and that is not empty, or None."""
    for start in reversed([m.end() for m in re.finditer(r"\\boxed\s*\{", text)]):
        depth = 1
        for end in range(start, len(text)):
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                if text[start:end].strip():
                    return text[start:end].strip()
                break
    return None


# What stands after the last "answer is", "answer: ", "answer =" ... up to the sentence's end.
_ANSWER_IS = re.compile(
    r"\banswer\b[^.\n:=]{0,40}?(?:\bis\b|:|=|####)[\s:*]*((?:[^.\n]|\.(?=[0-9]))+)|####\s*([^\n]+)",
    re.IGNORECASE,
)


def _stated(text):
    """Return the text after the last statement of an answer, or None."""
    found = list(_ANSWER_IS.finditer(text))
    return (found[-1][1] or found[-1][2]) if found else None


# A sign belongs to a number only if nothing comes before it that it could subtract from.
_SIGN = r"(?:(?<![\w)\]}.])[-+])?"
_DECIMAL = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+"
_NUMBER = re.compile(
    rf"(?P<sign>{_SIGN})(?:"
    rf"(?:(?P<whole>[0-9]+)\s*)?\\[dt]?frac\s*\{{?\s*(?P<p>-?[0-9]+)\s*\}}?\s*\{{?\s*"
    rf"(?P<q>[0-9]+)\s*\}}?"
    rf"|(?:(?P<whole2>[0-9]+)\s+)?(?P<p2>[0-9]+)\s*/\s*(?P<q2>[0-9]+)(?![0-9./])"
    rf"|(?P<decimal>{_DECIMAL}))"
)
# Typography and units' exponents that would hide a number or look like one.
_CLEAN = (
    (re.compile(r"[−–]"), "-"),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|,|!|;|:|\$|%| )"), ""),
    (re.compile(r"\\left|\\right|\\\(|\\\)|\\\[|\\\]"), ""),
    (re.compile(r"\{,\}"), ","),
    (re.compile(r"\^\s*(?:\{[^{}]*\}|-?\w|\\circ)|\^\\circ"), ""),
    (re.compile(r"[$€£%]|\*\*"), ""),  # two stars are bold type, one multiplies
)


def _clean(text):
    for pattern, into in _CLEAN:
        text = pattern.sub(into, text)
    return text


def _to_number(digits):
    """Return an int, or a float rounded to two places; None for more digits than Python reads."""
    try:
        value = round(float(digits), 2) if "." in digits else int(digits)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _value(match):
    """Return the value of a match of _NUMBER: int if it is whole, else float to two places, so that 1/3 and 0.333 vote
    alike; None if none."""
    sign = -1 if match["sign"] == "-" else 1
    try:
        if match["decimal"]:
            value = Fraction(match["decimal"].replace(",", ""))
        else:
            whole = int(match["whole"] or match["whole2"] or 0)
            value = whole + Fraction(int(match["p"] or match["p2"]), int(match["q"] or match["q2"]))
        return sign * (int(value) if value.denominator == 1 else round(float(value), 2))
    except (ValueError, ZeroDivisionError, OverflowError):
        return None


_PRODUCT = re.compile(r"\s*[*×]\s*")


def _read_number(text):
    """Return the first number behind the last "=" of a short answer text, or None.

    An "=" in brackets explains and is passed over. A number that begins a product is a factor, so no answer.
    """
    match = _NUMBER.search(tail := re.sub(r"\([^()]*=[^()]*\)", "", _clean(text)).split("=")[-1])
    return _value(match) if match and not _PRODUCT.match(tail, match.end()) else None


# An arithmetic expression of plain numbers, which a box may hold. The
# list of what it may hold keeps units and variables out, and at most one power keeps it small.
_EXPRESSION = re.compile(r"(?:[0-9.+\-*/(){}\[\]\s]|\^(?!.*\^)|\\(?:[dt]?frac|sqrt|times|cdot|div)(?![a-z])){3,80}")
_LONE_DIGITS = re.compile(r"(\\[dt]?frac)\s*([0-9])\s*([0-9])")  # \frac34
_GROUPED = re.compile(r"(?<![0-9.])[0-9]{1,3}(?: [0-9]{3})+(?![0-9/])")  # 1 000 000


def _expression_value(text):
    """Return the value of an arithmetic expression, None if `text` is none or has no finite value.

    Read by the LaTeX parser of math-verify (latex2sympy2_extended, MIT). math-verify itself is not
    used: on the answers of tests/test_answers.py it is worse than the rules here (units,
    currency, degrees, the last of two boxes) and 100 times slower; both judge numbers alike.
    """
    text = re.sub(r"\\left|\\right|\\[,;:! ]|\$", "", text).replace("{,}", ",")
    text = text.replace("×", r"\times ").replace("−", "-")
    text = _LONE_DIGITS.sub(r"\1{\2}{\3}", re.sub(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", "", text))
    text = text.split("=")[-1].strip()
    if number := _NUMBER.fullmatch(text):
        return _value(number)
    if not _EXPRESSION.fullmatch(text) or not re.search(r"[-+*/^\\]", text):
        return None
    from latex2sympy2_extended import latex2sympy  # takes half a second, and few answers need it

    try:
        value = float(latex2sympy(text).evalf())
    except Exception:  # the parser raises plain Exception for text that is no mathematics
        return None
    if not math.isfinite(value):
        return None
    return int(value) if value.is_integer() else round(value, 2)


def _strict_number(task, text, boxed):
    if boxed is not None:
        value = _expression_value(boxed)
        return _read_number(_GROUPED.sub(lambda m: m[0].replace(" ", ""), boxed)) if value is None else value
    stated = _stated(text)
    value = _read_number(stated) if stated else None
    if value is None and stated and "=" not in stated:
        value = _expression_value(stated)
    if value is not None:
        return value
    text = _clean(text)
    found = list(_NUMBER.finditer(text))
    if not found or re.match(r"\s*(?:=|[-+/×*]|\\times|\\cdot)\s*$", text[found[-1].end() :]):
        return None  # nothing, or a calculation that was cut off
    if re.search(r"[*×]\s*$", text[: found[-1].start()]):
        return None  # a factor of a product that nobody worked out
    return _value(found[-1])


def _strict_choice(task, text, boxed):
    letter = f"[{task.choices}]"
    label = rf"[\s(*{{$]*({letter})(?![\w'’])"
    for answer in (boxed, _stated(text)):
        # A lower-case letter counts as an answer there; "a dog" does not.
        match = answer and re.match(label, _clean(answer), re.IGNORECASE)
        if match and not re.match(r"[\s(]*[aA] [a-z]", _clean(answer)):
            return match[1].upper()
    # "A" before a lower-case word is an article, unless that word is what one says of an option.
    article = r"(?!(?<=A) (?!(?:is|was|because|since|as|and|or)\b)[a-z])"
    found = re.findall(rf"(?<![\w'’\\]){letter}(?![\w'’]){article}", text)
    return found[-1] if found else None


def _strict_yes_no(task, text, boxed):
    for answer in (boxed, _stated(text)):
        match = answer and re.match(r"\W*(yes|no|true|false)\b", _clean(answer), re.IGNORECASE)
        if match:
            return _YES_NO[match[1].lower()]
    sentences = [s for s in re.split(r"[.!?\n]+", text) if re.search(r"\w", s)]
    last = sentences[-1] if sentences else ""
    # "there is no proof" is not a verdict: the word must open or close the sentence.
    match = re.match(r"\W*(yes|no)\s*(?:$|[^\w\s])", last, re.IGNORECASE) or re.search(
        r"\b(yes|no)\W*$", last, re.IGNORECASE
    )
    return _YES_NO[match[1].lower()] if match else None


_STRICT = {"number": _strict_number, "choice": _strict_choice, "yes_no": _strict_yes_no}
