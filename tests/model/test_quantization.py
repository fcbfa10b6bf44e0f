"""A quantized base: the gradient still reaches the projection, and is close to the unquantized base's."""

import pytest
import torch
import torch.nn.functional as F

from experiment.options import EvaluateSoftCoT
from experiment.setup import load_backbones
from model.backbone import load_backbone, open_backbone
from model.causal_lm import TRANSFORMERS_5
from model.softcot import SoftCoT
from tests.conftest import make_chatml_tokenizer
from tests.tiny import batch_of, ragged_examples, tiny_backbone, tiny_model
from utils import UserError

LENGTH = 4


def saved_model(folder):
    model = tiny_model("llama", 64, vocabulary=512, tie_word_embeddings=False)
    model.save_pretrained(folder)
    make_chatml_tokenizer().save_pretrained(folder)
    return str(folder)


def gradient(base, assistant):
    torch.manual_seed(0)
    softcot = SoftCoT(base, assistant, LENGTH).train()
    loss = softcot.losses(batch_of(ragged_examples(LENGTH)), backward=True)["loss"]
    return loss.item(), softcot.projection.weight.grad


@pytest.mark.parametrize("quantization, similarity", [("8bit", 0.98), ("4bit", 0.8)])
def test_the_gradient_passes_a_quantized_base(tmp_path, quantization, similarity):
    path = saved_model(tmp_path)
    assistant = tiny_backbone("llama", 32)
    plain_loss, plain = gradient(load_backbone(open_backbone(path), dtype="float32"), assistant)
    try:
        base = load_backbones(EvaluateSoftCoT(dtype="float32", quantization=quantization), path, None)[0]
    except UserError as error:
        if TRANSFORMERS_5:
            raise
        assert "\n" not in str(error)
        pytest.skip(f"transformers 4.51 quantizes on a GPU only: {error}")
    linear = base.model.model.layers[0].mlp.up_proj
    assert linear.weight.dtype in (torch.int8, torch.uint8)
    loss, quantized = gradient(base, assistant)
    assert all(p.grad is None for p in base.model.parameters())
    assert loss == pytest.approx(plain_loss, rel=0.05 if quantization == "8bit" else 0.3) and loss != plain_loss
    assert F.cosine_similarity(plain.flatten(), quantized.flatten(), dim=0) > similarity


def test_a_base_placed_by_a_device_map_has_the_same_gradient(tmp_path):
    path = saved_model(tmp_path)
    assistant = tiny_backbone("llama", 32)
    base = load_backbones(EvaluateSoftCoT(dtype="float32", base_device_map="auto"), path, None)[0]
    loss, mapped = gradient(base, assistant)
    plain_loss, plain = gradient(load_backbone(open_backbone(path), dtype="float32"), assistant)
    assert loss == pytest.approx(plain_loss, rel=1e-5)
    torch.testing.assert_close(mapped, plain, rtol=1e-5, atol=1e-5)
