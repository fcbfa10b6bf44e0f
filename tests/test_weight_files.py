"""Fingerprints of a model's files: other weights or another tokenizer change them, other files do not."""

import os
import shutil
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.weight_files import tokenizer_fingerprint, weights_fingerprint
from tests.commands import ROOT
from tests.tiny import tiny_model
from utils import UserError


@pytest.fixture
def folder(tmp_path):
    tiny_model("llama", 48, 4096).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    return tmp_path / "model"


def changed(folder, change):
    """A copy of the model whose tensors are changed by `change(tensors)`."""
    other = folder.with_name("changed")
    shutil.copytree(folder, other)
    tensors = load_file(other / "model.safetensors")
    change(tensors)
    save_file(tensors, other / "model.safetensors", metadata={"format": "pt", "by": "another version"})
    return weights_fingerprint(str(other))


def test_a_copy_has_the_same_fingerprint(folder):
    assert changed(folder, lambda tensors: None) == weights_fingerprint(str(folder))


@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "model.layers.1.mlp.up_proj.weight", "model.norm.weight"]
)
def test_one_other_tensor_is_another_fingerprint(folder, name):
    assert changed(folder, lambda tensors: tensors[name].mul_(1.001)) != weights_fingerprint(str(folder))


def test_tensors_of_another_type_or_under_exchanged_names_are_others(folder):
    before = weights_fingerprint(str(folder))
    assert changed(folder, lambda t: t.update({name: value.bfloat16() for name, value in t.items()})) != before
    shutil.rmtree(folder.with_name("changed"))
    up, gate = "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.gate_proj.weight"
    assert changed(folder, lambda t: t.update({up: t[gate], gate: t[up]})) != before


def test_the_same_weights_in_several_files_have_the_same_fingerprint(folder):
    sharded = folder.with_name("sharded")
    tiny_model("llama", 48, 4096).save_pretrained(sharded, max_shard_size="100KB")
    assert len(list(sharded.glob("*.safetensors"))) > 2
    assert weights_fingerprint(str(sharded)) == weights_fingerprint(str(folder))
    shard = max(sharded.glob("*.safetensors"))
    save_file({name: -value for name, value in load_file(shard).items()}, shard, metadata={"format": "pt"})
    assert weights_fingerprint(str(sharded)) != weights_fingerprint(str(folder))


def test_a_checkpoint_of_pickled_tensors_has_a_fingerprint(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    before = weights_fingerprint(str(folder))
    tensors["model.embed_tokens.weight"][777, 7] += 1  # one number: torch's checksums are among what is read
    torch.save(tensors, folder / "pytorch_model.bin")
    assert weights_fingerprint(str(folder)) != before


def test_a_cut_file_is_one_clear_error(folder):
    file = folder / "model.safetensors"
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match=r"model\.safetensors") as error:
        weights_fingerprint(str(folder))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_each_file_of_the_tokenizer_counts(folder, name):
    before = tokenizer_fingerprint(str(folder))
    (folder / name).write_text('{"other": 1}')
    assert tokenizer_fingerprint(str(folder)) != before
    assert weights_fingerprint(str(folder)) == weights_fingerprint(str(folder))


def test_a_model_in_the_hub_s_cache_has_the_fingerprint_of_its_files(folder, tmp_path):
    cache = tmp_path / "home" / "hub" / "models--some--model"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / "main").write_text("abc123")
    shutil.copytree(folder, cache / "snapshots" / "abc123")
    names = "weights_fingerprint, tokenizer_fingerprint"
    code = f"from model.weight_files import {names}; print(*[f('some/model') for f in ({names})])"
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGINGFACE_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=environment | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"},
        text=True,
        capture_output=True,
    )
    assert done.stdout.split() == [weights_fingerprint(str(folder)), tokenizer_fingerprint(str(folder))], done.stderr
