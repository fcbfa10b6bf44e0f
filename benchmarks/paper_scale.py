"""Count the cost of the papers' runs: python -m benchmarks.paper_scale --preset llama-8b-1b

Models of the papers' shapes run a training step and decoding steps on `meta` tensors, which have shapes but no numbers:
nothing is downloaded, and no GPU is needed. Beside them runs the plain algorithm of benchmarks/workload.py. Counted are
floating-point operations (by FlopCounterMode's formulas), bytes of live tensors, and operations that start a kernel.
A read from the device fails (but for an assignment to a boolean index), since a meta tensor has no value.
Hours follow from a stated matrix rate and memory bandwidth: they are projections, not measurements.
Prints JSON and writes it to benchmarks/results/paper_scale.json, one entry a preset and number of chains.
"""

import argparse
import json
import weakref
from dataclasses import replace
from types import SimpleNamespace

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.workload import (
    EPOCHS,
    PRESETS,
    RESULTS,
    build,
    examples,
    plain_batch,
    plain_step,
    sharing_collator,
    use_heads,
)
from model.attention import NAME
from model.generation import Batch, Request, TransformersEngine
from model.training import backward
from utils import write_json

PAIRS = ("llama-8b-1b", "qwen2.5-7b-1.5b", "qwen3-8b-0.6b")
TRAINED, EVALUATED, SEEDS = 7473, 1319, 5  # examples of GSM8K, questions of its test set, seeds
TFLOPS, BANDWIDTH = 396, 3350  # of an H100: 40 % of its peak; GB/s of its memory
LONGEST = 1024  # new tokens
ROWS = (16, 64, 256)  # decoded at once
BLOCK = 512  # bytes to which CUDA's allocator rounds
DEVICE = "meta"


class Trace(TorchDispatchMode):
    """Follows the operations on meta tensors and the storages of their results, with those of some modules."""

    def __init__(self, *modules):
        super().__init__()
        self.sizes, self.live = {}, 0
        self.restart()
        for module in modules:
            for tensor in (*module.parameters(), *module.buffers()):
                self.follow(tensor)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor) and leaf.is_meta]
        if made and function._overloadpacket in flop_registry:  # what FlopCounterMode counts
            self.flops += flop_registry[function._overloadpacket](*args, **(kwargs or {}), out_val=result)
        self.operations += bool(made) and not function.is_view and function._overloadpacket.__name__ != "detach"
        for tensor in made:
            self.follow(tensor)
        return result

    def follow(self, tensor) -> None:
        """Count the bytes of the tensor's storage until it is freed."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self.sizes:
            size = -(-storage.nbytes() // BLOCK) * BLOCK
            self.sizes[storage._cdata] = size
            self.live += size
            self.peak = max(self.peak, self.live)
            weakref.finalize(storage, self.freed, storage._cdata)

    def freed(self, storage) -> None:
        self.live -= self.sizes.pop(storage)

    def restart(self) -> None:
        """Forget the counts so far, but not what is live."""
        self.peak, self.flops, self.operations = self.live, 0, 0

    def count(self, function) -> dict:
        """Return the counts of a function's run."""
        self.restart()
        with CudaAttention(), self:
            function()
        return {"tflop": self.flops / 1e12, "peak_gb": self.peak / 1e9, "aten_operations": self.operations}


class CudaAttention(TorchFunctionMode):
    """Lets scaled_dot_product_attention trace the kernel that a GPU takes: with a mask the memory-efficient one."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.nn.functional.scaled_dot_product_attention:
            return cuda_attention(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def cuda_attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False):
    if enable_gqa:
        groups = query.shape[1] // key.shape[1]
        key, value = (part.repeat_interleave(groups, 1) for part in (key, value))
    mask = attn_mask if attn_mask is not None and attn_mask.dtype == query.dtype else query.new_zeros(1)
    mask = mask.expand(*query.shape[:3], key.shape[2])
    return torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, mask, query.requires_grad, dropout_p, is_causal, scale=scale
    )[0]


def make_pair(preset, backbones=None, micro_batch_size=0):
    """Return a trace that follows the models' storages, the method's module, and its models."""
    method = "softcot" if preset.chains == 1 else "softcotpp"
    model, backbones = build(preset, method, DEVICE, torch.bfloat16, backbones, micro_batch_size)
    return Trace(model, *model.models), model, backbones


def trace_training(preset, micro_batch_size, backbones=None) -> tuple[dict, tuple]:
    """Return the counts of a step's gradient as training takes it, its thought states given, and the models."""
    trace, model, backbones = make_pair(preset, backbones, micro_batch_size)
    made = examples(preset, preset.batch)
    states = torch.empty(len(made), preset.chains, preset.thoughts, model.width_assistant, dtype=torch.bfloat16)
    made = [e | {"thought_states": own} for e, own in zip(made, states, strict=True)]
    collate, one_process = (
        sharing_collator(preset, made),
        SimpleNamespace(device=DEVICE, num_processes=1, process_index=0),
    )
    use_heads(model, NAME)
    trace.count(lambda: backward(model, made[:1], collate, 1, one_process))  # runs the instruction
    return trace.count(lambda: backward(model, made, collate, len(made), one_process)), backbones


