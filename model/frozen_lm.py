"""The loss of a frozen LM as a function of its soft inputs.

Nothing before the soft thoughts depends on anything trainable. So the prefix runs once, without a
graph, its keys and values are shared by all chains, and only `soft thoughts + suffix` runs with
gradient; logits are computed only where there are labels; and since the soft thoughts are the only
leaf, their gradient is taken micro-batch by micro-batch inside the forward pass, so activation
memory is one micro-batch whatever the number of chains. `tests/oracle.py` holds the plain version
of every equation here. Knows nothing about assistants, projections or tokenizers.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import DynamicCache

IGNORE = -100
LOGITS_AT_ONCE = 2**25  # in the model's dtype; the matrix products want many rows
SCORES_AT_ONCE = 2**21  # in float32; small enough for a CPU's cache
MICRO_BATCH_TOKENS = {"cpu": 400}  # padding too; else 2048: a GPU wants larger products


def bare(model):
    """The causal LM itself, without a peft wrapper around it."""
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def text_config(model):
    """Config of the language model, also inside a multimodal one."""
    return bare(model).config.get_text_config()


def can_share_prefix(model) -> bool:
    """Whether one prefix's keys and values can be continued by many rows.

    Not for sliding-window, chunked or recurrent layers, whose state is not a plain list of keys and
    values.
    """
    config = text_config(model)
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None:
        return set(layer_types) == {"full_attention"}
    window = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    hybrid = getattr(config, "cache_implementation", None) == "hybrid" or hasattr(config, "layers_block_type")
    recurrent = not getattr(bare(model), "_supports_cache_class", True)
    return not (window or hybrid or recurrent)


def keys_and_values(cache) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Per layer, keys and values `[B, heads, P, d]` of a transformers cache, 4.51 and 5.x."""
    if hasattr(cache, "layers"):
        return [(layer.keys, layer.values) for layer in cache.layers]
    return list(zip(cache.key_cache, cache.value_cache, strict=True))


