"""Training and evaluation against their plain forms, side by side: python -m benchmarks.speed (make bench)

benchmarks/workload.py has the models, the examples and the plain algorithm. Beside the plain side stands what a user
would choose: transformers.Trainer around the same plain module, and `generate` with 64 rows. All sides see the same
examples in one dtype and one process, taking turns; peak memory is that of a separate process. Writes
benchmarks/results/<cpu or GPU name>.json and, with --sweep, a table and a plot of a step's cost against N, L, P and the
batch size.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from benchmarks.workload import (
    DEV_LABELS,
    EPOCHS,
    PRESETS,
    RESULTS,
    STATES_BATCH,
    add_states,
    build,
    examples,
    our_step,
    plain_batch,
    plain_chain,
    plain_step,
    sharing_collator,
    use_heads,
)
from model.attention import NAME
from model.frozen_lm import IGNORE
from model.generation import Request, TransformersEngine
from model.softcot import assistant_part
from model.training import Progress, dev_loss, on_device
from utils import write_json

CANDIDATES = ("bfloat16", "float32")  # of the dtype
GIB = 2**30
DEV_EXAMPLES = 32
GENERATE_ROWS = 64  # of transformers' generate, as a user would batch it


# ---- measuring ----


def synchronize(device):
    if device != "cpu":
        torch.cuda.synchronize()


def timed(function, device):
    synchronize(device)
    start = time.perf_counter()
    result = function()
    synchronize(device)
    return time.perf_counter() - start, result


def gradient_of(step, model, batch):
    """Return loss and gradient of a step; the batch, if it is a function, is made in the step."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(4)  # of the contrastive term's dropout
    loss = step(model, batch() if callable(batch) else batch)
    return loss.item(), torch.cat([p.grad.flatten() for p in model.projection.parameters()])


def matrix_rate(device, dtype, size=4096):
    """Return the floating-point operations a second of a large linear layer, the best of five."""
    size = size if device != "cpu" else 2048
    a, b = torch.randn(2, size, size, device=device).to(dtype)
    for _ in range(2):
        F.linear(a, b)
    return 2 * size**3 / min(timed(lambda: F.linear(a, b), device)[0] for _ in range(5))


def matrix_rates(device):
    """Return the rate of each dtype, in TFLOP/s."""
    return {name: matrix_rate(device, getattr(torch, name)) / 1e12 for name in CANDIDATES}


def needed_operations(model, made, collate, backward=True):
    """Return the operations that a step cannot avoid.

    Once a run and not counted here: the instruction. Once a step: the rest of the prefix. For each chain: thoughts and
    suffix, forward and backward (towards the inputs only: weights are frozen), and logits where there are labels.
    Padding is not counted. backward=False: of the dev loss.
    """
    config = model.base.config
    dense, attention = operations_of_a_token(model.base)
    vocabulary, total = config.vocab_size * config.hidden_size, 0
    for example in made:
        shared, prefix = len(collate.instruction), len(example["prefix_ids"])
        rest = model.length + len(example["suffix_ids"])
        total += dense * (prefix - shared) + attention * (prefix**2 - shared**2) / 2
        labels = sum(label != IGNORE for label in example["labels"])
        chain = dense * rest + attention * (prefix * rest + rest**2 / 2) + 2 * vocabulary * labels
        total += model.num_chains * chain * (2 if backward else 1)  # backward costs what forward costs
    return total


def operations_of_a_token(model):
    """Return the operations of one token in the layers' products, and those of attention for a pair of positions."""
    config = model.config
    dense = sum(
        p.numel()
        for name, p in model.named_parameters()
        if p.dim() == 2 and "embed" not in name and "lm_head" not in name
    )
    width = config.num_attention_heads * config.head_dim
    return 2 * dense, 2 * 2 * width * config.num_hidden_layers  # scores and weighted sum


class PlainModule(nn.Module):
    """The plain algorithm as a module for transformers.Trainer, which takes one backward pass through all chains."""

    def __init__(self, model):
        super().__init__()
        self.around, self.projection = [model], model.projection  # in a list: the frozen models are not submodules

    def forward(self, **batch):
        model = self.around[0]
        use_heads(model, "sdpa")
        losses, states = zip(*(plain_chain(model, batch, initial) for initial in model.embedding), strict=True)
        loss = sum(losses)
        if len(states) > 1:
            loss = loss + model.contrast(model.projection(torch.stack(states, dim=1).float())).mean()
        return {"loss": loss}


