"""Write data/mini: short word problems in GSM8K's format, made here and not taken from GSM8K.

One function a kind of problem draws names, things and numbers: (question, steps, answer). Every
count is at least two, so plurals are always right. Numbers are small, so that a model of 135M
parameters can calculate with them (benchmarks/mini_arithmetic.py) and what is measured is how it
reasons. A seed fixes every byte on every Python: the only draws are Random(seed)'s integers. The
script needs the standard library alone and knows nothing of models or prompts.
"""

import argparse
import json
import random
from pathlib import Path

SIZES = {"train": 960, "dev": 64, "test": 200}  # of KINDS, an equal share each
UNSEEN_SIZE = 100  # of UNSEEN_KINDS, which training never shows

NAMES = """Ada Alex Amir Anna Ben Carla Chloe Clara Dana David Diego Elena Emma Eric Farah Finn
Grace Hana Henry Ivan Jack Jade Julia Karim Kate Laura Leo Liam Lily Maria Marta Mia Mina Nadia Nina
Noah Nora Olga Omar Oscar Paul Petra Quinn Rita Rosa Sam Sara Tina Tom Yuki Zoe""".split()  # noqa: SIM905
THINGS = """apples badges balls bookmarks books bowls brushes buttons candles cards cookies cupcakes
cups dolls flowers hats kites lamps lemons magnets mangoes markers masks muffins notebooks oranges
peaches pears pencils pens plates plums posters puzzles ribbons roses scarves shells spoons stamps
stickers towels""".split()  # noqa: SIM905
BOXES = [
    ("bag", "bags"),
    ("basket", "baskets"),
    ("box", "boxes"),
    ("case", "cases"),
    ("crate", "crates"),
    ("pack", "packs"),
]
VERBS = [("has", "have"), ("buys", "buy"), ("sells", "sell"), ("packs", "pack")]
PRODUCTS = [(n, k) for n in range(2, 7) for k in range(2, 7) if n * k <= 25]


def calc(a, sign, b, unit=""):
    """Return the calculation with GSM8K's annotation: calc(3, "*", 4) is "3 * 4 = <<3*4=12>>12"."""
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[sign]
    return f"{a} {sign} {b} = {unit}<<{a}{sign}{b}={value}>>{value}"


def number(rng, low, high):
    """Return a whole number from low to high, both included."""
    return rng.randrange(low, high + 1)


def two(rng, items):
    """Return two different items."""
    first = rng.randrange(len(items))
    second = rng.randrange(len(items) - 1)
    return items[first], items[second + (second >= first)]


def add(rng):
    (x, y), s = two(rng, NAMES), rng.choice(THINGS)
    a, b = number(rng, 2, 10), number(rng, 2, 9)
    question = rng.choice(
        [
            f"{x} has {a} {s}. {y} gives {x} {b} more {s}. How many {s} does {x} have now?",
            f"{x} buys {a} {s} in May and {b} {s} in June. How many {s} does {x} buy in total?",
            f"There are {a} {s} on a table. {x} puts {b} more {s} on it. How many {s} are on the table now?",
            f"A shop sells {a} {s} on Monday and {b} {s} on Tuesday. "
            f"How many {s} does it sell on the two days together?",
        ]
    )
    return question, [f"In total, there are {calc(a, '+', b)} {s}."], a + b


def take_away(rng):
    (x, y), s = two(rng, NAMES), rng.choice(THINGS)
    b, c = number(rng, 2, 6), number(rng, 2, 6)
    a = b + c
    question = rng.choice(
        [
            f"{x} has {a} {s} and gives {b} of them to {y}. How many {s} does {x} have left?",
            f"A shop has {a} {s}. {x} buys {b} of them. How many {s} are left in the shop?",
            f"There are {a} {s} on a table. {x} takes {b} of them away. How many {s} are still on the table?",
            f"{x} had {a} {s} but lost {b} of them. How many {s} does {x} still have?",
        ]
    )
    return question, [f"There are {calc(a, '-', b)} {s} left."], c


