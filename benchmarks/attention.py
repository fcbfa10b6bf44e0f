"""Ways to attend with grouped queries and a padding mask on this machine: python -m benchmarks.attention

Milliseconds for 30 layers of the `cpu` preset's base (9 query heads, 3 key/value heads): a decoding step of 64 rows and
a training micro-batch forward and backward. `grouped` is model/attention.py.
"""

import argparse
import time
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from model.attention import grouped_attention

LAYERS, HEADS, SHARED, WIDTH, REPEATS = 30, 9, 3, 64, 8


def transformers_sdpa(query, key, value, mask):
    module = SimpleNamespace(num_key_value_groups=HEADS // SHARED, is_causal=True)
    return sdpa_attention_forward(module, query, key, value, mask)[0]


def sdpa_enable_gqa(query, key, value, mask):
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True).transpose(1, 2)


def grouped(query, key, value, mask):
    return grouped_attention(None, query, key, value, mask)[0]


def two_products(query, key, value, mask):
    """Return attention with scores in the tensors' dtype, softmax in float32."""
    rows, _, length, _ = query.shape
    grouped_query = query.reshape(rows, SHARED, -1, WIDTH) * WIDTH**-0.5
    scores = (grouped_query @ key.transpose(-1, -2)).view(rows, SHARED, HEADS // SHARED, length, -1)
    weights = scores.masked_fill(~mask[:, :, None], -float("inf")).float().softmax(-1).to(query.dtype)
    return (weights.view(rows, SHARED, -1, key.shape[2]) @ value).view(rows, HEADS, length, WIDTH).transpose(1, 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16", help="default: bfloat16")
    dtype = getattr(torch, parser.parse_args().dtype)
    print("| rows x queries x keys | way | ms for 30 layers |\n| --- | --- | --- |")
    for rows, length, keys, learns in (
        (64, 1, 200, False),
        (64, 1, 500, False),
        (1, 180, 440, True),
        (2, 180, 440, True),
        (8, 180, 440, True),
    ):
        tensors = [
            torch.randn(rows, heads, size, WIDTH, dtype=dtype, requires_grad=learns)
            for heads, size in ((HEADS, length), (SHARED, keys), (SHARED, keys))
        ]
        mask = torch.ones(length, keys, dtype=torch.bool).tril(keys - length).repeat(rows, 1, 1, 1)
        mask[:, :, :, :20] = False
        for way in (transformers_sdpa, sdpa_enable_gqa, grouped, two_products):
            seconds = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                output = way(*tensors, mask)
                if learns:
                    torch.autograd.grad(output.sum(), tensors)
                seconds.append(time.perf_counter() - start)
            print(
                f"| {rows} x {length} x {keys}{', with gradient' if learns else ''} | {way.__name__} | "
                f"{min(seconds) * LAYERS * 1000:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