def positions(mask: torch.Tensor) -> torch.Tensor:
    """Position ids `[B, T]` that count only the unpadded columns of a 0/1 mask `[B, T]`."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


@dataclass
class Prefix:
    """Left-padded prompts, with their shared keys and values where the model allows."""

    embeds: torch.Tensor
    mask: torch.Tensor
    layers: list[tuple[torch.Tensor, torch.Tensor]] | None


def run_prefix(model, embeds: torch.Tensor, mask: torch.Tensor) -> Prefix:
    """Run prompts once. embeds: `[B, P, d]`, mask: `[B, P]`, left-padded. Keeps the graph where there is one."""
    if not can_share_prefix(model):
        return Prefix(embeds, mask, None)
    cache = DynamicCache()
    bare(model).get_decoder()(
        inputs_embeds=embeds, attention_mask=mask, position_ids=positions(mask), past_key_values=cache, use_cache=True
    )
    return Prefix(embeds, mask, keys_and_values(cache))


def embed(model, ids: torch.Tensor) -> torch.Tensor:
    """Embeddings `[..., d]` of token ids, as the model itself makes them (Gemma 3 scales the table's rows)."""
    return bare(model).get_input_embeddings()(ids)


def continue_prefix(
    model, prefix: Prefix, rows: torch.Tensor, embeds: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]] | None]:
    """Last hidden states of `embeds` placed after the prompts, and the layers' keys and values.

    rows: `[R]`, which prompt each row continues; embeds: `[R, T, d]`; mask: `[R, T]`, right-padded.
    Returns `[R, T, d]` and, a layer, keys and values of prompt and embeds `[R, heads, P + T, d_head]`.
    Without shared keys and values the whole sequence runs: the same numbers, only slower, and None.
    """
    decoder = bare(model).get_decoder()
    prefix_mask = prefix.mask[rows]
    used = int(prefix_mask.sum(-1).max())  # left padding that none of these rows needs is dropped
    prefix_mask = prefix_mask[:, -used:]
    full_mask = torch.cat([prefix_mask, mask], dim=1)
    position_ids = positions(full_mask)
    if prefix.layers is None:
        before = prefix.embeds[rows][:, -used:]
        hidden = decoder(
            inputs_embeds=torch.cat([before, embeds], dim=1),
            attention_mask=full_mask,
            position_ids=position_ids,
            use_cache=False,
        ).last_hidden_state
        return hidden[:, used:].to(embeds.device), None
    cache = DynamicCache()
    for layer, (keys, values) in enumerate(prefix.layers):
        here = rows.to(keys.device)  # of a model spread over several devices
        cache.update(keys[here, :, -used:], values[here, :, -used:], layer)
    hidden = decoder(
        inputs_embeds=embeds,
        attention_mask=full_mask,
        position_ids=position_ids[:, used:],
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    return hidden.to(embeds.device), keys_and_values(cache)


def label_logits(model, hidden: torch.Tensor) -> torch.Tensor:
    """Logits `[K, V]` in float32 of chosen hidden states `[K, d]`."""
    return shaped(model, bare(model).get_output_embeddings()(hidden).to(hidden.device).float())


def shaped(model, logits: torch.Tensor) -> torch.Tensor:
    """What some families do to the logits behind the vocabulary's matrix; the others' are returned as they are."""
    config = text_config(model)
    cap = getattr(config, "final_logit_softcapping", None)  # Gemma
    if cap:
        logits = cap * torch.tanh(logits / cap)
    scale = (getattr(config, "logit_scale", None) or 1.0) / (getattr(config, "logits_scaling", None) or 1.0)
    return logits if scale == 1.0 else logits * scale  # Cohere, Granite


class _HeadLoss(torch.autograd.Function):
    """Weighted cross-entropy of hidden states `[K, d]`, some rows of logits at a time.

    All K rows at once would hold K x V float32 logits several times over: gigabytes. Here logits stay in the model's
    dtype, are made for some rows, and their gradient takes their place a few rows at a time in float32.
    """

    @staticmethod
    def forward(ctx, hidden, model, labels, weights):
        needs_gradient = ctx.needs_input_grad[0]
        total = hidden.new_zeros((), dtype=torch.float32)
        gradient = torch.zeros_like(hidden) if needs_gradient else None
        head, vocabulary = bare(model).get_output_embeddings(), text_config(model).vocab_size
        for part in evenly(len(hidden), max(1, LOGITS_AT_ONCE // vocabulary), hidden.device):
            leaf = hidden[part].detach().requires_grad_(needs_gradient)
            with torch.set_grad_enabled(needs_gradient):
                logits = head(leaf)
            slopes = logits.detach()  # the same memory
            for few in evenly(len(part), max(1, SCORES_AT_ONCE // vocabulary), hidden.device):
                loss, slope = loss_and_slope(
                    model, slopes[few].to(hidden.device), labels[part[few]], weights[part[few]], needs_gradient
                )
                total += loss
                if needs_gradient:
                    slopes[few] = slope.to(slopes)
            if needs_gradient:
                gradient[part] = torch.autograd.grad(logits, leaf, slopes)[0]
        ctx.gradient = gradient
        return total

    @staticmethod
    def backward(ctx, gradient_of_loss):
        return ctx.gradient * gradient_of_loss.to(ctx.gradient.dtype), None, None, None


def evenly(count: int, most: int, device) -> tuple[torch.Tensor, ...]:
    """0 .. count - 1 in parts of like size, none above `most`."""
    return torch.arange(count, device=device).tensor_split(max(1, -(-count // most)))


def loss_and_slope(model, logits, labels, weights, needs_gradient: bool):
    """Sum of weight x cross-entropy in float32, and its gradient `[K, V]` by the logits (or None).

    logits: `[K, V]`, as the vocabulary's matrix gives them, before `shaped`; labels, weights: `[K]`.
    """
    raw = logits.float().requires_grad_(needs_gradient)
    with torch.set_grad_enabled(needs_gradient):
        scores = shaped(model, raw)
    logarithms = scores.detach().log_softmax(-1)
    loss = -(logarithms.gather(-1, labels[:, None])[:, 0] * weights).sum()
    if not needs_gradient:
        return loss, None
    # Of cross-entropy: softmax less the label's one-hot vector.
    slope = logarithms.exp_().scatter_add_(-1, labels[:, None], logarithms.new_full((len(labels), 1), -1.0))
    slope *= weights[:, None]
    return loss, slope if scores is raw else torch.autograd.grad(scores, raw, slope)[0]


def rows_loss(model, prefix: Prefix, rows, soft, suffix_ids, suffix_mask, labels, weights) -> torch.Tensor:
    """Weighted token loss of some rows: sum of weight x cross-entropy. soft: `[R, L, d]`."""
    suffix = embed(model, suffix_ids[rows])
    mask = F.pad(suffix_mask[rows], (soft.shape[1], 0), value=1)
    used = int(mask.sum(-1).max())
    hidden, _ = continue_prefix(model, prefix, rows, torch.cat([soft, suffix], dim=1)[:, :used], mask[:, :used])
    row, column = (labels[rows] != IGNORE).nonzero(as_tuple=True)
    # Suffix token t stands at column L + t, so the column before it, L + t - 1, predicts it.
    return _HeadLoss.apply(
        hidden[row, soft.shape[1] + column - 1], model, labels[rows][row, column], weights[rows][row, column]
    )


def rows_together(lengths: list[int], most: int, tokens: int) -> list[list[int]]:
    """Rows of like length in micro-batches: at most `most` rows, or with 0 as many as come to `tokens` with padding."""
    parts = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        full = parts and (len(parts[-1]) == most if most else (len(parts[-1]) + 1) * lengths[row] > tokens)
        if full or not parts:
            parts.append([])
        parts[-1].append(row)
    return parts


class _FrozenLoss(torch.autograd.Function):
    """Sum of micro-batch losses whose gradient is ready when the forward pass ends."""

    @staticmethod
    def forward(ctx, soft, micro_batches, loss_of):
        needs_gradient = ctx.needs_input_grad[0]
        total = soft.new_zeros((), dtype=torch.float32)
        gradient = torch.zeros_like(soft) if needs_gradient else None
        for part in micro_batches:
            leaf = soft[part].detach().requires_grad_(needs_gradient)
            with torch.set_grad_enabled(needs_gradient):
                loss = loss_of(part, leaf)
            if needs_gradient:
                gradient[part] = torch.autograd.grad(loss, leaf)[0]
            total += loss.detach()
        ctx.gradient = gradient
        return total

    @staticmethod
    def backward(ctx, gradient_of_loss):
        return ctx.gradient * gradient_of_loss.to(ctx.gradient.dtype), None, None


def label_weights(labels: torch.Tensor, reduction: str, count: float | None = None) -> torch.Tensor:
    """Return the weight of each label's cross-entropy in the loss, `[B, S]`.

    labels: `[B, S]`, -100 where there is none. reduction: "tokens", one mean over all labels (SoftCoT), or
    "examples", the mean over examples of each example's own mean (SoftCoT++). count: how many labels or examples the
    mean is over, those of this batch by default; the count of a whole optimizer step gives this batch's share of
    the step's loss.
    """
    has_label = labels != IGNORE
    own = has_label.sum(-1, keepdim=True)
    if (own == 0).any():
        raise ValueError(f"example {int((own[:, 0] == 0).nonzero()[0])} of the batch has no labels")
    if reduction == "tokens":
        return has_label / (count or own.sum())
    return has_label / own / (count or len(labels))


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
    """Return the token loss summed over chains: SoftCoT eq. 5 for one chain, SoftCoT++'s first term for N.

    prefix_ids, prefix_mask: `[B, P]`, left-padded. soft_thoughts: `[B, N, L, d_b]` (L may be 0). suffix_ids,
    suffix_mask, labels: `[B, S]`, right-padded, labels -100 where there is none. reduction, count: see
    `label_weights`. The loss is a float32 scalar. If the model itself is trained (LoRA), the graph is kept as a whole.
    """
    batch, chains = soft_thoughts.shape[:2]
    weights = label_weights(labels, reduction, count)
    soft = soft_thoughts.to(bare(model).get_input_embeddings().weight.dtype).flatten(0, 1)
    question = torch.arange(batch, device=soft.device).repeat_interleave(chains)
    model_learns = torch.is_grad_enabled() and any(p.requires_grad for p in model.parameters())
    with torch.set_grad_enabled(model_learns):
        prefix = run_prefix(model, embed(model, prefix_ids), prefix_mask)
    lengths = suffix_mask.sum(-1) + soft.shape[1] + (prefix_mask.sum(-1) if prefix.layers is None else 0)
    micro_batches = [
        torch.tensor(part, device=soft.device)
        for part in rows_together(
            lengths[question].tolist(), micro_batch_size, MICRO_BATCH_TOKENS.get(soft.device.type, 2048)
        )
    ]

    def loss_of(part, soft_part):
        return rows_loss(model, prefix, question[part], soft_part, suffix_ids, suffix_mask, labels, weights)

    if model_learns:
        return sum(loss_of(part, soft[part]) for part in micro_batches)
    return _FrozenLoss.apply(soft, micro_batches, loss_of)
