"""Kill and restart training and evaluation at random moments: python -m benchmarks.soak

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
from benchmarks.tiny import EVALUATED, TRAINED, make_inputs
from experiment.results import read_result_file
from model.checkpoint import newest_checkpoint, step_of
from utils import run_main

LAZY = (
    "accelerate",
    "matplotlib.pyplot",
    "torch.utils.tensorboard",
    "transformers.models.llama.modeling_llama",
    "transformers.generation.utils",
)  # what the scripts import later on
CHAINS = ["--num_scaling_times", "2", "--model_name", "scaling-nce"]
TRAIN = f"{TRAINED} --output_name soak --batch_size 2 --n_epochs 4 --learning_rate 1e-3".split()
EVALUATE = f"{EVALUATED} --max_new_tokens 24 --eval_batch_size 4 --print_response --log_dir logs".split()
RUN = "ckpt/soak-gsm8k-4.0-3{chains}-base-assistant{nce}"
METHODS = {
    "softcot": (train_softcot, evaluate_softcot, [], RUN.format(chains="", nce="")),
    "softcotpp": (train_softcotpp, evaluate_softcotpp, CHAINS, RUN.format(chains="-2", nce="-nce")),
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
        sys.exit(
            f"error: {script.__name__} in {folder} ended with code {code}:\n"
            + (folder / "output").read_text(errors="replace")[-2000:]
        )
    return time.monotonic() - begin


def rows(folder):
    """Return (file, index) -> finished row."""
    files = {file.name: read_result_file(file) for file in (folder / "logs").glob("*.jsonl")}
    return {(name, row["index"]): row for name, found in files.items() if found for row in found[1]}


def newest(run):
    """Return the step of a run's newest whole checkpoint, 0 without one."""
    found = newest_checkpoint(run)
    return step_of(found[0]) if found else 0


class Count:
    """What the summary holds."""

    def __init__(self):
        self.train_kills = self.eval_kills = self.train_terminated = self.eval_terminated = 0
        self.lost, self.runs, self.identical_runs = [], 0, 0


def disturbed(kind, script, arguments, folder, seconds, state, kept, count, dice, left):
    """Start and kill until a start ends. `state(folder)` sees what is finished, `kept(folder, before)` what of it
    a start that ended or was killed has lost; left(): kills still to do."""
    while True:
        before = state(folder)
        process = start(script, arguments, folder)
        code = end_of(process, dice.uniform(0, 1.1 * seconds) if left() else None)
        signum = None
        if code is None:
            signum = signal.SIGTERM if dice.random() < 0.2 else signal.SIGKILL
            os.kill(process, signum)
            code = end_of(process)
        name = {-signal.SIGKILL: "kills", 128 + signal.SIGTERM: "terminated", -signal.SIGTERM: "terminated"}.get(code)
        if name and signum:
            setattr(count, f"{kind}_{name}", getattr(count, f"{kind}_{name}") + 1)
        elif code:
            count.lost.append(
                f"{folder.name}: exit code {code}: " + (folder / "output").read_text(errors="replace").strip()[-300:]
            )
            return
        count.lost += [f"{folder.name}: {what}" for what in kept(folder, before)]
        if code == 0:
            return


def soak_training(work, method, count, dice, target, deadline):
    """Kill trainings of a method until `count.train_kills` is `target`."""
    script, _, more, run = METHODS[method]
    arguments = [*TRAIN, *more, "--resume"]
    seconds = finish(script, arguments, work / f"{method}-whole")
    whole = (work / f"{method}-whole" / run / "projection.bin").read_bytes()

    def kept(folder, before):
        resumed = re.search(r"resuming from \S*checkpoint-(\d+)", (folder / "output").read_text(errors="replace"))
        at = int(resumed[1]) if resumed else 0
        announced = "resuming from" in (folder / "output").read_text(errors="replace")
        if announced and at < before:
            yield f"resumed from step {at}, a checkpoint of step {before} was there"
        if newest(folder / run) < before:
            yield f"the checkpoint of step {before} is gone"

    def left():
        return count.train_kills < target and time.monotonic() < deadline

    while left():
        folder = work / f"{method}-train-{count.runs}"
        disturbed("train", script, arguments, folder, seconds, lambda f: newest(f / run), kept, count, dice, left)
        count.runs += 1
        same = (folder / run / "projection.bin").is_file() and (folder / run / "projection.bin").read_bytes() == whole
        litter = [path.name for path in (folder / run).glob(".*.tmp")]
        count.identical_runs += same and not litter
        shutil.rmtree(folder)


def soak_evaluation(work, method, count, dice, target, deadline):
    """Do the same to evaluations, with the projection of the undisturbed training."""
    _, script, more, run = METHODS[method]
    arguments = [*EVALUATE, *more, "--params_file_name", f"../{method}-whole/{run}/projection.bin"]
    seconds = finish(script, arguments, work / f"{method}-answers")
    whole = rows(work / f"{method}-answers")

    def kept(folder, before):
        after = rows(folder)
        for key, line in before.items():
            if after.get(key) != line:
                yield f"row {key} is gone or another"

    def left():
        return count.eval_kills < target and time.monotonic() < deadline

    while left():
        folder = work / f"{method}-eval-{count.runs}"
        disturbed("eval", script, arguments, folder, seconds, rows, kept, count, dice, left)
        count.runs += 1
        count.identical_runs += rows(folder) == whole
        shutil.rmtree(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train_kills", type=int, default=60, help="SIGKILLs of training (default 60)")
    parser.add_argument("--eval_kills", type=int, default=60, help="SIGKILLs of evaluation (default 60)")
    parser.add_argument("--minutes", type=float, default=20, help="no new kill after this time (default 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--out", default="results/soak", help="folder of summary.json (default results/soak)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    for name in LAZY:
        importlib.import_module(name)
    begin, dice, count = time.monotonic(), random.Random(args.seed), Count()
    deadline = begin + 60 * args.minutes
    with tempfile.TemporaryDirectory(prefix="soak-") as work:
        work = Path(work)
        make_inputs(work)
        finish(train_softcot, TRAIN, work / "first")  # slower than all that follow, which measure the time
        for part, method in enumerate(METHODS, 1):  # each method gets its share of kills and time
            share = part / len(METHODS)
            until = begin + (deadline - begin) * (share - 0.5 / len(METHODS))
            soak_training(work, method, count, dice, round(args.train_kills * share), until)
            until = begin + (deadline - begin) * share
            soak_evaluation(work, method, count, dice, round(args.eval_kills * share), until)
            print(
                f"{method}: {count.train_kills} kills of training, {count.eval_kills} of evaluation so far, "
                f"{len(count.lost)} losses",
                flush=True,
            )
    summary = {
        "train_kills": count.train_kills,
        "eval_kills": count.eval_kills,
        "lost": len(count.lost),
        "identical": count.runs > 0 and count.identical_runs == count.runs,
        "runs": count.runs,
        "identical_runs": count.identical_runs,
        "train_terminated": count.train_terminated,
        "eval_terminated": count.eval_terminated,
        "losses": count.lost[:20],
        "seed": args.seed,
        "seconds": round(time.monotonic() - begin),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": platform.platform(),
    }
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(summary, indent=2))
    if count.lost or not summary["identical"]:
        sys.exit("error: something was lost or differs; see above")


if __name__ == "__main__":
    main()
