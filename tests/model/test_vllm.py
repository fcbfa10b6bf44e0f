"""The vLLM engine against the default engine, on the embedded model in float32. `make test-vllm` runs this."""

import importlib.util
import json

import pytest
import torch

from model.backbone import load_backbone, load_embeddings, open_backbone, resolve
from model.embedded import EMBEDDED
from model.generation import Request, TransformersEngine
from model.slot import ThoughtSlot
from model.vllm_engine import VllmEngine
from tests.commands import ROOT, rows_of, shell
from tests.conftest import make_chatml_tokenizer
from tests.tiny import tiny_model

absent = importlib.util.find_spec("vllm") is None
needs_vllm = [pytest.mark.slow, pytest.mark.skipif(absent, reason="vLLM is not installed (make test-vllm)")]
QUESTIONS, LENGTH = 24, 4
EAGER = {"enforce_eager": True, "max_model_len": 1024, "max_num_seqs": 16, "gpu_memory_utilization": 0.2}
SMALL = "--dtype float32 --data_dir {root}/data/mini --num_thought_tokens 4 --max_new_tokens 48"
VLLM = """--engine vllm --vllm_args '{{"enforce_eager": true, "gpu_memory_utilization": 0.2}}'"""  # no compilation


@pytest.fixture(autouse=True)
def new_interpreters(monkeypatch):
    monkeypatch.delenv("WARM_PYTHON", raising=False)  # vLLM starts processes that import the script again


