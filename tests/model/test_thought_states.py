"""Thought states are computed once for their key."""

import pytest
import torch

from data_loader.collator import Collator
from model.thought_states import add_thought_states
from tests.model.oracle import states_of
from tests.tiny import make_softcot, ragged_examples

LENGTH = 3


@pytest.fixture
def model():
    return make_softcot(2)


def add_states(model, folder, examples=None, split="train", weights="a"):
    examples = [dict(example) for example in examples or ragged_examples(LENGTH)]
    assert add_thought_states(model, examples, Collator(0, 0), folder, split, weights)
    return torch.stack([example["thought_states"] for example in examples])


def test_states_are_the_oracle_s(model, tmp_path):
    states = add_states(model, tmp_path)
    for example, found in zip(ragged_examples(LENGTH), states, strict=True):
        for chain in range(2):
            plain = states_of(model.assistant, example["assistant_ids"], LENGTH, model.embedding[chain])
            assert torch.allclose(found[chain], plain, atol=1e-5)


def test_a_second_use_computes_nothing(model, tmp_path):
    first = add_states(model, tmp_path)
    (path,) = tmp_path.glob("*.bin")
    before = path.stat().st_mtime_ns
    assert torch.equal(add_states(model, tmp_path), first)  # read again
    assert path.stat().st_mtime_ns == before


def test_a_file_of_another_length_is_computed_again(model, tmp_path):
    first = add_states(model, tmp_path)
    (path,) = tmp_path.glob("*.bin")
    path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(add_states(model, tmp_path), first)  # the same batches


def test_other_prompts_or_weights_have_other_files_and_old_ones_go(model, tmp_path):
    def file():
        add_states(model, tmp_path, examples, weights=weights)
        (path,) = tmp_path.glob("thoughts-train-*.bin")
        return path.name

    add_states(model, tmp_path, split="dev")
    examples, weights = ragged_examples(LENGTH), "a"
    first = file()
    assert file() == first
    examples[1]["assistant_ids"].insert(0, 9)
    second = file()
    weights = "b"
    third = file()
    model.embedding.data.mul_(2)
    fourth = file()
    model.assistant.config.rms_norm_eps = 1.0
    assert len({first, second, third, fourth, file()}) == 5
    assert len(list(tmp_path.glob("thoughts-dev-*.bin"))) == 1
