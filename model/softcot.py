"""SoftCoT and SoftCoT++: thought states -> projection -> soft thoughts -> losses.

    (1)  h_i = assistant(instruction, question, thought tokens with input embedding [INI]^i)      `thought_states`
    (2)  t_i = the last hidden states of h_i at the L thought tokens
    (3)  s_i = W t_i + b                                                                          `soft_thoughts`
    (4)  p_i = base(prefix, s_i, suffix)                                                          `token_losses`
    (5)  token loss = - sum over chains i of the mean of log p_i(label)                           `label_weights`
    (6)  contrastive term = mean over chains i of the cross-entropy of cos(z_i, z'_j) / 0.05 against j = i, divided
         by N; z_i is s_i, z'_j is s_j after dropout                                              `contrast`

The mean of (5) is over all labels of a batch for SoftCoT, over each example's own labels for SoftCoT++.
SoftCoT (arXiv 2502.12134) is (1) to (5) with one chain, whose [INI] is the placeholder's own embedding. SoftCoT++
(arXiv 2505.11484) has N chains, each with an initial token [INI]^i, and with scaling-nce (6). So all tensors here are
`[B, N, L, d]`. Both models are frozen, but for LoRA: only the projection W, b learns. Knows tensors, never a task.
"""

import torch
import torch.nn.functional as F
from torch import nn

from model import plain
from model.attention import use_stock_attention
from model.backbone import Backbone, runs_fast
from model.causal_lm import embed, embed_ids, embedding_table, is_tuned
from model.frozen_lm import fast_rows, label_weights, make_micro_batches
from model.prefix import Prefix, continue_prefix, run_instruction, run_prefix
from utils import UserError

TEMPERATURE = 0.05  # of the contrastive term
DROPOUT = 0.5  # makes the second view in the contrastive term


