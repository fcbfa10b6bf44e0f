"""Measure training and evaluation beside their plain forms: python -m benchmarks.speed (make bench)

benchmarks/workload.py has the models, the examples and the plain algorithm. Both sides see the same examples in one
dtype and one process, taking turns; peak memory is that of a process for each side. Measured are a training step of
SoftCoT and of SoftCoT++, and evaluation, whose plain side is one response at a time. Prints JSON and writes it to
benchmarks/results/<cpu or GPU and preset>.json.
"""

import argparse
import json
import multiprocessing
import os
import re
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from benchmarks.workload import (
    EPOCHS,
    PRESETS,
    RESULTS,
    add_states,
    build,
    examples,
    our_step,
    plain_batch,
    plain_step,
    sharing_collator,
    use_heads,
)
from experiment.setup import choose_device, emulates_bfloat16
from model.attention import NAME
from model.generation import Request, TransformersEngine
from model.plain import PlainEngine
from model.training import on_device
from utils import write_json

GIB = 2**30
TURNS = 2  # of each side


def timed(function, device):
    """Return the seconds that a function takes, and its result."""
    synchronize = torch.cuda.synchronize if device != "cpu" else lambda: None
    synchronize()
    start = time.perf_counter()
    result = function()
    synchronize()
    return time.perf_counter() - start, result


def compute_gradient(step, model, batch):
    """Return the gradient of a step."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(4)  # of the contrastive term's dropout
    step(model, batch)
    return torch.cat([parameter.grad.flatten() for parameter in model.projection.parameters()])


def measure_training(preset, method, device, dtype, backbones):
    """Return the seconds of a step of both sides and how far their gradients differ, and the models."""
    model, backbones = build(preset, method, device, dtype, backbones)
    made = examples(preset, preset.batch)
    collate, whole = sharing_collator(preset, made), plain_batch(preset, made, device, dtype)
    compute_gradient(plain_step, model, plain_batch(preset, made[:1], device, dtype))  # warms up
    compute_gradient(our_step, model, on_device(collate(made[:1]), device))
    states_s, with_states = timed(lambda: add_states(model, made, collate, device), device)
    plain, ours = [], []
    for _ in range(TURNS):
        seconds, expected = timed(lambda: compute_gradient(plain_step, model, whole), device)
        plain.append(seconds)
        step = lambda: compute_gradient(our_step, model, on_device(collate(with_states), device))  # noqa: E731
        seconds, found = timed(step, device)
        ours.append(seconds + states_s / EPOCHS)
        print(f"{method}: plain {plain[-1]:.2f} s, ours {ours[-1]:.2f} s", flush=True)
    row = {"plain_s": statistics.median(plain), "ours_s": statistics.median(ours)}
    row |= {"ratio": row["plain_s"] / row["ours_s"], "turns": {"plain_s": plain, "ours_s": ours}}
    # Of the gradient's largest element; large only if the sides compute different things.
    row["gradient_difference"] = ((found - expected).abs().max() / expected.abs().max()).item()
    return row, backbones


def measure_peak(preset, method, side, device, dtype):
    """Return the GiB of this process in one step: models, activations, everything."""
    model, _ = build(preset, method, device, dtype)
    made = examples(preset, preset.batch)
    if side == "plain":
        compute_gradient(plain_step, model, plain_batch(preset, made, device, dtype))
    else:
        collate = sharing_collator(preset, made)
        compute_gradient(our_step, model, on_device(collate(add_states(model, made, collate, device)), device))
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / GIB
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage's number may be the parent's
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / GIB


def measure_evaluation(preset, device, dtype, backbones):
    """Return tokens a second. Every k-th id ends a response, so that lengths spread around k."""
    model, (base, _) = build(preset, "softcot", device, dtype, backbones)
    end_ids = set(range(5, preset.base.vocab_size, preset.response))
    made = examples(preset, preset.questions)
    collate = sharing_collator(preset, made)
    requests = soft_requests(model.eval(), made, collate, preset.seeds, device)
    few = requests[:: preset.seeds][: preset.one_at_a_time]
    batched = TransformersEngine(base, rows=preset.rows, instruction=collate.instruction, end_ids=end_ids)
    row = {"rows": preset.rows}
    for name, engine, asked, heads in (
        ("one_at_a_time", PlainEngine(base, end_ids=end_ids), few, "sdpa"),
        ("batched", batched, requests, NAME),
    ):
        use_heads(model, heads)
        seconds, responses = timed(lambda e=engine, a=asked: list(e.generate(a, preset.max_new_tokens)), device)
        tokens = sum(len(ids) for _, ids in responses)
        row |= {f"{name}_tokens_s": tokens / seconds, f"{name}_tokens": tokens}
        print(f"evaluate: {name} {tokens} tokens in {seconds:.1f} s, {tokens / seconds:.1f} tokens/s", flush=True)
    return row | {"ratio": row["batched_tokens_s"] / row["one_at_a_time_tokens_s"]}


@torch.no_grad()
def soft_requests(model, made, collate, seeds, device):
    """Return the requests of each example: its prefix `[P, d_b]`, then soft thoughts and what follows `[T, d_b]`."""
    embed, requests = model.base.get_input_embeddings(), []
    use_heads(model, NAME)
    for index, example in enumerate(made):
        states = model.thought_states(on_device(collate([example]), device))
        soft = model.soft_thoughts(states)[0, 0].to(embed.weight.dtype)
        prefix, suffix = (embed(torch.tensor(example[f"{part}_ids"], device=device)) for part in ("prefix", "suffix"))
        tail = torch.cat([soft, suffix[:4]])
        requests += [Request((seed, index, 0, 0), prefix, tail) for seed in range(seeds)]
    return requests


def machine():
    """Return the card's or processor's name; of a Linux CPU with its vector and matrix units."""
    if choose_device() != "cpu":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    units = " and ".join(flag for flag in ("avx2", "avx512_bf16", "amx_bf16") if re.search(rf"\b{flag}\b", info))
    named = re.search(r"model name\s*: (.*)", info)
    return f"{os.cpu_count()} cores of {named and named[1]} with {units}, torch {torch.__version__}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, help="default: cpu without a GPU, else llama-8b-1b")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/<cpu or GPU and preset>.json")
    args = parser.parse_args()
    device = choose_device()
    name = args.preset or ("cpu" if device == "cpu" else "llama-8b-1b")
    dtype = torch.float32 if emulates_bfloat16() else torch.bfloat16
    preset, backbones = PRESETS[name], None
    path = args.output or RESULTS / f"{'' if device == 'cpu' else machine().replace(' ', '-') + '-'}{name}.json"
    found = {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "preset": name}
    found |= {"dtype": str(dtype).removeprefix("torch."), "load_before": os.getloadavg()[0]}
    for method in ("softcot", "softcotpp"):
        row, backbones = measure_training(preset, method, device, dtype, backbones)
        if device != "cpu":
            torch.cuda.empty_cache()  # the processes below need the room
        for side in ("plain", "ours"):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                row[f"{side}_peak_gb"] = process.submit(measure_peak, preset, method, side, device, dtype).result()
        found[f"train_{method}"] = row
        write_json(found, path)
    found["evaluate"] = measure_evaluation(preset, device, dtype, backbones)
    write_json(found, path)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
