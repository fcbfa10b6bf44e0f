"""Projections and models by a Hub id, from a cache in the Hub's layout, without a network."""

import json
import shutil
import subprocess
import sys

import pytest

import ask
import evaluate_softcot
from model.weight_files import tokenizer_fingerprint, weights_fingerprint
from model.weights import find_repo, local_projection
from tests.commands import ROOT, environment, rows_of
from tests.tiny_runs import ANSWERS, EVALUATE, RUN, RUN_PP, read_refusal

COMMIT = "0123456789" * 4
# Its own process, because huggingface_hub reads HF_HOME when it is imported.
SCRIPT = """
import json
import sys

import ask
import evaluate_softcot
from model.weight_files import tokenizer_fingerprint, weights_fingerprint
from utils import run_main

print("fingerprints", weights_fingerprint("user/base"), tokenizer_fingerprint("user/base"))
for projection in ("user/softcot", "user/softcot/more/pp.bin"):
    model = ask.load_softcot(None, None, projection, max_new_tokens=8)
    print(json.dumps(model.answer("How many?")))
sys.argv += ["--params_file_name", "user/softcot"]
run_main(evaluate_softcot.main)
"""


@pytest.mark.slow
def test_what_is_downloaded_answers_and_is_known_as_the_local_files(inputs, place, tmp_path, monkeypatch):
    monkeypatch.chdir(place)
    softcot, softcotpp = inputs / "whole" / RUN, inputs / "whole_pp" / RUN_PP
    files = {name: softcot / name for name in ("projection.bin", "run.json")}
    files |= {"more/pp.bin": softcotpp / "projection.bin", "more/run.json": softcotpp / "run.json"}
    folder = tmp_path / "home" / "hub" / "models--user--softcot"
    for name, source in files.items():  # as a download lays them out
        target = folder / "snapshots" / COMMIT / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    base = folder.with_name("models--user--base")
    shutil.copytree(inputs / "base", base / "snapshots" / COMMIT)
    for refs in (folder / "refs", base / "refs"):
        refs.mkdir()
        (refs / "main").write_text(COMMIT)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *EVALUATE],
        cwd=place,
        env=environment() | {"HF_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)},
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[[")]
    local = [ask.load_softcot(None, None, path / "projection.bin", max_new_tokens=8) for path in (softcot, softcotpp)]
    local_base = str(inputs / "base")
    prints = f"fingerprints {weights_fingerprint(local_base)} {tokenizer_fingerprint(local_base)}"
    assert prints in done.stdout
    assert answers == [list(model.answer("How many?")) for model in local]
    for seed in (41, 42):
        assert rows_of(place / "logs" / ANSWERS.format(seed)) == rows_of(inputs / "answers/logs" / ANSWERS.format(seed))


def test_a_projection_that_the_hub_does_not_give_is_one_clear_line(place, run):
    name = "no-such-user-of/no-such-repo/some.bin"
    line = read_refusal(run(evaluate_softcot, [*EVALUATE, "--params_file_name", name]))
    assert "--params_file_name" in line and name in line and "Hub" in line
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    "name",
    ["projection.bin", "folder/projectin.bin", "../user/repo", "/user/repo", "a b/repo", "here/repo"],
)
def test_a_path_is_not_looked_up_on_the_hub(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert str(local_projection(name)) == name


def test_a_folder_that_is_named_as_a_repository_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_repo("user/model") == "user/model" and find_repo("/user/model") is None
    (tmp_path / "user" / "model").mkdir(parents=True)
    assert find_repo("user/model") is None
    assert str(local_projection("user/model")) == "user/model"
