"""Pairs of models of real shapes with random weights, random examples, and the plain algorithm's training step.

Nothing is downloaded and no text is made. The plain algorithm runs the assistant at every step and, for each chain, the
full sequence through the base model, with logits at every position. benchmarks/speed.py measures it beside this
project's step, benchmarks/paper_scale.py counts both.
"""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, LlamaConfig, Qwen2Config, Qwen3Config

from data_loader.collator import Collator
from model.attention import NAME, group_heads
from model.backbone import Backbone, ThoughtTokens
from model.causal_lm import DTYPE_ARGUMENT
from model.frozen_lm import IGNORE
from model.prefix import causal_mask, count_positions, real_columns
from model.softcot import SoftCoT
from model.training import on_device

RESULTS = Path(__file__).resolve().parent / "results"
EPOCHS = 10  # of the papers: over which the one pass of the assistant is spread
PLACEHOLDER, FIRST_INITIAL = 7, 40
# Shares of the mean prompts that all examples begin with: this project's GSM8K prompts, Llama 3.1's tokenizer.
COMMON_PREFIX, COMMON_ASSISTANT = 0.55, 0.30


@dataclass(frozen=True)
class Preset:
    """A pair of models and a workload. Lengths in tokens, spread as GSM8K's are with Llama 3.1's tokenizer."""

    base: object
    assistant: object
    prefix: int = 260  # mean, also of the assistant's prompt; standard deviation 21
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


def shape(kind, width, layers, heads, shared, inner, tied, vocabulary=128256, head_dim=None):
    """Return the config of a model family `kind` with the given shape; by default with Llama 3's vocabulary."""
    return kind(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=shared,
        intermediate_size=inner,
        vocab_size=vocabulary,
        tie_word_embeddings=tied,
        max_position_embeddings=8192,
        head_dim=head_dim or width // heads,
    )


def pair(kind, base, assistant, **more):
    """Return a preset of two models of a family, each given by the numbers of `shape`."""
    return Preset(shape(kind, *base), shape(kind, *assistant), **more)


LARGE = {"questions": 64, "rows": 256}
SHORT = {"prefix": 40, "thoughts": 4, "suffix": 20, "chains": 3, "max_new_tokens": 16, "response": 8}
SHORT |= {"rows": 8, "questions": 4, "seeds": 2}
LLAMA = (4096, 32, 32, 8, 14336, False), (2048, 16, 32, 8, 8192, True)
QWEN2 = (3584, 28, 28, 4, 18944, False, 152064), (1536, 28, 12, 2, 8960, True, 151936)
QWEN3 = (4096, 36, 32, 8, 12288, False, 151936, 128), (1024, 28, 16, 8, 3072, True, 151936, 128)
PRESETS = {
    "cpu": pair(LlamaConfig, (576, 30, 9, 3, 1536, True), (384, 12, 6, 2, 1024, True)),
    "llama-8b-1b": pair(LlamaConfig, *LLAMA, **LARGE),
    "qwen2.5-7b-1.5b": pair(Qwen2Config, *QWEN2, **LARGE),
    "qwen3-8b-0.6b": pair(Qwen3Config, *QWEN3, **LARGE),
    "tiny": pair(LlamaConfig, (64, 2, 4, 2, 128, True), (32, 2, 4, 2, 64, True), **SHORT),
}


def backbone(config, device, dtype, seed):
    torch.manual_seed(seed)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, **{DTYPE_ARGUMENT: dtype})
    group_heads(model.requires_grad_(False).eval())
    tokenizer = SimpleNamespace(eos_token_id=None, pad_token_id=None, convert_tokens_to_ids=lambda token: PLACEHOLDER)
    return Backbone(model, tokenizer, ThoughtTokens("random", "", "", "", FIRST_INITIAL, 10), "random")


def build(preset, method, device, dtype, backbones=None, micro_batch_size=0):
    """Return the method's module and its (base, assistant), which another method can share."""
    shapes = (preset.base, preset.assistant)
    base, assistant = backbones or (backbone(config, device, dtype, seed) for seed, config in enumerate(shapes))
    torch.manual_seed(2)
    chains = None if method == "softcot" else preset.chains
    options = {"contrastive": chains is not None, "micro_batch_size": micro_batch_size}
    return SoftCoT(base, assistant, preset.thoughts, chains, **options).train(), (base, assistant)


