"""Compare what two versions of the project write: python -m tests.system.guard BEFORE [AFTER]

BEFORE and AFTER are commits or folders of the project; AFTER is this working tree by default. Each version trains
and evaluates tiny random models by the command line, with one thread, in float32, on the same inputs.
Trained weights, loss curves, rows of result files and question blocks of logs are compared.
Evaluation reads projections that this script writes, so a change of training does not reach it.
Exit code 1 if numbers differ by more than --tolerance, or if anything else differs.
The contrastive term and LoRA draw dropout from the global generator. If a change draws in another order,
--no_dropout compares the rest.
"""

import argparse
import concurrent.futures
import io
import json
import math
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file

from tests.tiny import EVALUATED, TRAINED, WIDTHS, WINDOW, make_inputs

ROOT = Path(__file__).resolve().parents[2]
TRAIN = "--output_name guard --batch_size 2 --n_epochs 4 --learning_rate 1e-3"
EVALUATE = "--max_new_tokens 32 --log_dir logs --print_input --print_response"
SOFTCOT, SOFTCOTPP = "--params_file_name ../softcot.bin", "--params_file_name ../softcotpp.bin --num_scaling_times 2"
NCE = "--num_scaling_times 2 --model_name scaling-nce"
# Case -> script, what it adds to TRAIN or EVALUATE.
CASES = {
    "train": ("train_softcot.py", ""),
    "train, accumulation": ("train_softcot.py", "--gradient_accumulation_steps 4"),
    "train, LoRA": ("train_softcot.py", "--tune_base_model"),
    "train, LoRA alone": ("train_softcot.py", "--tune_base_model --num_thought_tokens 0"),
    "train, resumed": ("train_softcot.py", "--resume --n_epochs 20"),
    "train++ scaling": ("train_softcotpp.py", "--num_scaling_times 2"),
    "train++ nce": ("train_softcotpp.py", NCE),
    "train++ nce, accumulation": ("train_softcotpp.py", f"{NCE} --gradient_accumulation_steps 4"),
    "train, plain way": ("train_softcot.py", f"--large_model_id ../{WINDOW}"),
    "evaluate": ("evaluate_softcot.py", SOFTCOT),
    "evaluate, plain way": ("evaluate_softcot.py", f"{SOFTCOT} --base_model_id ../{WINDOW} --greedy"),
    "evaluate, reference": ("evaluate_softcot.py", f"{SOFTCOT} --engine reference"),
    "evaluate, R = 3": ("evaluate_softcot.py", f"{SOFTCOT} --num_return_sequences 3"),
    "evaluate, shuffled": ("evaluate_softcot.py", f"{SOFTCOT} --thoughts shuffled"),
    "evaluate, zero-shot": ("evaluate_softcot.py", "--num_thought_tokens 0"),
    "evaluate++ N = 2, R = 2": ("evaluate_softcotpp.py", f"{SOFTCOTPP} --num_return_sequences 2"),
}
# Runs `script ...` as python does, with torch's functional dropout as the identity.
WITHOUT_DROPOUT = """
import os, runpy, sys, torch
torch.nn.functional.dropout = lambda input, p=0.5, training=True, inplace=False: input
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ENVIRONMENT = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}


class Finding(NamedTuple):
    """One line of the report. size: the largest difference; 0 if equal, infinite if it is not one of numbers."""

    what: str
    size: float
    text: str


# ---- running a version ----


def checked_out(name, folder):
    """Return the folder of a version: `name` if it is one, else `folder` with the files of the commit `name`."""
    if Path(name, "train_softcot.py").is_file():
        return Path(name).resolve()
    done = subprocess.run(["git", "-C", str(ROOT), "archive", "--format=tar", name], capture_output=True)
    if done.returncode:
        sys.exit(f"error: {name} is neither a folder of the project nor a commit: {done.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def write_projections(folder):
    """Write softcot.bin and softcotpp.bin, random projections between the inputs' models."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(WIDTHS["base"], WIDTHS["assistant"], generator=generator) / WIDTHS["assistant"] ** 0.5
    state = {"weight": weight, "bias": torch.randn(WIDTHS["base"], generator=generator)}
    torch.save(state, folder / "softcot.bin")
    state["embedding"] = torch.randn(2, WIDTHS["assistant"], generator=generator)
    torch.save(state, folder / "softcotpp.bin")


