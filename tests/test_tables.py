"""The tables' scripts: the commands that they plan, their exit codes, and a whole table on tiny models."""

import json
import shlex
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from experiment.protocol import CORRECTED, PUBLISHED, SWITCHES, switches_in
from experiment.run_files import name_method
from tests.commands import environment
from tests.test_docs import NAMES, commands, parser_of
from tests.tiny import TOKEN_OPTIONS, make_inputs

ROOT = Path(__file__).resolve().parent.parent
REPRODUCING = (ROOT / "docs" / "REPRODUCING.md").read_text(encoding="utf-8")
PAIR = ("org/Big-1B", "models/small/")
TASKS = {"gsm8k", "asdiv-aug", "aqua", "strategyqa", "du"}
FILLER = {"TRAIN_OPTIONS": "--k_shot 8 --thought_filler=40"}
# Table -> methods, and how many pairs and tasks it has by default.
METHODS = {
    "softcot": (["Zero-Shot CoT", "CoT-Unk", "Assist-CoT", "LoRA", "SoftCoT", "SoftCoT"], 2, 5),  # newline
    "softcotpp": (["SoftCoT-SC", "SoftCoT-P", "SoftCoT++", "SoftCoT++"], 3, 5),  # Qwen3's pair: two ways of sampling
    "controls": (
        ["Zero-Shot CoT", "CoT-Unk", "Zero vectors", "Untrained projection", "Shuffled thoughts", "Mean thoughts"]
        + ["Learned vectors", "SoftCoT"],
        1,
        5,
    ),
    "sweep_thought_tokens": (["SoftCoT"] * 6, 1, 5),
    "mini": (
        ["Zero-Shot CoT", "CoT-Unk", "Assist-CoT", "LoRA", "SoftCoT", "SoftCoT", "SoftCoT-SC", "SoftCoT-P", "SoftCoT++"]
        + ["SoftCoT++", "Zero vectors", "Untrained projection", "Shuffled thoughts", "Mean thoughts"]
        + ["Learned vectors"],
        1,
        1,
    ),
    "switches": (["SoftCoT"] * 3 * 12, 1, 1),  # three seeds
}


@pytest.fixture(scope="module")
def parsers():
    return {name: parser_of(name) for name in NAMES if name.startswith(("train", "evaluate", "summarize"))}


def bash(table, *words, cwd, **variables):
    return subprocess.run(
        ["bash", str(ROOT / "tables" / f"{table}.sh"), *words],
        cwd=cwd,
        env={**environment(), **variables},
        text=True,
        capture_output=True,
    )


def plan(table, parsers, cwd, *words, **variables):
    """Return (script, parsed options) of each command that a dry run prints."""
    done = bash(table, *words, cwd=cwd, DRY_RUN="1", **variables)
    assert done.returncode == 0, done.stderr
    assert not list(cwd.iterdir())
    commands = [shlex.split(line)[1:] for line in done.stdout.splitlines() if line.startswith("$ ")]
    assert {command[0] for command in commands} == {"python"}
    return [(script, parsers[script].parse_args(options)) for _, script, *options in commands]


def trained_file(options):
    return f"ckpt/{options.name_run()}/{'projection.bin' if options.num_thought_tokens else 'base_model'}"


@pytest.mark.parametrize("table", METHODS)
def test_a_dry_run_prints_commands_that_the_scripts_understand(table, parsers, tmp_path):
    methods, pairs, tasks = METHODS[table]
    commands = plan(table, parsers, tmp_path)
    evaluated = [options for script, options in commands if script.startswith("evaluate")]
    assert [name_method(vars(options)) for options in evaluated] == methods * pairs * tasks
    assert {options.task_name for options in evaluated} == (TASKS if tasks == 5 else {"gsm8k"})
    assert {options.num_thought_tokens for options in evaluated} == {
        "mini": {0, 16},
        "switches": {16},
        "softcotpp": {4},
        "sweep_thought_tokens": {1, 2, 4, 8, 16, 32},
    }.get(table, {0, 4})
    files = [Path(o.log_dir, o.name_log(o.seed)) for o in evaluated]
    assert len(set(files)) == len(files), "two evaluations write the same file"
    assert commands[-1][0] == "summarize_results.py"
    compared = {name for pair in commands[-1][1].compare for name in pair}
    assert compared == set(methods) if table == "controls" else compared <= set(methods)
    summed_up = {Path(path) for script, o in commands if script == "summarize_results.py" for path in o.paths}
    assert all(summed_up & set(file.parents) for file in files)


