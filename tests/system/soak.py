"""Kill and restart training and evaluation at random moments: python -m tests.system.soak

Tiny random models, the project's own scripts. Every start is a real process, forked after the imports
(which take longer than the run), that gets SIGKILL after a random time, some SIGTERM; the next start goes
on (training with --resume) until one ends. What is there then must be what an undisturbed run left:
the same bits of projection.bin, the same rows of every result file. Also counted as lost: a whole
checkpoint that the next start did not resume from or after, a finished row that is gone or changed.
Writes results/soak/summary.json; exit code 1 where anything was lost or differs.
"""

import argparse
import importlib
import json
import os
import platform
import random
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import torch
import transformers
from tqdm import tqdm

import evaluate_softcot
import evaluate_softcotpp
import train_softcot
import train_softcotpp
from experiment.results import read_result_file
from model.checkpoint import newest_checkpoint, read_step
from tests.tiny import EVALUATED, TRAINED, make_inputs
from tests.warm import LATER
from utils import run_main, write_json

OUT = Path("results/soak")
CHAINS = ["--num_scaling_times", "2", "--model_name", "scaling-nce"]
TRAIN = f"{TRAINED} --output_name soak --batch_size 2 --n_epochs 4 --learning_rate 1e-3".split()
EVALUATE = f"{EVALUATED} --max_new_tokens 24 --eval_batch_size 4 --print_response --log_dir logs".split()
METHODS = {
    "softcot": (train_softcot, evaluate_softcot, [], "ckpt/soak-gsm8k-4.0-3-base-assistant"),
    "softcotpp": (train_softcotpp, evaluate_softcotpp, CHAINS, "ckpt/soak-gsm8k-4.0-3-2-base-assistant-nce"),
}


def start(script, arguments, folder):
    """Fork a process that runs a script's main in `folder`, its output in the file `output`; returns its id."""
    folder.mkdir(exist_ok=True)
    (folder / "output").write_text("")  # a child killed at once must not leave the words of the one before it
    sys.stdout.flush()
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        torch.set_num_threads(1)  # a pool of threads does not survive the fork
        tqdm.set_lock(threading.RLock())  # the parent's, shared by the fork, would stay locked after a kill
        os.chdir(folder)
        sys.stdout = sys.stderr = open("output", "w", buffering=1, encoding="utf-8")  # noqa: SIM115 - to the end
        os.dup2(sys.stdout.fileno(), 1)
        os.dup2(sys.stdout.fileno(), 2)
        sys.argv = [f"{script.__name__}.py", *arguments]
        run_main(script.main, **getattr(script, "ADVICE", {}))
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        print(stop.code, flush=True)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def end_of(process, limit=None):
    """Return a process's exit code (minus the signal that killed it), None if it still runs after `limit` seconds."""
    until = time.monotonic() + (limit or 1e9)
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > until:
            return None
        time.sleep(0.002)


def finish(script, arguments, folder):
    """Run a script to its end; returns the seconds it took."""
    begin = time.monotonic()
    if code := end_of(start(script, arguments, folder)):
        sys.exit(f"error: {script.__name__} in {folder} ended with code {code}:\n{output_of(folder)[-2000:]}")
    return time.monotonic() - begin


def output_of(folder):
    return (folder / "output").read_text(errors="replace")


class Training:
    """A training of the run `run`: what is finished is its newest whole checkpoint's step."""

    def __init__(self, script, arguments, run):
        self.kind, self.script, self.arguments, self.run = "train", script, [*arguments, "--resume"], run

    def finished(self, folder):
        newest = newest_checkpoint(folder / self.run)
        return read_step(newest[0]) if newest else 0

    def lost(self, folder, before):
        resumed = re.search(r"resuming from \S*checkpoint-(\d+)", output_of(folder))
        if resumed and int(resumed[1]) < before:
            yield f"resumed from step {resumed[1]}, a checkpoint of step {before} was there"
        if self.finished(folder) < before:
            yield f"the checkpoint of step {before} is gone"

    def result(self, folder):
        """Return the bytes of the projection, and what a start has left half written."""
        file = folder / self.run / "projection.bin"
        return file.read_bytes() if file.is_file() else None, [path.name for path in file.parent.glob(".*.tmp")]


