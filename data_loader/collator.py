"""Pieces of encoded examples -> one padded batch. Knows nothing of text or tokenizers."""

import torch


class Collator:
    """Pads what `PromptEncoder.encode` returns so that the thoughts are one block of columns.

    The prefix is padded on the left and the suffix on the right: prefix | thoughts | suffix is
    then gapless in every row. The assistant's ids are padded on the left: its slot is the last
    L columns.
    """

    def __init__(self, base_pad_id, assistant_pad_id):
        self.base_pad_id = base_pad_id
        self.assistant_pad_id = assistant_pad_id

    def __call__(self, examples):
        """Return prefix_ids, prefix_mask `[B, P]`; suffix_ids, suffix_mask, labels `[B, S]`; and, if the examples
        have them, their thought_states `[B, N, L, d_a]`, else, if they have an assistant's prompt, assistant_ids and
        assistant_mask `[B, A]`. Ids and masks are int64; masks are 1 on real tokens."""
        prefix_ids, prefix_mask = _pad(examples, "prefix_ids", self.base_pad_id, left=True)
        suffix_ids, suffix_mask = _pad(examples, "suffix_ids", self.base_pad_id)
        labels, _ = _pad(examples, "labels", -100)
        batch = {
            "prefix_ids": prefix_ids,
            "prefix_mask": prefix_mask,
            "suffix_ids": suffix_ids,
            "suffix_mask": suffix_mask,
            "labels": labels,
        }
        if "thought_states" in examples[0]:
            batch["thought_states"] = torch.stack([example["thought_states"] for example in examples])
        elif examples[0]["assistant_ids"]:
            batch["assistant_ids"], batch["assistant_mask"] = _pad(
                examples, "assistant_ids", self.assistant_pad_id, left=True
            )
        return batch


def _pad(examples, key, fill, left=False):
    """Return ids `[B, longest]` padded with `fill`, and their mask `[B, longest]`."""
    rows = [example[key] for example in examples]
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), fill, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        where = slice(width - len(row), width) if left else slice(0, len(row))
        ids[i, where] = torch.tensor(row, dtype=torch.long)
        mask[i, where] = 1
    return ids, mask
