"""Batches: instruction, labels, no thoughts. Padding is in tests/model/test_losses.py."""

import pytest

from data_loader.collator import Collator


def example(index, prefix, suffix, assistant):
    return {
        "index": index,
        "prefix_ids": prefix,
        "suffix_ids": suffix,
        "labels": [-100] + suffix[1:],
        "assistant_ids": assistant,
    }


def test_an_instruction_is_left_out_of_the_rows():
    examples = [example(0, [1, 2, 3, 4], [5], [7, 8, 9, 9]), example(1, [1, 2, 3, 6, 4], [5, 6], [7, 8, 8, 9, 9])]
    collate = Collator(90, 91)
    collate.share_instructions(examples, length=2, base=True, assistant=True)
    batch = collate(examples)
    # Two ids of each prefix are kept, and of an assistant's prompt the slot and one before it.
    assert batch["instruction"] == (1, 2) and batch["assistant_instruction"] == (7,)
    assert batch["prefix_ids"].tolist() == [[90, 3, 4], [3, 6, 4]] and batch["prefix_lengths"] == [2, 3]
    assert batch["assistant_ids"].tolist() == [[91, 8, 9, 9], [8, 8, 9, 9]]
    with pytest.raises(ValueError, match="prefix_ids of example 5"):
        collate([example(5, [1, 3, 3], [5], [7, 8, 9, 9])])
    collate.share_instructions(examples, length=2, base=False, assistant=False)
    assert collate(examples)["prefix_lengths"] == [4, 5]


def test_a_label_that_is_not_its_token_is_refused():
    with pytest.raises(ValueError, match="example 3"):
        Collator(0, 0)([{**example(3, [1], [4, 5], [6]), "labels": [-100, 6]}])