def run_case(case, project, folder, no_dropout):
    """Run a case of the version in `project`, its files in `folder`. Return a finding if it failed, else None."""
    script, more = CASES[case]
    common = f"{TRAINED} {TRAIN}" if script.startswith("train") else f"{EVALUATED} {EVALUATE}"
    words = f"{common} {more}".split()
    command = [sys.executable, *(["-c", WITHOUT_DROPOUT] if no_dropout else []), str(project / script), *words]
    folder.mkdir()
    with open(folder / "output", "w") as output:
        options = {"cwd": folder, "env": ENVIRONMENT, "stdout": output, "stderr": subprocess.STDOUT}
        if "--resume" in words and not interrupt(subprocess.Popen(command, **options), folder):
            return Finding(folder.name, math.inf, "the training was not interrupted between a checkpoint and its end")
        code = subprocess.run(command, **options).returncode
    lines = (folder / "output").read_text(errors="replace").strip().splitlines() or ["no output"]
    return Finding(folder.name, math.inf, f"exit code {code}: {lines[-1][:300]}") if code else None


def interrupt(process, folder):
    """End a training by SIGTERM as soon as it has a checkpoint. Return whether it stopped there."""
    while process.poll() is None and not any(folder.glob("ckpt/*/checkpoint*")):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    return process.wait() != 0 and any(folder.glob("ckpt/*/checkpoint*"))


# ---- comparing what two versions wrote ----


def numbers(path):
    """Return name -> tensor of a file of weights, or "loss, step 10" -> value of a loss.json."""
    if path.suffix != ".json":
        return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    entries = json.loads(path.read_text(encoding="utf-8"))
    names = ("loss", "eval_loss", "token", "contrastive")
    return {f"{name}, step {e['step']}": torch.tensor(e[name]) for e in entries for name in names if name in e}


def compare_numbers(what, before, after):
    """Compare two files of `numbers`. Of curves, points that only one has are listed; of weights, they differ."""
    curve, before, after = before.suffix == ".json", numbers(before), numbers(after)
    shared, alone = sorted(before.keys() & after.keys()), before.keys() ^ after.keys()
    names = sorted({name.split(", step")[0] for name in alone})
    note = f"; only one has {len(alone)} of {', '.join(names)}" if alone else ""
    kinds = [{name: (side[name].shape, side[name].dtype) for name in shared} for side in (before, after)]
    if not shared or kinds[0] != kinds[1] or (alone and not curve):
        return Finding(what, math.inf, f"shapes or types differ: {kinds[0]} and {kinds[1]}{note}")
    size = max((before[name].double() - after[name].double()).abs().max().item() for name in shared)
    text = f"largest difference {size:.3g} in {len(shared)} {'points' if curve else 'tensors'}{note}"
    return Finding(what, size if math.isfinite(size) else math.inf, text)