def groups(rng):
    x, s, (box, boxes) = rng.choice(NAMES), rng.choice(THINGS), rng.choice(BOXES)
    n, k = rng.choice(PRODUCTS)
    question = rng.choice(
        [
            f"{x} buys {n} {boxes} with {k} {s} in each {box}. How many {s} does {x} buy?",
            f"Each {box} holds {k} {s}. {x} has {n} full {boxes}. How many {s} does {x} have?",
            f"There are {n} {boxes} on a shelf, and each {box} has {k} {s} in it. How many {s} is that in total?",
            f"{x} has {n} friends. Each friend brings {k} {s}. How many {s} do the friends bring in total?",
        ]
    )
    return question, [f"In total, there are {calc(n, '*', k)} {s}."], n * k


def share(rng):
    x, s, (box, boxes) = rng.choice(NAMES), rng.choice(THINGS), rng.choice(BOXES)
    n, k = rng.choice(PRODUCTS)
    question = rng.choice(
        [
            f"{x} shares {n * k} {s} equally among {n} friends. How many {s} does each friend get?",
            f"{n} children split {n * k} {s} equally. How many {s} does each child get?",
            f"{x} puts {n * k} {s} into {n} {boxes}, the same number in each. How many {s} does each {box} get?",
            f"{x} hands out {n * k} {s} to {n} people, the same number to each. How many {s} does each person get?",
        ]
    )
    return question, [f"Each one gets {calc(n * k, '/', n)} {s}."], k


def twice(rng):
    (x, y), s, (has, have) = two(rng, NAMES), rng.choice(THINGS), rng.choice(VERBS)
    a = number(rng, 2, 12)
    question = rng.choice(
        [
            f"{x} {has} {a} {s}. {y} {has} twice as many {s} as {x}. How many {s} does {y} {have}?",
            f"{y} {has} twice as many {s} as {x}, who {has} {a} {s}. How many {s} does {y} {have}?",
            f"{x} {has} {a} {s}, and {y} {has} twice that many. How many {s} does {y} {have}?",
        ]
    )
    return question, [f"{y} {has} {calc(2, '*', a)} {s}."], 2 * a


def price(rng):
    x, s = rng.choice(NAMES), rng.choice(THINGS)
    n, p = rng.choice(PRODUCTS)
    question = rng.choice(
        [
            f"{x} buys {n} {s} for ${p} each. How many dollars does {x} pay?",
            f"A shop sells {s} for ${p} each. {x} buys {n} of them. How many dollars does {x} spend?",
            f"{x} needs {n} {s}. The {s} cost ${p} each. How many dollars does {x} need?",
        ]
    )
    return question, [f"The {s} cost {calc(n, '*', p, '$')}."], n * p


def boxes_plus(rng):
    (x, y), s, (box, boxes) = two(rng, NAMES), rng.choice(THINGS), rng.choice(BOXES)
    (n, k), c = rng.choice(PRODUCTS), number(rng, 2, 6)
    question = rng.choice(
        [
            f"{x} has {n} {boxes} with {k} {s} in each, and {y} gives {x} {c} more {s}. "
            f"How many {s} does {x} have now?",
            f"{x} buys {n} {boxes} with {k} {s} in each {box} and then {c} more {s}. "
            f"How many {s} does {x} buy in total?",
            f"Each {box} holds {k} {s}. {x} has {n} full {boxes} and {c} other {s}. How many {s} does {x} have?",
        ]
    )
    return (
        question,
        [f"At first, there are {calc(n, '*', k)} {s}.", f"Then there are {calc(n * k, '+', c)} {s}."],
        n * k + c,
    )


