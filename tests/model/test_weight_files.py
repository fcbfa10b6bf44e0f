"""Fingerprints of a model's files: other weights, configs or another tokenizer change them, other files do not."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from model.weight_files import config_fingerprint, tokenizer_fingerprint, weights_fingerprint
from tests.tiny import tiny_model


@pytest.fixture
def folder(tmp_path):
    tiny_model("llama", 48, 4096).save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").write_text("{}")
    return tmp_path / "model"


def test_each_file_of_an_index_counts(folder):
    sharded = folder.with_name("sharded")
    tiny_model("llama", 48, 4096).save_pretrained(sharded, max_shard_size="100KB")
    before = weights_fingerprint(str(sharded))
    shard = max(sharded.glob("*.safetensors"))
    save_file({name: -value for name, value in load_file(shard).items()}, shard, metadata={"format": "pt"})
    assert weights_fingerprint(str(sharded)) != before


def test_a_checkpoint_of_pickled_tensors_has_a_fingerprint(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    before = weights_fingerprint(str(folder))
    tensors["model.embed_tokens.weight"][777, 7] += 1  # one number: torch's checksums are among what is read
    torch.save(tensors, folder / "pytorch_model.bin")
    assert weights_fingerprint(str(folder)) != before


def test_of_a_large_file_the_size_both_ends_and_blocks_between_count(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    content = torch.randint(256, (2**21,), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = []
    for part in (slice(0), slice(1), slice(2**20, 2**20 + 2**14), slice(2**21 - 1, None)):
        changed = content.clone()
        changed[part] += 1
        (tmp_path / "model.safetensors").write_bytes(changed.numpy().tobytes())
        found.append(weights_fingerprint(str(tmp_path)))
    (tmp_path / "model.safetensors").write_bytes(content.numpy().tobytes() + b"x")
    assert len({*found, weights_fingerprint(str(tmp_path))}) == 5


@pytest.mark.parametrize("name", ["tokenizer.json", "chat_template.jinja"])
def test_each_file_of_the_tokenizer_counts(folder, name):
    before = tokenizer_fingerprint(str(folder))
    (folder / name).write_text('{"other": 1}')
    assert tokenizer_fingerprint(str(folder)) != before


@pytest.mark.parametrize("name", ["config.json", "generation_config.json"])
def test_a_config_counts_but_for_the_version_that_saved_it(folder, name):
    before, path = config_fingerprint(str(folder), name), folder / name
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"transformers_version": "9"}))
    assert config_fingerprint(str(folder), name) == before
    path.write_text(json.dumps(values | {"top_k": 9}))
    assert config_fingerprint(str(folder), name) != before
