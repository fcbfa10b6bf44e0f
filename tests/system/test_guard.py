"""The guard finds what differs between the files of two versions, and nothing else."""

import json
import math

import pytest
import torch

from tests.system.guard import compare

WEIGHT = torch.arange(6.0).reshape(2, 3)
ROWS = [{"index": 0, "vote": 3, "responses": ["a\u2028b"]}, {"index": 1, "vote": None, "responses": ["c"]}]
BLOCKS = ["Ground Truth Answer: 3\nModel Answer: 3", "Ground Truth Answer: 4\nModel Answer: None"]
LOSSES = [{"step": 1, "loss": 2.0}, {"step": 5, "loss": 1.5, "eval_loss": 1.25}]


def write(folder, weight=WEIGHT, rows=ROWS, blocks=BLOCKS, losses=LOSSES, run="a"):
    """Write what a training and an evaluation leave; `run` stands where versions may differ."""
    for part in ("ckpt/run", "results/run", "logs"):
        (folder / part).mkdir(parents=True)
    torch.save({"weight": weight}, folder / "ckpt/run/projection.bin")
    (folder / "results/run/loss.json").write_text(json.dumps(losses))
    lines = [json.dumps(line, ensure_ascii=False) + "\n" for line in [{"run": run}, *rows]]
    (folder / "logs/seed_41.jsonl").write_text("".join(lines))
    log = "".join(f"{block}\n{'-' * 20}\n" for block in blocks)
    (folder / "logs/seed_41.log").write_text(f"Args: {run}\n{log}")
    return folder


def sizes(tmp_path, **changed):
    """File name -> difference found between two folders, of which the second has `changed`."""
    findings = compare("case", write(tmp_path / "before"), write(tmp_path / "after", run="b", **changed))
    return {finding.what.rsplit("/")[-1].split(": ")[-1]: finding.size for finding in findings}


EQUAL = {"projection.bin": 0, "loss.json": 0, "seed_41.jsonl": 0, "seed_41.log": 0}


def test_equal_files_are_equal(tmp_path):
    assert sizes(tmp_path) == EQUAL


@pytest.mark.parametrize(
    "changed, file, size",
    [
        ({"weight": WEIGHT + torch.eye(2, 3) / 4}, "projection.bin", 0.25),
        ({"weight": WEIGHT.double()}, "projection.bin", math.inf),
        ({"weight": WEIGHT * math.nan}, "projection.bin", math.inf),
        ({"weight": WEIGHT[:1]}, "projection.bin", math.inf),
        ({"losses": [{**LOSSES[0], "loss": 2.5}, LOSSES[1]]}, "loss.json", 0.5),
        ({"losses": [LOSSES[0], {"step": 5, "eval_loss": 1.0}]}, "loss.json", 0.25),
        ({"losses": []}, "loss.json", math.inf),
        ({"rows": [ROWS[0], {**ROWS[1], "vote": 4}]}, "seed_41.jsonl", math.inf),
        ({"rows": [{**ROWS[0], "vote": True}, ROWS[1]]}, "seed_41.jsonl", math.inf),
        ({"rows": ROWS[:1]}, "seed_41.jsonl", math.inf),
        ({"blocks": [BLOCKS[0], BLOCKS[1] + " "]}, "seed_41.log", math.inf),
        ({"blocks": [BLOCKS[0], BLOCKS[1] + "\nFinal Model Answer: 4"]}, "seed_41.log", math.inf),
        ({"blocks": BLOCKS[1:]}, "seed_41.log", math.inf),
    ],
)
def test_one_change_is_found_where_it_is(tmp_path, changed, file, size):
    assert sizes(tmp_path, **changed) == {**EQUAL, file: size}


def test_keys_and_points_that_only_one_has_are_listed_and_do_not_differ(tmp_path):
    losses = [{**entry, "contrastive": 1.0} for entry in LOSSES]
    rows = [{**row, "confidence": 0.5} for row in ROWS]
    findings = compare("case", write(tmp_path / "before"), write(tmp_path / "after", rows=rows, losses=losses))
    assert all(finding.size == 0 for finding in findings)
    text = " ".join(finding.text for finding in findings)
    assert "confidence" in text and "contrastive" in text


def test_the_first_row_that_differs_is_shown(tmp_path):
    rows = [ROWS[0], {**ROWS[1], "responses": ["d"]}]
    findings = compare("case", write(tmp_path / "before"), write(tmp_path / "after", rows=rows))
    (text,) = (finding.text for finding in findings if finding.size)
    assert all(part in text for part in ("1 of 2", "row 1, responses", '["c"]', '["d"]'))


def test_a_file_that_only_one_wrote_differs(tmp_path):
    before, after = write(tmp_path / "before"), write(tmp_path / "after")
    (after / "logs/seed_41.log").unlink()
    assert [finding.size for finding in compare("case", before, after)] == [0, 0, 0, math.inf]


def test_nothing_to_compare_is_a_difference(tmp_path):
    assert [finding.size for finding in compare("case", tmp_path, tmp_path)] == [math.inf]