@pytest.mark.parametrize("variables", [{}, FILLER, {"TASKS": "du gsm8k", "N_EPOCHS": "1", "L_TRAIN": "8"}])
@pytest.mark.parametrize("table", METHODS)
def test_an_evaluation_reads_what_the_table_trained_before_it(table, variables, parsers, tmp_path):
    trained = {}
    if (table, variables) == ("softcotpp", FILLER):  # SoftCoT takes one filler, SoftCoT++ as many as chains
        assert bash(table, cwd=tmp_path, DRY_RUN="1", **variables).returncode == 2
        return
    for script, options in plan(table, parsers, tmp_path, **variables):
        if script.startswith("train"):
            assert options.resume and trained_file(options) not in trained
            trained[trained_file(options)] = options
        elif script.startswith("evaluate"):
            for file in {options.params_file_name, options.base_model_ckpt} - {None}:
                training = trained[file]
                assert training.task_name == options.task_name.replace("du", "gsm8k")
                assert training.large_model_id == options.base_model_id
                assert training.small_model_id == options.assistant_model_id


@pytest.mark.parametrize(("table", "pair"), [("softcot", PAIR), ("mini", ())])
def test_the_newline_s_row_is_softcot_s_but_for_the_filler(table, pair, parsers, tmp_path):
    commands = plan(table, parsers, tmp_path, *pair, **FILLER, TASKS="gsm8k")
    trained = [vars(o) for script, o in commands if script == "train_softcot.py" and o.num_thought_tokens]
    own, newline = (o for o in trained if o["thoughts"] == "projected")
    assert {key for key in own if own[key] != newline[key]} == {"thought_filler", "output_name"}
    assert newline["thought_filler"] == "\n"


def test_the_papers_settings(parsers, tmp_path):
    for script, options in plan("softcot", parsers, tmp_path) + plan("softcotpp", parsers, tmp_path):
        if script.startswith("train"):
            assert (options.batch_size, options.n_epochs, options.learning_rate) == (4, 10, 2e-5)
            assert options.num_thought_tokens == (0 if options.tune_base_model else 32)
        elif script.startswith("evaluate"):
            assert (options.seed_from, options.seed_to, options.temperature) == (41, 45, 1.0)
        if script.endswith("pp.py"):
            assert options.num_scaling_times == 10


def test_each_switch_is_run_alone_with_every_seed(parsers, tmp_path):
    chosen = [{"SOFTCOTPP": "0"}, {"SOFTCOTPP": "1"}, {"TUNED": "1"}]
    plans = [plan("switches", parsers, tmp_path, SEEDS="7\n8", **variables) for variables in chosen]
    assert len({planned[-1][1].out for planned in plans}) == len(plans)
    runs = [run for planned in plans for run in planned[:-1]]
    moved = [{n: v for n, v in switches_in(vars(o)).items() if v != getattr(CORRECTED, n)} for _, o in runs]
    for name, entry in SWITCHES.items():
        alone = {
            (script, o.seed) for (script, o), of in zip(runs, moved, strict=True) if of == {name: entry["published"]}
        }
        softcot = [script for script in entry["scripts"] if script.endswith("softcot")]
        scripts = [f"{script}.py" for script in softcot or entry["scripts"]]
        assert alone == set(product(scripts, (7, 8))), name
    for script, options in runs:
        if script.startswith("evaluate"):
            assert f"-{options.seed}-gsm8k" in options.params_file_name and options.greedy
    published = [
        (script, o.seed)
        for script, o in runs
        if all(v == getattr(PUBLISHED, n) for n, v in switches_in(vars(o)).items())
    ]
    scripts = [f"{kind}_softcot{pp}.py" for kind in ("train", "evaluate") for pp in ("", "pp")]
    assert sorted(published) == sorted(product(scripts, (7, 8)))


