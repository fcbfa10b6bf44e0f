"""Sampling from soft prompts: true to the distribution, each row for itself. test_plain.py has greedy decoding."""

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from model.generation import Request, Sampling, TransformersEngine, choose_settings, draw, draw_uniforms, row_generator
from model.plain import PlainEngine
from tests.tiny import tiny_backbone
from utils import UserError

WARPERS = {"temperature": TemperatureLogitsWarper, "top_k": TopKLogitsWarper}
WARPERS |= {"top_p": TopPLogitsWarper, "min_p": MinPLogitsWarper}


def backbone_of(family, **generation):
    """In float64, where a sum in another order moves no token."""
    backbone = tiny_backbone(family, 48, seed=5)
    backbone.model.double()
    backbone.model.generation_config.update(eos_token_id=[2], pad_token_id=None, bos_token_id=None, **generation)
    return backbone


def soft_prompts():
    generator = torch.Generator().manual_seed(8)
    return [torch.randn(length, 48, generator=generator).double() * 0.15 for length in (5, 12, 3, 9, 7)]


def requests(prompts, keys):
    """Prompts cut at a place of their own into prefix and tail; equal prompts share both."""
    cuts = {id(prompt): (prompt[: 1 + len(prompt) // 3], prompt[1 + len(prompt) // 3 :]) for prompt in prompts}
    return [Request(key, *cuts[id(prompt)]) for prompt, key in zip(prompts, keys, strict=True)]


def generate(engine, prompts, keys, steps):
    """Ids of each row in the order asked."""
    found = {request.key: ids for request, ids in engine.generate(requests(prompts, keys), steps)}
    assert len(found) == len(keys)
    return [found[key] for key in keys]


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_p": 0.9, "top_k": 20}], ids=["plain", "warped"])
def test_answers_do_not_depend_on_batch_size_or_order(options):
    prompts = soft_prompts()
    rows = [
        (prompt, (41 + sample % 2, question, sample // 2, sample))
        for question, prompt in enumerate(prompts)
        for sample in range(3)
    ]
    whole = {}
    for size in (len(rows), 1, 4, 7):
        engine = TransformersEngine(backbone_of("llama"), rows=size, **options)
        found = dict(zip([key for _, key in rows], generate(engine, *zip(*rows, strict=True), 15), strict=True))
        assert found == (whole := whole or found)
    turned = generate(engine, *zip(*rows[::-1], strict=True), 15)
    assert turned == [whole[key] for _, key in rows[::-1]]
    assert len({tuple(row) for row in whole.values()}) > len(rows) / 2  # rows do differ
    assert len({len(row) for row in whole.values()}) > 1  # and some stop early: slots were refilled


def test_a_row_s_numbers_are_uniform_and_each_step_has_its_own():
    found = draw_uniforms([Request((41, i, 0, 0), None, None) for i in range(500)], 8)
    assert (found.flatten().sort().values - (torch.arange(4000) + 0.5) / 4000).abs().max() < 0.03
    assert torch.corrcoef(found.T).fill_diagonal_(0).abs().max() < 0.2


def test_every_part_of_the_key_counts():
    keys = [(41, 0, 0, 0), (42, 0, 0, 0), (41, 1, 0, 0), (41, 0, 1, 0), (41, 0, 0, 1), (4, 10, 0, 0), (-1, 0, 0, 0)]
    first = {torch.rand(3, generator=row_generator(key)).sum().item() for key in keys}
    assert len(first) == len(keys)


def test_the_ends_of_the_uniform_range_draw_possible_tokens():
    logits = torch.tensor([[-float("inf"), 1.0, 0.0, -float("inf")]] * 2)
    uniforms = torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)
    assert draw(logits, uniforms).tolist() == [1, 2]


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.5}, {"top_k": 9}, {"temperature": 1.3, "top_p": 0.9, "top_k": 20}, {"top_p": 0.5, "min_p": 0.1}],
)
def test_draw_has_the_probabilities_of_transformers_warpers(settings):
    logits = 2 * torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
    logits = logits.sort(descending=True).values
    logits[:, 7:12] = logits[:, 8]  # as of bfloat16 logits, some are equal
    warpers = LogitsProcessorList(WARPERS[name](settings[name]) for name in WARPERS if name in settings)
    expected, count = warpers(None, logits)[0].softmax(-1), 20000
    uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    drawn = draw(logits.expand(count, -1), uniforms, **settings).bincount(minlength=64)
    assert (drawn / count - expected).abs().max() < 2e-4


@pytest.mark.parametrize("own, given, expected", [(20, None, 20), (None, None, 50), (20, 3, 3), (20, 0, 0)])
def test_top_k_is_the_given_one_else_the_model_s_own(own, given, expected):
    backbone = backbone_of("qwen3", top_k=own, do_sample=True, temperature=0.01, top_p=0.1)  # these are not mixed in
    *_, sampling = choose_settings(backbone, Sampling(temperature=0.7, top_p=0.9, top_k=given))
    assert sampling == {"temperature": 0.7, "top_p": 0.9, "top_k": expected, "min_p": None}


def test_the_model_s_own_min_p_is_used():
    backbone = backbone_of("qwen3")
    backbone.model.generation_config.min_p = 0.3
    prompt = soft_prompts()[2]
    with torch.no_grad():
        probabilities = backbone.model(inputs_embeds=prompt[None]).logits[0, -1].softmax(-1)
    allowed = set((probabilities >= 0.3 * probabilities.max()).nonzero()[:, 0].tolist())
    ids = generate(TransformersEngine(backbone, top_k=0), [prompt] * 400, [(41, i, 0, 0) for i in range(400)], 1)
    assert {row[0] for row in ids} <= allowed and len(allowed) < 30


@pytest.mark.parametrize("setting, value", [("no_repeat_ngram_size", 1), ("min_new_tokens", 1), ("num_beams", 4)])
def test_a_setting_that_is_not_read_is_refused(setting, value):
    backbone = backbone_of("llama", **{setting: value})
    for engine in (TransformersEngine, PlainEngine) if setting == "num_beams" else (TransformersEngine,):
        with pytest.raises(UserError, match=setting):
            engine(backbone)


@pytest.mark.parametrize("greedy, value", [(True, float("nan")), (False, float("inf"))])
def test_nan_or_inf_logits_stop_with_question_chain_and_step(greedy, value):
    backbone, calls = backbone_of("llama"), []

    def spoil(module, args, logits):
        calls.append(len(logits))
        logits = logits.index_fill(-1, torch.tensor([2]), -float("inf"))  # a masked token is no fault
        if len(calls) == 4:
            logits[2, ..., 7] = value
        return logits

    backbone.model.get_output_embeddings().register_forward_hook(spoil)
    with pytest.raises(FloatingPointError) as stop:
        generate(TransformersEngine(backbone, greedy=greedy), soft_prompts(), [(41, i, 6, 8) for i in range(5)], 12)
    for part in ("question 2 ", "seed 41", "chain 6", "sample 8", "token 3 ", "float32"):
        assert part in str(stop.value)
    assert calls == [5] * 4  # it stops there
    ids = generate(TransformersEngine(backbone, greedy=greedy), soft_prompts(), [(41, i, 0, 0) for i in range(5)], 12)
    assert [len(row) for row in ids] == [12] * 5
