"""The tables' scripts: the commands that they plan, their exit codes, and a whole table on tiny models."""

import json
import shlex
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from benchmarks.tiny import TOKENS, make_inputs
from experiment.protocol import CORRECTED, PUBLISHED, SWITCHES, switches_in
from experiment.run_files import method_of
from tests.commands import environment
from tests.test_docs import NAMES, commands, parser_of

ROOT = Path(__file__).resolve().parent.parent
REPRODUCING = (ROOT / "docs" / "REPRODUCING.md").read_text(encoding="utf-8")
PAIR = ("org/Big-1B", "models/small/")
TASKS = {"gsm8k", "asdiv-aug", "aqua", "strategyqa", "du"}
# Table -> methods, and how many pairs and tasks it has by default.
METHODS = {
    "softcot": (["Zero-Shot CoT", "CoT-Unk", "Assist-CoT", "LoRA", "SoftCoT"], 2, 5),
    "softcotpp": (["SoftCoT-SC", "SoftCoT-P", "SoftCoT++", "SoftCoT++"], 3, 5),  # Qwen3's pair: two ways of sampling
    "controls": (
        ["Zero-Shot CoT", "CoT-Unk", "Zero vectors", "Untrained projection", "Shuffled thoughts", "SoftCoT"],
        1,
        5,
    ),
    "sweep_thought_tokens": (["SoftCoT"] * 6, 1, 5),
    "mini": (
        ["Zero-Shot CoT", "CoT-Unk", "Assist-CoT", "LoRA", "SoftCoT", "SoftCoT-SC", "SoftCoT-P", "SoftCoT++"]
        + ["SoftCoT++", "Zero vectors", "Untrained projection", "Shuffled thoughts"],
        1,
        1,
    ),
    "switches": (["SoftCoT"] * 3 * 12, 1, 1),  # three seeds
    "information": (["SoftCoT", "Shuffled thoughts", "Untrained projection", "Zero vectors"] * 2, 1, 1),  # two prompts
}
# Defaults of N_EPOCHS and L_TRAIN.
TRAINED = dict.fromkeys(METHODS, (10, 32)) | dict.fromkeys(("switches", "information"), (1, 16))


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
    assert [method_of(vars(options)) for options in evaluated] == methods * pairs * tasks
    assert {options.task_name for options in evaluated} == (TASKS if tasks == 5 else {"gsm8k"})
    assert {options.num_thought_tokens for options in evaluated} == {
        "mini": {0, 16},
        "switches": {16},
        "information": {16},
        "softcotpp": {4},
        "sweep_thought_tokens": {1, 2, 4, 8, 16, 32},
    }.get(table, {0, 4})
    files = [Path(o.log_dir, o.name_log(o.seed)) for o in evaluated]
    assert len(set(files)) == len(files), "two evaluations write the same file"
    assert commands[-1][0] == "summarize_results.py"
    summed_up = {Path(path) for script, o in commands if script == "summarize_results.py" for path in o.paths}
    assert all(summed_up & set(file.parents) for file in files)


@pytest.mark.parametrize("variables", [{}, {"TASKS": "du gsm8k", "N_EPOCHS": "1", "L_TRAIN": "8"}, {"TASKS": "du"}])
@pytest.mark.parametrize("table", METHODS)
def test_an_evaluation_reads_what_the_table_trained_before_it(table, variables, parsers, tmp_path):
    trained = {}
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
    if table != "mini":
        epochs, length = TRAINED[table]
        assert {options.n_epochs for options in trained.values()} == {float(variables.get("N_EPOCHS", epochs))}
        lengths = {options.num_thought_tokens for options in trained.values()} - {0}
        assert lengths == {int(variables.get("L_TRAIN", length))}


