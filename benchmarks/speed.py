"""Training and evaluation against their plain forms, side by side: python -m benchmarks.speed (make bench)

benchmarks/workload.py has the models, the examples and the plain algorithm. Both sides see the same examples in one
dtype and one process, taking turns; peak memory is that of a process for each side. Measured are a training step of
SoftCoT and of SoftCoT++, the assistant's pass, the dev loss, and evaluation, whose plain side is one response at a
time. Writes benchmarks/results/<cpu or GPU name>.json.
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.workload import (
    EPOCHS,
    PRESETS,
    RESULTS,
    STATES_BATCH,
    add_states,
    build,
    examples,
    our_step,
    plain_batch,
    plain_step,
    sharing_collator,
    use_heads,
)
from model.attention import NAME
from model.frozen_lm import IGNORE
from model.generation import Request, TransformersEngine
from model.plain import PlainEngine
from model.softcot import assistant_part
from model.training import on_device, parts_of
from utils import write_json

CANDIDATES = ("bfloat16", "float32")  # of the dtype
GIB = 2**30
DEV_EXAMPLES = 32
TURNS = 2  # of each side


# ---- measuring ----


def timed(function, device):
    """Return the seconds that a function takes, and its result."""
    synchronize = torch.cuda.synchronize if device != "cpu" else lambda: None
    synchronize()
    start = time.perf_counter()
    result = function()
    synchronize()
    return time.perf_counter() - start, result


def gradient_of(step, model, batch):
    """Return loss and gradient of a step."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(4)  # of the contrastive term's dropout
    loss = step(model, batch)
    return loss.item(), torch.cat([p.grad.flatten() for p in model.projection.parameters()])


def matrix_rate(device, dtype):
    """Return the floating-point operations a second of a large linear layer, the best of five."""
    size = 4096 if device != "cpu" else 2048
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    for _ in range(2):
        F.linear(a, b)
    return 2 * size**3 / min(timed(lambda: F.linear(a, b), device)[0] for _ in range(5))


def needed_operations(model, made, collate, backward=True):
    """Return the operations that a step cannot avoid.

    Once a run and not counted here: the instruction. Once a step: the rest of the prefix. For each chain: thoughts and
    suffix, forward and backward (towards the inputs only: weights are frozen), and logits where there are labels.
    Padding is not counted. backward=False: of the dev loss.
    """
    config, layers = model.base.config, model.base.get_decoder().layers
    dense = 2 * sum(parameter.numel() for parameter in layers.parameters() if parameter.dim() == 2)  # of a token
    # Scores and weighted sum, of a pair of positions.
    attention = 2 * 2 * config.num_attention_heads * config.head_dim * config.num_hidden_layers
    total = 0
    for example in made:
        shared, prefix = len(collate.instruction), len(example["prefix_ids"])
        rest = model.length + len(example["suffix_ids"])
        total += dense * (prefix - shared) + attention * (prefix**2 - shared**2) / 2
        labels = sum(label != IGNORE for label in example["labels"])
        chain = dense * rest + attention * (prefix * rest + rest**2 / 2)
        chain += 2 * config.vocab_size * config.hidden_size * labels
        total += model.num_chains * chain * (2 if backward else 1)  # backward costs what forward costs
    return total


def measure_training(preset, method, device, dtype, backbones):
    model, backbones = build(preset, method, device, dtype, backbones)
    made = examples(preset, preset.batch)
    collate, whole = sharing_collator(preset, made), plain_batch(preset, made, device)
    gradient_of(plain_step, model, plain_batch(preset, made[:1], device))  # warms up
    gradient_of(our_step, model, on_device(collate(made[:1]), device))
    states_s, with_states = timed(lambda: add_states(model, made, collate, device), device)
    plain, ours = [], []
    for _ in range(TURNS):
        plain.append(timed(lambda: gradient_of(plain_step, model, whole), device)[0])
        step = timed(lambda: gradient_of(our_step, model, on_device(collate(with_states), device)), device)[0]
        ours.append(step + states_s / EPOCHS)
        print(f"{method}: plain {plain[-1]:.2f} s, ours {ours[-1]:.2f} s", flush=True)
    row = {"plain_s": statistics.median(plain), "ours_s": statistics.median(ours)}
    row |= {"ratio": row["plain_s"] / row["ours_s"], "turns": {"plain_s": plain, "ours_s": ours}}
    rate, needed = matrix_rate(device, dtype), needed_operations(model, made, collate)
    row |= {"needed_tflop": needed / 1e12, "matrix_tflops": rate / 1e12, "thought_states_s": states_s}
    return row | {"share_of_peak_flops": needed / row["ours_s"] / rate}, backbones