def boxes_minus(rng):
    (x, y), s, (box, boxes) = two(rng, NAMES), rng.choice(THINGS), rng.choice(BOXES)
    n, k = rng.choice([(n, k) for n, k in PRODUCTS if n * k <= 12])
    c = number(rng, 2, n * k - 2)
    question = rng.choice(
        [
            f"{x} has {n} {boxes} with {k} {s} in each and gives {c} of the {s} to {y}. "
            f"How many {s} does {x} have left?",
            f"A shop has {n} {boxes} with {k} {s} in each {box}. It sells {c} {s}. "
            f"How many {s} does the shop have left?",
            f"Each {box} holds {k} {s}. {x} fills {n} {boxes} and then takes {c} {s} out. "
            f"How many {s} are still in the {boxes}?",
        ]
    )
    return (
        question,
        [f"At first, there are {calc(n, '*', k)} {s}.", f"Then there are {calc(n * k, '-', c)} {s} left."],
        n * k - c,
    )


def more_than(rng):
    (x, y), s, (has, have) = two(rng, NAMES), rng.choice(THINGS), rng.choice(VERBS)
    a, b = number(rng, 2, 9), number(rng, 2, 6)
    question = rng.choice(
        [
            f"{x} {has} {a} {s}. {y} {has} {b} more {s} than {x}. How many {s} do they {have} together?",
            f"{x} {has} {a} {s}, and {y} {has} {b} more {s} than {x}. How many {s} do {x} and {y} {have} in total?",
            f"{y} {has} {b} more {s} than {x}. {x} {has} {a} {s}. How many {s} do the two of them {have} altogether?",
        ]
    )
    return (
        question,
        [f"{y} {has} {calc(a, '+', b)} {s}.", f"Together, they {have} {calc(a, '+', a + b)} {s}."],
        a + a + b,
    )


def two_prices(rng):
    x, (s, t) = rng.choice(NAMES), two(rng, THINGS)
    (n, m), (p, q) = (number(rng, 2, 4), number(rng, 2, 4)), (number(rng, 2, 5), number(rng, 2, 5))
    question = rng.choice(
        [
            f"{x} buys {n} {s} for ${p} each and {m} {t} for ${q} each. How many dollars does {x} pay in total?",
            f"A shop sells {s} for ${p} each and {t} for ${q} each. {x} buys {n} {s} and {m} {t}. "
            f"How many dollars does {x} spend?",
            f"{x} needs {n} {s} and {m} {t}. The {s} cost ${p} each and the {t} cost ${q} each. "
            f"How many dollars does {x} need?",
        ]
    )
    return (
        question,
        [
            f"The {s} cost {calc(n, '*', p, '$')}.",
            f"The {t} cost {calc(m, '*', q, '$')}.",
            f"In total, that is {calc(n * p, '+', m * q, '$')}.",
        ],
        n * p + m * q,
    )


def times_as_many(rng):
    (x, y), s, (has, have) = two(rng, NAMES), rng.choice(THINGS), rng.choice(VERBS)
    a, k = number(rng, 2, 6), number(rng, 2, 4)
    question = rng.choice(
        [
            f"{x} {has} {a} {s}. {y} {has} {k} times as many {s} as {x}. How many {s} do they {have} together?",
            f"{x} {has} {a} {s}, and {y} {has} {k} times that many. How many {s} do {x} and {y} {have} in total?",
            f"{y} {has} {k} times as many {s} as {x}. {x} {has} {a} {s}. "
            f"How many {s} do the two of them {have} altogether?",
        ]
    )
    return (
        question,
        [f"{y} {has} {calc(k, '*', a)} {s}.", f"Together, they {have} {calc(a, '+', k * a)} {s}."],
        a + k * a,
    )


def perimeter(rng):
    x, unit = rng.choice(NAMES), rng.choice(["feet", "meters", "yards"])
    place = rng.choice(["field", "garden", "park", "playground", "yard"])
    w = number(rng, 2, 8)
    n = w + number(rng, 2, 6)
    question = rng.choice(
        [
            f"A rectangular {place} is {n} {unit} long and {w} {unit} wide. {x} walks around it once "
            f"along its edge. How many {unit} does {x} walk?",
            f"{x} builds a fence all the way around a rectangular {place} that is {n} {unit} long and "
            f"{w} {unit} wide. How many {unit} long is the fence?",
            f"{x} measures a rectangular {place}. It is {n} {unit} long and {w} {unit} wide. "
            f"What is its perimeter in {unit}?",
        ]
    )
    return (
        question,
        [
            f"The two long sides make {calc(2, '*', n)} {unit}.",
            f"The two short sides make {calc(2, '*', w)} {unit}.",
            f"All the sides make {calc(2 * n, '+', 2 * w)} {unit}.",
        ],
        2 * n + 2 * w,
    )


