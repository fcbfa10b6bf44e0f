"""Padding: prefix left, suffix right, the assistant's slot in the last columns."""

import pytest
import torch

from data_loader.collator import Collator


def example(index, prefix, suffix, assistant):
    return {
        "index": index,
        "prefix_ids": prefix,
        "suffix_ids": suffix,
        "labels": [-100] + suffix[1:],
        "assistant_ids": assistant,
    }


def test_pads_each_piece_on_its_side():
    batch = Collator(90, 91)([example(7, [1, 2], [3, 4, 5], [6, 8]), example(9, [1], [3], [6])])
    tensors = {
        "prefix_ids": [[1, 2], [90, 1]],
        "suffix_ids": [[3, 4, 5], [3, 90, 90]],
        "assistant_ids": [[6, 8], [91, 6]],
    }
    numbers = {
        "prefix_lengths": [2, 1],
        "suffix_lengths": [3, 1],
        "label_columns": [[1, 2], []],
        "assistant_lengths": [2, 1],
        "instruction": (),
        "assistant_instruction": (),
    }
    assert {key: batch[key].tolist() for key in tensors} == tensors
    assert all(batch[key].dtype == torch.int64 for key in tensors)
    assert {key: value for key, value in batch.items() if key not in tensors} == numbers


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


def test_without_thoughts_there_is_no_assistant():
    empty = {"suffix_ids": [], "labels": [], "assistant_ids": []}
    batch = Collator(0, 0)([{"index": i, "prefix_ids": [1, 2], **empty} for i in range(2)])
    assert batch["prefix_ids"].shape == (2, 2)
    assert batch["suffix_ids"].shape == (2, 0) and batch["label_columns"] == [[], []]
    assert not any(name.startswith("assistant") for name in batch)
