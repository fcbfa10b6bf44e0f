"""Arithmetic as responses write it: one notation first, then one grammar. Knows nothing of answers or tasks."""

import math
import re
import unicodedata
from fractions import Fraction


def _compose(match):
    return unicodedata.normalize("NFKC", match[0])


def _drop_separators(match):
    return re.sub(r"\D", "", match[0])


_NOTATION = [
    # NFKC would make digits of superscripts, and 31/2 of 3½.
    (r"[⁺⁻]?[⁰¹²³⁴-⁹]+", lambda match: f"^{{{_compose(match)}}}"),
    (r"(?<=\d)(?=[¼-¾⅐-⅞])", " "),
    (r"[^\0-\x7f]+", _compose),
    (r"[\u200b-\u200f\u2060-\u2064\ufeff]|\\!", ""),
    (r"[‐-―−]", "-"),
    (r"[⁄÷]|\\div(?![a-z])", "/"),
    (r"[×·⋅∙]|\\(?:times|cdot|ast)(?![a-z])", "*"),
    (r"≈|\\approx(?![a-z])", "="),
    (r"√", r"\\sqrt "),
    (r"\\[dtc]frac", r"\\frac"),
    (r"\^ *(?:\{ *\\circ *\}|\\circ(?![a-z]))|\\degree(?![a-z])", "°"),
    (r"\\(?:text[a-z]*|math[a-z]*|mbox) *\{([^{}]*)\}", r"\1"),
    (r"\\(?:text[a-z]*|math[a-z]*|left|right|displaystyle)(?![a-z])|\\[()\[\]]", ""),
    (r"(?:\\q?quad(?![a-z])|\\[,;: ]|~|[^\S\n])+", " "),
    (r"\{,\}", ","),
    (r"\\([%#&_])", r"\1"),
    (r"(?<=\d)\*\*(?=\d)", "^"),
    (r"\*\*|__|`", ""),
    (r"(?<!\d )(?<![\w*)])([*_])(?=\S)([^*_\n]*[^*_\s])\1(?![\w*(\\])", r"\2"),  # emphasis
    (r"(?:\b[A-Z]{1,2})?\\?\$(?=\d)|\\?[$£€¥₹₩¢]|\b[A-Z]{3}(?=\d)|\b(?i:Rs)\.? *(?=[-+]?[\d.])", ""),  # currency
    (r"\b(?:[Nn]egative|[Mm]inus) (?=[\d.(\\])", "-"),
    (r"(?<=\d) ?/[-=](?!\d)", ""),  # 500/- is a sum of rupees
    (r"(?<=[A-Za-z.])\.(?=\d)", ". "),
    (r"(?<![\d.,])(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d{1,3}(?:['’_]\d{3})+)(?!,?\d)", _drop_separators),
    # A space groups no "5 100-dollar bills".
    (r"(?<!\d )(?<![\d.,/])[1-9]\d{0,2}(?: \d{3})+(?! ?[-+*/^\d])", _drop_separators),
    (r"(?<=\d) ?[xX] ?(?=\d)", "*"),
    (r"(?<=[A-Za-z°]) ?\^ ?(?:\{[^{}]*\}|[-+]?\d+|\w)", ""),  # a unit's power
]
_NOTATION = [(re.compile(pattern), into) for pattern, into in _NOTATION]


def normalize(text):
    """Return text in one notation: ASCII operators, spaces and digits, no currency, no separators."""
    for pattern, into in _NOTATION:
        text = pattern.sub(into, text)
    return text


_START = re.compile(
    r"(?:(?<![\w)\]}.])[-+](?=[\d.(\\]))?(?<![A-Za-z_\d.])(?:\d|\.\d)|(?:(?<![\w)\]}.])[-+])?(?:\(|\\frac|\\sqrt)"
)
_MIXED = re.compile(r" *(\d+) +(\d+) */ *(\d+)(?![\d./^])")
_DECIMAL = re.compile(r" *(\d+(?:\.\d+)?|\.\d+)(?:[eE]([-+]?\d{1,3})(?!\w))?(?: ?%)?")
_MAGNITUDES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MAGNITUDES |= {"lakh": 10**5, "crore": 10**7, "k": 1000, "K": 1000, "M": 10**6, "B": 10**9}
_MAGNITUDE = re.compile(r"[ -]*((?i:dozen|hundred|thousand|million|billion|trillion|lakh|crore)(?=s?\b))s?|([kKMB])\b")


