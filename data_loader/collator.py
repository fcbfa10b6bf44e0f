"""Pieces of encoded examples -> one padded batch. Knows nothing of text or tokenizers."""

import os

import torch


class Collator:
    """Pads what `PromptEncoder.encode` returns so that the thoughts are one block of columns.

    The prefix is padded on the left and the suffix on the right: prefix | thoughts | suffix is then gapless in every
    row. The assistant's ids are padded on the left: its slot is the last L columns. An instruction, the ids that all
    prompts begin with, is left out of the rows.
    """

    def __init__(self, base_pad_id, assistant_pad_id):
        self.base_pad_id, self.assistant_pad_id = base_pad_id, assistant_pad_id
        self.instruction, self.assistant_instruction = (), ()

    def share_instructions(self, examples, length: int, base: bool, assistant: bool) -> None:
        """Find the ids that these examples' prompts begin with. base, assistant: whether the model can share them.

        length: of the thought slot, which each row keeps, like a token before it. A prompt without a slot gives its
        last token to the response.
        """
        self.instruction = common_start(examples, "prefix_ids", 2) if base else ()
        self.assistant_instruction = common_start(examples, "assistant_ids", length + 1) if assistant else ()

    def __call__(self, examples):
        """Return tensors of ids, and as plain Python numbers what the loss plans with, by name:

        instruction: ids; prefix_ids `[B, P]`, prefix_lengths; suffix_ids `[B, S]`, suffix_lengths; label_columns: which
        suffix tokens of each example are labels; and, if the examples have them, thought_states `[B, N, L, d_a]`, else,
        if they have an assistant's prompt, assistant_instruction, assistant_ids `[B, A]`, assistant_lengths.
        """
        batch = {"instruction": self.instruction}
        batch["prefix_ids"], batch["prefix_lengths"] = _pad(
            examples, "prefix_ids", self.base_pad_id, left=True, without=self.instruction
        )
        batch["suffix_ids"], batch["suffix_lengths"] = _pad(examples, "suffix_ids", self.base_pad_id)
        batch["label_columns"] = [_label_columns(example) for example in examples]
        if "thought_states" in examples[0]:
            batch["thought_states"] = torch.stack([example["thought_states"] for example in examples])
        elif examples[0]["assistant_ids"]:
            batch["assistant_instruction"] = self.assistant_instruction
            batch["assistant_ids"], batch["assistant_lengths"] = _pad(
                examples, "assistant_ids", self.assistant_pad_id, left=True, without=self.assistant_instruction
            )
        return batch


def common_start(examples, key, keep: int) -> tuple[int, ...]:
    """Return the ids that all examples' `key` begin with, without the last `keep` of the shortest."""
    rows = [example[key] for example in examples]
    return tuple(os.path.commonprefix(rows)[: max(0, min(map(len, rows)) - keep)])


def behind(example, key, instruction: tuple[int, ...]) -> list[int]:
    """Return the ids that follow the instruction's. Raises ValueError if the example begins with others."""
    if tuple(example[key][: len(instruction)]) != instruction:
        raise ValueError(f"{key} of example {example['index']} do not begin with the instruction")
    return example[key][len(instruction) :]


def _label_columns(example) -> list[int]:
    """Return which suffix tokens are labels. Raises ValueError if a label is not its token."""
    columns = [place for place, label in enumerate(example["labels"]) if label != -100]
    if any(example["labels"][place] != example["suffix_ids"][place] for place in columns):
        raise ValueError(f"example {example['index']} has labels that are not its tokens")
    return columns


def _pad(examples, key, fill, left=False, without=()):
    """Return ids `[B, longest]` padded with `fill`, without the ids they begin with, and the rows' lengths."""
    rows = [behind(example, key, without) for example in examples]
    lengths = [len(row) for row in rows]
    padding = [[fill] * (max(lengths) - length) for length in lengths]
    padded = [pad + row if left else row + pad for row, pad in zip(rows, padding, strict=True)]
    return torch.tensor(padded, dtype=torch.long).view(len(rows), max(lengths)), lengths
