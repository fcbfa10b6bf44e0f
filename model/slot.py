"""What fills the base model's thought slot: MODES, one row a mode.

Prompt, sampling and vote are the same in every mode; only the embeddings between the begin and the end token differ.
Knows tensors and token ids, never a task or text. torch is imported late: options show MODES in their help.
"""

from collections.abc import Callable
from dataclasses import dataclass

UNTRAINED_SEED = 42  # training's default seed: the same initial weights, in the same dtype


@dataclass(frozen=True)
class Mode:
    """A mode of the slot. fill: (slot, examples, collate) -> each example's vectors, `[1 or N, L, d_b]`."""

    help: str
    row: str  # the method's name in the papers' tables, or ours
    fill: Callable
    has_projection: bool = False  # thought states go through a projection
    reads: str = ""  # the file of training that fills it; empty: none
    writes_text: bool = False  # the assistant writes tokens, which are part of the prompt

    @property
    def needs_assistant(self) -> bool:
        return self.has_projection or self.writes_text


def fill_projected(slot, examples, collate):
    """Return the soft thoughts of the examples' `assistant_ids`. Raises FloatingPointError if they are not finite."""
    from model.training import on_device

    thoughts = slot.softcot.batch_thoughts(on_device(collate(examples), slot.softcot.device_name))
    if not thoughts.isfinite().all():  # an engine may draw from them all the same
        raise FloatingPointError("the soft thoughts hold NaN or inf: the projection does not fit these models")
    return thoughts


def fill_zeros(slot, examples, collate):
    return slot.table.new_zeros(len(examples), 1, slot.length, slot.table.shape[1])


def fill_placeholders(slot, examples, collate):
    return slot.embed([slot.placeholder] * slot.length).expand(len(examples), 1, -1, -1)


def fill_hints(slot, examples, collate):
    """Return the embeddings of each example's `hint_ids`, which may be fewer than L."""
    return [slot.embed(example["hint_ids"])[None] for example in examples]


def fill_vectors(slot, examples, collate):
    """Return the same vectors for all questions."""
    return slot.vectors.to(slot.table.device).expand(len(examples), -1, -1, -1)


PROJECTION, MEAN = "projection.bin", "mean_thoughts.bin"
PROJECTED = {"fill": fill_projected, "has_projection": True}
MODES = {  # in the tables' order
    "projected": Mode("soft thoughts through the trained projection", "SoftCoT", reads=PROJECTION, **PROJECTED),
    "placeholder": Mode("the base model's own placeholder embeddings (CoT-Unk)", "CoT-Unk", fill_placeholders),
    "assistant_text": Mode(
        "up to L tokens of text that the assistant writes greedily (Assist-CoT)",
        "Assist-CoT",
        fill_hints,
        writes_text=True,
    ),
    "zero": Mode("zero vectors", "Zero vectors", fill_zeros),
    "untrained": Mode(
        "soft thoughts through the projection that training with seed 42 starts from",
        "Untrained projection",
        **PROJECTED,
    ),
    "shuffled": Mode(
        "those of the next question of the split (after the last, the first)",
        "Shuffled thoughts",
        reads=PROJECTION,
        **PROJECTED,
    ),
    "mean": Mode("the mean of soft thoughts over the training set", "Mean thoughts", fill_vectors, reads=MEAN),
    "learned": Mode(
        "free vectors, trained in the place of soft thoughts", "Learned vectors", fill_vectors, reads=PROJECTION
    ),
}


def assistant_thinks(length: int, thoughts: str) -> bool:
    """Return whether an assistant has a part. length: L; thoughts: the mode's name."""
    return length > 0 and MODES[thoughts].needs_assistant


class ThoughtSlot:
    """Fills the slot of encoded examples by one mode of MODES.

    softcot: with the projection to use, for modes that have one, else None. length: L; chains: N. noise: standard
    deviation of Gaussian noise added to every vector in the slot, one draw a (question, chain) for all seeds of
    sampling; with one chain's soft thoughts in all N chains this is SoftCoT-P. vectors: of a mode with one set for all
    questions, `[1 or N, L, d_b]`.
    """

    def __init__(self, mode: str, base, softcot, length: int, chains: int, noise: float = 0.0, vectors=None):
        from model.causal_lm import embed_ids, embedding_table

        self.mode, self.softcot, self.length, self.chains, self.noise = MODES[mode], softcot, length, chains, noise
        self.table, self.embed = embedding_table(base.model), lambda ids: embed_ids(base.model, ids)
        self.vectors = vectors
        self.placeholder = base.tokenizer.convert_tokens_to_ids(base.thought_tokens.placeholder)

    def fill(self, examples, collate) -> list:
        """Return each example's slot `[N, L, d_b]` in the base model's dtype; with hints it is as long as they are."""
        import torch

        with torch.no_grad():
            return [
                self.perturbed(own.expand(self.chains, -1, -1), example["index"]).to(self.table.dtype)
                for own, example in zip(self.mode.fill(self, examples, collate), examples, strict=True)
            ]

    def perturbed(self, thoughts, index: int):
        """Return the thoughts `[N, L, d_b]` of question `index` with noise, drawn for each chain."""
        if not self.noise:
            return thoughts
        import torch

        from model.generation import row_generator

        noise = torch.stack(
            [torch.randn(chain.shape, generator=row_generator((index, place))) for place, chain in enumerate(thoughts)]
        )
        return thoughts.float() + self.noise * noise.to(thoughts.device)