class _NotANumber(Exception):
    """There is no number at this place."""


class Expression:
    """An arithmetic expression that begins at `start` of a normalized text: its `end` and `value`, None if it has none.

    sum: product (+|- product)*; product: power (*|/ power)*, roots and brackets may follow directly; power: sign, then
    number, bracket, fraction or root, then `^` power. `operators` are those that it has; `factor` is that of its
    magnitude words.
    """

    def __init__(self, text, start):
        self.text, self.end, self.operators, self.factor, self.atoms = text, start, [], 1, 0
        try:
            self.value = _plain(self.sum())
        except (ArithmeticError, ValueError, TypeError):  # by zero, too large, a root of -4
            self.value = None

    def is_number(self):
        """Return whether it is one number: it has no operators but a fraction's or a power of ten's."""
        return self.operators in ([], ["/"], ["* 10^"])

    def bare(self):
        """Return its value without magnitude words."""
        return _plain(Fraction(self.value) / self.factor) if self.factor > 1 and self.is_number() else self.value

    def take(self, pattern):
        match = re.compile(pattern).match(self.text, self.end)
        self.end = match.end() if match else self.end
        return match

    def need(self, pattern):
        if not (match := self.take(pattern)):
            raise _NotANumber
        return match

    def series(self, operand, operators, apply):
        value = operand()
        while operator := self.take(operators):
            try:
                right = operand()
            except _NotANumber:  # the operator is no part of the expression
                self.end = operator.start()
                break
            value = apply(value, operator[0].strip(), right)
            is_ten = operator[0].strip() == "*" and re.match(r" *10 *\^", self.text[operator.end() : self.end])
            self.operators.append("* 10^" if is_ten else operator[0].strip() or "*")
        return value

    def sum(self):
        return self.series(self.product, r" *[-+]", lambda a, sign, b: a - b if sign == "-" else a + b)

    def product(self):
        signs = r" *[*/]| *(?=\\sqrt)|(?<=[\d)}])(?=\()"
        value = self.series(self.power, signs, lambda a, sign, b: a / b if sign == "/" else a * b)
        while word := self.take(_MAGNITUDE):
            factor = _MAGNITUDES[word[2] or word[1].lower()]
            value, self.factor = value * factor, self.factor * factor
        return value

    def power(self):
        sign = -1 if (found := self.take(r" *[-+] *")) and "-" in found[0] else 1
        base = self.atom()
        if not self.take(r" *\^"):
            return sign * base
        exponent = self.power()
        if exponent.denominator == 1 and abs(exponent) * max(abs(base.numerator), base.denominator).bit_length() < 4096:
            return sign * base ** int(exponent)
        return sign * Fraction(float(base) ** float(exponent))

    def atom(self):
        self.atoms += 1
        if self.atoms > 60:
            raise ValueError("too long")
        if opened := self.take(r" *[({\[]"):
            value = self.sum()
            self.need({"(": r" *\)", "{": r" *\}", "[": r" *\]"}[opened[0].strip()])
            return value
        if number := self.take(_MIXED):
            return int(number[1]) + Fraction(int(number[2]), int(number[3]))
        if number := self.take(_DECIMAL):
            value = Fraction(number[1]) * Fraction(10) ** int(number[2] or 0)
            return value + self.fraction() if self.take(r" *(?=\\frac *\{? *[\d.(\\])") else value
        if root := self.take(r" *\\sqrt *(?:\[ *(\d{1,3}) *\])?"):
            self.operators.append("root")
            return Fraction(math.pow(self.atom(), 1 / int(root[1] or 2)))
        return self.fraction()

    def fraction(self):
        self.need(r" *\\frac")
        top, bottom = (Fraction(digit[1]) if (digit := self.take(r" *(\d)")) else self.atom() for _ in range(2))
        return top / bottom


def _plain(value):
    """Return an int or float, from 0.1 on to two places, so that 1/3 and 0.333 vote alike."""
    if value.denominator == 1:
        if value.numerator.bit_length() > 14000:
            raise OverflowError("more digits than Python writes")
        return int(value)
    return round(float(value), 2) if abs(value) >= 0.1 else float(value)


def expressions(text):
    """Yield (start, expression) of all arithmetic in a text."""
    start = 0
    while match := _START.search(text, start):
        try:
            expression = Expression(text, match.start())
            yield match.start(), expression
            start = max(expression.end, match.end())
        except _NotANumber:
            start = match.start() + 1
