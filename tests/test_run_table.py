"""run_table.sh: which commands it runs, what it skips, what it refuses; and a real table on tiny models."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_cli import data, environment, models  # noqa: F401 - fixtures

ROOT = Path(__file__).resolve().parent.parent
# In place of python: records its call, and leaves the files that training and evaluation would.
RECORDER = """#!{python}
import json, os, sys
from pathlib import Path
if sys.argv[1] == "-c":
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
script = Path(sys.argv[1]).name
with open({calls!r}, "a") as file:
    file.write(json.dumps([script, *sys.argv[2:]]) + "\\n")
if script == os.environ.get("FAILS"):
    sys.exit(77)
option = dict(word.split("=", 1) for word in sys.argv[2:] if "=" in word)
if script.startswith("train"):
    chains = [option["--num_scaling_times"]] if "--num_scaling_times" in option else []
    name = "-".join([option["--output_name"], option["--task_name"], str(float(option["--n_epochs"])),
                     option["--num_thought_tokens"], *chains, option["--large_model_id"].split("/")[-1],
                     option["--small_model_id"].split("/")[-1]])
    name += "-nce" if option.get("--model_name") == "scaling-nce" else ""
    file = "base_model/adapter_model.safetensors" if "--tune_base_model" in sys.argv else "projection.bin"
    path = Path("ckpt", name, file)
    path.parent.mkdir(parents=True)
    path.write_text(name)
if script.startswith("evaluate"):
    Path(option["--log_dir"]).mkdir(parents=True, exist_ok=True)
    for seed in range(int(option["--seed_from"]), int(option["--seed_to"]) + 1):
        Path(option["--log_dir"], f"seed_{{seed}}.jsonl").touch()
