"""Checkpoints are whole or not there; a flipped byte is noticed; they hold tensors and plain values only."""

import pytest
import torch

from model.checkpoint import DamagedCheckpoint, checkpoints, newest_checkpoint, read_checkpoint, write_checkpoint
from tests.tiny import Attack
from utils import UserError


def state(step):
    return {"progress": {"step": step, "history": [{"loss": 0.5}]}, "weights": {"bias": torch.arange(5.0) + step}}


def save(folder, step, keep=9):
    write_checkpoint(state(step), {"seed": 1}, folder, keep)


def test_newest_comes_first_and_oldest_goes(tmp_path):
    for step in (2, 9, 10, 100):
        save(tmp_path, step, keep=3)
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-100.pt", "checkpoint-10.pt", "checkpoint-9.pt"]
    assert torch.load(checkpoints(tmp_path)[0], weights_only=True)["progress"]["step"] == 100  # plain torch reads it


def test_a_run_that_resumed_before_a_damaged_checkpoint_keeps_its_own(tmp_path):
    for step in (1000, 1900):
        write_checkpoint(state(step), {}, tmp_path, 1, steps_per_epoch=1000)
    (tmp_path / "checkpoint-1900.pt").write_bytes(b"damaged")
    write_checkpoint(state(1500), {}, tmp_path, 2, steps_per_epoch=1000)
    assert newest_checkpoint(tmp_path)[0].name == "checkpoint-1500.pt"


def test_every_flipped_byte_is_noticed(tmp_path):
    save(tmp_path, 1)
    save(tmp_path, 2)
    path = tmp_path / "checkpoint-2.pt"
    content = path.read_bytes()
    for place in range(0, len(content), 97):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint(path)
    for end in (0, 10, len(content) - 1):
        path.write_bytes(content[:end])
        assert newest_checkpoint(tmp_path)[0].name == "checkpoint-1.pt"


def test_an_earlier_checkpoint_goes_only_behind_the_new_one(tmp_path):
    save(tmp_path, 1)
    (tmp_path / "checkpoint-2.pt").mkdir()  # it cannot be written
    with pytest.raises(OSError):
        save(tmp_path, 2, keep=1)
    assert read_checkpoint(tmp_path / "checkpoint-1.pt")


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    write_checkpoint({**state(1), "note": Attack(tmp_path / "ran")}, {}, tmp_path, 9)
    with pytest.raises(UserError, match="checkpoint-1.pt"):
        newest_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "checkpoint-1.pt", weights_only=False)
    assert (tmp_path / "ran").exists()  # the file was armed
