"""The equations of SoftCoT and SoftCoT++, slow and plain: loops over examples, chains and tokens.

One full forward pass without padding, cache or micro-batches for each example and chain. Shares no
code with `model/`; what the fast path computes must equal this in float32.
"""

import torch


def input_embeddings(model, ids):
    """Ids -> [T, d]."""
    return model.get_input_embeddings()(torch.tensor(ids, dtype=torch.long))


def thought_states(assistant, assistant_ids, length, initial_token):
    """Last hidden states at the closing `length` placeholders, filled with one [d_a] -> [L, d_a]."""
    before = input_embeddings(assistant, assistant_ids[:-length])
    embeds = torch.cat([before, initial_token[None].expand(length, -1)])
    output = assistant(inputs_embeds=embeds[None], output_hidden_states=True, use_cache=False)
    return output.hidden_states[-1][0, -length:]


def token_losses(base, prefix_ids, soft, suffix_ids, labels):
    """-log p(label | all before it) of each of one example's labels, a list. soft: [L, d_b]."""
    embeds = torch.cat([input_embeddings(base, prefix_ids), soft, input_embeddings(base, suffix_ids)])
    logits = base(inputs_embeds=embeds[None], use_cache=False).logits[0].float()
    losses = []
    for place, label in enumerate(labels):
        if label != -100:
            assert label == suffix_ids[place]
            column = len(prefix_ids) + len(soft) + place
            losses.append(-torch.log_softmax(logits[column - 1], dim=-1)[label])
    return losses


def mean(losses):
    return sum(losses) / len(losses)


def batch_mean(losses, reduction):
    """One mean over a batch. losses: a list of label losses an example; reduction: "tokens" or "examples"."""
    if reduction == "tokens":
        return mean([loss for example in losses for loss in example])
    return mean([mean(example) for example in losses])


def contrastive_loss(chains, dropped):
    """Contrastive term of one example. chains: N of [L, d_b]; dropped: the same after dropout."""
    number = len(chains)
    total = 0.0
    for i in range(number):
        z = chains[i].flatten() / chains[i].flatten().norm()
        similarities = []
        for j in range(number):
            noisy = dropped[j].flatten() / dropped[j].flatten().norm()
            similarities.append(20 * torch.dot(z, noisy))
        total = total - torch.log_softmax(torch.stack(similarities), dim=0)[i]
    return total / number / number


def softcot_loss(base, assistant, weight, bias, initial_tokens, length, examples, reduction, dropout=None):
    """Loss of a batch of encoded examples (lists of ids, unpadded).

    weight [d_b, d_a], bias [d_b]: the projection; initial_tokens [N, d_a]; reduction: of the token loss, see
    `batch_mean`; dropout [B, N, L * d_b]: factors of the contrastive term's second view (0 or 2), None without
    that term.
    """
    number = len(initial_tokens)
    losses = [[] for _ in range(number)]  # chain -> example -> label
    contrastive_losses = []
    for place, example in enumerate(examples):
        chains, dropped = [], []
        for chain in range(number):
            states = thought_states(assistant, example["assistant_ids"], length, initial_tokens[chain])
            soft = states @ weight.T + bias
            losses[chain].append(
                token_losses(base, example["prefix_ids"], soft, example["suffix_ids"], example["labels"])
            )
            chains.append(soft)
            if dropout is not None:
                dropped.append(soft * dropout[place, chain].view_as(soft))
        if dropout is not None:
            contrastive_losses.append(contrastive_loss(chains, dropped))
    loss = sum(batch_mean(chain, reduction) for chain in losses)
    return loss + (mean(contrastive_losses) if contrastive_losses else 0.0)
