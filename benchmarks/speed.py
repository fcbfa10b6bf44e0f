"""Training and evaluation against their plain forms, side by side: python -m benchmarks.speed (make bench)

Models of real shapes with random weights; nothing is downloaded and no text is made. The plain side is the
straightforward algorithm: the assistant runs at every step, each chain is a full sequence through the base model with
logits at every position, and evaluation generates for one question at a time. Both sides see the same tensors in
one process, taking turns; peak memory is that of a separate process. Writes benchmarks/results/<cpu or GPU name>.json
and, with --sweep, a table and a plot of a step's cost against N, L, P and the batch size.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen3Config

from data_loader.collator import Collator
from model.attention import NAME, group_heads
from model.backbone import Backbone, ThoughtTokens
from model.causal_lm import DTYPE_ARGUMENT
from model.frozen_lm import IGNORE
from model.generation import Request, TransformersEngine
from model.softcot import SoftCoT, SoftCoTPlusPlus
from utils import write_json

RESULTS = Path(__file__).resolve().parent / "results"
EPOCHS = 10  # of the papers: over which the one pass of the assistant is spread
PLACEHOLDER, FIRST_INITIAL = 7, 40
GIB = 2**30


@dataclass(frozen=True)
class Preset:
    """A pair of models and a workload. Lengths in tokens, spread as GSM8K's are with Llama 3.1's tokenizer."""

    base: object
    assistant: object
    prefix: int = 260  # mean; standard deviation 21
    thoughts: int = 32
    suffix: int = 150  # mean; standard deviation 0.46 of it
    batch: int = 4
    chains: int = 10
    rows: int = 64
    questions: int = 26  # evaluated with `seeds` seeds each
    seeds: int = 5
    one_at_a_time: int = 3  # questions of the plain side, which is slow
    max_new_tokens: int = 512
    response: int = 150  # mean


def llama(width, layers, heads, shared, inner, tied):
    return LlamaConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        intermediate_size=inner,
        vocab_size=128256,
        tie_word_embeddings=tied,
        max_position_embeddings=8192,
        head_dim=width // heads,
    )


def qwen3(width, layers, heads, shared, inner, tied):
    return Qwen3Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        intermediate_size=inner,
        vocab_size=151936,
        tie_word_embeddings=tied,
        max_position_embeddings=8192,
        head_dim=128,
    )


PRESETS = {
    "cpu": Preset(llama(576, 30, 9, 3, 1536, True), llama(384, 12, 6, 2, 1024, True)),
    "llama-8b-1b": Preset(
        llama(4096, 32, 32, 8, 14336, False), llama(2048, 16, 32, 8, 8192, True), questions=64, rows=256
    ),
    "qwen3-8b-0.6b": Preset(
        qwen3(4096, 36, 32, 8, 12288, False), qwen3(1024, 28, 16, 8, 3072, True), questions=64, rows=256
    ),
    "tiny": Preset(
        llama(64, 2, 4, 2, 128, True),
        llama(32, 2, 4, 2, 64, True),
        prefix=40,
        thoughts=4,
        suffix=20,
        chains=3,
        rows=8,
        questions=4,
        seeds=2,
        max_new_tokens=16,
        response=8,
    ),
}


class NumberTokenizer:
    """All that the models here need of a tokenizer."""

    eos_token_id = None

    @staticmethod
    def convert_tokens_to_ids(token):
        return PLACEHOLDER


def backbone(config, device, dtype, seed):
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, **{DTYPE_ARGUMENT: dtype})
    group_heads(model.requires_grad_(False).eval())
    return Backbone(model, NumberTokenizer(), ThoughtTokens("random", "", "", "", FIRST_INITIAL, 10), "random")


def build(preset, method, device, dtype=torch.bfloat16, backbones=None):
    base, assistant = backbones or (
        backbone(preset.base, device, dtype, 0),
        backbone(preset.assistant, device, dtype, 1),
    )
    torch.manual_seed(2)
    if method == "softcot":
        return SoftCoT(base, assistant, preset.thoughts).train(), (base, assistant)
    return SoftCoTPlusPlus(base, assistant, preset.thoughts, preset.chains, contrastive=True).train(), (base, assistant)


def examples(preset, count, seed=3):
    """Random ids of drawn lengths: [{prefix_ids, suffix_ids, assistant_ids}], the assistant's with its slot."""
    draw = torch.Generator().manual_seed(seed)
    vocabulary = min(preset.base.vocab_size, preset.assistant.vocab_size)

    def ids(length):
        return torch.randint(64, vocabulary, (max(8, round(length)),), generator=draw)

    made = []
    for _ in range(count):
        wide, long = torch.randn(2, generator=draw).tolist()
        prefix = preset.prefix * (1 + 0.08 * max(-2.5, min(2.5, wide)))
        suffix = preset.suffix * 2.718 ** (0.44 * max(-2.0, min(2.0, long)) - 0.1)
        made.append(
            {
                "prefix_ids": ids(prefix),
                "suffix_ids": ids(suffix),
                "assistant_ids": torch.cat([ids(prefix), torch.full((preset.thoughts,), PLACEHOLDER)]),
            }
        )
    return made