"""
PAIR = ["--base_model_id", "org/Big-1B", "--assistant_model_id", "models/small/"]


class Table:
    """Runs run_table.sh in a folder of its own with the recorder in place of python."""

    def __init__(self, folder):
        self.folder = folder / "working folder"
        self.folder.mkdir()
        self.record = folder / "calls.jsonl"
        self.python = folder / "recording python"
        self.python.write_text(RECORDER.format(python=sys.executable, calls=str(self.record)), encoding="utf-8")
        self.python.chmod(0o755)

    def run(self, *words, code=0, **variables):
        self.record.write_text("")
        done = subprocess.run(
            ["bash", str(ROOT / "run_table.sh"), *words],
            cwd=self.folder,
            text=True,
            capture_output=True,
            env={**os.environ, "PYTHON": str(self.python), **variables},
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def calls(self):
        """(script, options, other words) of each call."""
        found = [json.loads(line) for line in self.record.read_text().splitlines()]
        return [
            (
                call[0],
                dict(word.split("=", 1) for word in call[1:] if re.match("--.*=", word)),
                [word for word in call[1:] if not re.match("--.*=", word)],
            )
            for call in found
        ]

    def scripts(self):
        return [script for script, *_ in self.calls()]


@pytest.fixture
def table(tmp_path):
    return Table(tmp_path)


ALL = [
    "zero_shot",
    "cot_unk",
    "assist_cot",
    "lora",
    "zero",
    "untrained",
    "shuffled",
    "softcot",
    "softcot_sc",
    "softcot_p",
    "softcotpp",
    "softcotpp_sc",
]


def test_every_method_gets_its_own_arguments(table):
    table.run(*PAIR, "--table", "all", "--tasks", "gsm8k", "--data_dir", "d")
    calls = table.calls()
    assert [script for script, *_ in calls if script.startswith("train")] == [
        "train_softcot.py",
        "train_softcot.py",
        "train_softcotpp.py",
    ]
    lora, softcot, softcotpp = ({**options, "flags": flags} for script, options, flags in calls if "train" in script)
    assert (lora["--num_thought_tokens"], softcot["--num_thought_tokens"]) == ("0", "32")
    assert lora["flags"] == ["--resume", "--tune_base_model"] and softcot["flags"] == ["--resume"]
    assert (softcotpp["--num_scaling_times"], softcotpp["--model_name"]) == ("10", "scaling-nce")
    assert {options["--data_dir"] for _, options, _ in calls[:-1]} == {"d"}
    evaluations = {
        Path(options["--log_dir"]).name: (script, options, flags)
        for script, options, flags in calls
        if script.startswith("evaluate")
    }
    assert list(evaluations) == ALL
    plain = "ckpt/table-gsm8k-10.0-32-Big-1B-small/projection.bin"
    chains = "ckpt/table-gsm8k-10.0-32-10-Big-1B-small-nce/projection.bin"
    expected = {
        "zero_shot": {"--num_thought_tokens": "0"},
        "cot_unk": {"--thoughts": "placeholder"},
        "assist_cot": {"--thoughts": "assistant_text"},
        "lora": {"--num_thought_tokens": "0", "--base_model_ckpt": "ckpt/table-gsm8k-10.0-0-Big-1B-small/base_model"},
        "zero": {"--thoughts": "zero"},
        "untrained": {"--thoughts": "untrained"},
        "shuffled": {"--thoughts": "shuffled", "--params_file_name": plain},
        "softcot": {"--params_file_name": plain},
        "softcot_sc": {"--params_file_name": plain, "--num_return_sequences": "10"},
        "softcot_p": {"--params_file_name": plain, "--num_scaling_times": "10", "--perturb_std": "0.1"},
        "softcotpp": {"--params_file_name": chains, "--num_scaling_times": "10", "--model_name": "scaling-nce"},
        "softcotpp_sc": {
            "--params_file_name": chains,
            "--num_scaling_times": "10",
            "--model_name": "scaling-nce",
            "--num_return_sequences": "10",
        },
    }
    common = {
        "--base_model_id": "org/Big-1B",
        "--assistant_model_id": "models/small",
        "--task_name": "gsm8k",
        "--num_thought_tokens": "4",
        "--seed_from": "41",
        "--seed_to": "45",
        "--data_dir": "d",
    }
    for method, own in expected.items():
        script, options, flags = evaluations[method]
        assert options == {**common, "--log_dir": f"results/table/logs/gsm8k/{method}", **own}, method
        assert flags == (["--tune_base_model"] if method == "lora" else [])
        assert script == ("evaluate_softcotpp.py" if "--num_scaling_times" in own else "evaluate_softcot.py")
    script, _, words = calls[-1]
    assert script == "summarize_results.py" and words[:5] == [
        "results/table/logs",
        "--out",
        "results/table/summary",
        "--tasks",
        "gsm8k",
    ]


def test_what_is_done_is_skipped_and_only_that(table):
    words = [*PAIR, "--methods", "zero_shot,softcot", "--tasks", "gsm8k aqua", "--seed_to", "42"]
    table.run(*words)
    assert len(table.calls()) == 2 * 3 + 1
    done = table.run(*words)
    assert table.scripts() == ["summarize_results.py"]
    assert "gsm8k, zero_shot: done before" in done.stdout
    # Another projection, a lost result file, more seeds, other options: evaluated again.
    next(table.folder.glob("ckpt/table-aqua*/projection.bin")).write_text("other weights")
    (table.folder / "results/table/logs/gsm8k/zero_shot/seed_41.jsonl").unlink()
    table.run(*words)
    assert [options["--log_dir"] for script, options, _ in table.calls() if "evaluate" in script] == [
        "results/table/logs/gsm8k/zero_shot",
        "results/table/logs/aqua/softcot",
    ]
    table.run(*words[:-1], "43")
    assert table.scripts().count("evaluate_softcot.py") == 4
    table.run(*words[:-1], "43", "--temperature", "0.5")
    assert table.scripts().count("evaluate_softcot.py") == 4


def test_options_go_where_they_belong(table):
    table.run(
        *PAIR,
        "--methods=softcot",
        "--tasks=gsm8k",
        "--k_shot=5",
        "--learning_rate",
        "-1e-3",
        "--test_k",
        "7",
        "--greedy",
        "--dtype",
        "float32",
        "--trust_remote_code",
        "--prompt_dir",
        "my prompts $(touch x)",
        "--",
        "--engine",
        "vllm",
    )
    (_, training, training_flags), (_, evaluation, evaluation_words), _ = table.calls()
    assert (training["--k_shot"], training["--learning_rate"]) == ("5", "-1e-3")
    assert "--test_k" not in training and "--k_shot" not in evaluation
    assert evaluation["--test_k"] == "7" and evaluation_words == ["--greedy", "--trust_remote_code", "--engine", "vllm"]
    assert training_flags == ["--resume", "--trust_remote_code"]
    for options in (training, evaluation):
        assert (options["--dtype"], options["--prompt_dir"]) == ("float32", "my prompts $(touch x)")
    assert not (table.folder / "x").exists()


def test_each_task_has_its_folder_and_du_another_tasks_projection(table):
    (table.folder / "d" / "aqua").mkdir(parents=True)
    (table.folder / "d" / "du").mkdir()
    table.run(*PAIR, "--methods", "softcot", "--tasks", "aqua du", "--train_on", "aqua", "--data_dir", "d")
    found = [
        (script, options["--task_name"], options["--data_dir"], options.get("--params_file_name"))
        for script, options, _ in table.calls()[:-1]
    ]
    projection = "ckpt/table-aqua-10.0-32-Big-1B-small/projection.bin"
    assert found == [
        ("train_softcot.py", "aqua", "d/aqua", None),
        ("evaluate_softcot.py", "aqua", "d/aqua", projection),
        ("evaluate_softcot.py", "du", "d/du", projection),
    ]


def test_given_weights_are_used_in_place_of_training(table):
    for task in ("gsm8k", "aqua"):
        (table.folder / f"my {task}.bin").touch()
    table.run(*PAIR, "--methods", "softcot", "--tasks", "gsm8k aqua", "--softcot_params", "my {task}.bin")
    assert [options["--params_file_name"] for _, options, _ in table.calls()[:-1]] == ["my gsm8k.bin", "my aqua.bin"]
    assert (
        "softcotpp: no absent.bin"
        in table.run(*PAIR, "--methods", "softcotpp", "--softcotpp_params", "absent.bin", code=2).stderr
    )
    assert table.calls() == []


@pytest.mark.parametrize(
    "script, calls", [("train_softcot.py", 1), ("evaluate_softcot.py", 2), ("summarize_results.py", 3)]
)
@pytest.mark.parametrize("method", ["softcot", "lora"])
def test_the_first_failure_stops_with_its_exit_code(table, script, calls, method):
    words = [*PAIR, "--methods", method, "--tasks", "gsm8k"]
    table.run(*words, code=77, FAILS=script)
    assert len(table.calls()) == calls
    table.run(*words)
    assert table.scripts()[-1] == "summarize_results.py" and len(table.calls()) == 4 - min(calls, 3)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--no_such"], "unknown argument '--no_such'"),
        (["stray"], "unknown argument 'stray'"),
        (["--table", "x[$(touch x)]"], "--table x[$(touch x)]: choose softcot"),
        (["--methods", "softcot zero_shott"], "unknown method 'zero_shott'"),
        (["--methods", "a[$(touch${IFS}x)]"], "unknown method 'a[$(touch${IFS}x)]'"),
        (["--tasks", "gsm8k math"], "unknown task 'math'"),
        (["--train_on", "du"], "has no training set"),
        (["--seed_from", "41[$(touch x)]"], "--seed_from wants a whole number"),
        (["--seed_from", "43", "--seed_to", "42"], "--seed_to is below --seed_from"),
        (["--n_epochs", "many", "--methods", "softcot"], "--n_epochs wants a number, found 'many'"),
        (["--seed_to"], "--seed_to needs a value"),
        (["--greedy=yes"], "--greedy is a flag"),
        (["--tasks", "--greedy"], "--tasks needs a value, found the option --greedy"),
    ],
)
def test_what_it_does_not_understand_it_refuses(table, words, message):
    assert message in table.run(*words, code=2).stderr
    assert table.calls() == [] and list(table.folder.iterdir()) == []


def test_help_and_dry_run_run_nothing(table):
    assert "bash run_table.sh --table softcot" in table.run("--help").stdout
    done = table.run(*PAIR, "--dry_run", "--tasks", "gsm8k", "--methods", "softcotpp softcotpp_sc", "--out", "a b")
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("$")] == [
        "train_softcotpp.py",
        "evaluate_softcotpp.py",
        "evaluate_softcotpp.py",
        "summarize_results.py",
    ]
    assert r"--log_dir=a\ b/logs/gsm8k/softcotpp_sc" in done.stdout
    assert table.calls() == [] and list(table.folder.iterdir()) == []


def test_it_knows_the_scripts_options(table):
    """Every option that it passes on exists, with the same kind (flag or value)."""
    from tests.test_docs import actions_of, parser_of

    listed = table.run("--help").stdout.split("Options with a value:")[1]
    values, flags = (re.findall(r"--\w+", part) for part in listed.split("Flags:"))
    own = {
        "--table",
        "--methods",
        "--tasks",
        "--out",
        "--train_thought_tokens",
        "--train_on",
        "--softcot_params",
        "--softcotpp_params",
        "--lora_ckpt",
        "--dry_run",
        "--perturb_std",
    }
    known = {**actions_of(parser_of("T+")), **actions_of(parser_of("E+"))}
    for option in {*values, *flags} - own:
        assert (known[option].nargs == 0) == (option in flags), option


@pytest.mark.slow
def test_a_whole_table_on_tiny_models(models, data, tmp_path):  # noqa: F811
    command = [
        "bash",
        str(ROOT / "run_table.sh"),
        "--base_model_id",
        f"{models}/Llama-3.1-8B-Instruct",
        "--assistant_model_id",
        f"{models}/Llama-3.2-1B-Instruct",
        "--tasks",
        "gsm8k",
        "--methods",
        "zero_shot softcotpp",
        "--data_dir",
        str(data),
        "--train_thought_tokens",
        "4",
        "--num_scaling_times",
        "2",
        "--n_epochs",
        "1",
        "--k_shot",
        "4",
        "--seed_to",
        "42",
        "--test_k",
        "3",
        "--max_new_tokens",
        "6",
        "--dtype",
        "float32",
        "--device",
        "cpu",
    ]
    first, again = (
        subprocess.run(command, cwd=tmp_path, env=environment(), text=True, capture_output=True) for _ in range(2)
    )
    assert first.returncode == again.returncode == 0, first.stderr[-2000:] + again.stderr[-2000:]
    cells = json.loads((tmp_path / "results/table/summary/table.json").read_text(encoding="utf-8"))["cells"]
    assert [(cell["label"], cell["seeds"], cell["questions"]) for cell in cells] == [
        (label, [41, 42], 3) for label in ("Zero-Shot CoT", "SoftCoT++ (L=4, N=2)")
    ]
    for cell in cells:
        rows = [
            [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()][1:]
            for file in cell["files"]
        ]
        assert cell["mean"] == pytest.approx(100 * sum(row["correct"] for part in rows for row in part) / 6)
    assert again.stdout.count("done before") == 2 and "$ train" not in again.stdout
