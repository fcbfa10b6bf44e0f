"""Arithmetic as responses write it: one notation first, then one grammar. Knows nothing of answers or tasks."""

import math
import re
import unicodedata
from fractions import Fraction

_POWERS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_WIDE_SPACE = r"(?:[\u00a0\u2000-\u200a\u202f\u205f]|\\[,;: ]|\\thinspace *|~)"
_CURRENCY = (
    "Rs|Re|INR|USD|EUR|GBP|AUD|CAD|NZD|SGD|HKD|JPY|CNY|RMB|CHF|PKR|NPR|LKR|BDT|MXN|BRL|ZAR|KRW|PHP|IDR|MYR|THB|VND|"
    "AED|SAR|SEK|NOK|DKK|PLN|RUB|NGN|KES"
)


def _digits(match):
    return re.sub(r"\D", "", match[0])


# NFKC would make digits of superscripts, 31/2 of 3½, and plain spaces of those that group digits.
_BEFORE_NFKC = (
    (r"[⁺⁻]?[⁰¹²³⁴-⁹]+", lambda match: f"^{{{match[0].translate(_POWERS)}}}"),
    (r"(?<=\d)(?=[¼-¾⅐-⅞])", " "),
    (rf"(?<![\d.,])\d{{1,3}}(?:{_WIDE_SPACE}\d{{3}})+(?![\d-])", _digits),
    (r"[\u200b-\u200f\u2060-\u2064\ufeff]|\\!", ""),
)
_AFTER_NFKC = (
    (r"(?![0-9])\d", lambda match: str(int(match[0]))),  # of other scripts
    (r"[‐-―−]", "-"),
    (r"[⁄÷]|\\div(?![a-z])", "/"),
    (r"[×·⋅∙]|\\(?:times|cdot|ast)(?![a-z])", "*"),
    (r"≈|\\approx(?![a-z])", "="),
    (r"√", r"\\sqrt "),
    (r"\\pi(?![a-z])", "π"),
    (r"\\[dtc]frac", r"\\frac"),
    (r"\^ *(?:\{ *\\circ *\}|\\circ)|\\(?:degree|circ)(?![a-z])", "°"),
    (r"\\(?:text[a-z]*|math[a-z]*|mbox|operatorname) *\{([^{}]*)\}", r"\1"),
    (r"\\(?:text[a-z]*|math[a-z]*|left|right|displaystyle)(?![a-z])|\\[()\[\]]", ""),
    (r"(?:\\(?:thinspace|q?quad|enspace)(?![a-z])|\\[,;: ]|~|[^\S\n])+", " "),
    (r"\{,\}", ","),
    (r"\\([%#&_])", r"\1"),
    (r"(?<=\d)\*\*(?=\d)", "^"),
    (r"\*\*|__|`", ""),
    (r"(?<!\d )(?<![\w*)])([*_])(?=\S)([^*_\n]*[^*_\s])\1(?![\w*(\\])", r"\2"),  # emphasis
    (r"(?:\b(?:US|AU|CA|NZ|HK|SG|[ACS]))?\\?\$(?=\d)|\\?[$£€¥₹₩¢]", ""),
    (rf"\b(?i:{_CURRENCY})\.? *(?=[-+]?[\d.])", ""),
    (r"(?<=\d) ?/[-=](?!\d)", ""),  # 500/- is a sum of rupees
    (r"(?<=[A-Za-z.])\.(?=\d)", ". "),
    (r"(?<![\d.,])(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d{2})+,\d{3}|\d{1,3}(?:['’_]\d{3})+)(?!,?\d)", _digits),
    # A plain space groups only what a unit or the end follows, not "5 100-dollar bills".
    (r"(?<!\d )(?<![\d.,/])[1-9]\d{0,2}(?: \d{3})+(?=(?:\.\d+)?(?: ?[A-Za-z%°]| *(?:[.,;:!?)}\]\n]|$)))", _digits),
    (r"(?<=\d) ?[xX] ?(?=\d)", "*"),
    (r"(?<=[A-Za-z)])_(?:\{[^{}]*\}|\d+)", ""),  # an index
    (r"(?<=[A-Za-z°]) ?\^ ?(?:\{[^{}]*\}|[-+]?\d+|\w)", ""),  # a unit's power
)
_BEFORE_NFKC, _AFTER_NFKC = (
    tuple((re.compile(pattern), into) for pattern, into in table) for table in (_BEFORE_NFKC, _AFTER_NFKC)
)


