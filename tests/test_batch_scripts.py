"""The seed sweep scripts hand every argument on unharmed, in one call of the evaluation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {
    "run_batch_softcot.sh": "evaluate_softcot.py",
    "run_batch_softcotpp.sh": "evaluate_softcotpp.py",
}
DEFAULTS = {
    "--log_dir": "inference_logs",
    "--run_name": "",
    "--seed_from": "41",
    "--seed_to": "45",
}
RECORDER = """#!{python}
import json, os, sys
with open({calls!r}, "a") as file:
    file.write(json.dumps([os.getcwd(), *sys.argv[1:]]) + "\\n")
sys.exit(int(os.environ.get("RECORDER_EXIT", "0")))
"""
AWKWARD = [
    "two words",
    "  spaces around  ",
    'it\'s "quoted"',
    "$(touch x)",
    "`touch x`; touch x & touch x | touch x > x",
    "$HOME ${PATH} !! * ? [a-z] ~ {a,b}",
    "line one\nline two\n",
    "tab\tand \\ backslash \\n",
    "-1",
    "--leading --dashes",
    "a=b=c",
    "思考 ✓ é",
    "",
]


class Sweep:
    """Runs a sweep script in a folder of its own, with a recorder in place of python."""

    def __init__(self, folder):
        self.folder = folder / "working folder"
        self.folder.mkdir()
        self.calls_file = folder / "calls.jsonl"
        self.python = folder / "recording python"
        self.python.write_text(RECORDER.format(python=sys.executable, calls=str(self.calls_file)), encoding="utf-8")
        self.python.chmod(0o755)

    def run(self, script, *arguments, **environment):
        return self.start(["bash", str(ROOT / script), *arguments], **environment)

    def start(self, command, cwd=None, **environment):
        environment = {**os.environ, "PYTHON": str(self.python), **environment}
        return subprocess.run(command, cwd=cwd or self.folder, env=environment, capture_output=True, text=True)

    def calls(self):
        if not self.calls_file.exists():
            return []
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    def call(self):
        """The one call: its working folder, its script, its options and its flags.

        The last of an option given twice counts, as in argparse.
        """
        ((folder, script, *arguments),) = self.calls()
        options = dict(word.split("=", 1) for word in arguments if "=" in word)
        return folder, script, options, [word for word in arguments if "=" not in word]


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path)


every_script = pytest.mark.parametrize("script", SCRIPTS)


@every_script
def test_one_call_serves_all_seeds(sweep, script):
    done = sweep.run(script, "--seed_from", "3", "--seed_to", "9", "--task_name", "aqua")
    assert done.returncode == 0, done.stderr
    _, called, options, flags = sweep.call()
    assert Path(called).resolve() == ROOT / SCRIPTS[script]
    given = {"--seed_from": "3", "--seed_to": "9", "--task_name": "aqua"}
    assert options == {**DEFAULTS, **given}
    assert flags == []


@every_script
def test_without_arguments_the_published_defaults_hold(sweep, script):
    assert sweep.run(script).returncode == 0
    assert sweep.call()[2:] == (DEFAULTS, [])


@every_script
def test_one_seed_replaces_the_default_sweep(sweep, script):
    assert sweep.run(script, "--seed", "7").returncode == 0
    options = sweep.call()[2]
    assert options["--seed"] == "7"
    assert not {"--seed_from", "--seed_to"} & set(options)


@every_script
@pytest.mark.parametrize("form", ["two words", "one word"])
@pytest.mark.parametrize("value", AWKWARD)
def test_a_value_arrives_as_it_was_given(sweep, script, form, value):
    words = ["--run_name", value] if form == "two words" else [f"--run_name={value}"]
    done = sweep.run(script, *words, "--print_input", "--log_dir", value)
    assert done.returncode == 0, done.stderr
    _, _, options, flags = sweep.call()
    assert (options["--run_name"], options["--log_dir"]) == (value, value)
    assert flags == ["--print_input"]
    assert list(sweep.folder.iterdir()) == [], "a value was run as a command"


@every_script
def test_every_option_and_flag_that_help_lists_is_passed_on(sweep, script):
    usage = sweep.run(script, "--help").stdout
    options, flags = (
        [line.strip() for line in part.splitlines() if line.startswith("  --")]
        for part in usage.split("Options with a value:")[1].split("Flags:")
    )
    assert ("--num_scaling_times" in options) == ("--model_name" in options)
    assert ("--model_name" in options) == (script == "run_batch_softcotpp.sh")
    assert not set(options) & set(flags)
    words = [word for number, name in enumerate(options) for word in (name, str(number))]
    assert sweep.run(script, *words, *flags).returncode == 0
    _, _, got, got_flags = sweep.call()
    assert got == {name: str(number) for number, name in enumerate(options)}
    assert got_flags == flags


@every_script
@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_prints_the_usage_and_runs_nothing(sweep, script, word):
    done = sweep.run(script, "--task_name", "gsm8k", word)
    assert (done.returncode, done.stderr, sweep.calls()) == (0, "", [])
    assert f"bash {script} --base_model_id" in done.stdout
    assert SCRIPTS[script] in done.stdout
    assert "#" not in done.stdout


@every_script
@pytest.mark.parametrize("word", ["--no_such_option", "--no_such_option=1", "--seed_fro", "stray", "-x", "", " ", "\n"])
def test_an_unknown_argument_is_refused_and_the_known_ones_are_listed(sweep, script, word):
    done = sweep.run(script, "--task_name", "gsm8k", word, "--print_input")
    assert (done.returncode, done.stdout, sweep.calls()) == (2, "", [])
    assert f"{script}: unknown argument '{word}'" in done.stderr
    assert "--base_model_id" in done.stderr
    assert "--print_response" in done.stderr


def test_softcot_refuses_the_options_of_softcotpp(sweep):
    assert sweep.run("run_batch_softcot.sh", "--num_scaling_times", "10").returncode == 2
    assert sweep.run("run_batch_softcot.sh", "--model_name", "scaling").returncode == 2


@every_script
@pytest.mark.parametrize("words", [["--run_name"], ["--run_name", "--print_input"]])
def test_a_missing_value_is_an_error(sweep, script, words):
    done = sweep.run(script, "--task_name", "gsm8k", *words)
    assert (done.returncode, sweep.calls()) == (2, [])
    assert "--run_name needs a value" in done.stderr


@every_script
def test_a_flag_with_a_value_is_an_error(sweep, script):
    done = sweep.run(script, "--print_input=True")
    assert (done.returncode, sweep.calls()) == (2, [])
    assert "--print_input is a flag" in done.stderr


@every_script
@pytest.mark.parametrize("code", [1, 2, 77])
def test_the_exit_code_of_a_failing_evaluation_is_passed_on(sweep, script, code):
    done = sweep.run(script, RECORDER_EXIT=str(code))
    assert (done.returncode, len(sweep.calls())) == (code, 1)


@every_script
def test_variables_of_the_callers_environment_change_nothing(sweep, script):
    done = sweep.run(script, evaluation="other.py", more_value_options="--x", flags="--x", CDPATH="/")
    assert done.returncode == 0, done.stderr
    _, called, options, flags = sweep.call()
    assert (Path(called).name, options, flags) == (SCRIPTS[script], DEFAULTS, [])


@every_script
@pytest.mark.parametrize("how", ["from its folder", "by relative path", "executed", "from /"])
def test_it_runs_from_any_folder_and_stays_there(sweep, script, how):
    command, cwd = {
        "from its folder": (["bash", script], ROOT),
        "by relative path": (["bash", os.path.relpath(ROOT / script, sweep.folder)], sweep.folder),
        "executed": ([str(ROOT / script)], sweep.folder),
        "from /": (["bash", str(ROOT / script)], Path("/")),
    }[how]
    done = sweep.start(command, cwd=cwd)
    assert done.returncode == 0, done.stderr
    folder, called, *_ = sweep.call()
    assert Path(folder) == cwd.resolve()
    assert (cwd / called).resolve() == ROOT / SCRIPTS[script]


DOCUMENTED = {
    "softcot": r"""
