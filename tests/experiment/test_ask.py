"""ask.py and load_softcot: answers as evaluation gives them, thoughts against plain loops."""

import json
import re
import shutil
import statistics
from itertools import product
from pathlib import Path

import pytest
import torch

import ask
import evaluate_softcot
from data_loader.answers import extract
from experiment.options import Ask
from model.backbone import load_backbone, open_backbone
from model.softcot import SoftCoT
from model.weights import save_projection
from tests.commands import ROOT, rows_of
from tests.tiny import TOKEN_OPTIONS, tiny_model
from tests.tiny_runs import ANSWERS, EVALUATE, RUN, RUN_PP, params, read_refusal
from utils import UserError

README = (ROOT / "README.md").read_text(encoding="utf-8")
LENGTH, CHAINS = 3, 2  # of the runs
WHOLE, WHOLE_PP = params(), params("whole_pp", RUN_PP)


@pytest.fixture
def question(inputs):
    return json.loads((inputs / "data" / "test.jsonl").read_text(encoding="utf-8").splitlines()[0])["question"]


def test_an_answer_is_what_evaluation_gives_with_all_options_from_run_json(inputs, question, place, run):
    assert run(evaluate_softcot, [*EVALUATE, "--num_thought_tokens", 0, "--test_k", 1])[0] == 0
    for seed, thoughts in product((41, 42), (True, False)):
        name = ANSWERS.format(seed)
        file = inputs / "answers/logs" / name if thoughts else Path("logs", name.replace("ntt_3", "ntt_0"))
        (row,) = (row for row in rows_of(file) if row["index"] == 0)
        model = ask.load_softcot(None, None, inputs / "whole" / RUN / "projection.bin", seed=seed, max_new_tokens=8)
        assert model.answer(question, thoughts) == (row["responses"], row["answers"], row["vote"])
    with pytest.raises(UserError, match="temperature"):
        ask.load_softcot(None, None, inputs / "whole" / RUN / "projection.bin", top_k=None, temperature=0)


def test_the_documented_example_runs(chatml_tokenizer, tmp_path, monkeypatch):
    pair = tmp_path / "pair"  # in the place of the embedded model: of its family, and tiny
    tiny_model("llama", 48, len(chatml_tokenizer), max_position_embeddings=4096).save_pretrained(pair)
    chatml_tokenizer.save_pretrained(pair)
    backbone = load_backbone(open_backbone(str(pair)), dtype="float32")
    folder = tmp_path / "results/demo/ckpt/softcotpp-gsm8k-any-nce"
    folder.mkdir(parents=True)
    save_projection(SoftCoT(backbone, backbone, 4).projection_state(), folder / "projection.bin")
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    found = {}
    exec(re.sub(r'"embedded/[^"]*"', f'"{pair}"', example), found)
    answer = found["answer"]
    assert len(answer.texts) == 1 and answer.texts[0]
    assert answer.answers == [answer.vote] == [extract("gsm8k", answer.texts[0])]


# ---- --show_thoughts ----


