"""Standardized thought states, another filler, learned vectors and the mean: what each is, written out plainly."""

import pytest
import torch

from data_loader.collator import Collator
from model.thought_states import mean_thoughts
from tests.model import oracle
from tests.tiny import batch_of, make_softcot, ragged_examples

LENGTH = 3


def with_states(softcot, seed=0):
    """Examples with their thought states."""
    examples = ragged_examples(LENGTH, seed)
    states = softcot.thought_states(batch_of(examples))
    return [{**example, "thought_states": own} for example, own in zip(examples, states, strict=True)]


@pytest.mark.parametrize("chains", [None, 3])
def test_standardized_states_have_mean_0_and_deviation_1_and_fold_into_the_file(chains):
    softcot, plain = make_softcot(chains), make_softcot(chains)
    examples = with_states(softcot)
    softcot.standardize(examples)
    states = torch.stack([example["thought_states"] for example in examples])
    flat = states.flatten(0, 2)
    with torch.no_grad():
        unfolded = softcot.soft_thoughts(states)
        assert torch.allclose(
            unfolded, softcot.projection((states - flat.mean(0)) / flat.std(0, correction=0)), rtol=1e-4, atol=1e-5
        )
        assert not torch.allclose(unfolded, plain.soft_thoughts(states), rtol=0.1)  # the lever does something
        plain.load_projection_state(softcot.projection_state())  # a file as published
        folded = plain.soft_thoughts(states)
    assert (folded - unfolded).abs().max() < 1e-5 * unfolded.abs().max()


def test_a_feature_that_never_changes_keeps_its_scale():
    softcot = make_softcot()
    examples = with_states(softcot)
    for example in examples:
        example["thought_states"][..., 5] = 7.0
    softcot.standardize(examples)
    states = torch.stack([example["thought_states"] for example in examples])
    with torch.no_grad():
        before, states[..., 5] = softcot.soft_thoughts(states), 8.0
        moved = softcot.soft_thoughts(states) - before
    assert torch.allclose(moved, softcot.projection.weight[:, 5].expand_as(moved), atol=1e-5)


@pytest.mark.parametrize("chains, filler", [(None, [9]), (2, [9, 30])])
def test_a_filler_s_embedding_stands_at_the_placeholders_and_the_prompt_stays(chains, filler):
    softcot = make_softcot(chains, filler=filler)
    table = softcot.assistant.get_input_embeddings().weight
    for example in with_states(softcot):
        assert example["assistant_ids"][-LENGTH:] == [3] * LENGTH
        for own, token in zip(example["thought_states"], filler, strict=True):
            wanted = oracle.states_of(softcot.assistant, example["assistant_ids"], LENGTH, table[token])
            assert torch.allclose(own, wanted, atol=1e-5)


@pytest.mark.parametrize("chains", [None, 3])
def test_learned_vectors_are_prompt_tuning(chains):
    softcot = make_softcot(chains, learned=True).train()
    examples = ragged_examples(LENGTH)
    found = softcot.losses(batch_of(examples), backward=True)["loss"]
    assert [name for name, p in softcot.named_parameters() if p.requires_grad] == ["learned"]
    prompts = softcot.learned.detach().clone().requires_grad_()
    losses = [[oracle.token_losses(softcot.base, example, prompt) for example in examples] for prompt in prompts]
    plain = sum(oracle.batch_mean(chain, "examples" if chains else "tokens") for chain in losses)
    plain.backward()
    assert found.item() == pytest.approx(plain.item(), rel=1e-5)
    assert (softcot.learned.grad - prompts.grad).abs().max() < 1e-5 * prompts.grad.abs().max()
    assert len({tuple(prompt.flatten().tolist()) for prompt in prompts}) == len(prompts)
    size = softcot.base.get_input_embeddings().weight.std().item()
    assert prompts.std().item() == pytest.approx(size, rel=0.2)
    assert torch.equal(softcot.projection_state()["soft_thoughts"], prompts)


@pytest.mark.parametrize("chains", [None, 3])
def test_mean_thoughts_are_the_mean_over_the_examples(chains):
    softcot = make_softcot(chains)
    examples = sum((with_states(softcot, seed) for seed in range(6)), [])  # more than a batch
    softcot.standardize(examples)
    with torch.no_grad():
        each = [softcot.soft_thoughts(example["thought_states"]) for example in examples]
    found = mean_thoughts(softcot, examples, Collator(0, 0))
    assert torch.allclose(found, torch.stack(each).mean(0), atol=1e-5)