class StepTimes(TrainerCallback):
    def __init__(self, device):
        self.device, self.seconds = device, []

    def on_step_begin(self, *args, **kwargs):
        synchronize(self.device)
        self.start = time.perf_counter()

    def on_step_end(self, *args, **kwargs):
        synchronize(self.device)
        self.seconds.append(time.perf_counter() - self.start)


def trainer_seconds(model, made, device, repeats):
    """Return the seconds of a step of transformers.Trainer, the median; ten chains take one example at a time."""
    together = len(made) if model.num_chains == 1 else 1
    times = StepTimes(device)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=together,
            gradient_accumulation_steps=len(made) // together,
            max_steps=repeats + 1,  # the first one warms up
            learning_rate=2e-5,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=device == "cpu",
            remove_unused_columns=False,
        )
        Trainer(
            PlainModule(model),
            arguments,
            train_dataset=made * (repeats + 1),
            data_collator=lambda part: plain_batch(part, "cpu"),
            callbacks=[times],
        ).train()
    return statistics.median(times.seconds[1:])


def measure_training(preset, method, device, dtype, repeats, backbones=None):
    model, backbones = build(preset, method, device, dtype, backbones)
    made = examples(preset, preset.batch)
    collate = sharing_collator(preset, made)
    plain, ours = [], []
    gradient_of(plain_step, model, plain_batch(made[:1], device))  # warms up
    gradient_of(our_step, model, on_device(collate(made[:1]), device))
    states_s, with_states = timed(lambda: add_states(model, made, collate, device), device)
    whole = plain_batch(made, device)
    for _ in range(repeats):
        plain.append(timed(lambda: gradient_of(plain_step, model, whole), device)[0])
        seconds, _ = timed(
            lambda: gradient_of(our_step, model, lambda: on_device(collate(with_states), device)), device
        )
        ours.append(seconds + states_s / EPOCHS)
        print(f"{method}: plain {plain[-1]:.2f} s, ours {ours[-1]:.2f} s", flush=True)
    rates = matrix_rates(device)
    rate = 1e12 * rates[name_of(dtype)]
    row = {"plain_s": statistics.median(plain), "ours_s": statistics.median(ours)}
    row["trainer_s"] = trainer_seconds(model, made, device, repeats)
    row |= {"ratio": row["plain_s"] / row["ours_s"], "ratio_to_trainer": row["trainer_s"] / row["ours_s"]}
    row["needed_tflop"] = needed_operations(model, made, collate) / 1e12
    row["share_of_peak_flops"] = 1e12 * row["needed_tflop"] / row["ours_s"] / rate
    row |= {"matrix_tflops": rates, "thought_states_s": states_s, "turns": {"plain_s": plain, "ours_s": ours}}
    return row, backbones


def name_of(dtype) -> str:
    return str(dtype).removeprefix("torch.")


def measure_dev_loss(preset, device, dtype, backbones):
    """Return the seconds of the dev loss against the time of its operations at the matrix rate."""
    model, _ = build(preset, "softcot", device, dtype, backbones)
    made = examples(preset, DEV_EXAMPLES)
    for example in made:
        suffix = example["suffix_ids"]
        example["labels"] = [IGNORE] * (len(suffix) - DEV_LABELS) + suffix[-DEV_LABELS:]
    collate, accelerator = (
        sharing_collator(preset, made),
        SimpleNamespace(device=device, num_processes=1, process_index=0),
    )
    made = add_states(model, made, collate, device)
    use_heads(model, NAME)

    def loss():
        return dev_loss(model.eval(), made, collate, preset.batch, Progress(batch_size=preset.batch), accelerator)

    loss()
    seconds = min(timed(loss, device)[0] for _ in range(2))
    rate = matrix_rate(device, dtype)
    needed = needed_operations(model, made, collate, backward=False)
    return {"seconds_an_example": seconds / len(made), "times_its_operations": seconds / (needed / rate)}


