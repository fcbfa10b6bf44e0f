"""The seed sweep scripts hand every argument on unharmed, in one call of the evaluation with the papers' seeds."""

import json
import subprocess
import sys
from dataclasses import fields
from itertools import cycle
from pathlib import Path

import pytest

from experiment.options import EvaluateSoftCoT, EvaluateSoftCoTPlusPlus, Parser, path_or_none, without_slash
from tests.commands import environment

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = {
    "run_batch_softcot.sh": ("evaluate_softcot.py", EvaluateSoftCoT),
    "run_batch_softcotpp.sh": ("evaluate_softcotpp.py", EvaluateSoftCoTPlusPlus),
}
# Writes down its call, runs nothing.
RECORDER = """#!{python}
import json, os, sys
with open({calls!r}, "a") as file:
    file.write(json.dumps(sys.argv[1:]) + "\\n")
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
    """Runs a sweep script in a new folder, with a recorder as the interpreter."""

    def __init__(self, folder):
        self.folder = folder / "working folder"
        self.folder.mkdir()
        self.calls_file = folder / "calls.jsonl"
        self.python = folder / "recording python"
        self.python.write_text(RECORDER.format(python=sys.executable, calls=str(self.calls_file)), encoding="utf-8")
        self.python.chmod(0o755)

    def run(self, script, *arguments, **variables):
        command, variables = ["bash", str(ROOT / script), *arguments], {"PYTHON": str(self.python), **variables}
        return subprocess.run(command, cwd=self.folder, env=environment() | variables, capture_output=True, text=True)

    def call(self):
        """The one call: its script, and the options as the evaluation reads them."""
        ((script, *words),) = [json.loads(line) for line in self.calls_file.read_text().splitlines()]
        (options,) = [options for name, options in SCRIPTS.values() if name == Path(script).name]
        return script, Parser(options, "").parse_args(words)


@pytest.fixture
def sweep(tmp_path):
    return Sweep(tmp_path)


every_script = pytest.mark.parametrize("script", SCRIPTS)


@every_script
@pytest.mark.parametrize(
    "words, seeds",
    [
        ("", [41, 42, 43, 44, 45]),
        ("--seed 7", [7]),
        ("--seed=7", [7]),
        ("--seed_to 42", [41, 42]),
        ("--seed_from 44", [44, 45]),
        ("--seed_from 3 --seed_to 4", [3, 4]),
        ("--seed 7 --seed_from 3 --seed_to 4", [3, 4]),
    ],
)
def test_one_call_serves_all_seeds(sweep, script, words, seeds):
    done = sweep.run(script, "--num_thought_tokens", "0", *words.split())
    assert done.returncode == 0, done.stderr
    called, args = sweep.call()
    assert Path(called).resolve() == ROOT / SCRIPTS[script][0]
    assert (list(args.result_paths()), args.log_dir, args.run_name) == (seeds, "inference_logs", "")


@every_script
@pytest.mark.parametrize("form", ["two words", "one word"])
@pytest.mark.parametrize("start", [0, 5, 8])  # of the values for the options
def test_every_string_arrives_as_it_was_given(sweep, script, form, start):
    options = SCRIPTS[script][1]
    texts = (str, path_or_none, without_slash)
    given = [f for f in fields(options) if not f.metadata["choices"] and f.metadata["check"] in texts]
    given += [f for f in fields(options) if f.name == "log_dir"]
    assert len(given) >= 10
    values = {f.name: value for f, value in zip(given, cycle(AWKWARD[start:] + AWKWARD[:start]), strict=False)}
    for name in values:
        if "thought_tokens" in name:  # three tokens are asked for
            values[name] = f"a{values[name].replace(',', ';')},b,c"
    values["params_file_name"] = "file"
    words = [(f"--{field.name}", values[field.name]) for field in given if field.name != "params_file_name"]
    words = [word for pair in words for word in pair] if form == "two words" else ["=".join(pair) for pair in words]
    done = sweep.run(script, "--params_file_name", "file", *words)
    assert done.returncode == 0, done.stderr
    _, args = sweep.call()
    for field in given:
        assert getattr(args, field.name) == field.metadata["check"](values[field.name]), field.name
    assert list(sweep.folder.iterdir()) == [], "a value was run as a command"


@every_script
def test_the_exit_code_of_a_failing_evaluation_is_passed_on(sweep, script):
    assert sweep.run(script, RECORDER_EXIT="77").returncode == 77
