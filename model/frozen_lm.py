"""The loss of a frozen LM as a function of its soft inputs.

    loss = sum over chains i and labels t of  weight_t * -log p(label_t | prefix, soft thoughts_i, suffix before t)

Nothing before the soft thoughts depends on anything trainable. So the prefix runs once, without a graph, and all chains
share its keys and values; only `soft thoughts + suffix` runs with gradient; logits are computed only at labels. The
soft thoughts are the only leaf, so their gradient is taken micro-batch by micro-batch inside the forward pass:
activation memory is one micro-batch, whatever the number of chains. `tests/oracle.py` holds the plain version.
"""

import torch
import torch.nn.functional as F

from model.causal_lm import embed, embedding_table, learns
from model.head_loss import head_loss
from model.prefix import Prefix, continue_prefix, run_prefix

IGNORE = -100  # in labels: no loss here
MICRO_BATCH_TOKENS = {"cpu": 400}  # padding included; else 2048: a GPU wants larger products


def frozen_lm_loss(
    model,
    prefix_ids,
    prefix_mask,
    soft_thoughts,
    suffix_ids,
    suffix_mask,
    labels,
    *,
    reduction: str,
    count: float | None = None,
    micro_batch_size: int = 0,
) -> torch.Tensor:
    """Return each chain's share of the token loss, `[B, N]` in float32.

    The shares add up to SoftCoT's eq. 5 for one chain, to SoftCoT++'s first term for N.

    prefix_ids, prefix_mask: `[B, P]`, left-padded. soft_thoughts: `[B, N, L, d_b]` (L may be 0). suffix_ids,
    suffix_mask, labels: `[B, S]`, right-padded, labels -100 where there is none. reduction, count: see
    `label_weights`. If the model itself is trained (LoRA), the graph is kept as a whole.
    """
    batch, chains = soft_thoughts.shape[:2]
    weights = label_weights(labels, reduction, count)
    soft = soft_thoughts.to(embedding_table(model).dtype).flatten(0, 1)
    question = torch.arange(batch, device=soft.device).repeat_interleave(chains)
    with torch.set_grad_enabled(learns(model)):
        prefix = run_prefix(model, embed(model, prefix_ids), prefix_mask)
    lengths = suffix_mask.sum(-1) + soft.shape[1] + (prefix_mask.sum(-1) if prefix.layers is None else 0)
    micro_batches = [
        torch.tensor(part, device=soft.device)
        for part in rows_together(
            lengths[question].tolist(), micro_batch_size, MICRO_BATCH_TOKENS.get(soft.device.type, 2048)
        )
    ]

    def losses_of(part, soft_part):
        return row_losses(model, prefix, question[part], soft_part, suffix_ids, suffix_mask, labels, weights)

    if learns(model):
        shares = torch.cat([losses_of(part, soft[part]) for part in micro_batches])
        shares = shares[torch.cat(micro_batches).argsort()]  # back in the rows' order
    else:
        shares = _FrozenLoss.apply(soft, micro_batches, losses_of)
    return shares.view(batch, chains)


def label_weights(labels: torch.Tensor, reduction: str, count: float | None = None) -> torch.Tensor:
    """Return the weight of each label's cross-entropy in the loss, `[B, S]`.

    labels: `[B, S]`, -100 where there is none. reduction: "tokens", one mean over all labels (SoftCoT); "examples",
    the mean over examples of each example's own mean (SoftCoT++); "pairs", the sum over pairs of examples of each
    pair's mean over its labels, divided by the number of examples, which is half a mean. count: how many labels or
    examples the mean is over, those of this batch by default; the count of a whole optimizer step gives this batch's
    share of the step's loss.
    """
    has_label = labels != IGNORE
    own = has_label.sum(-1, keepdim=True)
    if (own == 0).any():
        raise ValueError(f"example {int((own[:, 0] == 0).nonzero()[0])} of the batch has no labels")
    if reduction == "tokens":
        return has_label / (count or own.sum())
    if reduction == "pairs":
        pair = torch.arange(len(labels), device=labels.device) // 2
        own = torch.zeros_like(own).index_add(0, pair, own)[pair]
    return has_label / own / (count or len(labels))


def row_losses(model, prefix: Prefix, rows, soft, suffix_ids, suffix_mask, labels, weights) -> torch.Tensor:
    """Return each row's sum of weight x cross-entropy, `[R]`. soft: `[R, L, d]`."""
    suffix = embed(model, suffix_ids[rows])
    mask = F.pad(suffix_mask[rows], (soft.shape[1], 0), value=1)
    used = int(mask.sum(-1).max())
    hidden, _ = continue_prefix(model, prefix, rows, torch.cat([soft, suffix], dim=1)[:, :used], mask[:, :used])
    row, column = (labels[rows] != IGNORE).nonzero(as_tuple=True)
    # Suffix token t stands at column L + t, so the column before it, L + t - 1, predicts it.
    losses = head_loss(
        model, hidden[row, soft.shape[1] + column - 1], labels[rows][row, column], weights[rows][row, column]
    )
    return losses.new_zeros(len(rows)).index_add(0, row, losses)


class _FrozenLoss(torch.autograd.Function):
    """Losses of rows, micro-batch by micro-batch, whose gradient is ready when the forward pass ends."""

    @staticmethod
    def forward(ctx, soft, micro_batches, losses_of):
        needs_gradient = ctx.needs_input_grad[0]
        losses = torch.empty(len(soft), dtype=torch.float32, device=soft.device)
        gradient = torch.empty_like(soft) if needs_gradient else None
        for part in micro_batches:
            leaf = soft[part].detach().requires_grad_(needs_gradient)
            with torch.set_grad_enabled(needs_gradient):
                own = losses_of(part, leaf)
                total = own.sum()
            if needs_gradient:
                gradient[part] = torch.autograd.grad(total, leaf)[0]
            losses[part] = own.detach()
        ctx.gradient = gradient
        return losses

    @staticmethod
    def backward(ctx, gradient_of_losses):
        # A row's loss depends on its own soft thoughts alone.
        return ctx.gradient * gradient_of_losses[:, None, None].to(ctx.gradient.dtype), None, None


def rows_together(lengths: list[int], most: int, tokens: int) -> list[list[int]]:
    """Return micro-batches of rows of similar length.

    Each has at most `most` rows, or, if that is 0, as many as come to `tokens` with padding.
    """
    parts = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        full = parts and (len(parts[-1]) == most if most else (len(parts[-1]) + 1) * lengths[row] > tokens)
        if full or not parts:
            parts.append([])
        parts[-1].append(row)
    return parts
