"""Padding: prefix left, suffix right, the assistant's slot in the last columns."""

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
    expected = {
        "prefix_ids": [[1, 2], [90, 1]],
        "prefix_mask": [[1, 1], [0, 1]],
        "suffix_ids": [[3, 4, 5], [3, 90, 90]],
        "suffix_mask": [[1, 1, 1], [1, 0, 0]],
        "labels": [[-100, 4, 5], [-100, -100, -100]],
        "assistant_ids": [[6, 8], [91, 6]],
        "assistant_mask": [[1, 1], [0, 1]],
    }
    assert {key: value.tolist() for key, value in batch.items()} == expected
    assert all(value.dtype == torch.int64 for value in batch.values())


def test_real_tokens_equal_to_the_pad_id_stay_unmasked():
    batch = Collator(1, 6)([example(0, [1, 1], [1, 1], [6, 6]), example(1, [1], [1], [6])])
    assert batch["prefix_mask"].tolist() == [[1, 1], [0, 1]]
    assert batch["suffix_mask"].tolist() == [[1, 1], [1, 0]]


def test_without_thoughts_there_is_no_assistant():
    empty = {"suffix_ids": [], "labels": [], "assistant_ids": []}
    batch = Collator(0, 0)([{"index": i, "prefix_ids": [1, 2], **empty} for i in range(2)])
    assert batch["prefix_ids"].shape == (2, 2)
    assert batch["suffix_ids"].shape == batch["labels"].shape == (2, 0)
    assert not any(name.startswith("assistant") for name in batch)


def test_thought_states_replace_the_assistant_s_prompt():
    states = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    examples = [{**example(i, [1], [3], [6]), "thought_states": states[i]} for i in range(2)]
    batch = Collator(0, 0)(examples)
    assert torch.equal(batch["thought_states"], states)
    assert not any(name.startswith("assistant") for name in batch)
