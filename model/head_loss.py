"""Cross-entropy over a large vocabulary, some rows of logits at a time.

All K rows at once would hold K x V float32 logits several times over: gigabytes. Here logits stay in the model's dtype,
are made for some rows, and their gradient takes their memory, a few rows at a time in float32.
"""

import torch

from model.causal_lm import bare, text_config

LOGITS_AT_ONCE = 2**25  # in the model's dtype; the matrix products want many rows
SCORES_AT_ONCE = 2**21  # in float32; small enough for a CPU's cache


def head_loss(model, hidden, labels, weights) -> torch.Tensor:
    """Return weight x cross-entropy of each label, `[K]` in float32. hidden: `[K, d]`; labels, weights: `[K]`."""
    return _HeadLoss.apply(hidden, model, labels, weights)


class _HeadLoss(torch.autograd.Function):
    """`head_loss` whose gradient is ready when the forward pass ends."""

    @staticmethod
    def forward(ctx, hidden, model, labels, weights):
        needs_gradient = ctx.needs_input_grad[0]
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        gradient = torch.zeros_like(hidden) if needs_gradient else None
        head, vocabulary = bare(model).get_output_embeddings(), text_config(model).vocab_size
        for part in cut_evenly(len(hidden), max(1, LOGITS_AT_ONCE // vocabulary)):
            leaf = hidden[part].detach().requires_grad_(needs_gradient)
            with torch.set_grad_enabled(needs_gradient):
                logits = head(leaf)
            slopes = logits.detach()  # the same memory
            for few in cut_evenly(len(leaf), max(1, SCORES_AT_ONCE // vocabulary)):
                losses[part][few], slope = losses_and_slope(
                    slopes[few].to(hidden.device), labels[part][few], weights[part][few], needs_gradient
                )
                if needs_gradient:
                    slopes[few] = slope.to(slopes)
            if needs_gradient:
                gradient[part] = torch.autograd.grad(logits, leaf, slopes)[0]
        ctx.gradient = gradient
        return losses

    @staticmethod
    def backward(ctx, gradient_of_losses):
        return ctx.gradient * gradient_of_losses[:, None].to(ctx.gradient.dtype), None, None, None


def losses_and_slope(logits, labels, weights, needs_gradient: bool):
    """Return weight x cross-entropy of each label `[K]`, and their sum's gradient by the logits `[K, V]` (or None).

    logits: `[K, V]`; labels, weights: `[K]`.
    """
    logarithms = logits.float().log_softmax(-1)
    losses = -logarithms.gather(-1, labels[:, None])[:, 0] * weights
    if not needs_gradient:
        return losses, None
    # Of cross-entropy: softmax less the label's one-hot vector.
    slope = logarithms.exp_().scatter_add_(-1, labels[:, None], logarithms.new_full((len(labels), 1), -1.0))
    return losses, slope.mul_(weights[:, None])


def cut_evenly(count: int, most: int) -> list[slice]:
    """Return 0 .. count - 1 in parts of similar size, none above `most`. Slices, because an index would copy."""
    parts = max(1, -(-count // most))
    return [slice(count * part // parts, count * (part + 1) // parts) for part in range(parts)]
