"""Answers: reading them from text, comparing them, voting.

Two rules. The published one is exact, faults included, so that numbers compare with the papers': minus signs of
responses are lost, a stand-alone "a" is option A. The strict one reads what the response says. Answers are int or float
for number tasks, "A".."F" for choice tasks, True (yes) or False (no) for yes/no tasks, None if none could be read.
Knows nothing of models or prompts.
"""

import math
import re
from collections import Counter

from data_loader.arithmetic import expressions, normalize
from data_loader.tasks import get_task

_YES_NO = {"yes": True, "true": True, "no": False, "false": False}


# ---- the published rule, and what both rules share ----


def extract(task, text):
    """Return the answer in `text` by the published rule: the last number, letter a-f, or yes/no.

    Published: a number is a run of digits of any script with an optional fraction, found after `,`, `%` and `$` are
    removed. It is an int, or a float rounded to two places, and so may be infinite. Letters and words stand alone, in
    either case.
    """
    kind = get_task(task).answer_kind
    if kind == "number":
        found = re.findall(r"\d+(?:\.\d+)?", re.sub(r"[,%$]", "", text))
        try:
            return (round(float(found[-1]), 2) if "." in found[-1] else int(found[-1])) if found else None
        except ValueError:  # more digits than Python reads
            return None
    found = re.findall(r"\b[a-f]\b" if kind == "choice" else r"\b(?:yes|no)\b", text.lower())
    if not found:
        return None
    return found[-1].upper() if kind == "choice" else _YES_NO[found[-1]]


def read_gold(task, answer):
    """Return the gold answer (text of the data) as a value to compare with, or None if it is unreadable.

    Published, for both rules: a number without its `,` is `float(...)` if it has a point, else `int(...)`. It keeps its
    sign and is not rounded. `extract` loses the sign and rounds to two places, so it never meets a negative gold answer
    or one of more places.
    """
    kind, text = get_task(task).answer_kind, answer.strip()
    if kind == "number":
        text = text.replace(",", "")
        try:
            return float(text) if "." in text else int(text)
        except ValueError:
            return None
    if kind == "choice":
        return text.upper() if re.fullmatch("[A-Fa-f]", text) else None
    return _YES_NO.get(text.lower())


def is_correct(predicted, gold):
    """Return whether a published answer is the gold one: `==`. An unread answer is never correct."""
    return predicted is not None and predicted == gold


