"""The token loss of a frozen LM as a function of its soft inputs, the fast way.

    loss = sum over chains i and labels t of  weight_t * -log p(label_t | prefix, soft thoughts_i, suffix before t)

Nothing before the soft thoughts depends on anything trainable, unless the base has an adapter. So the prefix runs once,
without a graph, and all chains share its keys and values. Only `soft thoughts + suffix` runs with gradient, and logits
are computed only at labels. All lengths are plain numbers: nothing here is read back from the device. `model/plain.py`
is the plain way.
"""

import torch

from model.causal_lm import embed, is_tuned
from model.head_loss import head_loss
from model.prefix import continue_prefix

IGNORE = -100  # in labels: no loss here
MICRO_BATCH_TOKENS = {"cpu": 400}  # padding included; else 2048: a GPU wants larger products


def label_weights(counts: list[int], reduction: str, count: float | None = None) -> list[float]:
    """Return the weight that the cross-entropy of each example's labels has in the loss.

    counts: the examples' labels. reduction: "tokens", one mean over all labels (SoftCoT); "examples", the mean over
    examples of each example's own mean (SoftCoT++); "pairs", the sum over pairs of examples of each pair's mean over
    its labels, divided by the number of examples: half a mean (of one example a whole one). count: how many labels or
    examples the mean is over, those of this batch by default; the count of a whole optimizer step gives this batch's
    share of the step's loss.
    """
    if reduction == "tokens":
        return [1 / (count or sum(counts))] * len(counts)
    if reduction == "pairs":
        counts = [sum(counts[place - place % 2 :][:2]) for place in range(len(counts))]
    return [1 / own / (count or len(counts)) for own in counts]


def fast_rows(model, run_prompts, batch: dict, chains: int, weights: list[float]):
    """Return a function of rows and their soft thoughts `[R, L, d_b]`: each row's sum of weight x cross-entropy, `[R]`.

    Row b N + i is chain i of example b. run_prompts: see `SoftCoT.run_prompts`. weights: of each example's labels. The
    prompts run here, once; those of a model that learns (LoRA) run again for each micro-batch, with a graph.
    """

    def make_prefix(questions: list[int]):
        lengths = [batch["prefix_lengths"][question] for question in questions]
        ids = batch["prefix_ids"][questions, batch["prefix_ids"].shape[1] - max(lengths) :]
        return run_prompts(model, batch["instruction"], ids, lengths)

    whole = None if torch.is_grad_enabled() and is_tuned(model) else make_prefix(list(range(len(weights))))

    def row_losses(rows: list[int], soft: torch.Tensor) -> torch.Tensor:
        questions = [row // chains for row in rows]
        distinct = sorted(set(questions))
        prefix = whole or make_prefix(distinct)
        places = questions if whole else [distinct.index(question) for question in questions]
        suffix_lengths = [batch["suffix_lengths"][question] for question in questions]
        ids, length = batch["suffix_ids"][questions, : max(suffix_lengths)], soft.shape[1]
        embeds = torch.cat([soft, embed(model, ids)], dim=1)
        hidden, _ = continue_prefix(model, prefix, places, embeds, [length + own for own in suffix_lengths])
        labels = [
            (row, column) for row, question in enumerate(questions) for column in batch["label_columns"][question]
        ]
        row, column = torch.tensor(labels, device=soft.device).T
        weight = torch.tensor([weights[question] for question in questions], device=soft.device)
        # Suffix token t stands at column L + t, so the column before it, L + t - 1, predicts it.
        losses = head_loss(model, hidden[row, length + column - 1], ids[row, column], weight[row])
        return losses.new_zeros(len(questions)).index_add(0, row, losses)

    return row_losses


def make_micro_batches(lengths: list[int], most: int, device_type: str) -> list[list[int]]:
    """Return micro-batches of rows of similar length.

    Each has at most `most` rows, or, if that is 0, as many as come to MICRO_BATCH_TOKENS with padding.
    """
    tokens, parts = MICRO_BATCH_TOKENS.get(device_type, 2048), []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        full = parts and (len(parts[-1]) == most if most else (len(parts[-1]) + 1) * lengths[row] > tokens)
        if full or not parts:
            parts.append([])
        parts[-1].append(row)
    return parts
