"""inspect_thoughts.py through its command line, against plain loops over the whole vocabulary."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import inspect_thoughts
from data_loader.prompts import PromptEncoder
from model.backbone import load_backbone
from model.softcot import SoftCoT, SoftCoTPlusPlus, save_projection
from tests.commands import environment
from tests.oracle import thought_states
from utils import run_main

ROOT = Path(__file__).resolve().parent.parent
PAIR = ("Llama-3.1-8B-Instruct", "Llama-3.2-1B-Instruct")
LENGTH = 3


@pytest.fixture(scope="module")
def backbones(models):
    return [load_backbone(str(models / name), dtype="float32") for name in PAIR]


def inspect(cwd, models, *words):
    command = [
        environment()["PYTHON"],
        str(ROOT / "inspect_thoughts.py"),
        "--base_model_id",
        str(models / PAIR[0]),
        "--assistant_model_id",
        str(models / PAIR[1]),
        "--dtype",
        "float32",
        "--device",
        "cpu",
        "--num_thought_tokens",
        str(LENGTH),
        *map(str, words),
    ]
    done = subprocess.run(command, cwd=cwd, env=environment(), text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def plain_soft_thoughts(models, backbones, state, question):
    """[[vector, ...] a chain], through one plain forward pass a chain."""
    base, assistant = backbones
    encoder = PromptEncoder(
        "gsm8k", base.tokenizer, base.thought_tokens, assistant.tokenizer, assistant.thought_tokens, LENGTH
    )
    ids = encoder.encode(question, "eval")["assistant_ids"]
    table = assistant.model.get_input_embeddings().weight
    initial = state.get("embedding", table[ids[-1:]])
    return [
        [state["weight"] @ vector + state["bias"] for vector in thought_states(assistant.model, ids, LENGTH, token)]
        for token in initial
    ]


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


@pytest.mark.slow
def test_nearest_tokens_norms_and_similarity_of_chains(models, data, backbones, tmp_path):
    torch.manual_seed(3)
    state = SoftCoTPlusPlus(*backbones, LENGTH, 2).projection_state()
    save_projection(state, tmp_path / "projection.bin")
    done = inspect(
        tmp_path,
        models,
        "--params_file_name",
        "projection.bin",
        "--data_dir",
        data,
        "--index",
        2,
        "--top",
        3,
        "--json",
        "out/thoughts.json",
        "--picture",
        "out/thoughts.png",
    )
    found = json.loads((tmp_path / "out" / "thoughts.json").read_text(encoding="utf-8"))
    line = (data / "test.jsonl").read_text(encoding="utf-8").splitlines()[2]
    question = {
        "question": json.loads(line)["question"],
        "options": [],
        "steps": [],
        "facts": [],
        "answer": "1",
        "index": 2,
    }
    assert found["question"] == question["question"]
    with torch.no_grad():
        soft = plain_soft_thoughts(models, backbones, state, question)
    table, tokenizer = backbones[0].model.get_input_embeddings().weight, backbones[0].tokenizer
    norms = table[: len(tokenizer)].pow(2).sum(1).sqrt().tolist()
    assert found["embedding_norm_quantiles"]["0.5"] == pytest.approx(sorted(norms)[round(0.5 * (len(norms) - 1))])
    assert [(t["chain"], t["position"]) for t in found["thoughts"]] == [(c, p) for c in range(2) for p in range(LENGTH)]
    for thought in found["thoughts"]:
        vector = soft[thought["chain"]][thought["position"]]
        assert thought["norm"] == pytest.approx(vector.norm().item(), rel=1e-4)
        cosines = torch.cosine_similarity(vector[None], table[: len(tokenizer)]).tolist()
        for place, entry in enumerate(thought["nearest"]):
            assert entry["cosine"] == pytest.approx(cosine(vector, table[entry["id"]]), abs=1e-4)
            assert entry["token"] == tokenizer.decode([entry["id"]])
            assert entry["cosine"] == pytest.approx(sorted(cosines)[-1 - place], abs=1e-4)
        smaller = sum(norm < vector.norm().item() for norm in norms) / len(norms)
        assert thought["share_of_smaller_embeddings"] == pytest.approx(smaller, abs=1e-4)
    flat = [torch.cat(chain) for chain in soft]
    for i in range(2):
        for j in range(2):
            assert found["chain_similarity"][i][j] == pytest.approx(cosine(flat[i], flat[j]), abs=1e-4)
    assert found["chain_similarity"][0][1] < 0.999
    assert (tmp_path / "out" / "thoughts.png").read_bytes().startswith(b"\x89PNG")
    assert "Cosines between chains:" in done.stdout and f"{found['thoughts'][0]['norm']:8.3f}" in done.stdout


def inspect_here(models, backbones, cwd, monkeypatch, *words):
    """The same in this process, which saves the seconds that imports take, with SoftCoT's projection."""
    save_projection(SoftCoT(*backbones, LENGTH).projection_state(), cwd / "projection.bin")
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "inspect_thoughts.py",
            "--base_model_id",
            str(models / PAIR[0]),
            "--assistant_model_id",
            str(models / PAIR[1]),
            "--dtype",
            "float32",
            "--device",
            "cpu",
            "--num_thought_tokens",
            str(LENGTH),
            "--params_file_name",
            "projection.bin",
            *map(str, words),
        ],
    )
    run_main(inspect_thoughts.main)


@pytest.mark.slow
def test_a_question_of_ones_own_and_softcot(models, backbones, tmp_path, monkeypatch, capsys):
    inspect_here(models, backbones, tmp_path, monkeypatch, "--question", "How many $ are 3 and 4?", "--json", "t.json")
    found, shown = json.loads((tmp_path / "t.json").read_text(encoding="utf-8")), capsys.readouterr().out
    assert "Question: How many $ are 3 and 4?" in shown and "Cosines between positions:" in shown
    assert found["chain_similarity"] == [[pytest.approx(1)]] and len(found["position_similarity"][0]) == LENGTH
    assert all(math.isfinite(t["norm"]) for t in found["thoughts"])
    assert (tmp_path / "results" / "thoughts.png").is_file()


@pytest.mark.parametrize(
    "words, message",
    [
        (["--index", "99"], "--index 99: the split test has 4 questions, 0 to 3"),
        (["--params_file_name", "absent.bin"], "no projection at absent.bin"),
    ],
)
def test_bad_input_is_one_clear_line(models, data, backbones, tmp_path, monkeypatch, words, message):
    with pytest.raises(SystemExit) as stop:
        inspect_here(models, backbones, tmp_path, monkeypatch, "--data_dir", data, *words)
    assert stop.value.code.startswith("error: ") and message in stop.value.code
    assert [path.name for path in tmp_path.iterdir()] == ["projection.bin"]
