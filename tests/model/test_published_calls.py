"""The responses of `--engine reference` are, token for token, those of the published calls, written out here."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, GenerationConfig, set_seed

from data_loader.collator import Collator
from experiment.options import EvaluateSoftCoT, Parser
from experiment.responses import make_requests
from experiment.results import call_length
from experiment.setup import make_engine, read_sampling
from model.backbone import Backbone, own_sampling
from model.generation import Request
from model.plain import PlainEngine
from model.slot import ThoughtSlot
from model.softcot import SoftCoT
from tests.data_loader.test_prompts import TOKENS
from tests.tiny import NumberTokenizer, ragged_examples, tiny_model
from utils import UserError

L, NEW = 3, 30
PLACEHOLDER, INITIAL, EOS = 3, 40, 2


FAMILY = {"llama": "llama", "qwen2": "qwen2.5", "qwen3": "qwen3"}


@pytest.fixture(scope="module", params=FAMILY)
def pair(request, tmp_path_factory):
    """Folders of a tiny base and assistant: (family, base, assistant)."""
    folder = tmp_path_factory.mktemp(request.param)
    for seed, (name, width) in enumerate((("base", 48), ("assistant", 32)), 1):
        model = tiny_model(request.param, width, seed=seed)
        # As Qwen's: settings of sampling, and an end-of-text token that is not the tokenizer's.
        model.generation_config.update(
            do_sample=True, eos_token_id=[EOS, 5], temperature=0.6, top_p=0.9, top_k=20, repetition_penalty=1.1
        )
        model.save_pretrained(folder / name)
    return request.param, folder / "base", folder / "assistant"


def loaded(folder):
    return AutoModelForCausalLM.from_pretrained(folder).eval().requires_grad_(False)


@torch.no_grad()
def published_responses(
    models, folder, projection, initial_tokens, example, seed, *, samples, pad, ends, top_p, temperature
):
    """The published evaluation of a question, call by call. Returns the output of each call of `generate`."""
    base, assistant = models
    set_seed(seed)
    ids = [*example["prefix_ids"], *[PLACEHOLDER] * L, *example["suffix_ids"]]
    ids, assistant_ids = torch.tensor([ids]), torch.tensor([example["assistant_ids"]])
    set_seed(seed)
    inputs_embeds = base.get_input_embeddings()(ids)
    set_seed(41)
    chains = []
    for token in initial_tokens:
        embeds = assistant.get_input_embeddings()(assistant_ids).clone()
        embeds[0, -L:] = token
        states = assistant(inputs_embeds=embeds, output_hidden_states=True).hidden_states[-1]
        prompt = inputs_embeds.clone()
        first = len(example["prefix_ids"])
        prompt[0, first : first + L] = projection(states[0, -L:].to(projection.weight.dtype)).to(prompt.dtype)
        chains.append(prompt)
    config = GenerationConfig.from_pretrained(folder)
    config.pad_token_id, config.top_p, config.temperature = pad, top_p, temperature
    outputs = []
    for prompts in [torch.cat(chains)] if samples == 1 else chains:
        set_seed(seed)
        outputs.append(
            base.generate(
                inputs_embeds=prompts,
                attention_mask=torch.ones(1, ids.shape[1], dtype=torch.long),
                max_new_tokens=NEW,
                eos_token_id=ends,
                do_sample=True,
                generation_config=config,
                num_return_sequences=samples,
            )
        )
    return outputs


def until_end(ids, ends):
    kept = []
    for token in ids:
        kept.append(token)
        if token in ends:
            break
    return kept


def make_method(pair, chains, dtype=torch.float32):
    """The parts of a method that make requests."""
    family, *folders = pair
    marks = {"placeholder": "<3>", "begin": "<4>", "end": "<5>", "initial_id": INITIAL}
    tokens = TOKENS[FAMILY[family]]
    tokens = replace(tokens, **marks, end_of_turn=tokens.end_of_turn and "<9>")
    base, assistant = (Backbone(loaded(folder), NumberTokenizer(), tokens, str(folder)) for folder in folders)
    torch.manual_seed(7)
    options = {"projection_dtype": dtype, "plain_way": True}
    softcot = SoftCoT(base, assistant, L, chains, **options) if chains else SoftCoT(base, assistant, L, **options)
    nn.init.normal_(softcot.projection.weight, std=0.3)  # so that the thoughts matter
    slot = ThoughtSlot("projected", base, softcot.eval(), L, chains or 1)
    return SimpleNamespace(base=base, slot=slot, collate=Collator(0, 0)), softcot


@pytest.mark.parametrize(
    "chains, samples, dtype",
    [(None, 1, torch.float32), (None, 3, torch.bfloat16), (3, 1, torch.bfloat16), (3, 3, torch.float32)],
)
def test_responses_are_those_of_the_published_calls(pair, chains, samples, dtype):
    method, softcot = make_method(pair, chains, dtype)
    examples, ends = ragged_examples(L), [EOS, 9] if pair[0] == "llama" else [EOS]
    drawn = {"top_p": 0.95, "temperature": 1.3}
    engine = PlainEngine(method.base, published=True, end_ids=set(ends), **drawn)
    drawn |= {"samples": samples, "pad": 9 if pair[0] == "llama" else 0, "ends": ends}
    found = {}
    requests = make_requests([(example, [41, 42]) for example in examples], method, samples)
    for request, ids in engine.generate(requests, NEW):
        found[request.key] = ids
    models = [loaded(folder) for folder in pair[1:]]
    table = models[1].get_input_embeddings().weight
    initial_tokens = table[INITIAL : INITIAL + chains] if chains else table[PLACEHOLDER : PLACEHOLDER + 1]
    assert torch.equal(initial_tokens, softcot.embedding)
    lengths = set()
    for example in examples:
        for seed in (41, 42):
            outputs = published_responses(models, pair[1], softcot.projection, initial_tokens, example, seed, **drawn)
            expected = [until_end(ids, ends) for output in outputs for ids in output.tolist()]
            keys = [(seed, example["index"], c, s) for c in range(chains or 1) for s in range(samples)]
            assert [found.pop(key) for key in keys] == expected
            # The log's average counts the padding of a call.
            widths = [output.shape[1] for output in outputs for _ in output]
            assert call_length(list(map(len, expected)), samples) == sum(widths) / len(widths)
            lengths |= set(map(len, expected))
    assert not found and len(lengths) > 1  # some end, some are cut


def test_greedy_samples_are_calls_of_their_own_and_equal(pair):
    method, _ = make_method(pair, 3)
    requests = list(make_requests([(ragged_examples(L)[0], [41])], method, 2))
    plain, found = (
        [ids for _, ids in PlainEngine(method.base, published=published, greedy=True).generate(requests, NEW)]
        for published in (False, True)
    )
    assert found == plain and found[::2] == found[1::2] and len(found) == 6


@pytest.mark.parametrize(
    "protocol, temperature, top_p", [("corrected", 1.0, 1.0), ("published", 0.6, 0.9), ("published", 1.3, 0.9)]
)
def test_1_0_is_as_asked_or_the_model_s_own_with_every_transformers(pair, protocol, temperature, top_p):
    method, _ = make_method(pair, None)
    asked = ["--engine", "reference", "--top_k", "7", *(["--temperature", "1.3"] if temperature == 1.3 else [])]
    args = Parser(EvaluateSoftCoT, "").parse_args(["--protocol", protocol, "--params_file_name", "p", *asked])
    options = read_sampling(args, method.base)
    assert (options["temperature"], options["top_p"]) == (temperature, top_p)
    ends = {2, 5} if protocol == "corrected" else {2, 9} if pair[0] == "llama" else {2}
    assert options["end_ids"] == ends
    # With the numbers in a config that the model has too, every version's generate samples with them.
    prompts, plain = torch.randn(3, 7, 48, generator=torch.Generator().manual_seed(1)), loaded(pair[1])
    config = GenerationConfig.from_pretrained(pair[1], temperature=temperature, top_p=top_p, top_k=7, pad_token_id=0)
    plain.generation_config = config
    ends = sorted(ends)
    set_seed(41)
    expected = plain.generate(
        inputs_embeds=prompts,
        attention_mask=torch.ones(3, 7, dtype=torch.long),
        max_new_tokens=NEW,
        eos_token_id=ends,
        do_sample=True,
        generation_config=config,
    )
    requests = [Request((41, 0, chain, 0), prompt[:5], prompt[5:]) for chain, prompt in enumerate(prompts)]
    found = [ids for _, ids in make_engine(args, method, (), NEW).generate(requests, NEW)]
    assert found == [until_end(ids, ends) for ids in expected.tolist()]


@pytest.mark.parametrize("saved, kept", [("4.49.0", False), ("4.50.0", True)])
def test_a_model_s_own_sampling_counts_if_4_50_or_later_saved_it(tmp_path, saved, kept):
    own = {"temperature": 0.6, "transformers_version": saved}
    (tmp_path / "generation_config.json").write_text(json.dumps(own), encoding="utf-8")
    assert own_sampling(str(tmp_path)).get("temperature") == (0.6 if kept else None)
    assert own_sampling(str(tmp_path)).get("top_p", 1.0) == 1.0
    (tmp_path / "generation_config.json").write_text(json.dumps(own | {"temperature": 0.0}), encoding="utf-8")
    if kept:
        with pytest.raises(UserError, match="temperature"):
            own_sampling(str(tmp_path))


def test_nan_logits_stop_with_question_chain_and_step(pair):
    method, _ = make_method(pair, 3)
    engine, calls = PlainEngine(method.base, published=True), []

    def spoil(module, args, logits):
        calls.append(len(logits))
        if len(calls) == 3:
            logits[1, ..., 7] = float("nan")
        return logits

    method.base.model.get_output_embeddings().register_forward_hook(spoil)
    with pytest.raises(FloatingPointError, match="question 0 .*seed 41.*chain 1.*token 2 "):
        list(engine.generate(make_requests([(ragged_examples(L)[0], [41])], method, 1), NEW))
    assert calls == [3, 3, 3]
