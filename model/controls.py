"""What fills the base model's thought slot: the soft thoughts, or a control.

Prompt, sampling and vote are the same in every mode; only the embeddings between the begin and the
end token differ. Knows tensors and token ids, never a task or text.
"""

import torch

from model.causal_lm import embedding_table, embeddings_of
from model.choices import SOFT
from model.generation import row_generator
from model.softcot import assistant_part, refuse_not_finite

UNTRAINED_SEED = 42  # training's default seed: on a CPU and in float32 the same initial weights


class ThoughtSlot:
    """Fills the slot of encoded examples by one mode of THOUGHTS.

    softcot: for the SOFT modes, with the projection to use (of another question's `assistant_ids`
    if thoughts are shuffled), else None. length: L; chains: N. noise: standard deviation of
    Gaussian noise added to every vector in the slot, one draw a (question, chain) for all seeds of
    sampling; with one chain's soft thoughts in all N chains this is SoftCoT-P.
    """

    def __init__(self, mode, base, softcot, length: int, chains: int, noise: float = 0.0):
        self.mode, self.base, self.softcot = mode, base, softcot
        self.length, self.chains, self.noise = length, chains, noise
        self.placeholder = base.tokenizer.convert_tokens_to_ids(base.thought_tokens.placeholder)

    @torch.no_grad()
    def fill(self, examples, collate) -> list[torch.Tensor]:
        """Return each example's slot `[N, L, d_b]` in the base model's dtype (assistant_text: as long as `hint_ids`).

        Raises FloatingPointError if soft thoughts are not finite.
        """
        table = embedding_table(self.base.model)
        if self.mode in SOFT:
            states = self.softcot.thought_states(**assistant_part(collate(examples), table.device))
            thoughts = self.softcot.soft_thoughts(states)
            refuse_not_finite(
                thoughts,
                [example["index"] for example in examples],
                "the soft thoughts hold NaN or inf: the projection does not fit these models",
            )
        elif self.mode == "zero":
            thoughts = table.new_zeros(len(examples), 1, self.length, table.shape[1])
        elif self.mode == "placeholder":
            own = embeddings_of(self.base.model, [self.placeholder] * self.length)
            thoughts = own.expand(len(examples), 1, -1, -1)
        else:
            thoughts = [embeddings_of(self.base.model, example["hint_ids"])[None] for example in examples]
        return [
            self.perturbed(own.expand(self.chains, -1, -1), example["index"]).to(table.dtype)
            for own, example in zip(thoughts, examples, strict=True)
        ]

    def perturbed(self, thoughts, index):
        """Return the thoughts `[N, L, d_b]` of question `index` with noise, drawn for each chain."""
        if not self.noise:
            return thoughts
        noise = torch.stack(
            [torch.randn(chain.shape, generator=row_generator((index, place))) for place, chain in enumerate(thoughts)]
        )
        return thoughts.float() + self.noise * noise.to(thoughts.device)
