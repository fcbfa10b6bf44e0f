"""Each option stands once; wrong words and contradictions end with exit code 2; what fixes a result is derived."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec

import pytest

from experiment.options import (
    Ask,
    EvaluateSoftCoT,
    EvaluateSoftCoTPlusPlus,
    Parser,
    TrainSoftCoT,
    TrainSoftCoTPlusPlus,
)
from experiment.protocol import protocol_name
from tests.commands import ROOT, environment

ALL = (TrainSoftCoT, TrainSoftCoTPlusPlus, EvaluateSoftCoT, EvaluateSoftCoTPlusPlus, Ask)
SCRIPTS = ("train_softcot.py", "train_softcotpp.py", "evaluate_softcot.py", "evaluate_softcotpp.py", "ask.py")
NEEDED = {
    TrainSoftCoT: ["--output_name", "x"],
    TrainSoftCoTPlusPlus: ["--output_name", "x"],
    EvaluateSoftCoT: ["--params_file_name", "p"],
    EvaluateSoftCoTPlusPlus: ["--params_file_name", "p"],
    Ask: ["Why?", "--params_file_name", "p"],
}


def parse(options, *words):
    return Parser(options, "").parse_args([*NEEDED[options], *words])


@pytest.mark.parametrize("options", ALL)
def test_help_shows_every_option_once(options, capsys):
    with pytest.raises(SystemExit) as end:
        Parser(options, "").parse_args(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    for field in fields(options):
        name = f"  {field.name}" if field.metadata["positional"] else f"  --{field.name}"
        assert len(re.findall(rf"^{re.escape(name)}\b", text, re.MULTILINE)) == 1
    assert len({field.name for options in ALL for field in fields(options)}) <= 69


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("words, code", [("--help", 0), ("--no_such_option 1", 2)])
def test_help_and_wrong_arguments_import_no_torch(script, words, code, tmp_path):
    command = [sys.executable, "-X", "importtime", str(ROOT / script), *words.split()]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), text=True, capture_output=True)
    assert done.returncode == code
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "argparse" in imported and not imported & {"torch", "transformers", "accelerate", "fastNLP"}


@pytest.mark.parametrize(
    "words, name, value",
    [
        (["--run_name", "", "\\"], "run_name", ""),
        (["--run_name", "x", "--print_input", " "], "run_name", "x"),
        (["--base_model_ckpt", "None"], "base_model_ckpt", None),
        (["--base_model_ckpt", ""], "base_model_ckpt", None),
    ],
)
def test_words_become_values(words, name, value):
    assert getattr(parse(EvaluateSoftCoT, *words), name) == value


@pytest.mark.parametrize(
    "options, words",
    [
        (EvaluateSoftCoT, "--perturb_std -1"),
        (EvaluateSoftCoT, "--perturb_std inf"),
        (EvaluateSoftCoT, "--thoughts hints"),
        (EvaluateSoftCoT, "--temperature 0"),
        (EvaluateSoftCoT, "--top_p 1.1"),
        (EvaluateSoftCoT, "--vllm_args [1]"),
        (EvaluateSoftCoT, "--num_return_sequences 0"),
        (EvaluateSoftCoT, "--seed_fro 1"),
        (EvaluateSoftCoT, "--published_code="),
        (TrainSoftCoT, f"--seed {2**32}"),
        (TrainSoftCoT, "--task_name du"),
        (TrainSoftCoTPlusPlus, "--num_thought_tokens 0 --tune_base_model"),
        (TrainSoftCoT, "--thought_scaling standardized --tune_assistant_model"),
        (TrainSoftCoT, "--thought_scaling standardized --projection_dtype bfloat16"),
        (TrainSoftCoT, "--thought_scaling standardized --thoughts learned"),
        # Contradictions: another result than the options say.
        (EvaluateSoftCoT, "--params_file_name None"),
        (EvaluateSoftCoT, "--num_thought_tokens 0 --thoughts zero"),
        (EvaluateSoftCoT, "--num_thought_tokens 0 --perturb_std 0.1"),
        (EvaluateSoftCoT, "--tune_base_model"),
        (EvaluateSoftCoT, "--tune_assistant_model"),
        (EvaluateSoftCoT, "--seed_from 3 --seed_to 2"),
        (EvaluateSoftCoT, "--seed_to 3"),
        (EvaluateSoftCoT, "--published_code d --generation_prompt no"),
        (EvaluateSoftCoT, "--prompt_dir d --published_code d"),
        (EvaluateSoftCoT, "--engine vllm --quantization 4bit"),
        pytest.param(EvaluateSoftCoT, "--engine vllm", marks=pytest.mark.skipif(find_spec("vllm"), reason="is here")),
        (TrainSoftCoT, "--num_thought_tokens 0"),
        (TrainSoftCoT, "--num_thought_tokens 0 --tune_base_model --tune_assistant_model"),
        (TrainSoftCoT, "--num_thought_tokens 0 --tune_base_model --thoughts learned"),
        (
            TrainSoftCoTPlusPlus,
            "--large_model_id Qwen/Qwen2.5-7B --token_loss_pairs small_base --model_name scaling-nce",
        ),
        (Ask, "--published_code d"),
    ],
)
def test_a_wrong_word_or_a_contradiction_ends_with_its_option_named(options, words, capsys):
    with pytest.raises(SystemExit) as end:
        parse(options, *shlex.split(words))
    line = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 2 and any(word.split("=")[0] in line for word in words.split() if word[:2] == "--")
    assert "--quantization" in line or "--quantization" not in words


@pytest.mark.parametrize("options", [TrainSoftCoT, TrainSoftCoTPlusPlus])
def test_the_defaults_of_training_are_the_published_ones(options):
    published = {"batch_size": 1, "dtype": "bfloat16", "learning_rate": 2e-5, "n_epochs": 3.0, "seed": 42}
    published |= {"num_thought_tokens": 2, "k_shot": 0, "max_len": -1, "task_name": "gsm8k"}
    assert published.items() <= vars(parse(options)).items()


def test_the_batch_of_pairs_is_fixed():
    words = ["--model_name", "scaling-nce", "--token_loss_pairs", "yes"]
    assert "batch_size" in parse(TrainSoftCoTPlusPlus, *words).fixing_result()
    assert "batch_size" not in parse(TrainSoftCoTPlusPlus).fixing_result()


def test_the_switches_that_a_clone_decides_are_recorded_as_its_own():
    args = parse(TrainSoftCoT, "--published_code", "d", "--protocol", "published")
    assert (args.last_token, args.yes_no_dev_label, args.date) == ("clone", "clone", "today")
    assert args.fixing_result()["last_token"] == "clone" and parse(TrainSoftCoT).last_token == "kept"
    assert protocol_name(args.fixing_result()) == "published"


@pytest.mark.parametrize(
    "options, free",
    [
        (
            TrainSoftCoT,
            "data_dir prompt_dir published_code base_device_map trust_remote_code large_model_id small_model_id "
            "output_name batch_size gradient_accumulation_steps micro_batch_size resume protocol",
        ),
        (
            EvaluateSoftCoT,
            "data_dir prompt_dir published_code base_device_map trust_remote_code params_file_name print_input "
            "print_response test_k seed seed_from seed_to eval_batch_size log_dir run_name overwrite protocol "
            "thought_filler",
        ),
    ],
)
def test_what_may_change_when_a_run_goes_on(options, free):
    args = parse(options)
    assert vars(args).keys() - args.fixing_result().keys() == set(free.split())


def test_of_vllm_s_arguments_those_for_speed_and_memory_may_change():
    args = parse(EvaluateSoftCoT, "--vllm_args", '{"tensor_parallel_size": 2, "seed": 3}')
    assert args.fixing_result()["vllm_args"] == {"seed": 3}
    assert parse(EvaluateSoftCoT).fixing_result()["vllm_args"] == {}