def rows(path):
    """Return index -> row of a result file, or number -> {"block": text} of a log's question blocks."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        found = map(json.loads, text.split("\n")[:-1])  # splitlines() also splits at U+2028
        return {row["index"]: row for row in found if "index" in row}
    blocks = text.split(f"\n{'-' * 20}\n")[:-1]
    starts = re.compile("^Args: .*?(?=^Ground Truth)", re.M | re.S)  # may differ: the options' names are in it
    return {number: {"block": starts.sub("", block)} for number, block in enumerate(blocks, 1)}


def compare_rows(what, before, after):
    """Compare two files of `rows` on the keys that both have; the first difference is shown."""
    before, after = rows(before), rows(after)
    if not before or list(before) != list(after):
        return Finding(what, math.inf, f"{len(before)} and {len(after)} rows: {list(before)} and {list(after)}")
    alone = sorted({key for index in before for key in before[index].keys() ^ after[index].keys()})
    note = f"; only one has {', '.join(alone)}" if alone else ""
    pairs = [
        (index, key, json.dumps(value, ensure_ascii=False), json.dumps(after[index][key], ensure_ascii=False))
        for index in before
        for key, value in before[index].items()
        if key in after[index]
    ]
    differ = [pair for pair in pairs if pair[2] != pair[3]]
    if not differ:
        return Finding(what, 0.0, f"{len(before)} rows are equal{note}")
    index, key, a, b = differ[0]
    place = max(len(os.path.commonprefix([a, b])) - 30, 0)
    count = len({index for index, *_ in differ})
    shown = f"\n       row {index}, {key}\n       - {a[place : place + 100]}\n       + {b[place : place + 100]}"
    return Finding(what, math.inf, f"{count} of {len(before)} rows differ{note}{shown}")


COMPARED = {
    "ckpt/*/projection.bin": compare_numbers,
    "ckpt/*/base_model/adapter_model.safetensors": compare_numbers,
    "results/*/loss.json": compare_numbers,
    "logs/*.jsonl": compare_rows,
    "logs/*.log": compare_rows,
}


def compare(case, before, after):
    """Return the findings of a case from the folders that the two versions left."""
    findings = []
    for pattern, of_kind in COMPARED.items():
        if "loss" in pattern and "resumed" in case:
            continue  # a logged loss is a mean since the last one, or since the interruption
        for name in sorted({file.relative_to(side) for side in (before, after) for file in side.glob(pattern)}):
            what = f"{case}: {'/'.join(name.parts[1:])}"
            there = [(side / name).is_file() for side in (before, after)]
            if not all(there):
                findings.append(Finding(what, math.inf, f"absent {'after' if there[0] else 'before'}"))
            elif (before / name).read_bytes() == (after / name).read_bytes():
                findings.append(Finding(what, 0.0, "equal bytes"))
            else:
                findings.append(of_kind(what, before / name, after / name))
    return findings or [Finding(case, math.inf, "nothing was written that can be compared")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", metavar="BEFORE", help="commit, or folder of the project")
    parser.add_argument("after", metavar="AFTER", nargs="?", default=str(ROOT), help="default: this working tree")
    parser.add_argument("--tolerance", type=float, default=0.0, help="of weights and losses (default 0)")
    parser.add_argument("--no_dropout", action="store_true", help="run both with torch's functional dropout disabled")
    parser.add_argument("--only", default="", metavar="WORD", help="run the cases whose names hold this")
    args = parser.parse_args()
    findings = []
    with tempfile.TemporaryDirectory(prefix="guard-") as work, concurrent.futures.ThreadPoolExecutor(2) as two:
        work = Path(work)
        projects = [checked_out(args.before, work / "before"), checked_out(args.after, work / "after")]
        make_inputs(work)
        write_projections(work)
        for case in [case for case in CASES if args.only in case]:
            folders = [work / f"{case} before", work / f"{case} after"]
            failed = two.map(run_case, [case] * 2, projects, folders, [args.no_dropout] * 2)
            for finding in list(filter(None, failed)) or compare(case, *folders):
                verdict = "DIFF" if finding.size > args.tolerance else "same"
                print(f"{verdict}  {finding.what}: {finding.text}", flush=True)
                findings.append(finding)
    differ = sum(finding.size > args.tolerance for finding in findings)
    print(f"{len(findings)} comparisons, {differ} of them beyond the tolerance of {args.tolerance:g}")
    sys.exit(1 if differ or not findings else 0)


if __name__ == "__main__":
    main()
