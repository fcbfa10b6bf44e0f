"""Cost of the papers' runs, traced with this project's real code: python -m benchmarks.paper_scale --preset llama-8b-1b

Models of the papers' shapes run a training step, a prefill and a decoding step on `meta` tensors, which have shapes but
no numbers: nothing is downloaded, and no GPU is needed. Beside them runs the plain algorithm of benchmarks/workload.py.
Counted are floating-point operations (by FlopCounterMode's formulas), bytes of live tensors, operations that start a
kernel, and reads from the device, for which the host would wait. Hours follow from a stated matrix rate and memory
bandwidth: they are projections, not measurements. A tensor on the wrong device fails the trace.
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
    STATES_BATCH,
    add_states,
    build,
    examples,
    plain_batch,
    plain_step,
    sharing_collator,
    use_heads,
)
from model.attention import NAME
from model.generation import Batch, Request, TransformersEngine
from model.prefix import causal_mask, positions
from model.training import CLIP, backward, on_device
from utils import write_json

PAIRS = ("llama-8b-1b", "qwen2.5-7b-1.5b", "qwen3-8b-0.6b")
TRAINED, EVALUATED, SEEDS = 7473, 1319, 5  # examples of GSM8K, questions of its test set, seeds
LONGEST = 1024  # new tokens
ROWS, MICRO_BATCHES = (16, 64, 256), (1, 2, 4, 8, 16, 40)
BLOCK = 512  # bytes to which CUDA's allocator rounds
DEVICE = "meta"
COPIES = ("_to_copy", "copy_", "lift_fresh")  # may cross devices
READS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "is_nonzero", "unique", "_unique2")


class Trace(TorchDispatchMode):
    """Follows the operations on a device and the storages of their results. Raises RuntimeError on mixed devices."""

    def __init__(self, device=DEVICE):
        super().__init__()
        self.device, self.sizes, self.live, self.peak = device, {}, 0, 0
        self.flops, self.operations, self.reads = 0, 0, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._overloadpacket.__name__
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        devices = {tensor.device.type for tensor in given if tensor.dim() or tensor.device.type != "cpu"}
        if len(devices) > 1 and name not in COPIES:
            raise RuntimeError(f"aten.{name} has tensors on {' and '.join(sorted(devices))}")
        is_ours = any(tensor.device.type == self.device for tensor in given)
        if is_ours and is_read(name, args, kwargs or {}):
            self.reads.append(name)
        result = function(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        made = [tensor for tensor in made if tensor.device.type == self.device]
        if made and function._overloadpacket in flop_registry:  # what FlopCounterMode counts
            self.flops += flop_registry[function._overloadpacket](*args, **(kwargs or {}), out_val=result)
        self.operations += bool(made) and not function.is_view and name != "detach"
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
        self.peak, self.flops, self.operations, self.reads = self.live, 0, 0, []


def is_read(name, args, kwargs) -> bool:
    """Return whether an operation on device tensors needs their values on the host."""
    if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    if name == "_to_copy":
        return torch.device(kwargs.get("device") or DEVICE).type == "cpu" and args[0].device.type != "cpu"
    if name == "copy_":
        return args[0].device.type == "cpu"
    return name in READS


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


def traced(function, trace, times=1) -> dict:
    """Return the counts of `function`, which runs inside `trace`, times `times`."""
    trace.restart()
    with CudaAttention(), trace:
        function()
    return {
        "tflop": trace.flops / 1e12 * times,
        "peak_gb": trace.peak / 1e9,
        "aten_operations": trace.operations * times,
        "device_reads": len(trace.reads) * times,
    }


def four_dimensional(real):
    """Return the causal mask `[B, 1, T, T]` of real tokens `[B, T]`; from 2-D masks transformers would read back."""
    return causal_mask(real, real.shape[1], torch.bfloat16)


def make_pair(preset, method, backbones=None, micro_batch_size=0):
    """Return a trace that follows the models' storages, the method's module, and its models."""
    trace = Trace()
    model, backbones = build(preset, method, DEVICE, torch.bfloat16, backbones, micro_batch_size)
    for part in (model, *model.models):
        for tensor in (*part.parameters(), *part.buffers()):
            trace.follow(tensor)
    return trace, model, backbones


def training_step(model, made, collate, optimizer, device=DEVICE) -> None:
    """Take a step as `training_loop` takes it; device: to which the batch goes."""
    use_heads(model, NAME)
    one_process = SimpleNamespace(device=device, num_processes=1, process_index=0)
    backward(model.train(), made, collate, len(made), one_process)
    finish(model, optimizer)


def trace_training(preset, method, micro_batch_size, backbones=None) -> tuple[dict, tuple]:
    """Return the counts of a step of the training loop, its thought states given, and the models."""
    trace, model, backbones = make_pair(preset, method, backbones, micro_batch_size)
    collate, made = inputs(preset, model)
    optimizer = torch.optim.AdamW(model.projection.parameters(), lr=2e-5, weight_decay=0.0)

    # A first step of one example runs the instruction and makes the optimizer's state.
    traced(lambda: training_step(model, made[:1], collate, optimizer), trace)
    return traced(lambda: training_step(model, made, collate, optimizer), trace), backbones


def inputs(preset, model, dev=False):
    """Return the collator and a batch of examples with thought states, which are on the CPU."""
    made = examples(preset, preset.batch, dev)
    states = torch.empty(len(made), model.num_chains, preset.thoughts, model.width_assistant, dtype=torch.bfloat16)
    made = [e | {"thought_states": own} for e, own in zip(made, states, strict=True)]
    return sharing_collator(preset, made), made


def trace_plain_training(preset, method, backbones) -> dict:
    """Return the counts of a plain step over the batch."""
    trace, model, _ = make_pair(preset, method, backbones)
    made = examples(preset, preset.batch)
    optimizer = torch.optim.AdamW(model.projection.parameters(), lr=2e-5, weight_decay=0.0)
    model.projection.weight.grad, model.projection.bias.grad = map(torch.zeros_like, model.projection.parameters())
    traced(lambda: finish(model, optimizer), trace)  # makes the optimizer's state

    def step():
        plain_step(model, plain_batch(preset, made, DEVICE, four_dimensional))
        finish(model, optimizer)

    return traced(step, trace)


def finish(model, optimizer) -> None:
    """Clip and step, as `training_loop` does."""
    torch.nn.utils.clip_grad_norm_(model.projection.parameters(), CLIP)
    optimizer.step()
    optimizer.zero_grad()


def trace_forward(preset, method, backbones) -> dict:
    """Return the TFLOP of an example outside the steps, and of the plain prefill of a question.

    In the plain prefill each seed and chain runs its whole prompt.
    """
    trace, model, (base, _) = make_pair(preset, method, backbones)
    collate, made = inputs(preset, model.eval(), dev=True)
    many = examples(preset, STATES_BATCH)
    states_collate = sharing_collator(preset, many)
    plain = plain_batch(preset, examples(preset, preset.batch), DEVICE, four_dimensional)
    real = torch.ones(1, preset.prefix + preset.thoughts + 4, dtype=torch.bool, device=DEVICE)
    prompt = torch.empty(*real.shape, preset.base.hidden_size, dtype=torch.bfloat16, device=DEVICE)
    given = {"attention_mask": four_dimensional(real), "position_ids": positions(real)}

    def dev(part):
        use_heads(model, NAME)
        model.losses(on_device(collate(part), DEVICE))

    with torch.no_grad():
        traced(lambda: (dev(made[:1]), add_states(model, many[:1], states_collate, DEVICE)), trace)  # the instructions
        found = {
            "thought_states": traced(lambda: add_states(model, many, states_collate, DEVICE), trace, 1 / len(many)),
            "dev_loss": traced(lambda: dev(made), trace, 1 / len(made)),
            "plain_dev_loss": traced(lambda: plain_step(model, plain, backward=False), trace, 1 / len(made)),
        }
        use_heads(model, "sdpa")
        runs = SEEDS * model.num_chains
        found["plain_prefill"] = traced(
            lambda: base.model(inputs_embeds=prompt, **given, logits_to_keep=1), trace, runs
        )
    return {name: counts["tflop"] for name, counts in found.items()}


def trace_evaluation(preset, method, rows, backbones) -> dict:
    """Return the counts of a prefill of `rows` rows and of decoding steps, at the mean length and at the longest."""
    trace, model, (base, _) = make_pair(preset, method, backbones)
    use_heads(model.eval(), NAME)
    base.model.generation_config.update(eos_token_id=5, pad_token_id=5)
    chains = model.num_chains
    made = examples(preset, -(-rows // (SEEDS * chains)))
    collate, width = sharing_collator(preset, made), preset.base.hidden_size
    with trace:
        engine = TransformersEngine(base, rows=rows, instruction=collate.instruction)
        requests = []
        for index, example in enumerate(made):
            prefix = torch.empty(len(example["prefix_ids"]), width, dtype=torch.bfloat16, device=DEVICE)
            for chain in range(chains):
                tail = torch.empty(preset.thoughts + 4, width, dtype=torch.bfloat16, device=DEVICE)
                requests += [Request((seed, index, chain, 0), prefix, tail) for seed in range(SEEDS)]
    batch, tokens = Batch(engine, LONGEST), torch.zeros(rows, dtype=torch.long, device=DEVICE)
    found = {"rows": rows, "questions": rows / SEEDS / chains}
    with torch.no_grad():
        found["prefill"] = traced(lambda: batch.add(requests[:rows]), trace)
        for name, more in (("decode_mean", preset.response // 2), ("decode_longest", LONGEST - preset.response // 2)):
            batch.slots.lengths = [length + more for length in batch.slots.lengths]
            found[name] = traced(lambda: batch.decode(tokens), trace)
            found[name]["tflop"] += 2 * rows * width * preset.base.vocab_size / 1e12  # the vocabulary's product
            found[name]["cache_gb"] = sum(buffer.nbytes for buffer in batch.slots.buffers) / 1e9
    return found


def hours_of_a_row(found, preset, chains, tflops, bandwidth) -> dict:
    """Return the projected hours of one GSM8K row of a table: 10 epochs with dev losses, then 5 seeds.

    Time of operations: TFLOP / tflops. A decoding step also reads weights and keys and values: GB / bandwidth.
    """
    steps = -(-TRAINED // preset.batch) * EPOCHS
    tflop, evaluation = found["examples"], found["evaluation"][-1]
    decode, weights = evaluation["decode_mean"], found["base_weights_gb"]
    token_steps = EVALUATED * SEEDS * chains * preset.response / evaluation["rows"]
    ours = {
        "training": steps * found["training"][0]["tflop"] / tflops,
        "thought_states": (TRAINED + 2 * EVALUATED) * tflop["thought_states"] / tflops,
        "dev_losses": EPOCHS * EVALUATED * tflop["dev_loss"] / tflops,
        "prefill": EVALUATED / evaluation["questions"] * evaluation["prefill"]["tflop"] / tflops,
        "decoding": token_steps * max(decode["tflop"] / tflops, (weights + decode["cache_gb"]) / bandwidth),
    }
    plain = {
        "training": steps * found["plain_training"]["tflop"] / tflops,
        "dev_losses": EPOCHS * EVALUATED * tflop["plain_dev_loss"] / tflops,
        "prefill": EVALUATED * tflop["plain_prefill"] / tflops,
        "decoding": EVALUATED * SEEDS * preset.response * weights / bandwidth,  # the chains are one batch
    }
    hours = {
        side: {name: value / 3600 for name, value in of.items()} | {"total": sum(of.values()) / 3600}
        for side, of in (("ours", ours), ("plain", plain))
    }
    return {"tflops": tflops, "bandwidth_gb_s": bandwidth} | hours


def trace_preset(preset, chains, tflops, bandwidth) -> dict:
    method = "softcot" if chains == 1 else "softcotpp"
    preset = replace(preset, chains=chains)
    rows = preset.batch * chains
    found, backbones = {"chains": chains, "batch": preset.batch, "training": []}, None
    for micro_batch_size in (0, *(size for size in MICRO_BATCHES if rows / 20 <= size <= rows)):
        counts, backbones = trace_training(preset, method, micro_batch_size, backbones)
        found["training"].append({"micro_batch": micro_batch_size or None, **counts})
        print(f"training, micro-batch {micro_batch_size or 'by tokens'}: {counts}", flush=True)
    found["plain_training"] = trace_plain_training(preset, method, backbones)
    found["base_weights_gb"], found["assistant_weights_gb"] = (
        sum(parameter.nbytes for parameter in one.model.parameters()) / 1e9 for one in backbones
    )
    found["examples"] = trace_forward(preset, method, backbones)
    width = preset.assistant.hidden_size
    found["thought_states_gb"] = 2 * (TRAINED + EVALUATED) * chains * preset.thoughts * width / 1e9
    found["evaluation"] = [trace_evaluation(preset, method, count, backbones) for count in ROWS]
    return found | {"hours_of_a_gsm8k_row": hours_of_a_row(found, preset, chains, tflops, bandwidth)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PAIRS, required=True)
    parser.add_argument("--chains", type=int, choices=range(1, 11), default=1, help="N; 1 is SoftCoT (default: 1)")
    parser.add_argument("--tflops", type=float, default=396, help="matrix rate (default: 396, 40 %% of an H100's peak)")
    parser.add_argument("--bandwidth", type=float, default=3350, help="of memory in GB/s (default: 3350, an H100's)")
    args = parser.parse_args()
    found = trace_preset(PRESETS[args.preset], args.chains, args.tflops, args.bandwidth) | {"torch": torch.__version__}
    path = RESULTS / "paper_scale.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known[f"{args.preset}, N = {args.chains}"] = found
    write_json(known, path)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