class SoftCoT(nn.Module):
    """Frozen base, frozen assistant, one trained projection; SoftCoT++ with `chains`.

    The models are attributes, but no submodules: nothing moves, counts, synchronizes or saves them with the trained
    weights. Only `projection` learns, or `learned` in its place, and LoRA if the models have it (`tuned`). The
    projection is float32 by default: in bfloat16 most updates are rounded away at the published learning rate.
    """

    def __init__(
        self,
        base: Backbone,
        assistant: Backbone | None,
        length: int,
        chains: int | None = None,
        *,
        contrastive: bool = False,
        reduction: str | None = None,
        projection_dtype: torch.dtype = torch.float32,
        micro_batch_size: int = 0,
        plain_way: bool = False,
        filler: list[int] | None = None,
        learned: bool = False,
    ):
        """Put a projection between two models.

        length: L; 0 is the LoRA baseline, the adapter of the base alone, without assistant and projection. chains: N of
        SoftCoT++, None for SoftCoT. reduction: of the token loss in training, see `label_weights`; by default
        "examples" for SoftCoT++, "tokens" for SoftCoT. plain_way: run every model the plain way, also of FAST_TYPES.
        filler: the ids, one a chain, whose embeddings fill the placeholders, by default the published ones. learned:
        a control, N x L free vectors of the base's width as soft thoughts, without assistant and projection.
        """
        super().__init__()
        thinks = length > 0 and not learned
        models = {"base": base.model} | ({"assistant": assistant.model} if thinks else {})
        # nn.Module would register them as submodules, so they bypass its assignment.
        self.__dict__.update(models, models=list(models.values()))
        self.fast = [model for model in self.models if runs_fast(model) and not plain_way]
        for model in self.models:
            if model not in self.fast:
                use_stock_attention(model)
        self.instructions = {}  # (model's id, token ids) -> keys and values
        self.length, self.num_chains, self.contrastive = length, chains or 1, contrastive
        self.reduction = reduction or ("examples" if chains else "tokens")
        self.micro_batch_size, self.is_softcotpp = micro_batch_size, chains is not None
        self.width_base = embedding_table(base.model).shape[1]
        self.device_name = str(embedding_table(base.model).device)
        self.tuned = nn.ParameterDict(
            {  # names may hold no dots here
                f"{part}.{name}".replace(".", "/"): parameter
                for part, model in models.items()
                for name, parameter in model.named_parameters()
                if parameter.requires_grad
            }
        )
        self.shift = self.scale = None  # of thought states, if they are standardized: [d_a] each
        self.learned = None
        if learned:  # drawn as large as the base's embeddings; chains that began equal would stay equal
            size = embedding_table(base.model).float().std().item()
            vectors = size * torch.randn(self.num_chains, length, self.width_base)
            self.learned = nn.Parameter(vectors.to(self.device_name, projection_dtype))
        if thinks:
            tokens = embed_ids(assistant.model, filler or published_filler(assistant, chains))
            self.embedding = nn.Parameter(tokens.detach().float().clone(), requires_grad=False)
            self.width_assistant = self.embedding.shape[1]
            projection = nn.Linear(self.width_assistant, self.width_base, dtype=projection_dtype)
            self.projection = projection.to(self.device_name)  # drawn on the CPU: the same start on every device

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Return the names of the losses in training: the whole and its terms."""
        return ("loss", "token", "contrastive") if self.contrastive else ("loss", "token")

    def thought_states(self, batch: dict) -> torch.Tensor:
        """Return the assistant's last hidden states at the placeholders, `[B, N, L, d_a]`: (1), (2).

        batch: with assistant_ids `[B, A]`, left-padded rows of `assistant_lengths` tokens, so that the slot is the last
        L columns; they follow the ids of assistant_instruction. The N chains share the keys and values of everything
        before the slot.
        """
        length, model, instruction = self.length, self.assistant, batch["assistant_instruction"]
        assistant_ids, assistant_lengths = batch["assistant_ids"], batch["assistant_lengths"]
        if model not in self.fast:
            prompts = plain.unpad_prompts(instruction, assistant_ids, assistant_lengths)
            rows = [plain.thought_states(model, ids, token, length) for ids in prompts for token in self.embedding]
            return torch.stack(rows).unflatten(0, (len(prompts), self.num_chains))
        before = [own - length for own in assistant_lengths]
        prefix = self.run_prompts(model, instruction, assistant_ids[:, :-length], before)
        questions = [question for question in range(len(assistant_ids)) for _ in range(self.num_chains)]
        fill = self.embedding.to(embedding_table(model).dtype)
        fill = fill[None, :, None].expand(len(assistant_ids), -1, length, -1).reshape(-1, length, fill.shape[-1])
        states, _ = continue_prefix(model, prefix, questions, fill, [length] * len(questions))
        return states.reshape(len(assistant_ids), self.num_chains, length, -1)

    def soft_thoughts(self, thought_states: torch.Tensor) -> torch.Tensor:
        """Return the projected thought states, `[B, N, L, d_a] -> [B, N, L, d_b]`, in the projection's dtype: (3)."""
        states = thought_states.to(self.projection.weight.dtype)
        return self.projection(states if self.scale is None else (states - self.shift) / self.scale)

    def standardize(self, examples) -> None:
        """Centre and scale each feature of the thought states before the projection from now on.

        Mean and standard deviation are over the examples' `thought_states`, their chains and positions. A feature that
        never changes keeps its scale. `projection_state` folds both into weight and bias, so the file is as published.
        """
        if "thought_states" not in examples[0]:
            raise UserError("standardized thought states must be on the disk, which has no room for them: make room")

        def average(values):
            return sum(values(example["thought_states"].double()).mean((0, 1)) for example in examples) / len(examples)

        shift = average(lambda states: states)
        scale = average(lambda states: (states - shift) ** 2).sqrt()
        scale[scale == 0] = 1.0
        self.shift, self.scale = (value.to(self.projection.weight) for value in (shift, scale))

    def losses(self, batch: dict, count=None, backward: bool = False) -> dict[str, torch.Tensor]:
        """Return the losses of a batch by name: `loss` and its terms `token` and, in training, `contrastive`.

        batch: what `Collator` returns, on the device. count: what the means are over, see `label_weights`. backward:
        add the gradient of `loss` to `.grad`. In eval mode the loss is the dev loss: one mean over the batch's labels,
        summed over chains.
        """
        with torch.set_grad_enabled(backward):
            soft = self.batch_thoughts(batch)
            counts = [len(columns) for columns in batch["label_columns"]]
            weights = label_weights(counts, self.reduction if self.training else "tokens", count)
            shares, gradient = self.token_losses(batch, soft, weights, backward)
            terms = {"token": shares.sum()}
            if self.training and self.contrastive:
                terms["contrastive"] = (self.contrast(soft) / (count or len(soft))).sum()
            if backward and soft.requires_grad:  # both terms, once through the projection
                others = [term for term in terms.values() if term.requires_grad]
                torch.autograd.backward([soft, *others], [gradient, *(None for _ in others)])
        terms = {name: term.detach() for name, term in terms.items()}
        return {"loss": sum(terms.values()), **terms}

    def batch_thoughts(self, batch: dict) -> torch.Tensor:
        """Return the soft thoughts of a batch, `[B, N, L, d_b]`, from its thought states or the assistant's prompts."""
        if not self.length:
            return embedding_table(self.base).new_zeros(len(batch["prefix_ids"]), 1, 0, self.width_base)
        if self.learned is not None:
            return self.learned.expand(len(batch["prefix_ids"]), -1, -1, -1)
        states = batch.get("thought_states")
        if states is None:
            states = self.thought_states(batch)
        return self.soft_thoughts(states)

    def token_losses(self, batch: dict, soft, weights: list[float], backward: bool = False):
        """Return each chain's share of the token loss `[B, N]` and its gradient by `soft` `[B, N, L, d_b]`: (4), (5).

        A row's loss depends on its own soft thoughts alone. So each micro-batch of rows goes forward and backward by
        itself, and activation memory is that of one, whatever the number of chains. weights: of each example's labels.
        """
        chains = soft.shape[1]
        rows = soft.detach().to(embedding_table(self.base).dtype).flatten(0, 1)
        shares, gradient = rows.new_empty(len(rows), dtype=torch.float32), torch.zeros_like(rows)
        if self.base in self.fast:
            row_losses = fast_rows(self.base, self.run_prompts, batch, chains, weights)
            lengths = [self.length + own for own in batch["suffix_lengths"] for _ in range(chains)]
            micro_batches = make_micro_batches(lengths, self.micro_batch_size, rows.device.type)
        else:
            row_losses = plain.plain_rows(self.base, batch, chains, weights)
            micro_batches = [[row] for row in range(len(rows))]
        for chosen in micro_batches:
            leaf = rows[chosen].requires_grad_(backward)
            losses = row_losses(chosen, leaf)
            shares[chosen] = losses.detach()
            if backward:
                losses.sum().backward()
                gradient[chosen] = leaf.grad
        return shares.view(soft.shape[:2]), gradient.view(soft.shape).to(soft.dtype)

    def contrast(self, soft_thoughts: torch.Tensor) -> torch.Tensor:
        """Return each example's contrastive term `[B]` (SoftCoT++, section 3.3): its chains against their noisy selves.

        soft_thoughts: `[B, N, L, d_b]`. z_i is chain i flattened and normalized, z'_i the same after dropout. The
        cross-entropy (6) is averaged over chains and divided by N. For bfloat16 thoughts the matrix product is
        bfloat16, as under autocast, and the softmax float32.
        """
        view = soft_thoughts.float().flatten(2)
        z, z_noisy = F.normalize(view, dim=-1), F.normalize(F.dropout(view, DROPOUT), dim=-1)
        if soft_thoughts.dtype == torch.bfloat16:
            z, z_noisy = z.bfloat16(), z_noisy.bfloat16()
        logits = (z @ z_noisy.transpose(1, 2) / TEMPERATURE).float()
        target = torch.arange(self.num_chains, device=logits.device).expand(len(logits), -1)
        return F.cross_entropy(logits.transpose(1, 2), target, reduction="none").mean(1) / self.num_chains

    def run_prompts(self, model, instruction: tuple[int, ...], ids: torch.Tensor, lengths: list[int]) -> Prefix:
        """Return the prompts after their pass: the instruction's ids, which run once, then the rows of `ids` `[B, P]`.

        ids: left-padded rows of `lengths` tokens.
        """
        key = (id(model), instruction)
        if instruction and key not in self.instructions:
            self.instructions[key] = run_instruction(model, instruction)
        return run_prefix(model, embed(model, ids), lengths, self.instructions.get(key))

    def train(self, mode: bool = True):
        """Set the mode. Frozen models never leave eval mode; a LoRA-tuned one follows `mode` (its dropout)."""
        super().train(mode)
        for model in self.models:
            model.train(mode and is_tuned(model))
        return self

    def projection_state(self) -> dict[str, torch.Tensor]:
        """Return what projection.bin holds: `weight` [d_b, d_a], `bias` [d_b] and, for SoftCoT++, `embedding` [N, d_a].

        `embedding` holds the initial tokens, in the projection's dtype. Learned vectors: `soft_thoughts` [N, L, d_b].
        """
        if self.learned is not None:
            return {"soft_thoughts": self.learned.detach().cpu().clone()}
        state = {key: value.detach().cpu().clone() for key, value in self.projection.state_dict().items()}
        if self.scale is not None:  # W (t - shift) / scale + b = (W / scale) t + (b - (W / scale) shift)
            weight = state["weight"].double() / self.scale.double().cpu()
            bias = state["bias"].double() - weight @ self.shift.double().cpu()
            state = {"weight": weight.to(state["weight"]), "bias": bias.to(state["bias"])}
        if self.is_softcotpp:
            state["embedding"] = self.embedding.detach().to("cpu", self.projection.weight.dtype, copy=True)
        return state

    def load_projection_state(self, state: dict[str, torch.Tensor]) -> None:
        """Load a state of the form of `projection_state`; of more chains than N, the first N. Raises UserError."""
        if self.is_softcotpp and "embedding" in state and state["embedding"].dim():
            state = {**state, "embedding": state["embedding"][: self.num_chains]}
        expected = {key: tuple(value.shape) for key, value in self.projection_state().items()}
        found = {key: tuple(value.shape) for key, value in state.items()}
        if found != expected:
            raise UserError(
                f"the projection holds {found}, but these models and options want {expected} "
                "(weight: [base width, assistant width]; embedding, of SoftCoT++: [chains, assistant width])"
            )
        with torch.no_grad():
            self.projection.weight.copy_(state["weight"])
            self.projection.bias.copy_(state["bias"])
            if "embedding" in state:
                self.embedding.copy_(state["embedding"])


def published_filler(assistant: Backbone, chains: int | None) -> list[int]:
    """Return the ids whose embeddings fill the placeholders: their own, or of N chains [INI]^1..[INI]^N.

    Raises UserError if the assistant's family has fewer initial tokens.
    """
    tokens, table = assistant.thought_tokens, embedding_table(assistant.model)
    if chains is None:
        return [assistant.tokenizer.convert_tokens_to_ids(tokens.placeholder)]
    if tokens.initial_id is None:
        raise UserError(
            f"SoftCoT++ needs initial tokens, and the family {tokens.family!r} names none; give the id of the first"
        )
    available = len(table) - tokens.initial_id
    available = max(0, min(available, tokens.max_chains or available))
    if not 1 <= chains <= available:
        raise UserError(
            f"{chains} chains: the assistant's family {tokens.family!r} has {available} initial tokens "
            f"(ids from {tokens.initial_id}); choose 1 to {available}"
        )
    return list(range(tokens.initial_id, tokens.initial_id + chains))