def normalize(text):
    """Return the text in one notation: `^` `*` `/` `-`, plain spaces and digits, no currency, no separators."""
    for pattern, into in _BEFORE_NFKC:
        text = pattern.sub(into, text)
    text = unicodedata.normalize("NFKC", text)
    for pattern, into in _AFTER_NFKC:
        text = pattern.sub(into, text)
    return text


_START = re.compile(
    r"(?:(?<![\w)\]}.])[-+](?=[\d.(\\π]))?(?<![A-Za-z_\d.])(?:\d|\.\d)|(?:(?<![\w)\]}.])[-+])?(?:\(|\\frac|\\sqrt|π)"
)
_MIXED = re.compile(r" *(\d+) +(\d+) */ *(\d+)(?![\d./^])")
_DECIMAL = re.compile(r" *(\d+(?:\.\d+)?|\.\d+)(?:[eE]([-+]?\d{1,3})(?!\w))?(?: ?%)?")
_MAGNITUDES = {
    **{"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12},
    **{"lakh": 10**5, "lac": 10**5, "crore": 10**7},
    **{"k": 1000, "K": 1000, "M": 10**6, "mn": 10**6, "B": 10**9, "bn": 10**9},
}
_MAGNITUDE = re.compile(
    r"[ -]*(?P<word>(?i:dozen|hundred|thousand|million|billion|trillion|lakh|lac|crore))s?\b|(?P<sign>k|K|M|mn|B|bn)\b"
)


class _NotANumber(Exception):
    """There is no number at this place."""


class Expression:
    """An arithmetic expression that begins at `start` of a normalized text: its `end` and `value`, None if it has none.

    sum: product (+|- product)*; product: power (*|/ power)*, signs of roots and brackets may follow directly; power:
    sign, then number, bracket, fraction, root or pi, then `^` power. `operators` are those that it has; `factor` is
    that of its magnitude words.
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
        signs = r" *[*/]| *(?=\\sqrt|π)|(?<=[\d)}])(?=\()"
        value = self.series(self.power, signs, lambda a, sign, b: a / b if sign == "/" else a * b)
        while word := self.take(_MAGNITUDE):
            factor = _MAGNITUDES[(word["word"] or "").lower() or word["sign"]]
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
        if self.take(r" *(?=[({\[])"):
            return self.bracket()
        if number := self.take(_MIXED):
            return int(number[1]) + Fraction(int(number[2]), int(number[3]))
        if number := self.take(_DECIMAL):
            value = Fraction(number[1]) * Fraction(10) ** int(number[2] or 0)
            return value + self.fraction() if self.take(r" *(?=\\frac)") else value
        if self.take(r" *π"):
            self.operators.append("π")
            return Fraction(math.pi)
        if root := self.take(r" *\\sqrt *(?:\[ *(\d{1,3}) *\])?"):
            self.operators.append("root")
            return Fraction(
                math.pow(self.bracket() if self.take(r" *(?=[{(])") else self.atom(), 1 / int(root[1] or 2))
            )
        return self.fraction()

    def fraction(self):
        self.need(r" *\\frac")
        top, bottom = (Fraction(digit[1]) if (digit := self.take(r" *(\d)")) else self.bracket() for _ in range(2))
        return top / bottom

    def bracket(self):
        opened = self.need(r" *[({\[]")
        value = self.sum()
        self.need({"(": r" *\)", "{": r" *\}", "[": r" *\]"}[opened[0].strip()])
        return value


def _plain(value):
    """Return a Fraction as an int if it is whole, else a float, from 0.1 on to two places, so that 1/3 and 0.333 vote
    alike."""
    if value.denominator == 1:
        if value.numerator.bit_length() > 14000:
            raise OverflowError("more digits than Python writes")
        return int(value)
    return round(float(value), 2) if abs(value) >= 0.1 else float(value)


def expressions(text, start=0):
    """Yield (start, expression) of all arithmetic in a text."""
    while match := _START.search(text, start):
        try:
            expression = Expression(text, match.start())
            yield match.start(), expression
            start = max(expression.end, match.end())
        except _NotANumber:
            start = match.start() + 1
