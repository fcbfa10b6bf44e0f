"""The model card that training writes, read as the Hub reads it."""

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import train_softcot
from experiment.model_card import model_card
from experiment.options import TrainSoftCoTPlusPlus
from tests.tiny_runs import RUN, RUN_PP, TRAIN, read_refusal


@pytest.mark.parametrize("folder, run", [("whole", RUN), ("whole_pp", RUN_PP)])
def test_training_writes_a_card_whose_header_the_hub_reads(inputs, folder, run):
    path = inputs / folder / run
    card = ModelCard.load(path / "README.md")
    header = card.data.to_dict()
    assert header["license"] == "mit" and header["library_name"] == "softcot"
    assert "base_model" not in header and ".." not in card.text  # folders of this machine
    history = json.loads((inputs / folder / "results" / run.name / "loss.json").read_text())
    assert f"{history[-1]['eval_loss']:.4f}" in card.text
    ignored = (path / ".gitignore").read_text().split()
    published = [file.name for file in path.iterdir() if not any(Path(file.name).match(p) for p in ignored)]
    assert sorted(published) == [".gitignore", "README.md", "mean_thoughts.bin", "projection.bin", "run.json"]


def test_the_header_names_models_of_the_hub():
    pair = {"large_model_id": "embedded/SmolLM2-135M-Instruct", "prompt_dir": "/of/mine"}
    args = TrainSoftCoTPlusPlus(output_name="x", protocol="published", thought_filler="\n", **pair)
    card = ModelCard(model_card(vars(args), [{"eval_loss": 0.5}]))
    assert card.data.base_model == ["HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen3-0.6B"]
    assert "SoftCoT++" in card.text and "N = 10" in card.text and "protocol published" in card.text
    assert r"thought_filler '\n'" in card.text and "thought_scaling" not in card.text
    assert "--prompt_dir" in card.text and "/of/mine" not in card.text


@pytest.mark.parametrize("name", ["README.md", "projection.bin"])
def test_a_published_folder_is_not_overwritten(place, run, name):
    (place / RUN).mkdir(parents=True)
    (place / RUN / name).write_text("mine")
    assert all(str(RUN) in read_refusal(run(train_softcot, [*TRAIN, *more])) for more in ([], ["--resume"]))
    assert (place / RUN / name).read_text() == "mine"
