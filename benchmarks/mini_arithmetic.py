"""How much of data/mini's arithmetic the frozen embedded model can do: python -m benchmarks.mini_arithmetic

SoftCoT leaves the base model untouched, so what it cannot compute bounds the demo's accuracy. Asks
for calculations of the test split after four worked ones, greedily, with and without spaces, and
prints the share it gets right, by operation and by the larger operand.
"""

import json
import random
import re
from collections import Counter

import torch

from data_loader.loaders import DATA_DIR
from model.backbone import load_backbone
from model.choices import EMBEDDED

WORKED = ("12 + 7 = 19", "9 * 4 = 36", "30 - 8 = 22", "24 / 6 = 4")
ASKED, BATCH = 320, 80


def calculations():
    """Return distinct (left side, operation, larger operand, result) of the test split, in a fixed random order."""
    lines = (DATA_DIR / "mini" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [json.loads(line)["answer"] for line in lines]
    notes = sorted({note for answer in answers for note in re.findall(r"<<(\d+[-+*/]\d+=\d+)>>", answer)})
    random.Random(0).shuffle(notes)
    for note in notes[:ASKED]:
        left, operation, right, result = re.fullmatch(r"(\d+)([-+*/])(\d+)=(\d+)", note).groups()
        yield f"{left} {operation} {right} =", operation, max(int(left), int(right)), result


@torch.no_grad()
def main():
    base = load_backbone(EMBEDDED)
    base.tokenizer.padding_side = "left"
    asked = list(calculations())
    for name, write in (("spaced", str), ("tight", lambda text: text.replace(" ", ""))):
        right, total = Counter(), Counter()
        for first in range(0, len(asked), BATCH):
            part = asked[first : first + BATCH]
            prompts = ["\n".join([*map(write, WORKED), write(left)]) for left, *_ in part]
            batch = base.tokenizer(prompts, return_tensors="pt", padding=True, add_special_tokens=False)
            output = base.model.generate(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], max_new_tokens=5, do_sample=False
            )
            for ids, (_, operation, operand, result) in zip(
                output[:, batch["input_ids"].shape[1] :], part, strict=True
            ):
                found = re.match(r"\s*(\d+)", base.tokenizer.decode(ids))
                size = "operands to 10" if operand <= 10 else "operands to 20" if operand <= 20 else "larger operands"
                for key in ("all", operation, f"{operation} {size}"):
                    total[key] += 1
                    right[key] += found is not None and found[1] == result
        print(name)
        for key in sorted(total):
            print(f"  {key:20} {right[key]:3}/{total[key]:3}  {100 * right[key] / total[key]:5.1f} %")


if __name__ == "__main__":
    main()
