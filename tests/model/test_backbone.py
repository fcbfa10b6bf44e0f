"""Families are read from config and tokenizer, never from a path; loading errors are one clear line."""

import dataclasses
import re

import pytest
from transformers import LlamaConfig, Qwen3Config

from model.backbone import ThoughtTokensError, find_thought_tokens, load_backbone, open_backbone, resolve
from tests.data_loader.test_prompts import TOKENS
from tests.tiny import DOCUMENTED, tiny_model
from utils import UserError


@pytest.mark.parametrize(
    "family, expected",
    {
        "llama": ("<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>", 128011, "llama"),
        "qwen2.5": ("<|endoftext|>", "<|box_start|>", "<|box_end|>", 150001, "qwen"),
        "qwen3": ("<|endoftext|>", "<think>", "</think>", 150001, "qwen3"),
    }.items(),
)
def test_the_published_families(family, expected):
    found = TOKENS[family]
    assert (found.placeholder, found.begin, found.end, found.initial_id, found.published_name) == expected
    assert found.long_responses == (family == "qwen3")


def test_custom_thought_tokens_of_a_known_family_change_nothing_else(qwen3_tokenizer):
    own = find_thought_tokens(Qwen3Config(), qwen3_tokenizer)
    marks = {"placeholder": "<|endoftext|>", "begin": "<|box_start|>", "end": "<|box_end|>"}
    for number, more in (("", {}), (",7", {"initial_id": 7, "max_chains": None})):
        found = find_thought_tokens(Qwen3Config(), qwen3_tokenizer, ", ".join(marks.values()) + number)
        assert found == dataclasses.replace(own, **marks, **more)


@pytest.mark.parametrize(
    "custom",
    [
        "<gh_stars>,<filename>",
        "<gh_stars>,<filename>,<nothing>",
        "<gh_stars>,<filename>,<gh_stars>",
        "<gh_stars>,<filename>,<|endoftext|>,x",
        "<gh_stars>,<filename>,<|endoftext|>,²",
    ],
)
def test_bad_custom_thought_tokens(chatml_tokenizer, custom):
    with pytest.raises(ThoughtTokensError):
        find_thought_tokens(LlamaConfig(), chatml_tokenizer, custom)


@pytest.mark.parametrize("name", ["Llama-3.2-1B-Instruct", "Qwen2.5-1.5B-Instruct", "Qwen3-0.6B"])
def test_a_saved_model_loads_frozen_whatever_its_folder_is_called(models, tmp_path, name):
    family, _, width, _ = DOCUMENTED[name]
    misleading = tmp_path / ("Qwen3-8B" if family == "llama" else "Llama-3.1-8B-Instruct")
    misleading.symlink_to(models / name)
    backbone = load_backbone(open_backbone(str(misleading)), dtype="float32")
    assert backbone.thought_tokens.family == {"qwen2": "qwen2.5"}.get(family, family)
    assert backbone.model.get_input_embeddings().weight.shape[1] == width
    assert backbone.model.get_input_embeddings().weight is backbone.model.get_output_embeddings().weight
    assert not backbone.model.training and not any(p.requires_grad for p in backbone.model.parameters())


def test_loading_errors_are_one_line(models, tmp_path, chatml_tokenizer):
    (tmp_path / "empty").mkdir()
    for folder in ("absent", "empty"):
        with pytest.raises(UserError, match=re.escape(str(tmp_path / folder))) as error:
            open_backbone(str(tmp_path / folder))
        assert "\n" not in str(error.value)
    tiny_model("qwen3", 32, 512).save_pretrained(tmp_path / "other")
    chatml_tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="PLACEHOLDER,BEGIN,END"):
        load_backbone(open_backbone(str(tmp_path / "other")))
    custom = load_backbone(open_backbone(str(tmp_path / "other"), custom_tokens="<|endoftext|>,<gh_stars>,<filename>"))
    assert custom.thought_tokens.family == "custom"
    chatml_tokenizer.chat_template = None
    for file in (tmp_path / "other").glob("*template*"):
        file.unlink()
    chatml_tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="no chat template"):
        load_backbone(open_backbone(str(tmp_path / "other")))


def test_names():
    assert resolve("meta-llama/Llama-3.1-8B-Instruct") == "meta-llama/Llama-3.1-8B-Instruct"
    with pytest.raises(UserError, match="unknown embedded model"):
        resolve("embedded/Other")
    with pytest.raises(UserError, match="empty"):
        resolve("")
