"""The bits of an answer under each content of the thought slot are those of the model's loss."""

import math

import pytest
import torch

from benchmarks.slot_bits import CONTENTS, answer_bits, load, measured
from experiment.setup import build_for_evaluation, load_instances
from tests.tiny_runs import RUN


def loss_in_bits(softcot, collate, example):
    """The loss of one example, from its mean over labels."""
    labels = sum(label != -100 for label in example["labels"])
    return softcot.losses(collate([example]))["loss"].item() * labels / math.log(2)


@torch.no_grad()
def test_bits_are_the_loss_with_the_thoughts_that_are_named(place, monkeypatch):
    monkeypatch.chdir(place)
    args, method = load(f"../whole/{RUN}", "../data")
    untrained, zero = (build_for_evaluation(args, method.base, method.assistant, None, None) for _ in range(2))
    for parameter in zero.projection.parameters():
        parameter.zero_()
    split = load_instances(args, "test")
    found = answer_bits(method, untrained, split, 3)
    assert tuple(found) == CONTENTS
    for first, bits in enumerate(zip(*found.values(), strict=True)):
        own, following = (method.encoder.encode(split[first + step], "train") for step in (0, 1))
        shuffled = own | {"assistant_ids": following["assistant_ids"]}
        contents = ((method.softcot, own), (method.softcot, shuffled), (untrained, own), (zero, own))
        expected = [loss_in_bits(softcot, method.collate, example) for softcot, example in contents]
        assert bits == pytest.approx(expected, rel=1e-5)
        assert len({round(value, 3) for value in bits}) == len(CONTENTS)
    assert first == 2


def test_what_own_thoughts_save_is_a_mean_over_questions_with_an_interval():
    row = measured("ckpt/run", "test", {"own": [10.0, 20.0], "shuffled": [12.0, 21.0], "zero": [30.0, 30.0]})
    assert (row["own"], row["zero"], row["questions"]) == (15.0, 30.0, 2)
    assert row["saved over shuffled"] == 1.5 and row["interval over shuffled"] == (1.0, 2.0)
    assert row["saved over zero"] == 15.0