def measure_thought_states(preset, device, dtype, backbones):
    """Return the questions a second of the assistant's pass, with the instruction shared and without."""
    model, _ = build(preset, "softcot", device, dtype, backbones)
    use_heads(model, NAME)
    made = sorted(examples(preset, 4 * STATES_BATCH), key=lambda example: -len(example["assistant_ids"]))
    collators = {name: sharing_collator(preset, made, name == "shared") for name in ("shared", "not_shared")}
    rates = {name: [] for name in collators}

    @torch.no_grad()
    def whole_pass(collate):
        for start in range(0, len(made), STATES_BATCH):
            model.thought_states(**assistant_part(collate(made[start : start + STATES_BATCH]), device))

    for name in 3 * list(collators):
        rates[name].append(len(made) / timed(lambda own=collators[name]: whole_pass(own), device)[0])
    row = {f"{name}_questions_s": max(found) for name, found in rates.items()}
    return row | {"ratio": row["shared_questions_s"] / row["not_shared_questions_s"]}


def measure_difference(preset, method):
    """Return the largest difference of loss and of the projection's gradient in float32 on a CPU, one example."""
    model, _ = build(preset, method, "cpu", torch.float32)
    made = examples(preset, 1)
    loss, gradient = gradient_of(plain_step, model, plain_batch(made, "cpu"))
    our_loss, our_gradient = gradient_of(our_step, model, sharing_collator(preset, made)(made))
    return max(abs(loss - our_loss), (gradient - our_gradient).abs().max().item())


def peak_memory(preset_name, method, side, device, dtype):
    """Return the GiB of a separate process in one step: models, activations, everything."""
    command = [sys.executable, "-m", "benchmarks.speed", "--preset", preset_name, "--device", device]
    command += ["--dtype", name_of(dtype), "--peak_of", method, side]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=RESULTS.parent.parent)
    return json.loads(done.stdout.splitlines()[-1])


def peak_of(preset, method, side, device, dtype):
    model, _ = build(preset, method, device, dtype)
    made = examples(preset, preset.batch)
    if side == "plain":
        gradient_of(plain_step, model, plain_batch(made, device))
    else:
        collate = sharing_collator(preset, made)
        gradient_of(our_step, model, on_device(collate(add_states(model, made, collate, device)), device))
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / GIB
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage's number may be the parent's
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / GIB


def measure_evaluation(preset, device, dtype, backbones):
    """Return tokens a second. Every k-th id ends a response, so that lengths spread around k.

    `generate` with 64 rows stops at the mean length, which spares it the steps in which few rows are left.
    """
    model, (base, _) = build(preset, "softcot", device, dtype, backbones)
    model.eval()
    eos = list(range(5, preset.base.vocab_size, preset.response))
    base.model.generation_config.update(
        eos_token_id=eos, pad_token_id=eos[0], do_sample=True, temperature=1.0, top_k=50
    )
    made = examples(preset, preset.questions)
    collate = sharing_collator(preset, made)
    prompts = soft_prompts(model, made, collate, device)
    engine = TransformersEngine(base, rows=preset.rows, instruction=collate.instruction)

    def alone():
        return sum(
            generated(base.model, [prompt], eos, preset.max_new_tokens) for prompt in prompts[: preset.one_at_a_time]
        )

    def together():
        rows = [prompts[row % len(prompts)] for row in range(GENERATE_ROWS)]
        return generated(base.model, rows, eos, preset.response)

    def ours():
        use_heads(model, NAME)
        requests = (
            Request((seed, index, 0, 0), prefix, tail)
            for index, (prefix, tail) in enumerate(soft_prompts(model, made, collate, device))
            for seed in range(preset.seeds)
        )
        return sum(len(ids) for _, ids in engine.generate(requests, preset.max_new_tokens))

    row = {}
    for name, side in (("one_at_a_time", alone), ("generate_64_rows", together), ("batched", ours)):
        seconds, tokens = timed(side, device)
        row[f"{name}_tokens_s"], row[f"{name}_tokens"] = tokens / seconds, tokens
        print(f"evaluate: {name} {tokens} tokens in {seconds:.1f} s, {tokens / seconds:.1f} tokens/s", flush=True)
    row["ratio"] = row["batched_tokens_s"] / row["one_at_a_time_tokens_s"]
    row["ratio_to_generate"] = row["batched_tokens_s"] / row["generate_64_rows_tokens_s"]
    return row | {"rows": preset.rows}


