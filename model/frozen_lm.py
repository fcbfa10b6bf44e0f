"""The loss of a frozen LM as a function of its soft inputs.

    loss = sum over chains i and labels t of  weight_t * -log p(label_t | prefix, soft thoughts_i, suffix before t)

Nothing before the soft thoughts depends on anything trainable. So the prefix has run once, without a graph, and all
chains share its keys and values; only `soft thoughts + suffix` runs with gradient; logits are computed only at labels.
The soft thoughts are the only leaf, so their gradient is taken micro-batch by micro-batch inside the forward pass:
activation memory is one micro-batch, whatever the number of chains. All lengths are plain numbers: nothing here is
read back from the device. `tests/oracle.py` holds the plain version.
"""

import torch

from model.causal_lm import embed, embedding_table, learns
from model.head_loss import head_loss
from model.plain import label_losses
from model.prefix import Prefix, continue_prefix

IGNORE = -100  # in labels: no loss here
MICRO_BATCH_TOKENS = {"cpu": 400}  # padding included; else 2048: a GPU wants larger products


def frozen_lm_loss(
    model,
    prefix: Prefix,
    soft_thoughts: torch.Tensor,
    suffix_ids: torch.Tensor,
    suffix_lengths: list[int],
    label_columns: list[list[int]],
    weights: list[float],
    *,
    micro_batch_size: int = 0,
) -> torch.Tensor:
    """Return each chain's share of the token loss, `[B, N]` in float32.

    The shares add up to SoftCoT's eq. 5 for one chain, to SoftCoT++'s first term for N.

    prefix: B prompts that have run. soft_thoughts: `[B, N, L, d_b]` (L may be 0). suffix_ids: `[B, S]`, right-padded
    rows of `suffix_lengths` tokens, of which `label_columns` are labels. weights: of each example's labels, see
    `label_weights`. If the model itself is trained (LoRA), the graph is kept as a whole.
    """
    batch, chains, length = soft_thoughts.shape[:3]
    soft = soft_thoughts.to(embedding_table(model).dtype).flatten(0, 1)
    lengths = [length + own for own in suffix_lengths]
    micro_batches = rows_together(
        [own for own in lengths for _ in range(chains)],
        micro_batch_size,
        MICRO_BATCH_TOKENS.get(soft.device.type, 2048),
    )

    def losses_of(rows, soft_rows):
        questions = [row // chains for row in rows]
        return row_losses(model, prefix, questions, soft_rows, suffix_ids, suffix_lengths, label_columns, weights)

    if learns(model):
        shares = torch.cat([losses_of(rows, soft[rows]) for rows in micro_batches])
        order = [row for rows in micro_batches for row in rows]
        shares = torch.empty_like(shares).index_copy(0, torch.tensor(order, device=shares.device), shares)
    else:
        shares = _FrozenLoss.apply(soft, micro_batches, losses_of)
    return shares.view(batch, chains)


def plain_loss(
    model, prompts: list[torch.Tensor], soft_thoughts, suffix_ids, suffix_lengths, label_columns, weights
) -> torch.Tensor:
    """Return what `frozen_lm_loss` returns, each row by itself. prompts: B rows of ids without padding."""
    chains = soft_thoughts.shape[1]
    soft = soft_thoughts.to(embedding_table(model).dtype).flatten(0, 1)

    def losses_of(rows, soft_rows):
        ((row, own),) = zip(rows, soft_rows, strict=True)
        question = row // chains
        suffix = suffix_ids[question, : suffix_lengths[question]]
        losses = label_losses(model, prompts[question], own, suffix, label_columns[question])
        return weights[question] * losses.sum(0, keepdim=True).to(own.device)

    rows = [[row] for row in range(len(soft))]
    if learns(model):
        shares = torch.cat([losses_of(row, soft[row]) for row in rows])
    else:
        shares = _FrozenLoss.apply(soft, rows, losses_of)
    return shares.view(-1, chains)


def label_weights(counts: list[int], reduction: str, count: float | None = None) -> list[float]:
    """Return the weight that the cross-entropy of each example's labels has in the loss.

    counts: the examples' labels. reduction: "tokens", one mean over all labels (SoftCoT); "examples", the mean over
    examples of each example's own mean (SoftCoT++); "pairs", the sum over pairs of examples of each pair's mean over
    its labels, divided by the number of examples, which is half a mean. count: how many labels or examples the mean is
    over, those of this batch by default; the count of a whole optimizer step gives this batch's share of the step's
    loss.
    """
    if 0 in counts:
        raise ValueError(f"example {counts.index(0)} of the batch has no labels")
    if reduction == "tokens":
        return [1 / (count or sum(counts))] * len(counts)
    if reduction == "pairs":
        counts = [sum(counts[place - place % 2 :][:2]) for place in range(len(counts))]
    return [1 / own / (count or len(counts)) for own in counts]


def row_losses(
    model, prefix: Prefix, questions: list[int], soft, suffix_ids, suffix_lengths, label_columns, weights
) -> torch.Tensor:
    """Return each row's sum of weight x cross-entropy, `[R]`.

    questions: which example each row is of; soft: `[R, L, d]`; the rest as in `frozen_lm_loss`.
    """
    lengths = [suffix_lengths[question] for question in questions]
    ids, length = suffix_ids[questions, : max(lengths)], soft.shape[1]
    embeds = torch.cat([soft, embed(model, ids)], dim=1)
    hidden, _ = continue_prefix(model, prefix, questions, embeds, [length + own for own in lengths])
    places = [(row, column) for row, question in enumerate(questions) for column in label_columns[question]]
    row, column = torch.tensor(places, device=soft.device).T
    weight = torch.tensor([weights[question] for question in questions], device=soft.device)
    # Suffix token t stands at column L + t, so the column before it, L + t - 1, predicts it.
    losses = head_loss(model, hidden[row, length + column - 1], ids[row, column], weight[row])
    return losses.new_zeros(len(questions)).index_add(0, row, losses)


class _FrozenLoss(torch.autograd.Function):
    """Losses of rows, micro-batch by micro-batch, whose gradient is ready when the forward pass ends."""

    @staticmethod
    def forward(ctx, soft, micro_batches, losses_of):
        needs_gradient = ctx.needs_input_grad[0]
        losses = torch.empty(len(soft), dtype=torch.float32, device=soft.device)
        gradient = torch.empty_like(soft) if needs_gradient else None
        for rows in micro_batches:
            leaf = soft[rows].detach().requires_grad_(needs_gradient)
            with torch.set_grad_enabled(needs_gradient):
                own = losses_of(rows, leaf)
                total = own.sum()
            if needs_gradient:
                gradient[rows] = torch.autograd.grad(total, leaf)[0]
            losses[rows] = own.detach()
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
