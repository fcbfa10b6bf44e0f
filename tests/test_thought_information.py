"""Shares of energy, probes and bits are what their definitions say."""

import math

import pytest
import torch

from benchmarks.thought_information import MINI, SIZES, probe, share_between, shared_options, target_bits
from experiment.options import EvaluateSoftCoT
from experiment.setup import load_instances, load_method
from model.weights import save_projection


def test_the_share_between_questions_is_one_less_what_all_have_in_common():
    states = torch.randn(1, 5, 3, 4, generator=torch.Generator().manual_seed(0)) + 2
    for place in range(3):
        rows = states[0, :, place]
        whole = sum(row.square().sum() for row in rows)
        common = 5 * rows.mean(0).square().sum()
        assert share_between(states, 1)[place].item() == pytest.approx(((whole - common) / whole).item(), rel=1e-5)


def test_a_probe_finds_what_is_there_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (200,), generator=generator)
    noise = torch.randn(200, 20, generator=generator)
    found, chance = probe(noise + 4 * torch.nn.functional.one_hot(labels, 20), labels.tolist())
    nothing, _ = probe(noise, labels.tolist())
    assert found > 0.95 and 0.3 < chance < 0.45 and abs(nothing - chance) < 0.15


@torch.no_grad()
def test_bits_are_the_loss_with_what_is_in_the_slot(models, tmp_path):
    pair = [str(models / name) for name in ("Llama-3.2-1B-Instruct", "Qwen3-0.6B")]
    options = {"base_model_id": pair[0], "assistant_model_id": pair[1], **shared_options(MINI, "hidden")}
    args = EvaluateSoftCoT(**options, thoughts="untrained")
    method = load_method(args, None)
    save_projection(method.slot.softcot.projection_state(), tmp_path / "projection.bin")
    contents = {"own": {}, "zero": {"thoughts": "zero"}}
    found = target_bits(pair, MINI, "hidden", tmp_path, contents)
    assert {name: len(bits) for name, bits in found.items()} == dict.fromkeys(contents, SIZES[True][1]["test_k"])
    for place, instance in enumerate(load_instances(args, "test")[:3]):
        example = method.encoder.encode(instance, "train")
        loss = method.slot.softcot.losses(method.collate([example]))["loss"].item()
        labels = sum(label != -100 for label in example["labels"])
        assert found["own"][place] == pytest.approx(loss * labels / math.log(2), rel=1e-4)
    assert found["own"][0] != pytest.approx(found["zero"][0], rel=1e-3)
