"""Each option stands once; wrong words and contradictions end with exit code 2; what fixes a result is derived."""

import re
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from experiment.options import (
    PUBLISHED,
    Ask,
    EvaluateSoftCoT,
    EvaluateSoftCoTPlusPlus,
    Parser,
    TrainSoftCoT,
    TrainSoftCoTPlusPlus,
    naming,
)
from experiment.protocol import SWITCHES, protocol_name
from model.backbone import ThoughtTokensError
from utils import UserError

ALL = (TrainSoftCoT, TrainSoftCoTPlusPlus, EvaluateSoftCoT, EvaluateSoftCoTPlusPlus, Ask)
ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = (
    "train_softcot.py",
    "train_softcotpp.py",
    "evaluate_softcot.py",
    "evaluate_softcotpp.py",
    "ask.py",
)
NEEDED = {
    TrainSoftCoT: ["--output_name", "x"],
    TrainSoftCoTPlusPlus: ["--output_name", "x"],
    EvaluateSoftCoT: ["--params_file_name", "p"],
    EvaluateSoftCoTPlusPlus: ["--params_file_name", "p"],
    Ask: ["Why?", "--params_file_name", __file__],  # it looks whether there is such a file
}
ASKED = shlex.join(NEEDED[Ask])


def parse(options, *words):
    return Parser(options, "").parse_args([*NEEDED[options], *words])


def refused(options, words, capsys):
    """The error's line of a command line that must end with exit code 2."""
    with pytest.raises(SystemExit) as end:
        Parser(options, "").parse_args(words)
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("options", ALL)
def test_the_command_line_has_the_fields_and_their_defaults(options):
    args = parse(options)
    needed = [name for name in vars(args) if f"--{name}" in NEEDED[options] or name == "question"]
    assert type(args) is options and needed
    assert args == options(**{name: getattr(args, name) for name in needed})
    assert list(vars(args)) == [field.name for field in fields(options)]


@pytest.mark.parametrize("options", ALL)
def test_help_shows_every_option_and_default(options, capsys):
    with pytest.raises(SystemExit) as end:
        Parser(options, "").parse_args(["--help"])
    text = capsys.readouterr().out
    assert end.value.code == 0
    for field in fields(options):
        name = f"  {field.name}" if field.metadata["positional"] else f"--{field.name}"
        assert f"{name} " in text or f"{name}\n" in text
    assert "(default: bfloat16)" in text


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("words, code", [("--help", 0), ("--no_such_option 1", 2), ("--num_thought_tokens x", 2)])
def test_help_and_wrong_arguments_import_no_torch(script, words, code, tmp_path):
    command = [sys.executable, "-X", "importtime", str(ROOT / script), *words.split()]
    done = subprocess.run(command, cwd=tmp_path, text=True, capture_output=True)
    assert done.returncode == code
    imported = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.MULTILINE))
    assert "argparse" in imported and not imported & {"torch", "transformers", "accelerate", "fastNLP"}


def test_published_defaults():
    args = parse(TrainSoftCoT)
    assert (args.large_model_id, args.batch_size, args.num_thought_tokens, args.n_epochs, args.k_shot) == (
        "meta-llama/Llama-3.1-8B-Instruct",
        1,
        2,
        3.0,
        0,
    )
    args = parse(EvaluateSoftCoTPlusPlus)
    assert (args.base_model_id, args.num_scaling_times, args.model_name, args.num_return_sequences, args.seeds()) == (
        "Qwen/Qwen3-8B",
        10,
        "scaling",
        1,
        [42],
    )


@pytest.mark.parametrize(
    "words, name, value",
    [
        (["--run_name", ""], "run_name", ""),
        (["--run_name", "", "\\"], "run_name", ""),
        (["--run_name="], "run_name", ""),
        (["--run_name", "-1"], "run_name", "-1"),
        (["--run_name=--x"], "run_name", "--x"),
        (["--run_name", "x", "--print_input", " "], "run_name", "x"),
        (["--run_name", "x", "\\"], "run_name", "x"),
        (["--base_model_ckpt", "None"], "base_model_ckpt", None),
        (["--base_model_ckpt", ""], "base_model_ckpt", None),
        (["--vllm_args", '{"seed": 3}'], "vllm_args", {"seed": 3}),
        (["--test_k", "1", "--test_k", "2"], "test_k", 2),
    ],
)
def test_words_become_values(words, name, value):
    assert getattr(parse(EvaluateSoftCoT, *words), name) == value