def test_the_two_prompts_of_information_are_trained_evaluated_and_summed_up_apart(parsers, tmp_path):
    plans = {"visible": [], "hidden": []}
    for script, options in plan("information", parsers, tmp_path):
        named = vars(options)
        text = " ".join(str(named.get(key)) for key in ("output_name", "params_file_name", "log_dir", "paths", "out"))
        (question,) = (name for name in plans if name in text)
        plans[question].append((script, options))
    for question, planned in plans.items():
        assert [script.split("_")[0] for script, _ in planned] == ["train"] + ["evaluate"] * 4 + ["summarize"]
        folder = ROOT / "data" / "mini" / {"visible": "prompts", "hidden": "prompts_hidden"}[question]
        assert {Path(o.prompt_dir) for _, o in planned[:-1]} == {folder}
        assert all(left == "SoftCoT" for left, _ in planned[-1][1].compare)
        assert {right for _, right in planned[-1][1].compare} == {method_of(vars(o)) for _, o in planned[2:-1]}


def test_the_papers_settings(parsers, tmp_path):
    for script, options in plan("softcot", parsers, tmp_path) + plan("softcotpp", parsers, tmp_path):
        if script.startswith("train"):
            assert (options.batch_size, options.n_epochs, options.learning_rate) == (4, 10, 2e-5)
            assert options.num_thought_tokens == (0 if options.tune_base_model else 32)
        elif script.startswith("evaluate"):
            assert (options.seed_from, options.seed_to, options.temperature) == (41, 45, 1.0)
        if script.endswith("pp.py"):
            assert options.num_scaling_times == 10


def test_softcotpp_s_table_has_qwen3_s_rows_under_both_values_of_sampling(parsers, tmp_path):
    rows = {}
    for script, options in plan("softcotpp", parsers, tmp_path, TASKS="gsm8k"):
        if script.startswith("evaluate"):
            rows.setdefault((options.base_model_id, options.sampling), []).append(method_of(vars(options)))
    assert len(rows) == 3 and len(set(map(tuple, rows.values()))) == 1
    assert {("Qwen/Qwen3-8B", "as_asked"), ("Qwen/Qwen3-8B", "of_model")} < rows.keys()


def test_each_switch_is_run_alone_with_every_seed(parsers, tmp_path):
    chosen = [{"SOFTCOTPP": "0"}, {"SOFTCOTPP": "1"}, {"TUNED": "1"}]
    plans = [plan("switches", parsers, tmp_path, SEEDS="7 8", **variables) for variables in chosen]
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


def test_switches_are_chosen_by_name(parsers, tmp_path):
    runs = plan("switches", parsers, tmp_path, SWITCHES="date too_long", SEEDS="7")
    assert {name for _, o in runs for name, value in switches_in(vars(o)).items() if value == "cut"} == {"too_long"}
    assert [script for script, _ in runs].count("train_softcot.py") == 2 + 2
    done = bash("switches", cwd=tmp_path, DRY_RUN="1", SWITCHES="too_lon")
    assert done.returncode == 2 and "too_lon " in done.stderr and not done.stdout


def test_pairs_tasks_and_more_options_reach_every_command(parsers, tmp_path):
    commands = plan(
        "softcot",
        parsers,
        tmp_path,
        *PAIR,
        TASKS="aqua du",
        NAME="mine",
        OUT="my results",
        TRAIN_OPTIONS="--k_shot 7",
        EVAL_OPTIONS="--test_k 3 --seed_to 42",
    )
    for script, options in commands[:-1]:
        if script.startswith("train"):
            assert (options.large_model_id, options.small_model_id) == ("org/Big-1B", "models/small")
            assert options.task_name in ("aqua", "gsm8k")  # gsm8k for du
            assert (options.output_name, options.k_shot) == ("mine", 7)
        else:
            assert (options.base_model_id, options.assistant_model_id) == ("org/Big-1B", "models/small")
            assert (options.test_k, options.seed_from, options.seed_to) == (3, 41, 42)
            assert options.task_name in ("aqua", "du") and options.log_dir.startswith("my results/logs/")
    assert commands[-1][1].tasks == ["aqua", "du"] and commands[-1][1].out == "my results/summary"


@pytest.mark.parametrize("command", commands("bash tables/"))
def test_the_documented_tables_are_understood(command, parsers, tmp_path):
    command = command.replace("tables/", f"{ROOT}/tables/")
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env={**environment(), "DRY_RUN": "1"}, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        if line.startswith("$ "):
            _, script, *options = shlex.split(line)[1:]
            parsers[script].parse_args(options)


