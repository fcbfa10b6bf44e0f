"""SoftCoT trains what it should and nothing else; projection.bin goes in and out safely."""

import dataclasses
import re

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from model.backbone import Backbone
from model.weights import add_lora, load_lora, load_projection
from tests.tiny import TOKENS, Attack, add_lora_away_from_zero, batch_of, make_softcot, ragged_examples, tiny_backbone
from utils import UserError

LENGTH = 3


def weights(softcot):
    """Name -> tensor of the module and of the two models, which are none of its submodules."""
    own = [*softcot.named_parameters(), *softcot.named_buffers()]
    models = [
        (f"{part}.{name}", value)
        for part in ("base", "assistant")
        for name, value in [*getattr(softcot, part).named_parameters(), *getattr(softcot, part).named_buffers()]
    ]
    assert len(models) > 20
    return dict([*own, *models])


# ---- what learns ----


def test_only_the_projection_receives_a_gradient_or_changes_by_a_bit():
    softcot, learned = make_softcot(4, contrastive=True).train(), {"projection.weight", "projection.bias"}
    before = {name: value.clone() for name, value in weights(softcot).items()}
    optimizer = torch.optim.AdamW(
        [p for p in weights(softcot).values() if isinstance(p, torch.nn.Parameter)], lr=1e-2, weight_decay=0.1
    )
    for seed in range(3):
        softcot.losses(batch_of(ragged_examples(LENGTH, seed)), backward=True)
        assert {name for name, p in weights(softcot).items() if p.grad is not None} == learned
        optimizer.step()
        optimizer.zero_grad()
    assert {name for name, value in weights(softcot).items() if not torch.equal(value, before[name])} == learned
    assert not softcot.base.training and not softcot.assistant.training


def test_lora_is_saved_and_loaded_again(tmp_path):
    backbone = tiny_backbone("llama", 48)
    ids = torch.arange(6, 16)[None]
    with torch.no_grad():
        plain = backbone.model(ids).logits
    add_lora_away_from_zero(backbone)
    assert all(parameter.requires_grad is ("lora_" in name) for name, parameter in backbone.model.named_parameters())
    with torch.no_grad():
        tuned = backbone.model.eval()(ids).logits
    backbone.model.save_pretrained(tmp_path / "base_model")
    again = tiny_backbone("llama", 48)
    load_lora(again, str(tmp_path / "base_model"))
    torch.testing.assert_close(again.model(ids).logits, tuned, rtol=1e-4, atol=1e-4)
    assert (plain - tuned).abs().max() > 0.1
    assert not any(p.requires_grad for p in again.model.parameters())


def test_a_model_without_lora_s_modules_is_refused():
    with pytest.raises(UserError, match="v_proj"):
        add_lora(Backbone(GPT2LMHeadModel(GPT2Config(n_embd=16, n_head=2, n_layer=1)), None, TOKENS, "tiny"))


@pytest.mark.parametrize("change", ["one more", "one less", "other rank"])
def test_an_adapter_that_the_model_does_not_take_whole_is_refused(tmp_path, change):
    folder, backbone = str(tmp_path), tiny_backbone("llama", 48)
    add_lora(backbone)
    backbone.model.save_pretrained(folder)
    weights = load_file(tmp_path / "adapter_model.safetensors")
    name = next(iter(weights))
    if change == "one less":
        del weights[name]
    else:
        weights[name if change == "other rank" else "head"] = weights[name][:3].clone()
    save_file(weights, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UserError, match=re.escape(folder)):
        load_lora(tiny_backbone("llama", 48), folder)


# ---- chains ----


@pytest.mark.parametrize(
    "first, chains, message",
    [(40, 0, r"\b10\b"), (40, 11, r"\b10\b"), (60, 5, r"\b4\b"), (200, 1, r"\b0\b"), (None, 1, "initial")],
)
def test_more_chains_than_initial_tokens_in_family_or_vocabulary_are_an_error(first, chains, message):
    with pytest.raises(UserError, match=message):
        make_softcot(chains, tokens=dataclasses.replace(TOKENS, initial_id=first))


# ---- projection.bin ----


@pytest.mark.parametrize("chains, dtype", [(None, torch.float32), (4, torch.bfloat16)])
def test_a_projection_saved_by_plain_torch_loads(tmp_path, dtype, chains):
    state = nn.Linear(32, 48, dtype=dtype).state_dict()  # an OrderedDict
    if chains:
        state["embedding"] = torch.randn(4, 32, dtype=dtype)
    torch.save(state, tmp_path / "projection.bin")
    softcot = make_softcot(chains, projection_dtype=dtype)
    softcot.load_projection_state(load_projection(tmp_path / "projection.bin"))
    ours = softcot.projection_state()
    assert ours.keys() == state.keys()
    assert all(torch.equal(ours[key].to(dtype), state[key]) for key in state)


def test_fewer_chains_than_trained_take_the_first_initial_tokens():
    chains, trained = 3, make_softcot(4).projection_state()
    trained["embedding"] += torch.arange(4)[:, None]  # as after training them
    softcot = make_softcot(chains)
    softcot.load_projection_state(trained)
    assert torch.equal(softcot.embedding, trained["embedding"][:chains])
    assert torch.equal(softcot.projection.weight, trained["weight"])


@pytest.mark.parametrize("saved, loaded", [(None, 4), (4, None), (3, 4), ("other widths", None)])
def test_a_projection_of_another_shape_of_no_chains_or_too_few_is_an_error(saved, loaded):
    state = nn.Linear(48, 32).state_dict() if saved == "other widths" else make_softcot(saved).projection_state()
    with pytest.raises(UserError, match=r"holds .* want .*\(48, 32\)"):
        make_softcot(loaded).load_projection_state(state)


def test_a_pickle_with_code_in_it_is_refused_and_does_not_run(tmp_path):
    state = {**nn.Linear(32, 48).state_dict(), "note": Attack(tmp_path / "ran")}
    torch.save(state, tmp_path / "projection.bin")
    with pytest.raises(UserError, match="projection.bin"):
        load_projection(tmp_path / "projection.bin")
    assert not (tmp_path / "ran").exists()
    torch.load(tmp_path / "projection.bin", weights_only=False)
    assert (tmp_path / "ran").exists()  # the file was armed


@pytest.mark.parametrize(
    "content",
    [
        {"weight": torch.zeros(2, 2)},
        {"weight": torch.zeros(2, 2), "bias": torch.zeros(2), "more": torch.zeros(1)},
        {"weight": torch.zeros(2, 2).long(), "bias": torch.zeros(2)},
        {"weight": torch.zeros(2, 2), "bias": torch.zeros(2).to(torch.float8_e4m3fn)},
        {"weight": torch.zeros(2, 2), "bias": torch.zeros(2).to_sparse()},
        torch.zeros(2, 2),
        b"not torch",
    ],
)
def test_other_content_is_an_error(tmp_path, content):
    path = tmp_path / "projection.bin"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(UserError, match=re.escape(str(path))) as error:
        load_projection(path)
    assert "\n" not in str(error.value)