@pytest.mark.parametrize(
    "options, words, option",
    [
        (EvaluateSoftCoT, "--perturb_std -1", "--perturb_std"),
        (EvaluateSoftCoT, "--perturb_std inf", "--perturb_std"),
        (EvaluateSoftCoT, "--perturb_std nan", "--perturb_std"),
        (EvaluateSoftCoT, "--thoughts hints", "--thoughts"),
        (EvaluateSoftCoT, "--temperature 0", "--temperature"),
        (EvaluateSoftCoT, "--vllm_args [1]", "--vllm_args"),
        (EvaluateSoftCoT, "--vllm_args {", "--vllm_args"),
        (EvaluateSoftCoT, "--num_return_sequences 0", "--num_return_sequences"),
        (EvaluateSoftCoT, "--seed 1.5", "--seed"),
        (EvaluateSoftCoT, "--num_scaling_times 2", "--num_scaling_times"),  # SoftCoT++'s
        (EvaluateSoftCoT, "--seed_fro 1", "--seed_fro"),
        (EvaluateSoftCoT, "--print_input=1", "--print_input"),
        (EvaluateSoftCoT, "--run_name", "--run_name"),
        (EvaluateSoftCoT, "--run_name --print_input", "--run_name"),
        (EvaluateSoftCoT, "stray", "stray"),
        (EvaluateSoftCoT, "--published_code=", "--published_code"),
        (EvaluateSoftCoT, "--prompt_dir=", "--prompt_dir"),
        (Ask, f"{ASKED} --show_thoughts thoughts.pdf", "--show_thoughts"),
        (TrainSoftCoT, "--learning_rate 3.5e38", "--learning_rate"),
        (TrainSoftCoT, "--seed -1", "--seed"),
        (TrainSoftCoT, f"--seed {2**32}", "--seed"),
        (TrainSoftCoT, "--num_thought_tokens -1", "--num_thought_tokens"),
        (TrainSoftCoT, "--task_name du", "--task_name"),
        (TrainSoftCoT, "--n_epochs 0", "--n_epochs"),
        (TrainSoftCoT, "--max_len 0", "--max_len"),
        (TrainSoftCoT, "--max_len -2", "--max_len"),
        (TrainSoftCoTPlusPlus, "--model_name soft", "--model_name"),
    ],
)
def test_a_wrong_word_is_refused_and_named(options, words, option, capsys):
    assert option in refused(options, [*NEEDED[options], *words.split()], capsys)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "/a", "../a", "a\\b", "a\nb"])
@pytest.mark.parametrize("before", [True, False])
def test_a_run_s_name_is_no_path_and_not_empty(name, before, capsys):
    words = ["--output_name", name]
    assert "--output_name" in refused(TrainSoftCoT, [*words, "--seed", "1"] if before else words, capsys)


def test_a_line_break_would_part_a_log_s_name(capsys):
    assert "--run_name" in refused(EvaluateSoftCoT, [*NEEDED[EvaluateSoftCoT], "--run_name", "a\nb"], capsys)


def test_the_switches_that_a_clone_decides_are_recorded_as_its_own(capsys):
    args = parse(TrainSoftCoT, "--published_code", "d", "--protocol", "published")
    assert (args.last_token, args.yes_no_dev_label, args.date) == ("clone", "clone", "today")
    assert args.fixing_result()["last_token"] == "clone" and parse(TrainSoftCoT).last_token == "kept"
    assert parse(EvaluateSoftCoT, "--published_code", "d").generation_prompt == "clone"
    assert protocol_name(args.fixing_result()) == "published"


def test_a_missing_option_is_named(capsys):
    assert "--output_name" in refused(TrainSoftCoT, [], capsys)


