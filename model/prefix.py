"""One pass over the prompts, whose keys and values all their continuations share.

The N chains of a question differ only behind its prefix, so the prefix runs once. Models whose layers keep another
state (`can_share_prefix`) run each whole sequence: the same numbers, but slower.
"""

from dataclasses import dataclass

import torch
from transformers import DynamicCache

from model.causal_lm import bare, can_share_prefix


@dataclass
class Prefix:
    """Left-padded prompts, with their keys and values if the model can share them."""

    embeds: torch.Tensor  # [B, P, d]
    mask: torch.Tensor  # [B, P]
    layers: list[tuple[torch.Tensor, torch.Tensor]] | None  # keys and values [B, heads, P, d_head] of each layer


def run_prefix(model, embeds: torch.Tensor, mask: torch.Tensor) -> Prefix:
    """Run prompts once. embeds: `[B, P, d]`, mask: `[B, P]`, left-padded. An autograd graph is kept if there is one."""
    if not can_share_prefix(model):
        return Prefix(embeds, mask, None)
    cache = DynamicCache()
    bare(model).get_decoder()(
        inputs_embeds=embeds, attention_mask=mask, position_ids=positions(mask), past_key_values=cache, use_cache=True
    )
    return Prefix(embeds, mask, keys_and_values(cache))


def continue_prefix(
    model, prefix: Prefix, rows: torch.Tensor, embeds: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]] | None]:
    """Return the last hidden states of `embeds` placed behind the prompts, and the layers' keys and values.

    rows: `[R]`, which prompt each row continues; embeds: `[R, T, d]`; mask: `[R, T]`, right-padded.
    The states are `[R, T, d]`; keys and values of prompt and embeds are `[R, heads, P + T, d_head]` a layer, or None if
    the model cannot share them.
    """
    decoder = bare(model).get_decoder()
    prefix_mask = prefix.mask[rows]
    used = int(prefix_mask.sum(-1).max())  # left padding that none of these rows needs is dropped
    prefix_mask = prefix_mask[:, -used:]
    full_mask = torch.cat([prefix_mask, mask], dim=1)
    position_ids = positions(full_mask)
    if prefix.layers is None:
        before = prefix.embeds[rows][:, -used:]
        hidden = decoder(
            inputs_embeds=torch.cat([before, embeds], dim=1),
            attention_mask=full_mask,
            position_ids=position_ids,
            use_cache=False,
        ).last_hidden_state
        return hidden[:, used:].to(embeds.device), None
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(prefix.layers):
        here = rows.to(keys.device)  # of a model spread over several devices
        cache.update(keys[here, :, -used:], values[here, :, -used:], layer)
    hidden = decoder(
        inputs_embeds=embeds,
        attention_mask=full_mask,
        position_ids=position_ids[:, used:],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return hidden.to(embeds.device), keys_and_values(cache)


def keys_and_values(cache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return each layer's keys and values `[B, heads, P, d]` of a transformers cache, 4.51 and 5.x."""
    if hasattr(cache, "layers"):
        return [(layer.keys, layer.values) for layer in cache.layers]
    return list(zip(cache.key_cache, cache.value_cache, strict=True))


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Return position ids `[B, T]` that count only the unpadded columns of a 0/1 mask `[B, T]`."""
    return (mask.cumsum(-1) - 1).clamp(min=0)
