"""Losses and gradients of batches, micro-batches and parts of a step equal the oracle's in float32."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from data_loader.collator import Collator
from experiment.setup import share_instructions
from model.head_loss import head_loss
from model.softcot import SoftCoT
from tests.model import oracle
from tests.tiny import add_lora_away_from_zero, batch_of, make_softcot, ragged_examples, tiny_model, tiny_pair

LENGTH = 3
FAST, PLAIN = [("llama", "qwen3"), ("gemma3_text", "gemma3_text")]  # test_plain.py has the other types


def assert_close(ours, plain, tolerance=1e-5):
    """Within a tolerance of the plain value, relative to its largest entry."""
    scale = max(plain.abs().max().item(), 1e-3)
    assert (ours - plain).abs().max().item() <= tolerance * scale


def check(softcot, contrastive=False, examples=None, batch=None):
    """Loss and every trained parameter's gradient against the oracle."""
    examples = examples or ragged_examples(LENGTH)
    batch = batch or batch_of(examples)
    learned = {name: p for name, p in softcot.named_parameters() if p.requires_grad}
    torch.manual_seed(11)
    loss = softcot.losses(batch, backward=True)["loss"]
    gradients = [parameter.grad for parameter in learned.values()]
    dropout = None
    if contrastive:
        torch.manual_seed(11)
        dropout = F.dropout(torch.ones(len(examples), softcot.num_chains, LENGTH * softcot.width_base), 0.5)
    reduction = softcot.reduction if softcot.training else "tokens"  # the dev loss is a mean over labels for both
    plain = oracle.softcot_loss(softcot, examples, reduction, dropout)
    assert_close(loss, plain.detach())
    for ours, theirs in zip(gradients, torch.autograd.grad(plain, learned.values()), strict=True):
        assert theirs.abs().max() > 1e-4  # a comparison of something
        assert_close(ours, theirs)
    return learned


@pytest.mark.parametrize(
    "pair, chains, contrastive, micro_batch_size",
    [(FAST, None, False, 1), (FAST, None, False, 8), (FAST, 4, False, 3), (FAST, 4, True, 1), (FAST, 4, True, 8)]
    + [(PLAIN, None, False, 1), (PLAIN, 4, False, 3), (PLAIN, 4, True, 1)],
)
def test_loss_and_gradients(pair, chains, contrastive, micro_batch_size):
    softcot = make_softcot(chains, pair, contrastive=contrastive, micro_batch_size=micro_batch_size).train()
    assert set(check(softcot, contrastive)) == {"projection.weight", "projection.bias"}


def behind_instruction(softcot):
    """Examples whose prompts begin with an instruction, and their batch, where it runs once if the model allows."""
    examples = ragged_examples(LENGTH)
    for example in examples:
        example["prefix_ids"] = [9, 31, 7, 22] + example["prefix_ids"]
        example["assistant_ids"] = [12, 33, 8] + example["assistant_ids"]
    collate = Collator(0, 0)
    parts = (SimpleNamespace(model=model) for model in (softcot.base, softcot.assistant))
    share_instructions(collate, examples, LENGTH, *parts)
    return examples, collate(examples)


@pytest.mark.parametrize("chains", [None, 3])
def test_an_instruction_that_runs_once_gives_the_same_losses_and_gradients(chains):
    softcot = make_softcot(chains).train()
    examples, batch = behind_instruction(softcot)
    assert len(batch["instruction"]) == 4 and len(batch["assistant_instruction"]) == 3
    check(softcot, examples=examples, batch=batch)


def test_softcot_fills_with_the_placeholder_as_the_assistant_embeds_it():
    for family in ("llama", "gemma3_text"):
        softcot = make_softcot(pair=(family, family)).eval()
        example = ragged_examples(LENGTH)[0]
        batch = batch_of([example])
        states = softcot.thought_states(batch)[0, 0]
        ids = torch.tensor([example["assistant_ids"]])
        hidden = softcot.assistant(ids, output_hidden_states=True, use_cache=False).hidden_states[-1]
        assert_close(states, hidden[0, -LENGTH:])


@pytest.mark.parametrize("chains", [None, 4])
def test_dev_loss_is_one_mean_over_the_labels_summed_over_chains(chains):
    check(make_softcot(chains, contrastive=bool(chains)).eval())