def is_correct_strict(predicted, gold):
    """Return whether a strict answer is the gold one; numbers are compared to half a hundredth, below 0.1 to a
    relative 1e-4."""
    if predicted is None or gold is None or isinstance(gold, (bool, str)):
        return predicted is not None and predicted == gold
    if abs(gold) < 0.1:
        return abs(predicted) < 1 and math.isclose(predicted, gold, rel_tol=1e-4)
    if max(abs(predicted), abs(gold)) > 1e12:  # some are too large for a float
        return predicted == gold
    return abs(predicted - gold) <= 0.00501


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

    responses: N x R texts without special tokens; answer: text of the data. The strict vote ignores unread answers. It
    is over values; some questions ask "in millions", so that "405 million" is right for 405 too.
    """
    answers = [extract(task, text) for text in responses]
    readings = [read_strict(task, text) for text in responses]
    strict = [value for value, _ in readings]
    vote, vote_strict = majority_vote(answers), majority_vote([value for value in strict if value is not None])
    right = read_gold(task, answer)
    voted = {vote_strict} | {bare for value, bare in readings if value == vote_strict}
    return {
        "gold": right,
        "answers": answers,
        "vote": vote,
        "correct": is_correct(vote, right),
        "answers_strict": strict,
        "vote_strict": vote_strict,
        "correct_strict": any(is_correct_strict(value, right) for value in voted),
    }


# ---- the strict rule: normalize, find what states the answer, read it ----


def read_strict(task, text):
    """Return the answer that `text` gives to its question, None if it gives none; and the same without magnitude word.

    The last readable `\\boxed{...}` or statement ("the answer is", "Answer:", "####", "option B is correct"); without
    any, the last number, the last stand-alone capital letter, or the yes/no that opens or closes the last sentence or
    opens the text. What stands in `<think>` or behind a run-on `Question:` is not read. A negated statement, a
    response that ends inside its only box or its calculation, and an expression without a value give none. A statement
    with words before several numbers is passed over.
    """
    task, text = get_task(task), normalize(_own_part(text))
    boxes, is_cut_off = _boxes(text)
    if is_cut_off and not boxes:
        return None, None  # what stands in the box may go on
    if task.answer_kind == "number":
        return _strict_number(text, boxes)
    answer = _strict_choice(text, boxes, task.choices) if task.choices else _strict_yes_no(text, boxes)
    return answer, answer


_RUN_ON = re.compile(r"(?:\n[ #*>]*(?i:question|problem|human|user)|\bQ(?:uestion)?)(?: ?\d+)?[ *]*:|\nuser\n")
# A question behind no answer is no run-on.
_BEGUN = re.compile(r"\b(?i:answer(?! (?:this|the|that|your|it|a)\b)|boxed)\b|####|\A\W*(?:(?i:yes|no)|[A-F])\b")


def _own_part(text):
    """Return the text without what stands in <think>, up to a question that the model goes on to ask itself."""
    *thoughts, last = text.split("</think>")
    pieces = [*(piece for piece in thoughts if "<think>" in piece), last]  # a prompt may have opened the first
    text = "".join(piece.partition("<think>")[0] for piece in pieces)
    begun = _BEGUN.search(text)
    run_on = begun and _RUN_ON.search(text, begun.start())
    return text[: run_on.start()] if run_on else text


def _boxes(text):
    """Return (start, content) of each `\\boxed{...}` that is not empty, and whether one is left open."""
    opened, found = [], []
    for match in re.finditer(r"\\boxed\s*\{|[{}]", text):
        if match[0] != "}":
            opened.append(match)
        elif opened and len((start := opened.pop())[0]) > 1 and text[start.end() : match.start()].strip():
            found.append((start.start(), text[start.end() : match.start()]))
    return found, any(len(match[0]) > 1 for match in opened)


_CANNOT = r"(?:can ?no|could no|is no|was no|will no)t\b|(?:ca|could|is|was|wo)n['’]t\b"
# The noun, not "to answer this" or "to find the answer, we need:".
_ANSWER_IS = re.compile(
    r"(?<!\bto )(?<!\bwe )\b(?:answer|ans|(?:correct|right|best) (?:option|choice))\b(?! (?:this|the|that|your|it|a)\b)"
    rf"[^.\n:=]{{0,60}}?(?:\b(?P<not>{_CANNOT})|\b(?:is|was|be|are)\b|:|=|####|(?<=ns)\.)"
    r"[\s:*]*(?:\.\.+ ?|(?<=\n)[-*•] )?(?P<text>(?:[^.\n]|\.(?=\d))*)"
    r"|####\s*(?!\d+[.)] )(?P<final>[-+\d.(\\][^\n]*|(?:[A-F]|yes|no)\b[^\n]*)",
    re.IGNORECASE,
)
_INTRODUCTION = re.compile(r"(?:^|[.!?:\n])\W*(?:\w+,? )?(?:in order )?to (?:\w+ ){0,4}$", re.IGNORECASE)
_NEGATED = re.compile(
    r"\W*(?:\w+ly )?(?:not|never|unknown|unclear|un\w+able|impossible|neither|cannot"
    r"|none(?! of th[^.\n]*\b(?-i:[A-F])\b))\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:can(?:no|['’])t|impossible|unable|not enough|insufficient) .{0,200}?(?:determin|answer)", re.IGNORECASE
)


def _statements(text, boxes, more=()):
    """Return what states the answer, the last first: texts of boxes and statements, None for a negated one.

    boxes, more: (place in the text, text) of such as are known.
    """
    found = [*more, *((start, None if _NEGATED.match(content) else content) for start, content in boxes)]
    for match in _ANSWER_IS.finditer(text):
        stated = match["final"] or match["text"] or ""
        if not _INTRODUCTION.search(text, max(0, match.start() - 60), match.start()) and stated.strip():
            negated = match["not"] or _NEGATED.match(stated)
            found.append((match.start("final") if match["final"] else match.start("text"), None if negated else stated))
    return [stated for _, stated in sorted(found, key=lambda pair: pair[0], reverse=True)]


# ---- numbers ----

# What makes a number the first term of something else: an operator, a ratio, a variable; "25% of 80".
_GOES_ON = re.compile(
    r"\s*(?:[*^+=]|/(?! *[A-Za-z])|-(?= *(?:$|[\d(.\\]|[a-z]\b))|[:,]\d|(?:per ?cent )?of \d|[xyz]\b|π|\\pi\b)"
    r"|[^,;(\n]*?[A-Za-z°%] *(?:[+*/] *| - )[\d(\\]|\.?\\overline| *(?:decimal|significant)\b"
    r"| *[A-Za-z]+,? (?:and )?\d+(?:\.\d+)? *[A-Za-z]"
)
_CLAUSES = re.compile(r",(?!\d)|;|(?<=[\w%.]) \(|\b(?:because|since|where|which|as)\b")
_CALCULATES = re.compile(r"\b(?:found|obtain|calculat|multipl|divid|add|subtract|sum|product|difference|by)", re.I)


def _read_number(text):
    """Return the number (value, and value without its magnitude word) of a statement, None if it has no arithmetic.

    The first clause with arithmetic holds it. Behind the last "=" it may have words before it and a unit behind it; an
    expression may not, and is (None, None). Words before several numbers do not say which is the answer.
    """
    for clause in _CLAUSES.split(text):
        clause = re.sub(r"^\s*-\s*(?=[\d.(\\])", "-", clause.split("=")[-1])
        if found := [*expressions(clause)]:
            start, expression = found[0]
            lead, tail = clause[:start], clause[expression.end :]
            if _CALCULATES.search(lead) or len(found) > 1 and re.search("[A-Za-z]{3}", lead):
                return None
            is_read = not (_GOES_ON.match(tail) if expression.is_number() else re.search(r"\w", lead + tail))
            return (expression.value, expression.bare()) if is_read and expression.value is not None else (None, None)
    return None


def _strict_number(text, boxes):
    readings = [(None, None) if stated is None else _read_number(stated) for stated in _statements(text, boxes)]
    if found := [reading for reading in readings if reading and reading[0] is not None]:
        return found[0]
    if boxes or (None, None) in readings or _REFUSAL.search(text.strip().rpartition("\n")[2]):
        return None, None
    for line in reversed(text.split("\n")):
        if found := [*expressions(line)]:
            start, last = found[-1]
            is_part = re.search(r"\S *[*/^+] *$|\d[:,-]$|(?:%|per ?cent) of $", line[max(0, start - 16) : start])
            is_part = is_part or _GOES_ON.match(line[last.end :].strip()) or not last.is_number()
            return (None, None) if is_part or last.value is None else (last.value, last.bare())
    return None, None


# ---- letters and words ----

_STARTS_YES_NO = re.compile(
    r"\W*(?:(?:an?|the|so|clear|\w+ly),? ){0,3}(yes|no|true|false)\b"
    r"(?! (?:longer|one|doubt|matter|such|more|evidence|single|way)\b)",
    re.IGNORECASE,
)


def _strict_choice(text, boxes, choices):
    # "A" before a lower-case word is an article, unless that word is what one says of an option. "20 C" is a unit.
    # A lower-case "a" before a number is an article too, but for "option a 5".
    behind = r"(?![\w'’])(?!(?<=[Aa]) (?!(?:is|was|because|since|as|and|or|with|for)\b)[a-z])"
    option = r"\b(?i:option|choice|letter)\b[\s:#]*\(?"
    label = re.compile(rf"[\s({{\[]*(?:(?i:the )?{option}|(?!a [-.]?\d))((?i:[{choices}])){behind}")
    named = re.compile(rf"(?<!not ){option}((?i:[{choices}])){behind}(?!\)? is (?:not|wrong|in))")
    capital = re.compile(rf"(?<!\d )(?<!not )(?<!not option )(?<![\w'’\\])([{choices}]){behind}")
    verdict = re.compile(
        rf"(?<![\w'’])([{choices}])\)? is (?:the )?(?:correct|right|best|answer)\b"
        rf"|\b(?i:choose|select|pick|go with) (?:{option})?\(?([{choices}])(?![\w'’])"
        rf"|\b(?i:so|thus|hence|therefore),? (?i:it is |it's )?\(?([{choices}])\)?\W*(?:\n|$)"
    )
    stated = _statements(text, boxes, [(match.start(), match[match.lastindex]) for match in verdict.finditer(text)])
    for answer in stated:
        if found := answer and (label.match(answer) or capital.search(answer)):
            return found[1].upper()
    if None in stated:
        return None
    found = [*named.finditer(text)] or [*re.finditer(rf"\A\W*([{choices}])[).:]", text)] or [*capital.finditer(text)]
    return found[-1][1].upper() if found else None


def _strict_yes_no(text, boxes):
    stated = _statements(text, boxes)
    for answer in stated:
        if found := answer and _STARTS_YES_NO.match(answer):
            return _YES_NO[found[1].lower()]
    if None in stated:
        return None
    last = ["", *(part for part in re.split(r"[.!?\n]+", text) if re.search(r"\w", part))][-1]
    # "there is no proof" is not a verdict: the word must open or close the sentence, or open the text.
    opens = re.match(r"\W*(?:(?:so|thus|hence|therefore),? )?(yes|no)\s*(?:$|[^\w\s])", last, re.IGNORECASE)
    closes = re.match(r"(?!.*\b(?:not|never|cannot|\w+n['’]t)\b).*\b(yes|no)\W*$", last, re.IGNORECASE)
    found = opens or closes or re.match(r"\W*(yes|no) *(?:[.,;:!\n]|- |$)", text, re.IGNORECASE)
    return _YES_NO[found[1].lower()] if found else None
