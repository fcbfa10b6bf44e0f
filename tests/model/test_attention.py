"""Attention of grouped heads is transformers' own, with and without gradient, whatever form the mask has."""

import pytest
import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from model.attention import grouped_attention


class Module(torch.nn.Module):
    num_key_value_groups, is_causal = 3, True


@pytest.mark.parametrize("learns", [False, True])
@pytest.mark.parametrize("form", ["boolean", "added", "none"])
@pytest.mark.parametrize("queries", [1, 5])
def test_grouped_attention_is_that_of_transformers(learns, form, queries):
    torch.manual_seed(0)
    keys, module = 7, Module()
    query = torch.randn(2, 6, queries, 8, requires_grad=learns)
    key, value = (
        torch.randn(2, 2, keys if form != "none" else max(queries, 1), 8, requires_grad=learns) for _ in range(2)
    )
    mask = None
    if form != "none":
        mask = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries).repeat(2, 1, 1, 1)
        mask[1, :, :, :2] = False  # left padding
        if form == "added":
            mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    ours, _ = grouped_attention(module, query, key, value, mask, scaling=0.3)
    theirs, _ = sdpa_attention_forward(module, query, key, value, mask, scaling=0.3)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    if learns:
        direction = torch.randn_like(ours)
        for one, other in zip(
            torch.autograd.grad(ours, (query, key, value), direction),
            torch.autograd.grad(theirs, (query, key, value), direction),
            strict=True,
        ):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("learns", [False, True])
def test_a_row_of_padding_only_stays_finite(learns):
    query = torch.randn(1, 6, 3, 8, requires_grad=learns)
    key, value = torch.randn(2, 1, 2, 3, 8)
    for mask in (torch.zeros(1, 1, 3, 3, dtype=torch.bool), torch.full((1, 1, 3, 3), torch.finfo(torch.float32).min)):
        if mask.dtype == torch.bool and not learns:
            continue  # torch's own sdpa: transformers opens such rows itself
        assert torch.isfinite(grouped_attention(Module(), query, key, value, mask, scaling=0.3)[0]).all()