def test_parts_of_a_step_share_the_contrastive_term():
    softcot = make_softcot(3, contrastive=True).train()
    batch = batch_of(ragged_examples(LENGTH)[:2])
    whole = softcot.losses(batch)
    shared = softcot.losses(batch, count=8)
    assert_close(whole["loss"], whole["token"] + whole["contrastive"])
    assert_close(shared["token"] * 4, whole["token"])
    torch.manual_seed(7)
    term = softcot.losses(batch)["contrastive"]
    torch.manual_seed(7)
    assert_close(softcot.losses(batch, count=8)["contrastive"] * 4, term)


@pytest.mark.parametrize("tuned", ["base", "assistant", "both"])
def test_lora_gradients(tuned):
    base, assistant = tiny_pair()
    torch.manual_seed(4)
    for part, backbone in (("base", base), ("assistant", assistant)):
        if tuned in (part, "both"):
            add_lora_away_from_zero(backbone)  # zero would hide the gradient of lora_A
    softcot = SoftCoT(base, assistant, LENGTH, 2, micro_batch_size=4).eval()  # eval: no LoRA dropout
    softcot.losses(behind_instruction(softcot)[1])  # what a pass keeps of the instruction must not go stale
    with torch.no_grad():
        for parameter in softcot.tuned.values():
            parameter.mul_(1.1)
    learned = check(softcot, False, *behind_instruction(softcot))
    assert len(learned) == 2 + 2 * 4 * (2 if tuned == "both" else 1)  # two layers, q and v, A and B


def test_lora_s_dropout_is_drawn_in_training_alone():
    base, assistant = tiny_pair()
    add_lora_away_from_zero(base)
    softcot, batch = SoftCoT(base, assistant, LENGTH), batch_of(ragged_examples(LENGTH))
    for mode, equal in ((True, False), (False, True)):
        softcot.train(mode)
        assert (softcot.losses(batch)["loss"] == softcot.losses(batch)["loss"]) == equal


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 1e-2)])
def test_a_head_in_parts_has_the_cross_entropy_of_the_whole(dtype, tolerance):
    model = tiny_model("llama", 8, vocabulary=2**17).to(dtype)
    generator = torch.Generator().manual_seed(0)
    hidden, weights = torch.randn(300, 8, generator=generator).to(dtype), torch.rand(300, generator=generator)
    labels = torch.randint(0, 2**17, (300,), generator=generator)
    ours, plain = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    losses = head_loss(model, ours, labels, weights)
    logits = model.get_output_embeddings()(plain)
    expected = F.cross_entropy(logits.float(), labels, reduction="none") * weights
    assert_close(losses, expected)
    for loss in (losses, expected):
        loss.sum().backward()
    assert_close(ours.grad, plain.grad, tolerance)


@pytest.mark.parametrize("pair", [FAST, PLAIN])
def test_losses_of_bfloat16_models_are_float32(pair):
    softcot, (example, *_) = make_softcot(pair=pair), ragged_examples(LENGTH)
    for model in softcot.models:
        model.bfloat16()
    labels = oracle.token_losses(softcot.base, example, torch.zeros(LENGTH, 48, dtype=torch.bfloat16))
    assert labels.dtype == softcot.losses(batch_of([example]))["loss"].dtype == torch.float32


def test_lora_alone_learns_from_the_plain_loss_without_thoughts():
    base, _ = tiny_pair()
    torch.manual_seed(4)
    add_lora_away_from_zero(base)
    learned = [p for p in base.model.parameters() if p.requires_grad]
    model = SoftCoT(base, None, 0, micro_batch_size=1).eval()  # without the adapter's dropout
    examples = ragged_examples(LENGTH)
    batch = {key: value for key, value in batch_of(examples).items() if not key.startswith("assistant")}
    loss = model.losses(batch, backward=True)["loss"]
    losses = [oracle.token_losses(base.model, example, torch.zeros(0, 48)) for example in examples]
    plain = oracle.batch_mean(losses, "tokens")
    assert_close(loss, plain.detach())
    for parameter, theirs in zip(learned, torch.autograd.grad(plain, learned), strict=True):
        assert theirs.abs().max() > 1e-5
        assert_close(parameter.grad, theirs)
    assert_close(loss, model.losses(batch)["loss"])  # attention without gradient is another path
