"""One pass over the prompts, whose keys and values all their continuations share.

All prompts begin with the same instruction, and the N chains of a question differ only behind its prompt. So the
instruction runs once a run, the rest of a prompt once, and only what follows runs for each chain. Lengths are plain
numbers, and masks are made here, so that nothing is read back from the device. For models of FAST_TYPES alone.
"""

from dataclasses import dataclass

import torch
from transformers import DynamicCache

from model.causal_lm import bare, embed_ids

Layers = list[tuple[torch.Tensor, torch.Tensor]]  # keys and values [B, heads, T, d_head] of each layer


@dataclass
class Prefix:
    """Prompts that have run: the columns of the instruction, then those of their left-padded rest."""

    lengths: list[int]  # of the rest, without padding
    shared: int  # C, columns of the instruction
    layers: Layers  # of instruction and rest, [B, heads, C + P, d_head]


@torch.no_grad()
def run_instruction(model, ids: tuple[int, ...]) -> Layers:
    """Return the keys and values `[1, heads, C, d_head]` of the ids that all prompts begin with."""
    return run_prefix(model, embed_ids(model, ids)[None], [len(ids)]).layers


def run_prefix(model, embeds: torch.Tensor, lengths: list[int], instruction: Layers | None = None) -> Prefix:
    """Run prompts once. embeds: `[B, P, d]`, left-padded rows of `lengths` tokens, which follow the instruction's.

    An autograd graph is kept if there is one.
    """
    batch, columns = embeds.shape[:2]
    cache = DynamicCache([[states.expand(batch, -1, -1, -1) for states in pair] for pair in instruction or []])
    shared = instruction[0][0].shape[2] if instruction else 0
    real = real_columns(lengths, shared, columns, embeds.device)
    bare(model).get_decoder()(
        inputs_embeds=embeds,
        attention_mask=causal_mask(real, columns, embeds.dtype),
        position_ids=count_positions(real)[:, shared:],
        past_key_values=cache,
        use_cache=True,
    )
    return Prefix(lengths, shared, [layer[:2] for layer in cache])


def continue_prefix(
    model, prefix: Prefix, rows: list[int], embeds: torch.Tensor, lengths: list[int]
) -> tuple[torch.Tensor, Layers]:
    """Return the last hidden states of `embeds` placed behind the prompts, and the layers' keys and values.

    rows: which prompt each of the R rows continues; embeds: `[R, T, d]`, right-padded rows of `lengths` tokens.
    The states are `[R, T, d]`; keys and values of prompt and embeds are `[R, heads, C + P + T, d_head]` a layer.
    """
    decoder, columns = bare(model).get_decoder(), embeds.shape[1]
    before = [prefix.lengths[row] for row in rows]
    padded = max(prefix.lengths)
    real = torch.cat(
        [
            real_columns(before, prefix.shared, padded, embeds.device),
            real_columns(lengths, 0, columns, embeds.device).flip(1),
        ],
        dim=1,
    )
    cache = DynamicCache([[states[rows] for states in pair] for pair in prefix.layers])
    hidden = decoder(
        inputs_embeds=embeds,
        attention_mask=causal_mask(real, columns, embeds.dtype),
        position_ids=count_positions(real)[:, -columns:],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return hidden.to(embeds.device), [layer[:2] for layer in cache]


def real_columns(lengths: list[int], shared: int, columns: int, device) -> torch.Tensor:
    """Return which of `shared + columns` columns hold a token, `[B, columns]`: the shared ones and the last ones."""
    place = torch.arange(-shared, columns, device=device)
    return (place < 0) | (place >= columns - torch.tensor(lengths, device=device)[:, None])


def causal_mask(real: torch.Tensor, queries: int, dtype: torch.dtype) -> torch.Tensor:
    """Return what is added to the attention scores of the last T columns, `[B, 1, T, C]`. real: `[B, C]`.

    A token sees the real columns up to its own. A padded one sees itself too, because no row may see nothing.
    """
    place = torch.arange(real.shape[1], device=real.device)
    query = place[-queries:, None]
    return make_additive(real[:, None] & (place <= query) | (place == query), dtype)[:, None]


def make_additive(seen: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return 0 if a column is seen, else half the lowest number: its sum with a score does not overflow."""
    return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill_(~seen, torch.finfo(dtype).min / 2)


def count_positions(real: torch.Tensor) -> torch.Tensor:
    """Return position ids `[B, C]` that count only the real columns, `[B, C]`."""
    return (real.cumsum(-1) - 1).clamp(min=0)
