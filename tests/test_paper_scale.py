"""The trace of benchmarks/paper_scale.py: what it counts, and that training and evaluation read nothing back."""

from dataclasses import replace

import pytest
import torch

from benchmarks.paper_scale import BLOCK, Trace, trace_evaluation, trace_plain_training, trace_training
from benchmarks.workload import PRESETS
from model.causal_lm import TRANSFORMERS_5

TINY = PRESETS["tiny"]
pytestmark = pytest.mark.skipif(not TRANSFORMERS_5, reason="transformers 4.51 runs no models on meta tensors")


def test_training_and_evaluation_read_nothing_back():
    training, backbones = trace_training(TINY, 0)  # a read of a meta tensor is an error
    evaluation = trace_evaluation(TINY, 6, backbones)
    assert 0 < evaluation["decode_mean"]["tflop"] < evaluation["decode_longest"]["tflop"]
    assert 0 < training["tflop"] < trace_plain_training(TINY, backbones)["tflop"]


def test_smaller_micro_batches_hold_less_pad_less_and_take_more_operations():
    one_chain = replace(TINY, chains=1)
    whole, backbones = trace_training(one_chain, 0)
    single, _ = trace_training(one_chain, 1, backbones)
    assert single["peak_gb"] < whole["peak_gb"] and single["tflop"] < whole["tflop"]
    assert single["aten_operations"] > whole["aten_operations"]
    weights = sum(parameter.nbytes for one in backbones for parameter in one.model.parameters())
    assert single["peak_gb"] > weights / 1e9


def test_operations_and_live_bytes():
    left, right = torch.empty(300, 200, device="meta"), torch.empty(200, 100, device="meta")

    def products():
        first = left @ right  # 120,000 bytes
        second = first + 1
        del first
        return (second * 2).view(-1)[:3]

    counts = Trace().count(products)
    assert counts["tflop"] * 1e12 == 2 * 300 * 200 * 100
    assert counts["aten_operations"] == 3
    assert counts["peak_gb"] * 1e9 == 2 * -(-120_000 // BLOCK) * BLOCK