def test_every_table_is_documented():
    assert {path.stem for path in (ROOT / "tables").glob("*.sh")} == {*METHODS, "common"}
    assert all(f"bash tables/{table}.sh" in REPRODUCING for table in METHODS)


@pytest.mark.parametrize("table", METHODS)
@pytest.mark.parametrize("words", [["--no_such"], ["org/Big-1B"]])
def test_what_it_does_not_understand_it_refuses(table, words, tmp_path):
    done = bash(table, *words, cwd=tmp_path, DRY_RUN="1")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not done.stdout


@pytest.mark.parametrize(
    "name, value",
    [("N_EPOCHS", "0.5"), ("N_EPOCHS", "ten"), ("L_TRAIN", "0")]
    + [
        ("TRAIN_OPTIONS", f"--k_shot 4 {word}")
        for word in ("--n_epochs 1", "--num_thought_tokens=8", "--output_name x")
    ]
    + [("TRAIN_OPTIONS", word) for word in ("--model_name scaling", "--num_scaling_times 5", "--large_model_id x")]
    + [("TRAIN_OPTIONS", "--tune_base_model"), ("EVAL_OPTIONS", "--num_thought_tokens 8")]
    + [("EVAL_OPTIONS", f"--test_k 3 {word}") for word in ("--log_dir x", "--thoughts=zero", "--sampling of_model")]
    + [("TASKS", value) for value in ("gsm9k", "gsm8k,aqua")],
)
def test_a_variable_that_the_table_cannot_follow_is_refused(name, value, tmp_path):
    done = bash("softcotpp", cwd=tmp_path, DRY_RUN="1", **{name: value})
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and name in done.stderr and not done.stdout


@pytest.mark.parametrize("table", METHODS)
def test_help_shows_usage_and_variables(table, tmp_path):
    done = bash(table, "--help", cwd=tmp_path)
    assert done.returncode == 0 and f"tables/{table}.sh" in done.stdout and "EVAL_OPTIONS" in done.stdout


def test_the_first_failure_stops_the_table_with_its_exit_code(tmp_path):
    done = bash("softcot", *PAIR, cwd=tmp_path, PYTHON=sys.executable, TRAIN_OPTIONS="--no_such")
    assert done.returncode == 2  # argparse's, of the first training
    assert done.stdout.count("$ python") == 1


@pytest.mark.slow
def test_a_whole_table_on_tiny_models_and_again_which_changes_nothing(tmp_path):
    make_inputs(tmp_path)
    common = f"--data_dir data --dtype float32 {TOKENS}"
    variables = {
        "TASKS": "gsm8k",
        "TRAIN_OPTIONS": f"{common} --k_shot 2 --dev_k 1",
        "EVAL_OPTIONS": f"{common} --test_k 3 --max_new_tokens 6 --seed_to 42",
    }
    done = bash("softcotpp", "base", "assistant", cwd=tmp_path, **variables)
    assert done.returncode == 0, done.stderr[-2000:]
    out = tmp_path / "results" / "softcotpp"
    cells = json.loads((out / "summary/table.json").read_text(encoding="utf-8"))["cells"]
    labels = ["SoftCoT-SC", "SoftCoT-P", "SoftCoT++", "SoftCoT++"]
    assert [cell["method"] for cell in cells] == labels
    for cell in cells:
        assert (cell["seeds"], cell["questions"]) == ([41, 42], 3)
    files = [*out.glob("logs/*/*/*.jsonl"), *tmp_path.glob("ckpt/*/projection.bin")]
    before = {file: (file.read_bytes(), file.stat().st_ino) for file in files}
    assert len(files) == 8 + 2
    again = bash("softcotpp", "base", "assistant", cwd=tmp_path, **variables)
    assert again.returncode == 0, again.stderr[-2000:]
    assert {file: (file.read_bytes(), file.stat().st_ino) for file in files} == before
