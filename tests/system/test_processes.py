"""Training with several processes and with gradient accumulation ends in the weights of one process and one batch."""

import importlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from model.checkpoint import checkpoints, read_checkpoint
from tests.commands import ROOT, environment
from tests.tiny import TOKEN_OPTIONS
from utils import UserError

TRAIN = (
    "python train_softcot.py --large_model_id {i}/base --small_model_id {i}/assistant --data_dir {i}/data "
    f"--dtype float32 --num_thought_tokens 4 --learning_rate 1e-3 --k_shot 5 --dev_k 4 {TOKEN_OPTIONS}"
)


def torchrun(command, cwd, code=0, meanwhile=None, **values):
    """Run a command line with two processes; meanwhile(process) is called while they run."""
    words = shlex.split(command.format(**values))
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc_per_node=2",
            "--no-python",
            environment()["PYTHON"],
            str(ROOT / words[1]),
            *words[2:],
        ],
        cwd=cwd,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if meanwhile:
        meanwhile(process)
    stdout, stderr = process.communicate(timeout=300)
    assert process.returncode == code, f"exit code {process.returncode}\n{stdout[-3000:]}\n{stderr[-3000:]}"
    return subprocess.CompletedProcess(words, code, stdout, stderr)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Run a command line in this process, in `tmp_path`."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")
    monkeypatch.chdir(tmp_path)

    def run(command, **values):
        words = shlex.split(command.format(**values))
        monkeypatch.setattr(sys, "argv", words[1:])
        importlib.import_module(words[1].removesuffix(".py")).main()

    return run


def projection(folder, name):
    (path,) = (folder / "ckpt").glob(f"{name}-*/projection.bin")
    return torch.load(path, weights_only=True)


def logged(folder, name, what):
    (path,) = (folder / "results").glob(f"{name}-*/loss.json")
    return [entry[what] for entry in json.loads(path.read_text(encoding="utf-8")) if what in entry]


def difference(one, other):
    assert one.keys() == other.keys()
    return max((one[key] - other[key]).abs().max().item() for key in one)


@pytest.mark.slow
def test_two_processes_and_accumulation_end_in_the_weights_of_the_whole_batch(inputs, tmp_path, here):
    # Five examples, four a step: in the second step, process 1 has none.
    here(f"{TRAIN} --output_name one --batch_size 4 --n_epochs 2", i=inputs)
    accumulated = "--batch_size 1 --gradient_accumulation_steps 2 --n_epochs 2"
    done = torchrun(f"{TRAIN} --output_name two {accumulated}", tmp_path, i=inputs)
    assert done.stdout.count("5 training examples") == 1 and done.stdout.count("Wrote ") == 1
    assert "Traceback" not in done.stderr
    one, two = (projection(tmp_path, name) for name in ("one", "two"))
    assert difference(one, two) < 1e-5
    assert logged(tmp_path, "two", "eval_loss") == pytest.approx(logged(tmp_path, "one", "eval_loss"), abs=1e-5)

    # The thought states of two processes are those of one, in the same order; no part is left over.
    states = {name: sorted((tmp_path / "ckpt").glob(f"{name}-*/thoughts-*.bin")) for name in ("one", "two")}
    assert [path.name for path in states["one"]] == [path.name for path in states["two"]]
    for ours, theirs in zip(states["one"], states["two"], strict=True):
        ours, theirs = (torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.float32) for path in (ours, theirs))
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert not list((tmp_path / "ckpt").glob("*/.*.tmp"))

    # What two processes began, one continues, with the same product of processes, batch and accumulation only.
    (run,) = (tmp_path / "ckpt").glob("two-*")
    for name in ("projection.bin", "run.json", "checkpoint-4.pt"):
        (run / name).unlink()
    with pytest.raises(UserError, match="global_batch_size was 4, now 3"):
        here(f"{TRAIN} --output_name two --batch_size 3 --n_epochs 2 --resume", i=inputs)
    here(f"{TRAIN} --output_name two --batch_size 4 --n_epochs 2 --resume", i=inputs)
    assert difference(two, projection(tmp_path, "two")) < 1e-5


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one_with_softcotpp(inputs, tmp_path, here):
    command = TRAIN.replace("softcot", "softcotpp") + " --num_scaling_times 3 --n_epochs 1 --output_name"
    here(f"{command} one --batch_size 2", i=inputs)
    torchrun(f"{command} two --batch_size 1", tmp_path, i=inputs)
    assert logged(tmp_path, "two", "loss") == pytest.approx(logged(tmp_path, "one", "loss"), rel=1e-5)
    assert difference(projection(tmp_path, "one"), projection(tmp_path, "two")) < 1e-5


@pytest.mark.slow
def test_an_error_of_all_processes_is_printed_once(inputs, tmp_path):
    shutil.copytree(inputs / "data", tmp_path / "data")
    (tmp_path / "data/train.jsonl").write_text("{not json\n", encoding="utf-8")
    done = torchrun(f"{TRAIN} --data_dir data --output_name bad", tmp_path, code=1, i=inputs)
    assert done.stderr.count("error: ") == 1
    assert not (tmp_path / "ckpt").exists()


def child_of(process, rank):
    """Id of the process of that rank, of those that torchrun started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return next(
        int(child)
        for child in children
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
    )


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_after_a_checkpoint(inputs, tmp_path, here):
    command = f"{TRAIN} --n_epochs 20 --output_name"
    here(f"{command} whole --batch_size 2", i=inputs)
    folder = tmp_path / "ckpt" / "stopped-gsm8k-20.0-4-base-assistant"

    def stop(process):
        while not checkpoints(folder) and process.poll() is None:
            time.sleep(0.01)
        os.kill(child_of(process, 1), signal.SIGTERM)

    done = torchrun(f"{command} stopped --batch_size 1", tmp_path, code=1, meanwhile=stop, i=inputs)
    assert done.stderr.count("stopped by SIGTERM") == 1
    assert not (folder / "projection.bin").exists() and not list(folder.glob(".*"))
    newest = checkpoints(folder)[0]
    assert read_checkpoint(newest) and 3 <= int(newest.stem.split("-")[1]) < 60
    here(f"{command} stopped --batch_size 2 --resume", i=inputs)
    assert difference(projection(tmp_path, "whole"), projection(tmp_path, "stopped")) < 1e-5