@torch.no_grad()
def soft_prompts(model, made, collate, device):
    """Return the embeddings of each example's prefix `[P, d_b]`, and of soft thoughts and what follows `[T, d_b]`."""
    embed = model.base.get_input_embeddings()
    prompts = []
    for example in made:
        batch = collate([example])
        soft = model.soft_thoughts(model.thought_states(**assistant_part(batch, device)))[0, 0].to(embed.weight.dtype)
        prefix, suffix = (torch.tensor(example[f"{part}_ids"], device=device) for part in ("prefix", "suffix"))
        prompts.append((embed(prefix), torch.cat([soft, embed(suffix[:4])])))
    return prompts


@torch.no_grad()
def generated(lm, prompts, eos, max_new_tokens):
    """Return how many tokens, without padding, one call of transformers' `generate` makes for these prompts."""
    lm.config._attn_implementation = "sdpa"
    torch.manual_seed(5)
    rows = [torch.cat(prompt) for prompt in prompts]
    longest = max(map(len, rows))
    embeds = torch.stack([torch.cat([row.new_zeros(longest - len(row), row.shape[1]), row]) for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=embeds.device)
    output = lm.generate(
        inputs_embeds=embeds, attention_mask=mask, do_sample=True, max_new_tokens=max_new_tokens
    ).tolist()
    ends = set(eos)
    return sum(next((place + 1 for place, token in enumerate(ids) if token in ends), len(ids)) for ids in output)


def measure_sweep(preset, device, dtype):
    """Return the seconds of one step of ours along four axes, SoftCoT++ with one example unless said.

    All examples have the same lengths. Against P also what one more chain costs: a third of what four chains take
    longer than one.
    """
    preset = replace(preset, batch=1, chains=4)
    _, backbones = build(preset, "softcotpp", device, dtype)
    axes = {
        "chains": (1, 2, 4, 7, 10),
        "thoughts": (4, 8, 16, 32, 64),
        "prefix": (130, 260, 520, 1040),
        "batch": (1, 2, 4),
    }

    def measure(changed):
        model, _ = build(changed, "softcotpp", device, dtype, backbones)
        made = examples(changed, changed.batch, spread=0)
        collate = sharing_collator(changed, made)
        batch = on_device(collate(add_states(model, made, collate, device)), device)
        gradient_of(our_step, model, batch)
        seconds = min(timed(lambda: gradient_of(our_step, model, batch), device)[0] for _ in range(2))
        return seconds, needed_operations(model, made, collate) / 1e12

    points = {}
    for axis, values in axes.items():
        points[axis] = []
        for value in values:
            changed = replace(preset, **{axis: value})
            rows = changed.batch * changed.chains
            seconds, needed = measure(changed)
            point = {
                axis: value,
                "step_s": seconds,
                "per_chain_s": seconds / rows,
                "needed_tflop_per_chain": needed / rows,
            }
            if axis == "prefix":
                point["one_more_chain_s"] = (seconds - measure(replace(changed, chains=1))[0]) / (rows - 1)
            points[axis].append(point)
            print(", ".join(f"{key} {number:.4g}" for key, number in point.items()), flush=True)
    return points


def plot_sweep(points, path, title):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(points), figsize=(3.2 * len(points), 3), layout="constrained")
    labels = {"chains": "chains N", "thoughts": "thought tokens L", "prefix": "prefix tokens P", "batch": "batch size"}
    for place, (axis, row) in zip(axes, points.items(), strict=True):
        place.plot([point[axis] for point in row], [point["step_s"] for point in row], marker="o", label="step")
        place.plot([point[axis] for point in row], [point["per_chain_s"] for point in row], marker="s", label="a chain")
        if axis == "prefix":
            place.plot(
                [point[axis] for point in row],
                [point["one_more_chain_s"] for point in row],
                marker="^",
                label="one more chain",
            )
            place.legend()
        place.set(xlabel=labels[axis], ylim=(0, None))
    axes[0].set_ylabel("seconds")
    axes[0].legend()
    figure.suptitle(title)
    figure.savefig(path, dpi=120)