def measure_difference(preset, method):
    """Return the largest difference of loss and of the projection's gradient in float32 on a CPU, one example."""
    model, _ = build(preset, method, "cpu", torch.float32)
    made = examples(preset, 1)
    loss, gradient = gradient_of(plain_step, model, plain_batch(preset, made, "cpu"))
    our_loss, our_gradient = gradient_of(our_step, model, sharing_collator(preset, made)(made))
    return max(abs(loss - our_loss), (gradient - our_gradient).abs().max().item())


def peak_of(preset, method, side, device, dtype):
    """Return the GiB of this process in one step: models, activations, everything."""
    model, _ = build(preset, method, device, dtype)
    made = examples(preset, preset.batch)
    if side == "plain":
        gradient_of(plain_step, model, plain_batch(preset, made, device))
    else:
        collate = sharing_collator(preset, made)
        gradient_of(our_step, model, on_device(collate(add_states(model, made, collate, device)), device))
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / GIB
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage's number may be the parent's
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / GIB


def measure_dev_loss(preset, device, dtype, backbones):
    """Return the seconds of the dev loss against the time of its operations at the matrix rate."""
    model, _ = build(preset, "softcot", device, dtype, backbones)
    made = examples(preset, DEV_EXAMPLES, dev=True)
    collate = sharing_collator(preset, made)
    made = add_states(model, made, collate, device)
    use_heads(model.eval(), NAME)

    def loss():
        for part in parts_of(made, preset.batch):
            model.losses(on_device(collate(part), device))

    loss()
    seconds = min(timed(loss, device)[0] for _ in range(TURNS))
    needed = needed_operations(model, made, collate, backward=False)
    times = seconds * matrix_rate(device, dtype) / needed
    return {"seconds_an_example": seconds / len(made), "times_its_operations": times}


def measure_thought_states(preset, device, dtype, backbones):
    """Return the questions a second of the assistant's pass, with the instruction shared and without."""
    model, _ = build(preset, "softcot", device, dtype, backbones)
    use_heads(model, NAME)
    made = sorted(examples(preset, 4 * STATES_BATCH), key=lambda example: -len(example["assistant_ids"]))

    @torch.no_grad()
    def whole_pass(collate):
        for part in parts_of(made, STATES_BATCH):
            model.thought_states(**assistant_part(collate(part), device))

    row = {}
    for name in ("shared", "not_shared"):
        collate = sharing_collator(preset, made, name == "shared")
        seconds = min(timed(lambda own=collate: whole_pass(own), device)[0] for _ in range(3))
        row[f"{name}_questions_s"] = len(made) / seconds
    return row | {"ratio": row["shared_questions_s"] / row["not_shared_questions_s"]}


