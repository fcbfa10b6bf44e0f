"""The scripts run by command lines, as a user would, on tiny models named as the documented ones."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from experiment.results import read_result_file

ROOT = Path(__file__).resolve().parent.parent
SMALL = "--data_dir {data} --dtype float32"


def environment():
    """Return the variables of the commands. New interpreters are not traced: they import for most of their time."""
    return {
        **{name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"},
        "HF_HUB_OFFLINE": "1",
        "PYTHON": os.environ.get("WARM_PYTHON", sys.executable),
    }


def shell(command, cwd, code=0, **values):
    """Run a command line in `cwd`, the project's scripts by their full path; expect an exit code."""
    command = re.sub(r"\b(\w+\.(?:py|sh))\b", lambda match: f"'{ROOT}'/{match[1]}", command, count=1)
    command = command.replace("python ", '"$PYTHON" ', 1)
    done = subprocess.run(
        ["bash", "-c", command.format(**values)],
        cwd=cwd,
        env=environment(),
        text=True,
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == code, f"exit code {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done


def rows_of(path):
    return read_result_file(path)[1]


def save_data(folder):
    """A GSM8K-style folder: short examples of different lengths."""
    for name, count in (("train", 6), ("test", 4)):
        lines = (ROOT / "data" / "mini" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        short = [line for line in lines if len(json.loads(line)["answer"]) < 90][:count]
        (folder / f"{name}.jsonl").write_text("\n".join(short) + "\n", encoding="utf-8")