bash run_batch_softcot.sh \
    --base_model_id meta-llama/Llama-3.1-8B-Instruct \
    --assistant_model_id meta-llama/Llama-3.2-1B-Instruct \
    --params_file_name ckpt/run/projectin.bin \
    --num_thought_tokens 4 \
    --num_return_sequences 1 \
    --task_name gsm8k \
    --seed_from 41 --seed_to 45 \
    --print_input \
    --print_response \
    --log_dir logs/a --run_name first- \
""",
    "softcotpp": r"""
bash run_batch_softcotpp.sh \
    --base_model_id Qwen/Qwen3-8B \
    --assistant_model_id Qwen/Qwen3-0.6B \
    --params_file_name ckpt/run/projectin.bin \
    --num_thought_tokens 4 \
    --num_return_sequences 1 \
    --num_scaling_times 10 \
    --task_name gsm8k \
    --seed_from 41 --seed_to 45 \
    --print_input \
    --print_response \
    --log_dir logs/a --run_name first- \
""",
}
DOCUMENTED["softcotpp-sc"] = DOCUMENTED["softcotpp"].replace("sequences 1 ", "sequences 10 ")


@pytest.mark.parametrize("end", ["\n", "", "\n\necho after\n"])
@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_documented_commands_run_word_for_word(sweep, name, end):
    text = DOCUMENTED[name].strip() + end
    done = sweep.start(["bash", "-c", text], cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert ("after" in done.stdout) == ("after" in end)
    _, called, options, flags = sweep.call()
    assert Path(called).name == f"evaluate_{name.removesuffix('-sc')}.py"
    words = DOCUMENTED[name].replace("\\\n", " ").split()[2:]
    expected = {a: b for a, b in zip(words, words[1:], strict=False) if not b.startswith("--")}
    assert options == {k: v for k, v in expected.items() if k.startswith("--")}
    assert flags == ["--print_input", "--print_response"]


def test_help_needs_no_python_and_a_missing_python_is_an_error(sweep):
    assert sweep.run("run_batch_softcot.sh", "-h", PYTHON="/no/such/python").returncode == 0
    assert sweep.run("run_batch_softcot.sh", PYTHON="/no/such/python").returncode == 127