class Evaluation:
    """An evaluation: what is finished are its rows, by (file, index)."""

    def __init__(self, script, arguments):
        self.kind, self.script, self.arguments = "eval", script, arguments

    def finished(self, folder):
        files = {file.name: read_result_file(file) for file in (folder / "logs").glob("*.jsonl")}
        return {(name, row["index"]): row for name, found in files.items() if found for row in found[1]}

    result = finished

    def lost(self, folder, before):
        after = self.finished(folder)
        yield from (f"row {key} is gone or another" for key, row in before.items() if after.get(key) != row)


def disturb(job, folder, seconds, count, dice, left):
    """Start a job and kill it until a start ends. seconds: of a start; left(): whether there are kills still to do."""
    while True:
        before = job.finished(folder)
        process = start(job.script, job.arguments, folder)
        code, signum = end_of(process, dice.uniform(0, 1.1 * seconds) if left() else None), None
        if code is None:
            signum = signal.SIGTERM if dice.random() < 0.2 else signal.SIGKILL
            os.kill(process, signum)
            code = end_of(process)
        name = {-signal.SIGKILL: "kills", 128 + signal.SIGTERM: "terminated", -signal.SIGTERM: "terminated"}.get(code)
        if name and signum:
            count[f"{job.kind}_{name}"] += 1
        elif code:
            count["losses"].append(f"{folder.name}: exit code {code}: {output_of(folder).strip()[-300:]}")
            return
        count["losses"] += [f"{folder.name}: {what}" for what in job.lost(folder, before)]
        if code == 0:
            return


def soak(job, whole, count, dice, target, deadline):
    """Disturb runs of a job until `target` starts were killed. whole: the folder for an undisturbed run."""
    seconds = finish(job.script, job.arguments, whole)
    expected = job.result(whole)

    def left():
        return count[f"{job.kind}_kills"] < target and time.monotonic() < deadline

    while left():
        folder = whole.parent / f"{whole.name}-{count['runs']}"
        disturb(job, folder, seconds, count, dice, left)
        count["runs"] += 1
        count["identical_runs"] += job.result(folder) == expected
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_kills", type=int, default=60, help="SIGKILLs of training (default 60)")
    parser.add_argument("--eval_kills", type=int, default=60, help="SIGKILLs of evaluation (default 60)")
    parser.add_argument("--minutes", type=float, default=20, help="no new kill after this time (default 20)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for name in LATER:
        importlib.import_module(name)
    begin, dice = time.monotonic(), random.Random(0)
    names = ("train_kills", "eval_kills", "train_terminated", "eval_terminated", "runs", "identical_runs")
    count = dict.fromkeys(names, 0) | {"losses": []}
    with tempfile.TemporaryDirectory(prefix="soak-") as work:
        work = Path(work)
        make_inputs(work)
        finish(train_softcot, TRAIN, work / "first")  # slower than all that follow, which measure the time
        for part, (method, (train, evaluate, more, run)) in enumerate(METHODS.items(), 1):
            projection = ["--params_file_name", f"../{method}-train/{run}/projection.bin"]
            jobs = Training(train, [*TRAIN, *more], run), Evaluation(evaluate, [*EVALUATE, *more, *projection])
            for half, job in enumerate(jobs, 1):  # each gets its share of kills and time
                target = round(getattr(args, f"{job.kind}_kills") * part / len(METHODS))
                until = begin + 60 * args.minutes * (2 * part - 2 + half) / (2 * len(METHODS))
                soak(job, work / f"{method}-{job.kind}", count, dice, target, until)
            print(f"{method}: {count} so far", flush=True)
    summary = count | {
        "lost": len(count["losses"]),
        "identical": count["runs"] > 0 and count["identical_runs"] == count["runs"],
        "losses": count["losses"][:20],
        "seconds": round(time.monotonic() - begin),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": platform.platform(),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    write_json(summary, OUT / "summary.json")
    print(json.dumps(summary, indent=2))
    if summary["lost"] or not summary["identical"]:
        sys.exit("error: something was lost or differs; see above")


if __name__ == "__main__":
    main()
