"""The fast way equals the plain way for every type of FAST_TYPES, and models that it would get wrong run the plain way.

Loss, gradient, thought states and greedy responses of rows of unequal length, on tiny models in float32.
"""

import copy

import pytest
import torch
from torch.testing import assert_close
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from model.attention import group_heads
from model.backbone import FAST_TYPES, Backbone, check_role, runs_fast
from model.generation import Request, TransformersEngine
from model.plain import PlainEngine
from model.softcot import SoftCoT
from tests.tiny import TOKENS, NumberTokenizer, batch_of, ragged_examples
from utils import UserError

LENGTH, CHAINS = 3, 2
# Further settings of a type's variants. "mistral" has a window by default.
VARIANTS = {
    "mistral": {"sliding_window": None},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32},
}
WINDOWS = [
    ("mistral", {"sliding_window": 4}),
    ("phi3", {"sliding_window": 4}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    ("llama", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
    (
        "llama",
        {"rope_scaling": {"rope_type": "longrope", "factor": 2.0, "short_factor": [1] * 6, "long_factor": [2] * 6}},
    ),
]
OTHERS = ["gpt2", "gemma", "granite", "cohere", "gpt_neox", "bloom", "falcon", "mamba"]


def backbone_of(model_type, width, seed, **more):
    if model_type not in CONFIG_MAPPING:
        pytest.skip(f"this transformers has no {model_type}")
    settings = {"vocab_size": 64, "hidden_size": width, "intermediate_size": 2 * width, "num_hidden_layers": 2}
    settings |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    settings |= {"initializer_range": 0.15, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    if model_type == "gpt2":
        settings = {"n_embd": width, "n_layer": 2, "n_head": 4, "initializer_range": 0.15} | settings
        del settings["num_key_value_heads"]
    if model_type in ("granite", "cohere"):
        settings |= {"logits_scaling": 2.0} if model_type == "granite" else {"logit_scale": 0.25}
    config = CONFIG_MAPPING[model_type](**settings | VARIANTS.get(model_type, {}) | more)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa" if model_type in FAST_TYPES else None)
    model = model.float().requires_grad_(False).eval()
    model.generation_config.update(eos_token_id=[2], pad_token_id=None)
    return Backbone(model, NumberTokenizer(), TOKENS, f"tiny/{model_type}")


def losses_and_states(model_type, plain_way, more):
    """Loss, gradient of the projection, thought states of a SoftCoT++ pair of one type."""
    base, assistant = backbone_of(model_type, 48, 1, **more), backbone_of(model_type, 32, 2, **more)
    if not plain_way:
        for backbone in (base, assistant):
            group_heads(backbone.model)
    torch.manual_seed(3)
    softcot = SoftCoT(base, assistant, LENGTH, CHAINS, plain_way=plain_way).train()
    assert bool(softcot.fast) is not plain_way
    batch = batch_of(ragged_examples(LENGTH))
    loss = softcot.losses(batch, backward=True)["loss"]
    states = softcot.thought_states(batch)
    return {"loss": loss, "states": states, "gradient": softcot.projection.weight.grad}


@pytest.mark.parametrize("model_type", FAST_TYPES)
def test_the_fast_way_equals_the_plain_way(model_type):
    fast, plain = (losses_and_states(model_type, way, {}) for way in (False, True))
    for name, expected in plain.items():
        assert expected.abs().max() > 1e-4  # a comparison of something
        assert_close(fast[name], expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item(), msg=name)


@pytest.mark.parametrize("penalty", [1.0, 1.3])
@pytest.mark.parametrize("model_type", FAST_TYPES)
def test_greedy_responses_are_those_of_the_models_own_generate(model_type, penalty):
    backbone = backbone_of(model_type, 48, 1)
    backbone.model.generation_config.repetition_penalty = penalty
    prompts = [torch.randn(length, 48, generator=torch.Generator().manual_seed(length)) for length in (5, 124, 3, 9)]
    requests = [Request((0, i, 0, 0), prompt[:2], prompt[2:]) for i, prompt in enumerate(prompts)]
    plain = {r.key: ids for r, ids in PlainEngine(copy.deepcopy(backbone), greedy=True).generate(requests, 12)}
    group_heads(backbone.model)
    fast = {r.key: ids for r, ids in TransformersEngine(backbone, greedy=True).generate(requests, 12)}
    assert fast == plain and len(set(map(tuple, plain.values()))) == 4


@pytest.mark.parametrize(
    "model_type, more",
    [*WINDOWS, *((model_type, {}) for model_type in OTHERS)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_layers_that_see_a_part_and_types_that_are_not_listed_run_the_plain_way(model_type, more):
    backbone = backbone_of(model_type, 48, 1, **more)
    assert not runs_fast(backbone.model)
    check_role(backbone, generates=True)


def test_a_model_s_own_code_runs_the_plain_way():
    model = backbone_of("llama", 48, 1).model
    assert runs_fast(model)
    model.__class__ = type("Own", (type(model),), {"__module__": "own"})
    assert not runs_fast(model)


def double_embeds(model, args, options):
    return args, {name: 2 * value if name == "inputs_embeds" else value for name, value in options.items()}


def test_a_model_without_generate_on_embeddings_is_refused_as_base_alone(monkeypatch):
    backbone = backbone_of("gpt2", 48, 1)
    check_role(backbone, generates=True)

    def prepare_inputs_for_generation(input_ids, **kwargs):
        return {"input_ids": input_ids}

    monkeypatch.setattr(backbone.model, "prepare_inputs_for_generation", prepare_inputs_for_generation)
    check_role(backbone, generates=False)
    with pytest.raises(UserError):
        check_role(backbone, generates=True)
    backbone.model.register_forward_pre_hook(double_embeds, with_kwargs=True)
    with pytest.raises(UserError):
        check_role(backbone, generates=False)


def test_sampling_depends_on_the_row_alone():
    backbone = backbone_of("gpt2", 48, 1)
    prompts = [torch.randn(length, 48, generator=torch.Generator().manual_seed(length)) for length in (5, 9)]
    requests = [Request((seed, i, 0, 0), p[:2], p[2:]) for seed in (1, 2) for i, p in enumerate(prompts)]
    state = torch.get_rng_state()
    whole = {r.key: ids for r, ids in PlainEngine(backbone).generate(requests, 10)}
    turned = {r.key: ids for r, ids in PlainEngine(backbone).generate(requests[::-1], 10)}
    assert whole == turned and len(set(map(tuple, whole.values()))) == 4
    assert torch.equal(torch.get_rng_state(), state)
