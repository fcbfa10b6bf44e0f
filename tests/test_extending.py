"""One task, family, slot mode, switch and engine more, each by the lines that README's section "Extending" names."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.commands import ROOT, environment, rows_of
from tests.tiny import make_inputs

TEMPLATE = '{% extends "gsm8k.jinja" %}{% block task %}\nGuess the riddle.\n{% endblock %}'
# It answers with one token, whose id is the mean of the slot's vectors plus `more`.
ENGINE = """
class Engine:
    def __init__(self, more):
        self.more = more

    def generate(self, requests, max_new_tokens):
        for request in requests:
            yield request, [int(request.tail[:3].mean()) + self.more]
"""
# File, a text in it, and what is put before that text.
LINES = (
    (
        "data_loader/tasks.py",
        '        Task(\n            "gsm8k"',
        '        Task("riddle", _named(("{split}.jsonl",)), "number"),\n',
    ),
    (
        "model/backbone.py",
        '    (\n        ("llama",),\n',
        '    (("llama",), ThoughtTokens("tiny", "<|endoftext|>", "<begin>", "<end>", 20, 10)),\n',
    ),
    (
        "model/slot.py",
        '    "projected": Mode(',
        '    "ones": Mode("ones", "Ones", lambda slot, examples, _: slot.table.new_ones(len(examples), 1, 3, 48)),\n',
    ),
    (
        "experiment/protocol.py",
        "    token_loss_pairs: str",
        '    more: str = switch(("40", "41"), "41", EVALUATION, does="a", effect="b")\n',
    ),
    (
        "experiment/setup.py",
        '    if args.engine == "transformers":',
        '    if args.engine == "constant":\n        return __import__("constant").Engine(int(args.switches().more))\n',
    ),
    ("experiment/options.py", '"transformers", "vllm"', '"constant", '),
)
BOTH = """
import shlex, sys
import evaluate_softcot, train_softcot
for script, options in zip((train_softcot, evaluate_softcot), sys.argv[1:]):
    sys.argv = [script.__name__, *shlex.split(options)]
    script.main()
"""


@pytest.mark.slow
def test_one_more_of_each_is_used(tmp_path):
    project = tmp_path / "project"
    for room in ("data_loader", "model", "experiment", "report"):
        shutil.copytree(ROOT / room, project / room, ignore=shutil.ignore_patterns("__pycache__"))
    for script in ("utils.py", "train_softcot.py", "evaluate_softcot.py"):
        shutil.copy(ROOT / script, project)
    for name, text, line in LINES:
        code = (project / name).read_text(encoding="utf-8")
        assert text in code, name
        (project / name).write_text(code.replace(text, line + text, 1), encoding="utf-8")
    (project / "constant.py").write_text(ENGINE, encoding="utf-8")
    (project / "data_loader/prompts/riddle.jinja").write_text(TEMPLATE, encoding="utf-8")
    make_inputs(tmp_path)
    task = "--task_name riddle --data_dir ../data --dtype float32 --num_thought_tokens 3"
    train = f"{task} --large_model_id ../base --small_model_id ../assistant --n_epochs 1 --k_shot 2 --output_name out"
    more = "--thoughts ones --engine constant --more 41 --print_input --print_response"
    evaluate = f"{task} --base_model_id ../base --assistant_model_id ../assistant --test_k 2 {more}"
    command = [sys.executable, "-c", BOTH, train, evaluate]
    done = subprocess.run(command, cwd=project, env=environment(), text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads((project / "ckpt/out-riddle-1.0-3-base-assistant/run.json").read_text(encoding="utf-8"))
    assert record["base_family"] == record["assistant_family"] == "tiny"
    (file,) = (project / "inference_logs").glob("*.jsonl")
    record = json.loads(file.read_text(encoding="utf-8").splitlines()[0])["run"]
    assert (record["more"], record["thoughts"], record["engine"]) == ("41", "ones", "constant")
    rows = rows_of(file)
    assert all("Guess the riddle." in row["input"] for row in rows) and ", Ones" in done.stdout
    assert [row["responses"] for row in rows] == [["F"], ["F"]]  # id 42: the mean 1 and 41
