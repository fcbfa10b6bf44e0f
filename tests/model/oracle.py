"""The loss of SoftCoT and SoftCoT++ in loops over examples, chains and labels, on the plain way's forward passes.

Shares no code with model/softcot.py and model/frozen_lm.py; what they compute must equal this in float32.
"""

import torch

from model.plain import label_losses, thought_states


def states_of(assistant, assistant_ids, length, initial_token):
    """Return the thought states `[L, d_a]` of one prompt, a list of ids."""
    return thought_states(assistant, torch.tensor(assistant_ids), initial_token, length)


def token_losses(base, example, soft):
    """Return -log p(label | all before it) of one example's labels, `[K]`. soft: `[L, d_b]`."""
    columns = [column for column, label in enumerate(example["labels"]) if label != -100]
    prefix, suffix = (torch.tensor(example[name]) for name in ("prefix_ids", "suffix_ids"))
    return label_losses(base, prefix, soft, suffix, columns)


def batch_mean(losses, reduction):
    """Return one mean over a batch. losses: the label losses of each example; reduction: "tokens" or "examples"."""
    if reduction == "tokens":
        return torch.cat(losses).mean()
    return torch.stack([example.mean() for example in losses]).mean()


def contrastive_loss(chains, dropped):
    """Return the contrastive term of one example. chains: N of `[L, d_b]`; dropped: the same after dropout."""
    total = 0.0
    for i, chain in enumerate(chains):
        z = chain.flatten() / chain.flatten().norm()
        similarities = [20 * torch.dot(z, noisy.flatten() / noisy.flatten().norm()) for noisy in dropped]
        total = total - torch.log_softmax(torch.stack(similarities), dim=0)[i]
    return total / len(chains) ** 2


def softcot_loss(softcot, examples, reduction, dropout=None):
    """Return the loss of a batch of encoded examples (lists of ids, unpadded).

    reduction: of the token loss, see `batch_mean`; dropout `[B, N, L * d_b]`: factors of the contrastive term's second
    view (0 or 2), None without that term.
    """
    losses = [[] for _ in softcot.embedding]  # chain -> the label losses of each example
    terms = []
    for place, example in enumerate(examples):
        chains, dropped = [], []
        for chain, initial_token in enumerate(softcot.embedding):
            states = states_of(softcot.assistant, example["assistant_ids"], softcot.length, initial_token)
            soft = states @ softcot.projection.weight.T + softcot.projection.bias
            losses[chain].append(token_losses(softcot.base, example, soft))
            chains.append(soft)
            if dropout is not None:
                dropped.append(soft * dropout[place, chain].view_as(soft))
        if dropout is not None:
            terms.append(contrastive_loss(chains, dropped))
    loss = sum(batch_mean(chain, reduction) for chain in losses)
    return loss + (sum(terms) / len(terms) if terms else 0.0)
