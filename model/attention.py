"""Attention that does not repeat keys and values for grouped-query models.

With a padding mask, transformers' sdpa path copies each key/value head once for every query head that shares it. In
decoding on a CPU that is most of a step's time. Here the query heads of a group become further query positions of their
key/value head: the same numbers, no copy. Knows nothing of soft thoughts.
"""

import torch.nn.functional as F
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from model.causal_lm import text_config

NAME = "sdpa_grouped"


def grouped_attention(module, query, key, value, attention_mask, dropout=0.0, scaling=None, **kwargs):
    """Return attention without repeated keys and values; the interface is that of transformers' attention functions.

    query: `[B, H, T, d]`; key, value: `[B, H / g, S, d]`; attention_mask: None or `[B, 1, T, S]`, added. Returns
    `[B, T, H, d]` and None.
    """
    batch, heads, length, width = query.shape
    shared = key.shape[1]
    if heads == shared or attention_mask is None:  # decoding always has one
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    group = heads // shared
    attention_mask = attention_mask[:, :, None, :, : key.shape[2]]
    attention_mask = attention_mask.expand(-1, -1, group, -1, -1).flatten(2, 3)
    query = query.reshape(batch, shared, group * length, width)
    if query.requires_grad and query.device.type == "cpu" and not dropout:
        # As transformers' eager path, but with the softmax in the model's dtype: on a CPU twice as fast as sdpa.
        scores = (query * (scaling or width**-0.5)) @ key.transpose(-1, -2) + attention_mask
        output = scores.softmax(-1) @ value
    else:
        output = F.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, dropout_p=dropout, scale=scaling
        )
    return output.reshape(batch, heads, length, width).transpose(1, 2).contiguous(), None


def group_heads(model) -> None:
    """Let a model that uses transformers' sdpa path use `grouped_attention`."""
    config = text_config(model)
    if config._attn_implementation == "sdpa":
        config._attn_implementation = NAME


def use_stock_attention(model) -> None:
    """Let a model use transformers' own attention again."""
    config = text_config(model)
    if config._attn_implementation == NAME:
        config._attn_implementation = "sdpa"


ALL_ATTENTION_FUNCTIONS.register(NAME, grouped_attention)
try:  # transformers 5 makes masks by the attention's name; 4.51 knows no such table
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, sdpa_mask

    ALL_MASK_ATTENTION_FUNCTIONS.register(NAME, sdpa_mask)
except ImportError:
    pass
