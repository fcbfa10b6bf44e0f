"""Attention of grouped heads where a row sees nothing. test_plain.py compares it with transformers' own."""

import pytest
import torch

from model.attention import grouped_attention


class Module(torch.nn.Module):
    num_key_value_groups, is_causal = 3, True


@pytest.mark.parametrize("learns", [False, True])
def test_a_row_of_padding_only_stays_finite(learns):
    query = torch.randn(1, 6, 3, 8, requires_grad=learns)
    key, value = torch.randn(2, 1, 2, 3, 8)
    for mask in (torch.zeros(1, 1, 3, 3, dtype=torch.bool), torch.full((1, 1, 3, 3), torch.finfo(torch.float32).min)):
        if mask.dtype == torch.bool and not learns:
            continue  # torch's own sdpa: transformers opens such rows itself
        assert torch.isfinite(grouped_attention(Module(), query, key, value, mask, scaling=0.3)[0]).all()
