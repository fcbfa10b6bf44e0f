"""Write data/mini: short word problems in GSM8K's format, made here and not taken from GSM8K.

One function a kind of problem draws names, things and numbers. It returns the question in several wordings, each a
line that ends with "?", then the steps of its answer. Every count is at least two, so plurals are always right.
Numbers are small, so that a model of 135M parameters can calculate with them, and what is measured is how it reasons.
A seed fixes every byte on every Python: the only draws are Random(seed)'s integers.
"""

import argparse
import json
import random
import re
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
BOXES = [(box, f"{box}{'es' if box == 'box' else 's'}") for box in ("bag", "basket", "box", "case", "crate", "pack")]
VERBS = [("has", "have"), ("buys", "buy"), ("sells", "sell"), ("packs", "pack")]
PRODUCTS = [(n, k) for n in range(2, 7) for k in range(2, 7) if n * k <= 25]


def calc(a, sign, b, unit=""):
    """Return the calculation with GSM8K's annotation: calc(3, "*", 4) is "3 * 4 = <<3*4=12>>12"."""
    value = {"+": a + b, "-": a - b, "*": a * b, "/": a // b}[sign]
    return f"{a} {sign} {b} = {unit}<<{a}{sign}{b}={value}>>{value}"


def two(rng, items):
    """Return two different items."""
    first = rng.randrange(len(items))
    second = rng.randrange(len(items) - 1)
    return items[first], items[second + (second >= first)]


def add(rng):
    (x, y), s = two(rng, NAMES), rng.choice(THINGS)
    a, b = rng.randint(2, 10), rng.randint(2, 9)
    return f"""{x} has {a} {s}. {y} gives {x} {b} more {s}. How many {s} does {x} have now?
{x} buys {a} {s} in May and {b} {s} in June. How many {s} does {x} buy in total?
There are {a} {s} on a table. {x} puts {b} more {s} on it. How many {s} are on the table now?
A shop sells {a} {s} on Monday and {b} {s} on Tuesday. How many {s} does it sell on the two days together?
In total, there are {calc(a, "+", b)} {s}."""


def take_away(rng):
    (x, y), s = two(rng, NAMES), rng.choice(THINGS)
    b, c = rng.randint(2, 6), rng.randint(2, 6)
    a = b + c
    return f"""{x} has {a} {s} and gives {b} of them to {y}. How many {s} does {x} have left?
A shop has {a} {s}. {x} buys {b} of them. How many {s} are left in the shop?
There are {a} {s} on a table. {x} takes {b} of them away. How many {s} are still on the table?
{x} had {a} {s} but lost {b} of them. How many {s} does {x} still have?
There are {calc(a, "-", b)} {s} left."""


def groups(rng):
    x, s, (box, boxes) = rng.choice(NAMES), rng.choice(THINGS), rng.choice(BOXES)
    n, k = rng.choice(PRODUCTS)
    return f"""{x} buys {n} {boxes} with {k} {s} in each {box}. How many {s} does {x} buy?
Each {box} holds {k} {s}. {x} has {n} full {boxes}. How many {s} does {x} have?
There are {n} {boxes} on a shelf, and each {box} has {k} {s} in it. How many {s} is that in total?
{x} has {n} friends. Each friend brings {k} {s}. How many {s} do the friends bring in total?
In total, there are {calc(n, "*", k)} {s}."""


def share(rng):
    x, s, (box, boxes) = rng.choice(NAMES), rng.choice(THINGS), rng.choice(BOXES)
    n, k = rng.choice(PRODUCTS)
    return f"""{x} shares {n * k} {s} equally among {n} friends. How many {s} does each friend get?
{n} children split {n * k} {s} equally. How many {s} does each child get?
{x} puts {n * k} {s} into {n} {boxes}, the same number in each. How many {s} does each {box} get?
{x} hands out {n * k} {s} to {n} people, the same number to each. How many {s} does each person get?
Each one gets {calc(n * k, "/", n)} {s}."""


def twice(rng):
    (x, y), s, (has, have) = two(rng, NAMES), rng.choice(THINGS), rng.choice(VERBS)
    a = rng.randint(2, 12)
    return f"""{x} {has} {a} {s}. {y} {has} twice as many {s} as {x}. How many {s} does {y} {have}?
{y} {has} twice as many {s} as {x}, who {has} {a} {s}. How many {s} does {y} {have}?
{x} {has} {a} {s}, and {y} {has} twice that many. How many {s} does {y} {have}?
{y} {has} {calc(2, "*", a)} {s}."""


def price(rng):
    x, s = rng.choice(NAMES), rng.choice(THINGS)
    n, p = rng.choice(PRODUCTS)
    return f"""{x} buys {n} {s} for ${p} each. How many dollars does {x} pay?
A shop sells {s} for ${p} each. {x} buys {n} of them. How many dollars does {x} spend?
{x} needs {n} {s}. The {s} cost ${p} each. How many dollars does {x} need?
The {s} cost {calc(n, "*", p, "$")}."""


def boxes_plus(rng):
    (x, y), s, (box, boxes) = two(rng, NAMES), rng.choice(THINGS), rng.choice(BOXES)
    (n, k), c = rng.choice(PRODUCTS), rng.randint(2, 6)
    return f"""{x} has {n} {boxes} with {k} {s} in each, and {y} gives {x} {c} more {s}. How many {s} does {x} have now?
{x} buys {n} {boxes} with {k} {s} in each {box} and then {c} more {s}. How many {s} does {x} buy in total?
Each {box} holds {k} {s}. {x} has {n} full {boxes} and {c} other {s}. How many {s} does {x} have?
At first, there are {calc(n, "*", k)} {s}.
Then there are {calc(n * k, "+", c)} {s}."""


def boxes_minus(rng):
    (x, y), s, (box, boxes) = two(rng, NAMES), rng.choice(THINGS), rng.choice(BOXES)
    n, k = rng.choice([(n, k) for n, k in PRODUCTS if n * k <= 12])
    c = rng.randint(2, n * k - 2)
    return f"""{x} has {n} {boxes} with {k} {s} in each and gives {c} of the {s} to {y}. \
How many {s} does {x} have left?
A shop has {n} {boxes} with {k} {s} in each {box}. It sells {c} {s}. How many {s} does the shop have left?
Each {box} holds {k} {s}. {x} fills {n} {boxes} and then takes {c} {s} out. How many {s} are still in the {boxes}?
At first, there are {calc(n, "*", k)} {s}.
Then there are {calc(n * k, "-", c)} {s} left."""


def more_than(rng):
    (x, y), s, (has, have) = two(rng, NAMES), rng.choice(THINGS), rng.choice(VERBS)
    a, b = rng.randint(2, 9), rng.randint(2, 6)
    return f"""{x} {has} {a} {s}. {y} {has} {b} more {s} than {x}. How many {s} do they {have} together?
{x} {has} {a} {s}, and {y} {has} {b} more {s} than {x}. How many {s} do {x} and {y} {have} in total?
{y} {has} {b} more {s} than {x}. {x} {has} {a} {s}. How many {s} do the two of them {have} altogether?
{y} {has} {calc(a, "+", b)} {s}.
Together, they {have} {calc(a, "+", a + b)} {s}."""


def two_prices(rng):
    x, (s, t) = rng.choice(NAMES), two(rng, THINGS)
    (n, m), (p, q) = (rng.randint(2, 4), rng.randint(2, 4)), (rng.randint(2, 5), rng.randint(2, 5))
    return f"""{x} buys {n} {s} for ${p} each and {m} {t} for ${q} each. How many dollars does {x} pay in total?
A shop sells {s} for ${p} each and {t} for ${q} each. {x} buys {n} {s} and {m} {t}. How many dollars does {x} spend?
{x} needs {n} {s} and {m} {t}. The {s} cost ${p} each and the {t} cost ${q} each. How many dollars does {x} need?
The {s} cost {calc(n, "*", p, "$")}.
The {t} cost {calc(m, "*", q, "$")}.
In total, that is {calc(n * p, "+", m * q, "$")}."""


def times_as_many(rng):
    (x, y), s, (has, have) = two(rng, NAMES), rng.choice(THINGS), rng.choice(VERBS)
    a, k = rng.randint(2, 6), rng.randint(2, 4)
    return f"""{x} {has} {a} {s}. {y} {has} {k} times as many {s} as {x}. How many {s} do they {have} together?
{x} {has} {a} {s}, and {y} {has} {k} times that many. How many {s} do {x} and {y} {have} in total?
{y} {has} {k} times as many {s} as {x}. {x} {has} {a} {s}. How many {s} do the two of them {have} altogether?
{y} {has} {calc(k, "*", a)} {s}.
Together, they {have} {calc(a, "+", k * a)} {s}."""


def perimeter(rng):
    x, unit = rng.choice(NAMES), rng.choice(["feet", "meters", "yards"])
    place = rng.choice(["field", "garden", "park", "playground", "yard"])
    w = rng.randint(2, 8)
    n = w + rng.randint(2, 6)
    size = f"is {n} {unit} long and {w} {unit} wide"
    return f"""A rectangular {place} {size}. {x} walks around it once along its edge. How many {unit} does {x} walk?
{x} builds a fence all the way around a rectangular {place} that {size}. How many {unit} long is the fence?
{x} measures a rectangular {place}. It {size}. What is its perimeter in {unit}?
The two long sides make {calc(2, "*", n)} {unit}.
The two short sides make {calc(2, "*", w)} {unit}.
All the sides make {calc(2 * n, "+", 2 * w)} {unit}."""


def saving(rng):
    x, (week, weeks) = rng.choice(NAMES), rng.choice([("day", "days"), ("week", "weeks")])
    goal = rng.choice(["bike", "coat", "guitar", "radio", "tent", "watch"])
    a, n, b = rng.randint(2, 5), rng.randint(2, 6), rng.randint(2, 10)
    c = a * n + b
    has = f"{x} has ${b} and saves ${a} each {week}."
    return f"""{x} wants a {goal} that costs ${c}. {has} In how many {weeks} does {x} have enough?
{has} After how many {weeks} does {x} have ${c}?
A {goal} costs ${c}. {x} already has ${b} and puts aside ${a} more each {week}. \
How many {weeks} does {x} need to save for the {goal}?
{x} still needs {calc(c, "-", b, "$")}.
That takes {calc(a * n, "/", a)} {weeks}."""


def ages(rng):
    x, y = two(rng, NAMES)
    a, b, c = rng.randint(4, 12), rng.randint(2, 8), rng.randint(2, 8)
    return f"""{x} is {a} years old. {y} is {b} years older than {x}. How old will {y} be in {c} years?
{y} is {b} years older than {x}, and {x} is {a} years old now. How old will {y} be {c} years from now?
{x} is {a} years old, and {y} is {b} years older. What will the age of {y} be in {c} years?
{y} is {calc(a, "+", b)} years old now.
In {c} years, {y} will be {calc(a + b, "+", c)} years old."""


KINDS = [add, take_away, groups, share, twice, price, boxes_plus, boxes_minus, more_than, two_prices]
UNSEEN_KINDS = [times_as_many, perimeter, saving, ages]


def draw_pool(kind, size, rng):
    """Return `size` examples of one kind, no question twice."""
    pool = {}
    while len(pool) < size:
        lines = kind(rng).splitlines()
        question = rng.choice([line for line in lines if line.endswith("?")])
        steps = [line for line in lines if not line.endswith("?")]
        final = re.search(r">>(\d+)\D*$", steps[-1])[1]  # the last step's value is the answer
        answer = "\n".join([*steps, f"#### {final}"])
        pool.setdefault(question, {"question": question, "answer": answer, "kind": kind.__name__})
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    folder = Path(__file__).parent / "mini"
    parser.add_argument("--output_dir", type=Path, default=folder, help="folder to write to (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="fixes every draw (default: %(default)s, as committed)")
    args = parser.parse_args(arguments)
    args.output_dir.mkdir(parents=True, exist_ok=True)
    for split, examples in make_splits(args.seed).items():
        lines = "".join(json.dumps(example) + "\n" for example in examples)
        (args.output_dir / f"{split}.jsonl").write_bytes(lines.encode("ascii"))
        print(f"{args.output_dir / split}.jsonl: {len(examples)} questions")


if __name__ == "__main__":
    main()