def collate(made, device):
    """The batch as SoftCoT.forward takes it; every suffix token is a label."""
    lists = [{key: ids.tolist() for key, ids in example.items()} for example in made]
    batch = Collator(0, 0)([ids | {"labels": ids["suffix_ids"], "index": place} for place, ids in enumerate(lists)])
    return {key: value.to(device) for key, value in batch.items() if key != "index"}


# ---- one step, plain and ours: both leave the projection's gradient behind ----


def plain_step(model, batch):
    """The assistant and, chain by chain, the whole sequence; each chain's graph is freed before the next is built."""
    use_heads(model, "sdpa")
    base, assistant = model.base, model.assistant
    embed, embed_small = base.get_input_embeddings(), assistant.get_input_embeddings()
    length = model.num_thought_tokens
    full_mask = torch.cat(
        [batch["prefix_mask"], batch["prefix_mask"].new_ones(len(batch["labels"]), length), batch["suffix_mask"]], dim=1
    )
    position_ids = (full_mask.cumsum(-1) - 1).clamp(min=0)
    total, chains = 0.0, []
    for initial in model.embedding:
        with torch.no_grad():
            before = embed_small(batch["assistant_ids"])
            before[:, -length:] = initial.to(before.dtype)
            mask = batch["assistant_mask"]
            states = assistant.model(
                inputs_embeds=before,
                attention_mask=mask,
                position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
                use_cache=False,
            ).last_hidden_state[:, -length:]
        soft = model.projection(states.float())
        embeds = torch.cat([embed(batch["prefix_ids"]), soft.to(before.dtype), embed(batch["suffix_ids"])], dim=1)
        logits = base(inputs_embeds=embeds, attention_mask=full_mask, position_ids=position_ids, use_cache=False).logits
        start = batch["prefix_ids"].shape[1] + length
        losses = F.cross_entropy(logits[:, start - 1 : -1].float().transpose(1, 2), batch["labels"], reduction="none")
        loss = (losses.sum(-1) / (batch["labels"] != IGNORE).sum(-1)).mean()
        loss.backward()
        total += loss.item()
        chains.append(states)
        del logits, losses, loss, embeds, soft
    if len(chains) > 1:
        contrast = model.contrast(model.projection(torch.stack(chains, dim=1).float()))
        contrast.backward()
        total += contrast.item()
    return total


def our_step(model, batch):
    """As training takes it: thought states come from the cache."""
    use_heads(model, NAME)
    loss = model(**batch)["loss"]
    loss.backward()
    return loss.item()


def use_heads(model, name):
    """Which attention the two frozen models use; the plain side has transformers' default."""
    for part in (model.base, model.assistant):
        part.config._attn_implementation = name


def with_states(model, batch):
    use_heads(model, NAME)
    with torch.no_grad():
        states = model.thought_states(batch["assistant_ids"], batch["assistant_mask"])
    return {key: value for key, value in batch.items() if not key.startswith("assistant")} | {"thought_states": states}


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
    model.zero_grad(set_to_none=True)
    torch.manual_seed(4)  # of the contrastive term's dropout
    loss = step(model, batch)
    return loss, torch.cat([p.grad.flatten() for p in model.projection.parameters()])


def matrix_rate(device, dtype=torch.bfloat16, size=4096):
    """Floating-point operations a second of a large matrix product, the best of five."""
    size = size if device != "cpu" else 2048
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    for _ in range(2):
        a @ b
    return 2 * size**3 / min(timed(lambda: a @ b, device)[0] for _ in range(5))