def trace_plain_training(preset, backbones) -> dict:
    """Return the counts of a plain step's gradient."""
    trace, model, _ = make_pair(preset, backbones)
    made = examples(preset, preset.batch)
    return trace.count(lambda: plain_step(model, plain_batch(preset, made, DEVICE, torch.bfloat16)))


@torch.no_grad()
def trace_evaluation(preset, rows, backbones) -> dict:
    """Return the counts of a prefill of `rows` rows and of decoding steps, at the mean length and at the longest."""
    trace, model, (base, _) = make_pair(preset, backbones)
    use_heads(model.eval(), NAME)
    base.model.generation_config.update(eos_token_id=5, pad_token_id=5)
    made = examples(preset, -(-rows // (SEEDS * preset.chains)))
    collate, width = sharing_collator(preset, made), preset.base.hidden_size
    with trace:
        engine = TransformersEngine(base, rows=rows, instruction=collate.instruction)
        requests = []
        for index, example in enumerate(made):
            prefix = torch.empty(len(example["prefix_ids"]), width, dtype=torch.bfloat16, device=DEVICE)
            for chain in range(preset.chains):
                tail = torch.empty(preset.thoughts + 4, width, dtype=torch.bfloat16, device=DEVICE)
                requests += [Request((seed, index, chain, 0), prefix, tail) for seed in range(SEEDS)]
    batch, tokens = Batch(engine, LONGEST), torch.zeros(rows, dtype=torch.long, device=DEVICE)
    found = {"rows": rows, "prefill": trace.count(lambda: batch.add(requests[:rows]))}
    for name, more in (("decode_mean", preset.response // 2), ("decode_longest", LONGEST - preset.response // 2)):
        batch.cache.lengths = [length + more for length in batch.cache.lengths]
        found[name] = trace.count(lambda: batch.decode(tokens))
        found[name]["tflop"] += 2 * rows * width * preset.base.vocab_size / 1e12  # the vocabulary's product
        found[name]["cache_gb"] = sum(buffer.nbytes for buffer in batch.cache.buffers) / 1e9
    return found


def project_hours(found, preset) -> dict:
    """Return the hours of one GSM8K row of a table, here and plain: the steps of 10 epochs, the decoding of 5 seeds.

    A step takes its operations' time. A decoding step also reads the weights, and of all rows the keys and values. The
    plain algorithm decodes a question at a time, its chains together.
    """
    steps, responses = -(-TRAINED // preset.batch) * EPOCHS, EVALUATED * SEEDS
    decode, weights = found["evaluation"][-1]["decode_mean"], found["base_weights_gb"]
    step = max(decode["tflop"] / TFLOPS, (weights + decode["cache_gb"]) / BANDWIDTH)
    ours = responses * preset.chains / found["evaluation"][-1]["rows"] * preset.response * step
    plain = responses * preset.response * weights / BANDWIDTH
    training = (steps * counts["tflop"] / TFLOPS for counts in (found["training"][0], found["plain_training"]))
    seconds = {"training": training, "evaluation": (ours, plain)}
    return {name: dict(zip(("ours", "plain"), (s / 3600 for s in of), strict=True)) for name, of in seconds.items()}


def trace_preset(preset) -> dict:
    """Return all counts of a preset; its first training lets the code choose the micro-batch, by tokens."""
    found, backbones = {"training": []}, None
    for size in dict.fromkeys((0, 2, preset.batch * preset.chains)):
        counts, backbones = trace_training(preset, size, backbones)
        found["training"].append({"micro_batch": size or None, **counts})
        print(f"training, micro-batch {size or 'by tokens'}: {counts}", flush=True)
    found["plain_training"] = trace_plain_training(preset, backbones)
    found["base_weights_gb"] = sum(parameter.nbytes for parameter in backbones[0].model.parameters()) / 1e9
    width = preset.assistant.hidden_size
    found["thought_states_gb"] = 2 * (TRAINED + EVALUATED) * preset.chains * preset.thoughts * width / 1e9
    found["evaluation"] = [trace_evaluation(preset, count, backbones) for count in ROWS]
    return found | {"hours_of_a_gsm8k_row": project_hours(found, preset), "torch": torch.__version__}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PAIRS, required=True)
    parser.add_argument("--chains", type=int, choices=range(1, 11), default=1, help="N; 1 is SoftCoT (default: 1)")
    args = parser.parse_args()
    found = trace_preset(replace(PRESETS[args.preset], chains=args.chains))
    path = RESULTS / "paper_scale.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[f"{args.preset}, N = {args.chains}"] = found
    write_json(known, path)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