def questions():
    lines = (ROOT / "data" / "mini" / "test.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["question"] for line in lines[:QUESTIONS]]


@pytest.fixture(scope="module")
def light():
    return load_embeddings(open_backbone(EMBEDDED), dtype="float32")


@pytest.fixture(scope="module")
def requests(light):
    """For each question (seed, chain, sample) = (41, 0, 0), with soft thoughts of about an embedding's size."""
    embed = light.model.get_input_embeddings()
    generator = torch.Generator().manual_seed(0)
    made = []
    for index, question in enumerate(questions()):
        text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
        prefix = embed(torch.tensor(light.tokenizer(text)["input_ids"]))
        thoughts = 0.1 * torch.randn(LENGTH, prefix.shape[1], generator=generator)
        made.append(Request((41, index, 0, 0), prefix, thoughts))
    return made


@pytest.fixture(scope="module")
def engine(light):
    engine = VllmEngine(light, dtype="float32", **EAGER)
    yield engine
    engine.close()


def answers(engine, requests, tokens, **sampling):
    """Key -> token ids, with other sampling settings than the engine's."""
    own = engine.sampling
    engine.sampling = {**own, **sampling}
    try:
        return {request.key: ids for request, ids in engine.generate(requests, tokens)}
    finally:
        engine.sampling = own


@pytest.fixture(scope="module")
def full_base():
    return load_backbone(open_backbone(EMBEDDED), dtype="float32")


def test_only_the_embedding_table_is_read(light, full_base):
    table = light.model.get_input_embeddings().weight
    assert [p.shape for p in light.model.parameters() if not p.is_meta] == [table.shape]
    assert torch.equal(table, full_base.model.get_input_embeddings().weight)
    assert light.thought_tokens == full_base.thought_tokens
    own, wanted = light.model.generation_config, full_base.model.generation_config
    assert (own.eos_token_id, own.top_k, own.min_p) == (wanted.eos_token_id, wanted.top_k, wanted.min_p)


@pytest.mark.parametrize("files", [1, 2])
def test_the_table_is_found_in_one_file_or_several(tmp_path, files):
    model = tiny_model("gemma3_text", 32, vocabulary=512)
    model.save_pretrained(tmp_path, max_shard_size="40KB" if files > 1 else "5GB")
    assert (tmp_path / "model.safetensors.index.json").is_file() == (files > 1)
    make_chatml_tokenizer().save_pretrained(tmp_path)
    tokens = "<|endoftext|>,<issue_start>,<issue_closed>"
    light = load_embeddings(open_backbone(str(tmp_path), custom_tokens=tokens), dtype="float32")
    ids = torch.arange(20)
    # Gemma scales its embeddings: the module is the model's own, not a plain table.
    assert torch.equal(light.model.get_input_embeddings()(ids), model.get_input_embeddings()(ids))


@pytest.mark.parametrize("mode", ["zero", "placeholder", "assistant_text"])
def test_the_table_is_enough_to_fill_the_slot(light, full_base, mode):
    example = {"index": 3, "hint_ids": [9, 8, 7]}
    noise = 0.0 if mode == "assistant_text" else 0.1
    slots = [ThoughtSlot(mode, base, None, LENGTH, 2, noise).fill([example], None)[0] for base in (light, full_base)]
    assert slots[0].shape == (2, 3 if mode == "assistant_text" else LENGTH, 576) and torch.equal(*slots)


class TestEngine:
    pytestmark = needs_vllm

    @pytest.mark.parametrize("penalty", [1.0, 1.3])
    def test_greedy_is_the_default_engine_s_token_for_token(self, engine, full_base, requests, penalty):
        plain = TransformersEngine(full_base, greedy=True)
        plain.penalty = penalty
        wanted = {request.key: ids for request, ids in plain.generate(requests, 64)}
        found = answers(engine, requests, 64, temperature=0.0, repetition_penalty=penalty)
        assert found == wanted
        assert len({tuple(ids) for ids in found.values()}) == QUESTIONS
        ends = [ids[-1] == full_base.tokenizer.eos_token_id for ids in found.values()]
        assert any(ends) and all(len(ids) == 64 for ids, end in zip(found.values(), ends, strict=True) if not end)

    def test_seeds_reproduce_whatever_the_order_and_the_batch(self, engine, requests):
        rows = [
            Request((seed, r.key[1], 0, sample), r.prefix, r.tail)
            for r in requests[:6]
            for seed in (41, 42)
            for sample in (0, 1)
        ]
        first = answers(engine, rows, 24)
        assert answers(engine, rows[::-1], 24) == first
        assert answers(engine, rows[5:6], 24) == {rows[5].key: first[rows[5].key]}
        assert len({tuple(ids) for ids in first.values()}) == len(rows)

    def test_sampling_keeps_to_top_k(self, engine, full_base, requests):
        request = requests[0]
        embeds = torch.cat([request.prefix, request.tail])[None]
        logits = full_base.model(inputs_embeds=embeds).logits[0, -1]
        rows = [Request((seed, 0, 0, 0), request.prefix, request.tail) for seed in range(300)]
        drawn = torch.tensor([ids[0] for ids in answers(engine, rows, 1, top_k=3, temperature=2.0).values()])
        tokens = logits.topk(3)
        share = torch.tensor([(drawn == token).float().mean() for token in tokens.indices])
        assert share.sum() == 1
        assert (share - (tokens.values / 2).softmax(-1)).abs().max() < 0.1  # 3.4 standard deviations


class TestCommandLine:
    pytestmark = needs_vllm

    def test_both_engines_write_the_same_rows_and_do_not_mix(self, tmp_path):
        torch.manual_seed(0)
        torch.save({"weight": 0.001 * torch.randn(576, 576), "bias": torch.zeros(576)}, tmp_path / "projection.bin")
        command = (
            f"python evaluate_softcot.py --base_model_id {EMBEDDED} --assistant_model_id {EMBEDDED} {SMALL} "
            "--params_file_name projection.bin --print_response --greedy --test_k 20"
        )
        shell(f"{command} --log_dir plain", tmp_path, root=ROOT)
        shell(f"{command} --log_dir vllm {VLLM}", tmp_path, root=ROOT)
        (plain,), (vllm,) = ((tmp_path / name).glob("*.jsonl") for name in ("plain", "vllm"))
        assert len(rows_of(plain)) == 20 and rows_of(plain) == rows_of(vllm)
        logs = [file.with_suffix(".log").read_bytes().split(b"\n", 1)[1] for file in (plain, vllm)]  # without arguments
        assert logs[0] == logs[1]
        whole = vllm.read_bytes()
        done = shell(f"{command} --log_dir vllm", tmp_path, code=1, root=ROOT)
        assert "engine was 'vllm', now 'transformers'" in done.stderr
        vllm.write_bytes(whole[:-900])  # cut off in a row
        shell(f"{command} --log_dir vllm {VLLM}", tmp_path, root=ROOT)
        assert vllm.read_bytes() == whole

    def test_chains_samples_and_an_assistant_with_another_tokenizer(self, tmp_path):
        assistant = tmp_path / "assistant"
        tiny_model("llama", 32, vocabulary=512).save_pretrained(assistant)
        make_chatml_tokenizer().save_pretrained(assistant)
        torch.save(
            {"weight": 0.001 * torch.randn(576, 32), "bias": torch.zeros(576), "embedding": torch.randn(3, 32)},
            tmp_path / "projection.bin",
        )
        command = (
            f"python evaluate_softcotpp.py --base_model_id {resolve(EMBEDDED)} --assistant_model_id assistant "
            "--assistant_thought_tokens '<|endoftext|>,<issue_start>,<issue_closed>,300' "
            f"{SMALL} --params_file_name projection.bin --num_scaling_times 3 --num_return_sequences 2 "
            "--print_response --test_k 3 --seed_from 41 --seed_to 42"
        )
        done = shell(f"{command} {VLLM}", tmp_path, root=ROOT)
        assert "Seeds 41 to 42: accuracy" in done.stdout
        rows = [row for file in sorted((tmp_path / "inference_logs").glob("*.jsonl")) for row in rows_of(file)]
        assert [row["index"] for row in rows] == [0, 1, 2, 0, 1, 2]
        assert all(len(row["answers"]) == len(row["responses"]) == 6 for row in rows)
        assert all(len(set(row["responses"])) > 1 for row in rows)