def needed_operations(model, batch):
    """Operations that a step cannot avoid: prefix once, thoughts + suffix of each chain forward and backward (towards
    the inputs only: weights are frozen), logits where there are labels. Padding not counted."""
    config = model.base.config
    dense = sum(
        p.numel()
        for name, p in model.base.named_parameters()
        if p.dim() == 2 and "embed" not in name and "lm_head" not in name
    )
    vocabulary = config.vocab_size * config.hidden_size
    width = config.num_attention_heads * config.head_dim
    total = 0
    lengths = [batch[f"{part}_mask"].sum(-1).tolist() for part in ("prefix", "suffix")]
    for prefix, suffix in zip(*lengths, strict=True):
        rest = model.num_thought_tokens + suffix
        attention = 2 * 2 * width * config.num_hidden_layers  # scores and weighted sum, a pair of positions
        total += 2 * dense * prefix + attention * prefix**2 / 2
        chain = 2 * dense * rest + attention * (prefix * rest + rest**2 / 2) + 2 * vocabulary * suffix
        total += model.num_chains * 2 * chain  # backward towards the inputs costs what forward costs
    return total


def measure_training(preset, method, device, repeats, backbones=None):
    model, backbones = build(preset, method, device, backbones=backbones)
    batch = collate(examples(preset, preset.batch), device)
    plain, ours = [], []
    small = collate(examples(preset, 1), device)
    gradient_of(plain_step, model, small)  # warms up
    gradient_of(our_step, model, with_states(model, small))
    states_s, cached = timed(lambda: with_states(model, batch), device)
    for _ in range(repeats):
        plain.append(timed(lambda: gradient_of(plain_step, model, batch), device)[0])
        ours.append(timed(lambda: gradient_of(our_step, model, cached), device)[0] + states_s / EPOCHS)
        print(f"{method}: plain {plain[-1]:.2f} s, ours {ours[-1]:.2f} s", flush=True)
    rate = matrix_rate(device)
    row = {"plain_s": statistics.median(plain), "ours_s": statistics.median(ours)}
    row["ratio"] = row["plain_s"] / row["ours_s"]
    row["share_of_peak_flops"] = needed_operations(model, batch) / statistics.median(ours) / rate
    row["matrix_tflops"] = rate / 1e12
    row["thought_states_s"] = states_s
    return row, backbones


def measure_difference(preset, method):
    """Largest difference of loss and of the projection's gradient in float32 on a CPU, one example."""
    model, _ = build(preset, method, "cpu", torch.float32)
    batch = collate(examples(preset, 1), "cpu")
    loss, gradient = gradient_of(plain_step, model, batch)
    our_loss, our_gradient = gradient_of(our_step, model, with_states(model, batch))
    return max(abs(loss - our_loss), (gradient - our_gradient).abs().max().item())