@pytest.mark.parametrize(
    "options, words, named",
    [
        (EvaluateSoftCoT, "", ["--params_file_name"]),
        (EvaluateSoftCoT, "--thoughts shuffled", ["--params_file_name"]),
        (EvaluateSoftCoT, "--num_thought_tokens 0 --thoughts zero", ["--num_thought_tokens 0", "--thoughts zero"]),
        (EvaluateSoftCoT, "--num_thought_tokens 0 --perturb_std 0.1", ["--perturb_std 0.1"]),
        (EvaluateSoftCoT, "--thoughts assistant_text --perturb_std 0.1", ["--perturb_std", "assistant_text"]),
        (EvaluateSoftCoT, "--thoughts zero --tune_base_model", ["--base_model_ckpt"]),
        (EvaluateSoftCoT, "--thoughts zero --tune_assistant_model", ["--assistant_model_ckpt"]),
        (EvaluateSoftCoT, "--thoughts zero --seed_from 3 --seed_to 2", ["--seed_from", "--seed_to"]),
        (EvaluateSoftCoT, "--thoughts zero --seed_from 3", ["--seed_to"]),
        (EvaluateSoftCoT, "--thoughts zero --seed_from 0 --seed_to 256", ["--seed_to 256", "256 seeds"]),
        (EvaluateSoftCoT, "--thoughts zero --greedy --temperature 0.5", ["--greedy", "--temperature 0.5"]),
        (EvaluateSoftCoT, "--thoughts zero --greedy --top_k 5", ["--greedy", "--top_k 5"]),
        (EvaluateSoftCoT, "--thoughts zero --greedy --num_return_sequences 2", ["--num_return_sequences 2"]),
        (EvaluateSoftCoT, "--thoughts zero --published_code d --generation_prompt no", ["--generation_prompt no"]),
        (TrainSoftCoT, "--output_name x --published_code d --last_token kept", ["--last_token kept"]),
        (TrainSoftCoT, "--output_name x --published_code d --yes_no_dev_label word", ["--yes_no_dev_label"]),
        (EvaluateSoftCoT, "--thoughts zero --seed_to 3", ["--seed_from"]),
        (EvaluateSoftCoT, "--thoughts zero --engine vllm --quantization 4bit", ["--quantization", "--vllm_args"]),
        (EvaluateSoftCoT, "--thoughts zero --engine vllm --base_device_map auto", ["--base_device_map"]),
        (EvaluateSoftCoT, "--thoughts zero --engine reference --seed -1", ["reference", "0 to"]),
        (TrainSoftCoT, "--output_name x --num_thought_tokens 0", ["--num_thought_tokens 0", "--tune_base_model"]),
        (TrainSoftCoT, "--output_name x --num_thought_tokens 0 --tune_assistant_model", ["--tune_assistant_model"]),
        (
            TrainSoftCoT,
            "--output_name x --num_thought_tokens 0 --tune_base_model --tune_assistant_model",
            ["--tune_assistant_model"],
        ),
        (TrainSoftCoT, "--output_name x --tune_base_model --base_device_map auto", ["--base_device_map"]),
        (TrainSoftCoTPlusPlus, "--output_name x --num_thought_tokens 0 --tune_base_model", ["--num_thought_tokens 0"]),
        (Ask, f"{ASKED} --greedy --num_return_sequences 2", ["--num_return_sequences 2"]),
        (Ask, f"{ASKED} --published_code d", ["--published_code"]),
        (Ask, f"{ASKED} --prompt_dir d --published_code d", ["--prompt_dir"]),
        (TrainSoftCoT, "--output_name x --prompt_dir d --published_code d", ["--published_code", "--prompt_dir"]),
        (TrainSoftCoTPlusPlus, "--output_name x --prompt_dir d --published_code d", ["--published_code"]),
        (EvaluateSoftCoT, "--thoughts zero --prompt_dir d --published_code d", ["--published_code", "--prompt_dir"]),
        (EvaluateSoftCoTPlusPlus, "--thoughts zero --prompt_dir d --published_code d", ["--published_code"]),
    ],
)
def test_options_that_contradict_each_other_are_refused_and_named(options, words, named, capsys):
    line = refused(options, shlex.split(words), capsys)
    assert all(name in line for name in named), line


@pytest.mark.parametrize("words", ["--thoughts zero --tune_base_model --base_model_ckpt X", "--num_thought_tokens 0"])
def test_options_that_go_together_are_accepted(words):
    assert Parser(EvaluateSoftCoT, "").parse_args(words.split())


@pytest.mark.parametrize(
    "words, seeds",
    [
        ("", [42]),
        ("--seed 7", [7]),
        ("--seed_from 3 --seed_to 5", [3, 4, 5]),
    ],
)
def test_seeds(words, seeds):
    assert parse(EvaluateSoftCoT, *words.split()).seeds() == seeds


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
            "print_response test_k seed seed_from seed_to eval_batch_size log_dir run_name overwrite protocol",
        ),
    ],
)
def test_what_may_change_when_a_run_goes_on(options, free):
    args = parse(options)
    assert vars(args).keys() - args.fixing_result().keys() == set(free.split())


def test_of_vllm_s_arguments_those_for_speed_and_memory_may_change():
    args = parse(EvaluateSoftCoT, "--vllm_args", '{"tensor_parallel_size": 2, "seed": 3}')
    assert args.fixing_result()["vllm_args"] == {"seed": 3}
    assert args.engine_arguments() == {"trust_remote_code": False, "tensor_parallel_size": 2, "seed": 3}


def test_the_script_names_the_option_and_a_bug_stays_a_bug():
    with pytest.raises(UserError, match="^--option: no such file$"), naming("--option"):
        raise UserError("no such file")
    with pytest.raises(ValueError, match="^a bug$"), naming("--option"):
        raise ValueError("a bug")
    with pytest.raises(UserError, match="^other$"), naming("--option", ThoughtTokensError):
        raise UserError("other")


def test_help_has_the_published_options_first_and_the_switches_last():
    for options in ALL:
        groups = [[action.dest for action in group._group_actions] for group in Parser(options, "")._action_groups[2:]]
        names = {field.name for field in fields(options)}
        assert set(groups[0]) == names & set(PUBLISHED) and set(groups[2]) == names & SWITCHES.keys()
        assert sorted(sum(groups, [])) == sorted(names)
    assert len({field.name for options in ALL for field in fields(options)}) <= 67