def test_pairs_tasks_and_more_options_reach_every_command(parsers, tmp_path):
    commands = plan(
        "softcot",
        parsers,
        tmp_path,
        *PAIR,
        TASKS="aqua\ndu",
        NAME="mine",
        OUT="my results",
        TRAIN_OPTIONS="--k_shot 7\n--seed 43",
        EVAL_OPTIONS="--test_k 3\n--seed_to 42",
    )
    for script, options in commands[:-1]:
        if script.startswith("train"):
            assert (options.large_model_id, options.small_model_id) == ("org/Big-1B", "models/small")
            assert options.task_name in ("aqua", "gsm8k")  # gsm8k for du
            assert (options.output_name.removesuffix("-newline"), options.k_shot, options.seed) == ("mine", 7, 43)
        else:
            assert (options.base_model_id, options.assistant_model_id) == ("org/Big-1B", "models/small")
            assert (options.test_k, options.seed_from, options.seed_to) == (3, 41, 42)
            assert options.task_name in ("aqua", "du") and options.log_dir.startswith("my results/logs/")
    assert commands[-1][1].tasks == ["aqua", "du"] and commands[-1][1].out == "my results/summary"


@pytest.mark.parametrize("command", commands("bash tables/"))
def test_the_documented_tables_are_understood(command, parsers, tmp_path):
    environ = {**environment(), "DRY_RUN": "1"}
    command = command.replace("tables/", f"{ROOT}/tables/")
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environ, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        if line.startswith("$ "):
            _, script, *options = shlex.split(line)[1:]
            parsers[script].parse_args(options)


def test_every_table_is_documented():
    assert {path.stem for path in (ROOT / "tables").glob("*.sh")} == {*METHODS, "common"}
    assert all(f"bash tables/{table}.sh" in REPRODUCING for table in METHODS)


@pytest.mark.parametrize("words", [["--no_such"], ["org/Big-1B"]])
def test_what_it_does_not_understand_it_refuses(words, tmp_path):
    done = bash("softcot", *words, cwd=tmp_path, DRY_RUN="1")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout


@pytest.mark.parametrize("table", ["softcotpp", "switches"])
@pytest.mark.parametrize(
    "name, value",
    [
        ("N_EPOCHS", "0.5"),
        ("L_TRAIN", "0"),
        ("TRAIN_OPTIONS", "--k_shot 4 --n_epochs 1"),
        ("TRAIN_OPTIONS", "--num_thought_tokens=8"),
        ("EVAL_OPTIONS", "--test_k 3 --log_dir x"),
        ("EVAL_OPTIONS", "--thoughts=zero"),
        ("EVAL_OPTIONS", "--test_k 3\n--seed=4"),
        ("TASKS", "gsm8k,aqua"),
    ],
)
def test_a_variable_that_the_table_cannot_follow_is_refused(table, name, value, tmp_path):
    done = bash(table, cwd=tmp_path, DRY_RUN="1", **{name: value})
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and name in done.stderr and not done.stdout


@pytest.mark.parametrize("name", ["TRAIN_OPTIONS", "EVAL_OPTIONS"])
def test_the_switches_have_their_own_seeds(name, tmp_path):
    done = bash("switches", cwd=tmp_path, DRY_RUN="1", **{name: "--seed_from=4"})
    assert done.returncode == 2 and "SEEDS" in done.stderr and not done.stdout


@pytest.mark.slow
def test_a_whole_table_on_tiny_models(tmp_path):
    make_inputs(tmp_path)
    common = f"--data_dir data --dtype float32 {TOKEN_OPTIONS}"
    variables = {
        "TASKS": "gsm8k",
        "TRAIN_OPTIONS": f"{common} --k_shot 2 --dev_k 1",
        "EVAL_OPTIONS": f"{common} --test_k 3 --max_new_tokens 6 --seed_to 41",
    }
    done = bash("softcotpp", "base", "assistant", cwd=tmp_path, **variables)
    assert done.returncode == 0, done.stderr[-2000:]
    out = tmp_path / "results" / "softcotpp"
    cells = json.loads((out / "summary/table.json").read_text(encoding="utf-8"))["cells"]
    labels = ["SoftCoT-SC", "SoftCoT-P", "SoftCoT++", "SoftCoT++"]
    assert [cell["method"] for cell in cells] == labels
    for cell in cells:
        assert (cell["seeds"], cell["questions"]) == ([41], 3)
    assert len([*out.glob("logs/*/*/*.jsonl"), *tmp_path.glob("ckpt/*/projection.bin")]) == 4 + 2


def test_the_first_failure_stops_the_table_with_its_exit_code(tmp_path):
    done = bash("softcot", *PAIR, cwd=tmp_path, PYTHON=sys.executable, TRAIN_OPTIONS="--no_such")
    assert done.returncode == 2  # argparse's, of the first training
    assert done.stdout.count("$ python") == 1