def peak_memory(preset_name, method, side, device):
    """Return the GiB of a separate process in one step: models, activations, everything."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.speed",
        "--preset",
        preset_name,
        "--device",
        device,
        "--peak_of",
        method,
        side,
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=RESULTS.parent.parent)
    return json.loads(done.stdout.splitlines()[-1])


def peak_of(preset, method, side, device):
    model, _ = build(preset, method, device)
    batch = collate(examples(preset, preset.batch), device)
    if side == "ours":
        batch = with_states(model, batch)
    gradient_of(plain_step if side == "plain" else our_step, model, batch)
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / GIB
    status = Path("/proc/self/status").read_text(encoding="utf-8")  # getrusage's number may be the parent's
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024 / GIB


def measure_evaluation(preset, device, backbones):
    """Tokens a second. Every k-th id ends a response, so that lengths spread around k."""
    model, (base, _) = build(preset, "softcot", device, backbones=backbones)
    model.eval()
    eos = list(range(5, preset.base.vocab_size, preset.response))
    base.model.generation_config.update(
        eos_token_id=eos, pad_token_id=eos[0], do_sample=True, temperature=1.0, top_k=50
    )
    made = examples(preset, preset.questions)
    embed = base.model.get_input_embeddings()

    def prompt(example):
        batch = collate([example], device)
        states = model.thought_states(batch["assistant_ids"], batch["assistant_mask"])
        soft = model.soft_thoughts(states)[0, 0].to(embed.weight.dtype)
        return embed(batch["prefix_ids"][0]), torch.cat([soft, embed(example["suffix_ids"][:4].to(device))])

    @torch.no_grad()
    def plain():
        use_heads(model, "sdpa")
        torch.manual_seed(5)
        tokens = 0
        for example in made[: preset.one_at_a_time]:
            embeds = torch.cat(prompt(example))[None]
            mask = torch.ones(embeds.shape[:2], dtype=torch.long, device=device)
            output = base.model.generate(
                inputs_embeds=embeds, attention_mask=mask, do_sample=True, max_new_tokens=preset.max_new_tokens
            )
            tokens += output.shape[1]
        return tokens

    @torch.no_grad()
    def batched():
        use_heads(model, NAME)
        engine = TransformersEngine(base, rows=preset.rows)

        def requests():
            for index, example in enumerate(made):
                prefix, tail = prompt(example)
                for seed in range(preset.seeds):
                    yield Request((seed, index, 0, 0), prefix, tail)

        return sum(len(ids) for _, ids in engine.generate(requests(), preset.max_new_tokens))

    row = {}
    for name, side in (("one_at_a_time", plain), ("batched", batched)):
        seconds, tokens = timed(side, device)
        row[f"{name}_tokens_s"], row[f"{name}_tokens"] = tokens / seconds, tokens
        print(f"evaluate: {name} {tokens} tokens in {seconds:.1f} s, {tokens / seconds:.1f} tokens/s", flush=True)
    return row | {"ratio": row["batched_tokens_s"] / row["one_at_a_time_tokens_s"], "rows": preset.rows}


def measure_sweep(preset, device):
    """Seconds of one step of ours along four axes, SoftCoT++ with one example unless said.

    Against P also what one more chain costs: a third of what four chains take longer than one.
    """
    preset = replace(preset, batch=1, chains=4)
    _, backbones = build(preset, "softcotpp", device)
    axes = {
        "chains": (1, 2, 4, 7, 10),
        "thoughts": (4, 8, 16, 32, 64),
        "prefix": (130, 260, 520, 1040),
        "batch": (1, 2, 4),
    }

    def measure(changed):
        model, _ = build(changed, "softcotpp", device, backbones=backbones)
        batch = with_states(model, collate(examples(changed, changed.batch), device))
        gradient_of(our_step, model, batch)
        seconds = min(timed(lambda: gradient_of(our_step, model, batch), device)[0] for _ in range(2))
        return seconds, needed_operations(model, batch) / 1e12

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
    if device != "cpu":
        return torch.cuda.get_device_name()
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores of {model}, torch {torch.__version__}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, help="default: cpu without a GPU, else llama-8b-1b")
    parser.add_argument("--device", help="cpu or cuda; default: cuda where there is one")
    parser.add_argument("--repeats", type=int, default=2, help="measured turns of each side of training (default: 2)")
    parser.add_argument("--sweep", action="store_true", help="measure a step against N, L, P and the batch size too")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/<cpu or GPU and preset>.json")
    parser.add_argument("--peak_of", nargs=2, metavar=("METHOD", "SIDE"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    device = args.device or ("cuda" if torch.cuda.is_available() else "cpu")
    name = args.preset or ("cpu" if device == "cpu" else "llama-8b-1b")
    preset = PRESETS[name]
    if args.peak_of:
        print(json.dumps(peak_of(preset, *args.peak_of, device)))
        return

    gpu_name = machine(device).replace(" ", "-") if device != "cpu" else ""
    path = args.output or RESULTS / (f"{gpu_name}-{name}.json" if device != "cpu" else f"{name}.json")
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found |= {"machine": machine(device), "date": time.strftime("%Y-%m-%d"), "preset": name}
    backbones = None
    for method in ("softcot", "softcotpp"):
        row, backbones = measure_training(preset, method, device, args.repeats, backbones)
        if device != "cpu":
            torch.cuda.empty_cache()  # the processes below need the room
        for side in ("plain", "ours"):
            row[f"{side}_peak_gb"] = peak_memory(name, method, side, device)
        if device == "cpu":
            row["max_abs_diff"] = measure_difference(preset, method)
        found[f"train_{method}"] = row
        write_json(found, path)
    found["evaluate"] = measure_evaluation(preset, device, backbones)
    if name != "cpu" and name != "tiny":
        training = found["train_softcot"]["ours_s"] * 7473 / preset.batch * EPOCHS / 3600
        answers = 5 * 1319 * preset.response / found["evaluate"]["batched_tokens_s"] / 3600
        found["hours_of_a_gsm8k_row"] = {"training": training, "evaluation": answers}
    write_json(found, path)
    if args.sweep:
        found["sweep"] = measure_sweep(preset, device)
        write_json(found, path)
        plot_sweep(found["sweep"], path.with_suffix(".png"), f"One training step, {found['machine']}")
    if device == "cpu" and name == "cpu" and args.output is None:
        python = RESULTS.parent.parent / ".venv-vllm" / "bin" / "python"
        if python.is_file():
            subprocess.run([python, "-m", "benchmarks.vllm_engine"], check=True, cwd=RESULTS.parent.parent)
            found = json.loads(path.read_text(encoding="utf-8"))
        else:
            print("vllm: not measured, no .venv-vllm here (make setup-vllm)")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