@pytest.mark.parametrize("of, chains", [(WHOLE, 1), (WHOLE_PP, CHAINS)])
def test_nearest_tokens_norms_and_similarity(place, run, question, of, chains):
    code, output = run(ask, [f"{question} $", "--max_new_tokens", 8, *of, "--show_thoughts", "out/thoughts.png"])
    assert code == 0, output
    model = ask.load_softcot(None, None, of[1], max_new_tokens=8)
    (soft,) = model.method.slot.fill([model.encode(f"{question} $")], model.method.collate)
    base = model.method.base
    found, table = ask.measure_thoughts(base, soft, 3), base.model.get_input_embeddings().weight
    norms = table.pow(2).sum(1).sqrt().tolist()
    assert found["median_norm"] == pytest.approx(statistics.median(norms))
    places = [(chain, position) for chain in range(chains) for position in range(LENGTH)]
    assert [(t["chain"], t["position"]) for t in found["thoughts"]] == places
    for thought in found["thoughts"]:
        vector = soft[thought["chain"]][thought["position"]]
        assert thought["norm"] == pytest.approx(vector.norm().item(), rel=1e-4)
        cosines = torch.cosine_similarity(vector[None], table).tolist()
        assert len(thought["nearest"]) == 3
        for rank, (token, near) in enumerate(thought["nearest"]):
            assert near == pytest.approx(sorted(cosines)[-1 - rank], abs=1e-4)
            assert any(token == base.tokenizer.decode([i]) for i, c in enumerate(cosines) if abs(c - near) < 1e-4)
    rows = soft.flatten(1) if chains > 1 else soft[0]
    similarity = [[torch.cosine_similarity(a, b, dim=0).item() for b in rows] for a in rows]
    assert found["similarity"] == [pytest.approx(row, abs=1e-4) for row in similarity]
    assert (place / "out" / "thoughts.png").read_bytes().startswith(b"\x89PNG")
    assert f"{found['thoughts'][0]['norm']:8.3f}" in output


# ---- bad input ----


@pytest.mark.parametrize(
    "words, word",
    [
        (["How many?", "--params_file_name", "../absent.bin"], "absent.bin"),
        (["How many?", *WHOLE, "--base_model_id", "../assistant"], "--base_model_id"),
        (["How many?", *WHOLE, "--num_scaling_times", "2"], "--num_scaling_times"),
        (["How many?", *WHOLE_PP, "--num_scaling_times", "3"], "--params_file_name"),
        (["How many?", *WHOLE, "--max_new_tokens", "4096"], "--max_new_tokens"),
        (["How many?", *WHOLE, "--prompt_dir", "absent"], "absent"),
    ],
)
def test_bad_input_is_one_clear_line(place, run, words, word):
    assert word in read_refusal(run(ask, words))
    assert list(place.iterdir()) == []


def trained_as(folder, source, **arguments):
    """Put a projection's run.json, with other arguments, and an empty projection into a folder; return its options."""
    found = json.loads((source / "run.json").read_text(encoding="utf-8"))
    found["arguments"] |= arguments
    (folder / "run.json").write_text(json.dumps(found), encoding="utf-8")
    (folder / "projection.bin").touch()
    return {"params_file_name": str(folder / "projection.bin"), "question": "How many?"}


def test_run_json_brings_its_adapters_and_no_code(inputs, tmp_path):
    given = trained_as(tmp_path, inputs / "whole" / RUN, tune_base_model=True, trust_remote_code=True)
    (tmp_path / "base_model").mkdir()
    args = Ask(**Ask.implied(given))
    assert args.base_model_ckpt == str(tmp_path / "base_model") and not args.trust_remote_code


def test_a_protocol_that_is_given_decides_on_all_switches(inputs, tmp_path):
    given = trained_as(tmp_path, inputs / "whole" / RUN)
    published = Ask(**Ask.implied(given | {"protocol": "published", "date": "fixed"}))
    assert (published.projection_dtype, published.qwen3_tokens, published.date) == ("bfloat16", "qwen2.5", "fixed")
    assert Ask(**Ask.implied(given)).projection_dtype == "float32"


def test_chains_have_the_switches_of_softcotpp_s_scripts_also_without_run_json(inputs, tmp_path):
    file = shutil.copy(inputs / "whole_pp" / RUN_PP / "projection.bin", tmp_path)
    names, values = TOKEN_OPTIONS.split()[::2], TOKEN_OPTIONS.split()[1::2]
    options = {name.removeprefix("--"): value for name, value in zip(names, values, strict=True)}
    args = ask.load_softcot(
        *map(str, (inputs / "base", inputs / "assistant")), file, protocol="published", **options
    ).args
    assert (args.num_scaling_times, args.qwen3_tokens, args.end_tokens) == (CHAINS, "own", "tokenizer")