def examples(preset, count):
    """Return encoded examples of random ids and drawn lengths; every suffix token is a label."""
    draw = torch.Generator().manual_seed(3)
    vocabulary = min(preset.base.vocab_size, preset.assistant.vocab_size)

    def ids(length):
        return torch.randint(64, vocabulary, (max(8, round(length)),), generator=draw).tolist()

    start, assistant_start = ids(COMMON_PREFIX * preset.prefix), ids(COMMON_ASSISTANT * preset.prefix)
    made = []
    for index in range(count):
        wide, long = torch.randn(2, generator=draw).tolist()
        prefix = preset.prefix * (1 + 0.08 * max(-2.5, min(2.5, wide)))
        suffix = ids(preset.suffix * 2.718 ** (0.44 * max(-2.0, min(2.0, long)) - 0.1))
        made.append(
            {
                "index": index,
                "prefix_ids": start + ids(prefix - len(start)),
                "suffix_ids": suffix,
                "labels": suffix,
                "assistant_ids": assistant_start + ids(prefix - len(assistant_start)) + [PLACEHOLDER] * preset.thoughts,
            }
        )
    return made


def sharing_collator(preset, made) -> Collator:
    """Return a collator that leaves out the instructions of these examples."""
    collate = Collator(0, 0)
    # Of a single example everything would be in common.
    collate.share_instructions(made if len(made) > 1 else examples(preset, 2), preset.thoughts, True, True)
    return collate


def use_heads(model, name):
    """Choose the attention of the two frozen models; the plain side has transformers' default."""
    for part in (model.base, model.assistant):
        part.config._attn_implementation = name


# ---- one step, plain and ours: both leave the projection's gradient behind ----


def plain_batch(preset, made, device, dtype) -> dict[str, torch.Tensor]:
    """Return whole prompts, padded, with their masks and positions. dtype: of the models."""
    found = on_device(Collator(0, 0)(made), device)
    prefix, suffix, assistant = (
        real_columns(found[f"{part}_lengths"], 0, found[f"{part}_ids"].shape[1], device)
        for part in ("prefix", "suffix", "assistant")
    )
    suffix = suffix.flip(1)
    whole = torch.cat([prefix, prefix.new_ones(len(prefix), preset.thoughts), suffix], 1)
    for part, real in (("base", whole), ("assistant", assistant)):
        found |= {f"{part}_mask": causal_mask(real, real.shape[1], dtype), f"{part}_positions": count_positions(real)}
    return found | {"labels": found["suffix_ids"].masked_fill(~suffix, IGNORE)}


def plain_chain(model, batch, initial):
    """Return one chain's token loss and its thought states `[B, L, d_a]`. initial `[d_a]`: fills the placeholders."""
    base, assistant, length = model.base, model.assistant, model.length
    embed = base.get_input_embeddings()
    with torch.no_grad():
        before = assistant.get_input_embeddings()(batch["assistant_ids"])
        before[:, -length:] = initial.to(before.dtype)
        given = {"attention_mask": batch["assistant_mask"], "position_ids": batch["assistant_positions"]}
        states = assistant.model(inputs_embeds=before, **given, use_cache=False).last_hidden_state[:, -length:].float()
    soft = model.projection(states).to(before.dtype)
    embeds = torch.cat([embed(batch["prefix_ids"]), soft, embed(batch["suffix_ids"])], dim=1)
    given = {"attention_mask": batch["base_mask"], "position_ids": batch["base_positions"]}
    logits = base(inputs_embeds=embeds, **given, use_cache=False).logits
    start = batch["prefix_ids"].shape[1] + length
    losses = F.cross_entropy(logits[:, start - 1 : -1].float().transpose(1, 2), batch["labels"], reduction="none")
    counts = (batch["labels"] != IGNORE).sum(-1)
    return losses.sum() / counts.sum() if model.reduction == "tokens" else (losses.sum(-1) / counts).mean(), states


def plain_step(model, batch):
    """Return the loss of a batch of `plain_batch`; each chain's graph is freed before the next one is built."""
    use_heads(model, "sdpa")
    total, chains = 0.0, []
    for initial in model.embedding:
        loss, states = plain_chain(model, batch, initial)
        loss.backward()
        total += loss.detach()
        chains.append(states)
    if len(chains) > 1:
        contrast = model.contrast(model.projection(torch.stack(chains, dim=1))).mean()
        contrast.backward()
        total += contrast.detach()
    return total


def our_step(model, batch):
    """Return the loss of a batch as training takes it."""
    use_heads(model, NAME)
    return model.losses(batch, backward=True)["loss"]


def add_states(model, made, collate, device):
    """Return the examples with thought states, which training reads from its file."""
    use_heads(model, NAME)
    with torch.no_grad():
        states = model.thought_states(on_device(collate(made), device))
    return [example | {"thought_states": own} for example, own in zip(made, states, strict=True)]
