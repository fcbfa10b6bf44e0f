"""The trace of benchmarks/paper_scale.py: what it counts, and that the real training step passes it."""

import pytest
import torch

from benchmarks.paper_scale import (
    BLOCK,
    Trace,
    trace_evaluation,
    trace_plain_training,
    trace_training,
    traced,
)
from benchmarks.workload import PRESETS
from model.causal_lm import TRANSFORMERS_5

TINY = PRESETS["tiny"]
pytestmark = pytest.mark.skipif(not TRANSFORMERS_5, reason="transformers 4.51 runs no models on meta tensors")


def test_training_and_evaluation_read_nothing_back():
    training, backbones = trace_training(TINY, "softcotpp", 0)
    evaluation = trace_evaluation(TINY, "softcotpp", 6, backbones)
    traces = [training, evaluation["prefill"], evaluation["decode_mean"], evaluation["decode_longest"]]
    assert [counts["device_reads"] for counts in traces] == [0, 0, 0, 0]
    assert 0 < training["tflop"] < trace_plain_training(TINY, "softcotpp", backbones)["tflop"]


def test_smaller_micro_batches_hold_less_pad_less_and_take_more_operations():
    whole, backbones = trace_training(TINY, "softcot", 0)
    single, _ = trace_training(TINY, "softcot", 1, backbones)
    assert single["peak_gb"] < whole["peak_gb"] and single["tflop"] < whole["tflop"]
    assert single["aten_operations"] > whole["aten_operations"]
    weights = sum(parameter.nbytes for one in backbones for parameter in one.model.parameters())
    assert single["peak_gb"] > weights / 1e9


def test_reads_from_the_device_are_counted():
    numbers = torch.arange(6.0)
    wait = {
        "item": lambda: numbers.sum().item(),
        "condition": lambda: bool(numbers[0] > 1),
        "boolean index": lambda: numbers[numbers > 2],
        "boolean assignment": lambda: numbers.clone().__setitem__(numbers > 2, 0.0),
        "nonzero": lambda: numbers.nonzero(),
        "equal": lambda: torch.equal(numbers, numbers),
    }
    counts = {name: traced(function, Trace("cpu"))["device_reads"] for name, function in wait.items()}
    assert all(counts.values()), counts
    no_wait = (lambda: numbers[[0, 2]], lambda: torch.where(numbers > 2, 0.0, numbers), lambda: numbers.topk(2))
    assert [traced(function, Trace("cpu"))["device_reads"] for function in no_wait] == [0, 0, 0]
    for function in (torch.Tensor.cpu, torch.Tensor.tolist):
        trace = Trace()
        with pytest.raises(NotImplementedError):
            traced(lambda function=function: function(torch.empty(2, device="meta")), trace)
        assert trace.reads == ["_to_copy"]


def test_operations_and_live_bytes():
    left, right = torch.empty(300, 200, device="meta"), torch.empty(200, 100, device="meta")

    def products():
        first = left @ right  # 120,000 bytes
        second = first + 1
        del first
        return (second * 2).view(-1)[:3]

    counts = traced(products, Trace())
    assert counts["tflop"] * 1e12 == 2 * 300 * 200 * 100
    assert counts["aten_operations"] == 3
    assert counts["peak_gb"] * 1e9 == 2 * -(-120_000 // BLOCK) * BLOCK
