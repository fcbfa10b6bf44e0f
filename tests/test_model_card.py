"""The model card that training writes, read as the Hub reads it, and its commands, read by the scripts."""

import json
import shlex
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import train_softcot
from experiment.arguments import (
    Ask,
    EvaluateSoftCoT,
    EvaluateSoftCoTPlusPlus,
    Parser,
    TrainSoftCoT,
    TrainSoftCoTPlusPlus,
)
from experiment.model_card import model_card
from tests.tiny_runs import EPOCHS, RUN, RUN_PP, TRAIN, refused

SCRIPTS = {"ask.py": Ask, "evaluate_softcot.py": EvaluateSoftCoT, "evaluate_softcotpp.py": EvaluateSoftCoTPlusPlus}


def commands_of(card):
    """Script -> its words in the card's commands."""
    calls = [shlex.split(line)[1:] for line in card.splitlines() if line.startswith("    python ")]
    return {script: words for script, *words in calls}


@pytest.mark.parametrize("folder, run, script", [("whole", RUN, 0), ("whole_pp", RUN_PP, 1)])
def test_training_writes_a_card_whose_header_the_hub_reads(inputs, folder, run, script):
    path = inputs / folder / run
    card = ModelCard.load(path / "README.md")
    header = card.data.to_dict()
    assert header["license"] == "mit" and header["library_name"] == "softcot" and header["protocol"] == "corrected"
    assert header["metrics"] == ["accuracy"]
    # Folders of this machine, and data of unknown origin, are nobody else's.
    assert "base_model" not in header and "datasets" not in header and ".." not in card.text
    history = json.loads((inputs / folder / "results" / run.name / "loss.json").read_text())
    losses = [f"{entry['eval_loss']:.4f}" for entry in history if "eval_loss" in entry]
    assert len(losses) == EPOCHS and all(loss in card.text for loss in losses)
    evaluation = commands_of(card.text)[list(SCRIPTS)[1 + script]]
    args = Parser(list(SCRIPTS.values())[1 + script], "").parse_args(evaluation)
    trained = json.loads((path / "run.json").read_text())["arguments"]
    for name in ("task_name", "num_thought_tokens", "dtype", "base_thought_tokens", "assistant_initial_token", "date"):
        assert getattr(args, name) == trained[name]
    assert getattr(args, "num_scaling_times", None) == trained.get("num_scaling_times")
    ignored = (path / ".gitignore").read_text().split()
    published = [file.name for file in path.iterdir() if not any(Path(file.name).match(p) for p in ignored)]
    assert sorted(published) == [".gitignore", "README.md", "projection.bin", "run.json"]


def test_the_header_names_models_and_data_of_the_hub_and_the_commands_repeat_the_options():
    mini = {"large_model_id": "embedded/SmolLM2-135M-Instruct", "prompt_dir": "data/mini/prompts", "data_dir": "d"}
    card = ModelCard(model_card(TrainSoftCoTPlusPlus(output_name="x", model_name="scaling-nce", **mini), []))
    assert card.data.base_model == ["HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen3-0.6B"]
    assert card.data.datasets is None
    evaluation = Parser(EvaluateSoftCoTPlusPlus, "").parse_args(commands_of(card.text)["evaluate_softcotpp.py"])
    assert evaluation.prompt_dir == "data/mini/prompts" and evaluation.params_file_name == "user/repo"
    assert evaluation.base_model_id == mini["large_model_id"] and evaluation.assistant_model_id == "Qwen/Qwen3-0.6B"
    assert commands_of(card.text)["ask.py"][-2:] == ["--prompt_dir", "data/mini/prompts"]

    args = TrainSoftCoT(output_name="x", protocol="published", date="fixed", tune_base_model=True)
    card = ModelCard(model_card(args, []))
    assert card.data.datasets == ["openai/gsm8k"] and card.data.to_dict()["protocol"] == "published"
    evaluation = Parser(EvaluateSoftCoT, "").parse_args(commands_of(card.text)["evaluate_softcot.py"])
    assert evaluation.protocol == "published" and evaluation.date == "fixed"
    assert evaluation.base_model_ckpt == str(Path(evaluation.params_file_name).parent / "base_model")


@pytest.mark.parametrize("name", ["README.md", "projection.bin"])
def test_a_published_folder_is_not_overwritten(place, run, name):
    (place / RUN).mkdir(parents=True)
    (place / RUN / name).write_text("mine")
    assert str(RUN) in refused(run(train_softcot, TRAIN))
    assert (place / RUN / name).read_text() == "mine"
    (place / RUN / name).unlink()
    (place / RUN / name).mkdir()
    assert name in refused(run(train_softcot, [*TRAIN, "--resume"]))