def measure_evaluation(preset, device, dtype, backbones):
    """Return tokens a second. Every k-th id ends a response, so that lengths spread around k."""
    model, (base, _) = build(preset, "softcot", device, dtype, backbones)
    end_ids = set(range(5, preset.base.vocab_size, preset.response))
    made = examples(preset, preset.questions)
    collate = sharing_collator(preset, made)
    requests = soft_requests(model.eval(), made, collate, preset.seeds, device)
    row = {}
    for name, engine, asked in (
        ("one_at_a_time", PlainEngine(base, end_ids=end_ids), requests[:: preset.seeds][: preset.one_at_a_time]),
        (
            "batched",
            TransformersEngine(base, rows=preset.rows, instruction=collate.instruction, end_ids=end_ids),
            requests,
        ),
    ):
        use_heads(model, NAME if name == "batched" else "sdpa")
        seconds, tokens = timed(
            lambda engine=engine, asked=asked: sum(
                len(ids) for _, ids in engine.generate(asked, preset.max_new_tokens)
            ),
            device,
        )
        row |= {f"{name}_tokens_s": tokens / seconds, f"{name}_tokens": tokens}
        print(f"evaluate: {name} {tokens} tokens in {seconds:.1f} s, {tokens / seconds:.1f} tokens/s", flush=True)
    return row | {"ratio": row["batched_tokens_s"] / row["one_at_a_time_tokens_s"], "rows": preset.rows}


@torch.no_grad()
def soft_requests(model, made, collate, seeds, device):
    """Return the requests of each example: its prefix `[P, d_b]`, then soft thoughts and what follows `[T, d_b]`."""
    embed, requests = model.base.get_input_embeddings(), []
    use_heads(model, NAME)
    for index, example in enumerate(made):
        states = model.thought_states(**assistant_part(collate([example]), device))
        soft = model.soft_thoughts(states)[0, 0].to(embed.weight.dtype)
        prefix, suffix = (embed(torch.tensor(example[f"{part}_ids"], device=device)) for part in ("prefix", "suffix"))
        tail = torch.cat([soft, suffix[:4]])
        requests += [Request((seed, index, 0, 0), prefix, tail) for seed in range(seeds)]
    return requests


def machine(device):
    """Return the processor's or card's name; of a CPU with its vector and matrix units."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").is_file() else ""
    named = re.search(r"model name\s*: (.*)", info)
    flags = [flag for flag in ("avx2", "avx512_bf16", "amx_bf16") if re.search(rf"\b{flag}\b", info)]
    name = " with ".join([named[1] if named else platform.machine(), *filter(None, [" and ".join(flags)])])
    return f"{os.cpu_count()} cores of {name}, torch {torch.__version__}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, help="default: cpu without a GPU, else llama-8b-1b")
    parser.add_argument("--device", help="cpu or cuda; default: cuda if there is one")
    faster = "of both sides (default: on a CPU the one of the higher matrix rate, else bfloat16)"
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), help=faster)
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/<cpu or GPU and preset>.json")
    args = parser.parse_args()
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    name = args.preset or ("cpu" if device == "cpu" else "llama-8b-1b")
    dtypes = [torch.bfloat16, torch.float32] if device == "cpu" else [torch.bfloat16]
    dtype = getattr(torch, args.dtype) if args.dtype else max(dtypes, key=lambda dtype: matrix_rate(device, dtype))

    preset, backbones = PRESETS[name], None
    path = args.output or RESULTS / f"{'' if device == 'cpu' else machine(device).replace(' ', '-') + '-'}{name}.json"
    found = {"machine": machine(device), "date": time.strftime("%Y-%m-%d"), "preset": name}
    found |= {"dtype": str(dtype).removeprefix("torch."), "load_before": os.getloadavg()[0]}
    for method in ("softcot", "softcotpp"):
        row, backbones = measure_training(preset, method, device, dtype, backbones)
        if device != "cpu":
            torch.cuda.empty_cache()  # the processes below need the room
        for side in ("plain", "ours"):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                row[f"{side}_peak_gb"] = process.submit(peak_of, preset, method, side, device, dtype).result()
        if device == "cpu":
            row["max_abs_diff"] = measure_difference(preset, method)
        found[f"train_{method}"] = row
        write_json(found, path)
    found["dev_loss"] = measure_dev_loss(preset, device, dtype, backbones)
    found["thought_states"] = measure_thought_states(preset, device, dtype, backbones)
    found["evaluate"] = measure_evaluation(preset, device, dtype, backbones)
    write_json(found, path)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
