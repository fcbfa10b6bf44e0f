"""Runs of the scripts on two tiny models, in this process or in a forked one that may be killed (see conftest.py)."""

import os
import signal
from pathlib import Path

from tests.system import soak

EPOCHS = 2
STEPS = 3  # an epoch: 6 examples, 2 a batch
RUN = Path("ckpt/soak-gsm8k-2.0-3-base-assistant")
RUN_PP = Path("ckpt/soak-gsm8k-2.0-3-2-base-assistant-nce")
TRAIN = [*soak.TRAIN, "--n_epochs", str(EPOCHS), "--k_shot", "6"]
EVALUATE = [*soak.EVALUATE, "--test_k", "4", "--max_new_tokens", "8"]
ANSWERS = "gsm8k--seed_{}-ntt_3-nrs_1-base-assistant.jsonl"


def refused(outcome):
    """The one line of a refusal."""
    (code, line), _ = outcome
    assert code == 1
    return line


def stopped(script, arguments, folder, is_time, signum=signal.SIGKILL):
    """Send a signal to a run in a forked process when `is_time()`; return its exit code."""
    process = soak.start(script, arguments, folder)
    while not is_time():
        if (code := soak.end_of(process, 0.001)) is not None:
            return code
    os.kill(process, signum)
    return soak.end_of(process)


def params(name="whole", run_folder=RUN):
    return ["--params_file_name", f"../{name}/{run_folder}/projection.bin"]