def machine(device):
    """Return the processor's or card's name; of a CPU with its vector and matrix units."""
    if device != "cpu":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    known = dict(reversed([tuple(part.strip() for part in line.split(":", 1)) for line in lines if ":" in line]))
    flags = [flag for flag in ("avx2", "avx512_bf16", "amx_bf16") if flag in known.get("flags", "").split()]
    named = known.get("model name", platform.machine()) + (f" with {' and '.join(flags)}" if flags else "")
    return f"{os.cpu_count()} cores of {named}, torch {torch.__version__}"


def chosen_dtype(name, device):
    """Return the dtype named; None is on a CPU the one of the higher matrix rate, on a GPU bfloat16."""
    if not name:
        rates = matrix_rates(device) if device == "cpu" else {"bfloat16": 1.0}
        name = max(rates, key=rates.get)
    return getattr(torch, name)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, help="default: cpu without a GPU, else llama-8b-1b")
    parser.add_argument("--device", help="cpu or cuda; default: cuda if there is one")
    faster = "of both sides (default: on a CPU that of the higher matrix rate, else bfloat16)"
    parser.add_argument("--dtype", choices=CANDIDATES, help=faster)
    parser.add_argument("--repeats", type=int, default=2, help="measured turns of each side of training (default: 2)")
    parser.add_argument("--sweep", action="store_true", help="measure a step against N, L, P and the batch size too")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/<cpu or GPU and preset>.json")
    parser.add_argument("--peak_of", nargs=2, metavar=("METHOD", "SIDE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    args.preset = args.preset or ("cpu" if args.device == "cpu" else "llama-8b-1b")
    return args


def main():
    args = parse_arguments()
    device, preset, dtype = args.device, PRESETS[args.preset], chosen_dtype(args.dtype, args.device)
    if args.peak_of:
        print(json.dumps(peak_of(preset, *args.peak_of, device, dtype)))
        return
    on_gpu = f"{machine(device).replace(' ', '-')}-" if device != "cpu" else ""
    path = args.output or RESULTS / f"{on_gpu}{args.preset}.json"
    found = {"machine": machine(device), "date": time.strftime("%Y-%m-%d"), "preset": args.preset}
    found |= {"dtype": name_of(dtype), "load_before": os.getloadavg()[0]}
    backbones = None
    for method in ("softcot", "softcotpp"):
        row, backbones = measure_training(preset, method, device, dtype, args.repeats, backbones)
        if device != "cpu":
            torch.cuda.empty_cache()  # the processes below need the room
        for side in ("plain", "ours"):
            row[f"{side}_peak_gb"] = peak_memory(args.preset, method, side, device, dtype)
        if device == "cpu":
            row["max_abs_diff"] = measure_difference(preset, method)
        found[f"train_{method}"] = row
        write_json(found, path)
    found["dev_loss"] = measure_dev_loss(preset, device, dtype, backbones)
    found["thought_states"] = measure_thought_states(preset, device, dtype, backbones)
    write_json(found, path)
    found["evaluate"] = measure_evaluation(preset, device, dtype, backbones)
    if args.preset not in ("cpu", "tiny"):
        training = found["train_softcot"]["ours_s"] * 7473 / preset.batch * EPOCHS / 3600
        answers = 5 * 1319 * preset.response / found["evaluate"]["batched_tokens_s"] / 3600
        found["hours_of_a_gsm8k_row"] = {"training": training, "evaluation": answers}
    write_json(found, path)
    if args.sweep:
        found["sweep"] = measure_sweep(preset, device, dtype)
        write_json(found, path)
        plot_sweep(found["sweep"], path.with_suffix(".png"), f"One training step, {found['machine']}")
    if device == "cpu" and args.preset == "cpu" and args.output is None:
        python = RESULTS.parent.parent / ".venv-vllm" / "bin" / "python"
        if python.is_file():
            subprocess.run([python, "-m", "benchmarks.vllm_engine"], check=True, cwd=RESULTS.parent.parent)
            found = json.loads(path.read_text(encoding="utf-8"))
        else:
            print("vllm: not measured, no .venv-vllm here (make setup-vllm)")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