def saving(rng):
    x, (week, weeks) = rng.choice(NAMES), rng.choice([("day", "days"), ("week", "weeks")])
    goal = rng.choice(["bike", "coat", "guitar", "radio", "tent", "watch"])
    a, n, b = number(rng, 2, 5), number(rng, 2, 6), number(rng, 2, 10)
    c = a * n + b
    question = rng.choice(
        [
            f"{x} wants a {goal} that costs ${c}. {x} has ${b} and saves ${a} each {week}. "
            f"In how many {weeks} does {x} have enough?",
            f"{x} has ${b} and saves ${a} each {week}. After how many {weeks} does {x} have ${c}?",
            f"A {goal} costs ${c}. {x} already has ${b} and puts aside ${a} more each {week}. "
            f"How many {weeks} does {x} need to save for the {goal}?",
        ]
    )
    return question, [f"{x} still needs {calc(c, '-', b, '$')}.", f"That takes {calc(a * n, '/', a)} {weeks}."], n


def ages(rng):
    x, y = two(rng, NAMES)
    a, b, c = number(rng, 4, 12), number(rng, 2, 8), number(rng, 2, 8)
    question = rng.choice(
        [
            f"{x} is {a} years old. {y} is {b} years older than {x}. How old will {y} be in {c} years?",
            f"{y} is {b} years older than {x}, and {x} is {a} years old now. How old will {y} be {c} years from now?",
            f"{x} is {a} years old, and {y} is {b} years older. What will the age of {y} be in {c} years?",
        ]
    )
    return (
        question,
        [f"{y} is {calc(a, '+', b)} years old now.", f"In {c} years, {y} will be {calc(a + b, '+', c)} years old."],
        a + b + c,
    )


KINDS = [add, take_away, groups, share, twice, price, boxes_plus, boxes_minus, more_than, two_prices]
UNSEEN_KINDS = [times_as_many, perimeter, saving, ages]


def draw_pool(kind, size, rng):
    """Return `size` examples of one kind, no question twice."""
    pool = {}
    while len(pool) < size:
        question, steps, answer = kind(rng)
        text = "\n".join([*steps, f"#### {answer}"])
        pool.setdefault(question, {"question": question, "answer": text, "kind": kind.__name__})
    return list(pool.values())


def make_splits(seed):
    """Return {split: [example]}; the kinds take turns, so the first k lines of a file are balanced too."""
    rng = random.Random(seed)
    splits = {}
    for kinds, sizes in (KINDS, SIZES), (UNSEEN_KINDS, {"unseen": UNSEEN_SIZE}):
        share_size = sum(-(-size // len(kinds)) for size in sizes.values())
        pools = [iter(draw_pool(kind, share_size, rng)) for kind in kinds]
        for split, size in sizes.items():
            splits[split] = [next(pools[i % len(pools)]) for i in range(size)]
    return splits


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description="Write {train,dev,test,unseen}.jsonl: short word problems in GSM8K's format "
        "(not GSM8K). The same seed gives the same bytes."
    )
    parser.add_argument(
        "--output_dir",
        type=Path,
        default=Path(__file__).parent / "mini",
        help="folder to write to, made if missing (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="fixes every draw (default: %(default)s, as committed)")
    args = parser.parse_args(arguments)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for split, examples in make_splits(args.seed).items():
        lines = "".join(json.dumps(example) + "\n" for example in examples)
        (args.output_dir / f"{split}.jsonl").write_bytes(lines.encode("ascii"))
        print(f"{args.output_dir / split}.jsonl: {len(examples)} questions")


if __name__ == "__main__":
    main()
