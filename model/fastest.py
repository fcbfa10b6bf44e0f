"""Which dtype is faster on this CPU, by a short measurement: some compute bfloat16 in hardware, others emulate it."""

import time

import torch
import torch.nn.functional as F
from transformers import AutoConfig

from model.backbone import loading, resolve

CANDIDATES = ("bfloat16", "float32")
ROWS, WIDEST = 256, 2048  # of the linear layer; wider models rank the dtypes alike and would take seconds
ROUNDS, SECONDS = 5, 0.4  # at most, but at least one round


def matrix_rates(width: int, inner: int) -> dict[str, float]:
    """Return each candidate's operations a second in a linear layer, `[256, width]` to `[256, inner]`, on the CPU.

    The candidates take turns, and the best round counts: other load on the machine hits both.
    """
    shapes = ((ROWS, width), (inner, width))  # in the other order a CPU that emulates bfloat16 can take seconds
    factors = {name: [torch.ones(shape, dtype=getattr(torch, name)) for shape in shapes] for name in CANDIDATES}
    best, begin = dict.fromkeys(CANDIDATES, float("inf")), time.perf_counter()
    for round_number in range(ROUNDS + 1):
        for name, (rows, weight) in factors.items():
            start = time.perf_counter()
            F.linear(rows, weight)
            if round_number:  # the first one makes kernels
                best[name] = min(best[name], time.perf_counter() - start)
        if round_number and time.perf_counter() - begin > SECONDS:
            break
    return {name: 2 * ROWS * width * inner / seconds for name, seconds in best.items()}


def fastest_dtype(model_id: str, device: str, trust_remote_code: bool = False) -> tuple[str, str]:
    """Return the name of the fastest dtype for a model on a device, and the reason in words.

    On a CPU the faster of bfloat16 and float32 in a product of the model's shape, on a GPU bfloat16.
    """
    if device != "cpu":
        return "bfloat16", "on a GPU"
    with loading("model", model_id):
        config = AutoConfig.from_pretrained(resolve(model_id), trust_remote_code=trust_remote_code)
    width = config.get_text_config().hidden_size
    inner = getattr(config.get_text_config(), "intermediate_size", None) or 4 * width
    rates = matrix_rates(min(width, WIDEST), min(inner, WIDEST))
    measured = " and ".join(f"{name} {rate / 1e9:.0f} GFLOP/s" for name, rate in rates.items())
    return max(rates, key=rates.get), f"the faster one here: {measured}"


def emulates_bfloat16(device: str) -> bool:
    """Return whether AVX2 is the best this CPU has: its bfloat16 products are then slower than float32's."""
    return device == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"
