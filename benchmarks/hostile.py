"""Hostile runs of the scripts, counted by area: python -m benchmarks.hostile [AREA ...]

Tiny random models, the project's own scripts. A case of benchmarks/hostile_cases.py is a command line and what is
edited, damaged or removed before it. Each runs in a forked process, in a new folder. Its outcome is one of:

- clear error: one line that names what is wrong; exit code not 0; no file lost, cut or half written;
- accepted: exit code 0, with the undisturbed run's answers, or with a note that says what is unusual;
- traceback;
- silently wrong: accepted though it is wrong, or other answers without a note;
- refused: an error, but not the clear one that is expected.

Writes the counts of the areas that run into benchmarks/results/hostile.json. Exit code 1 if a case has none of the
first two outcomes.
"""

import argparse
import contextlib
import ctypes
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import traceback
from collections import Counter
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer

import ask
import evaluate_softcot
import evaluate_softcotpp
import summarize_results
import train_softcot
import train_softcotpp
from benchmarks.hostile_cases import AREAS
from benchmarks.soak import CHAINS, EVALUATE, LAZY, TRAIN
from benchmarks.tiny import TOKENS, make_inputs
from experiment.results import read_result_file
from utils import run_main, write_json

ROOT = Path(__file__).resolve().parent.parent
RUN, RUN_PP = "ckpt/soak-gsm8k-1.0-3-base-assistant", "ckpt/soak-gsm8k-1.0-3-2-base-assistant-nce"
LLAMA_TOKENS = ["<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"]
TRAIN = [*TRAIN, "--n_epochs", "1", "--k_shot", "4", "--dev_k", "2"]
EVALUATE = [*EVALUATE, "--test_k", "3", "--max_new_tokens", "4"]
SETTINGS = "--data_dir ../data --dtype float32 --device cpu --num_thought_tokens 3"
ASKED = f"--dtype float32 --device cpu --max_new_tokens 4 {TOKENS} --params_file_name {RUN}/projection.bin"
LLAMA_TRAINED = "--large_model_id ../llama --small_model_id ../llama --output_name pub"
LLAMA_EVALUATED = "--base_model_id ../llama --assistant_model_id ../llama --thoughts untrained"
CLONE = f"--published_code ../clone {SETTINGS}"
# The first word of a case's command -> script, its options before those of the case.
COMMANDS = {
    "train": (train_softcot, TRAIN),
    "train++": (train_softcotpp, [*TRAIN, *CHAINS]),
    "evaluate": (evaluate_softcot, [*EVALUATE, "--params_file_name", f"{RUN}/projection.bin"]),
    "evaluate++": (evaluate_softcotpp, [*EVALUATE, *CHAINS, "--params_file_name", f"{RUN_PP}/projection.bin"]),
    "ask": (ask, ASKED.split()),
    "summarize": (summarize_results, ["--no_plots", "--resamples", "100"]),
    "train-published": (train_softcot, f"{CLONE} {LLAMA_TRAINED} --n_epochs 1 --k_shot 2 --dev_k 1".split()),
    "evaluate-published": (evaluate_softcot, f"{CLONE} {LLAMA_EVALUATED} --test_k 2 --max_new_tokens 2".split()),
}
RESULTS = ROOT / "benchmarks" / "results" / "hostile.json"
OUTCOMES = ("clear error", "accepted", "traceback", "silently wrong", "refused")


def make_template(folder):
    """Make the folder that each case gets a copy of: models, data, a clone, and in `work` what runs have written."""
    (folder / "work").mkdir(parents=True)
    make_inputs(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    tokenizer.add_special_tokens({"additional_special_tokens": LLAMA_TOKENS})
    tokenizer.save_pretrained(folder / "llama")
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder / "llama")
    (folder / "clone").mkdir()
    shutil.copy(ROOT / "tests" / "published_stand_in.py", folder / "clone" / "utils.py")
    shutil.copytree(ROOT / "data_loader" / "prompts", folder / "prompts")
    for command in ("train", "train++", "evaluate", "evaluate --num_thought_tokens 0"):
        if error := run(command, folder)["error"]:
            sys.exit(f"error: {command}: {error}")


def run(command, folder, limit=None, without_rights=False) -> dict:
    """Run a command in a forked process in `folder`/work. Return exit code, output, and its error's text or None.

    limit: of a file's size in bytes; without_rights: root's rights over others' files are given up.
    """
    name, *options = shlex.split(command)
    output, errors = folder / "output", folder / "errors"
    if name == "bash":
        place = {"cwd": folder / "work", "env": {**os.environ, "PYTHON": sys.executable, "ROOT": str(ROOT)}}
        done = subprocess.run(["bash", "-c", command.removeprefix("bash ")], capture_output=True, text=True, **place)
        output.write_text(done.stdout)
        errors.write_text(done.stderr)
        return outcome_of(done.returncode, output, errors)
    script, before = COMMANDS[name]
    sys.stdout.flush()
    process = os.fork()
    if process:
        return outcome_of(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), output, errors)
    code = 1
    try:
        torch.set_num_threads(1)  # a pool of threads does not survive the fork
        tqdm.set_lock(threading.RLock())
        os.chdir(folder / "work")
        for number, path in ((1, output), (2, errors)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1, encoding="utf-8") for number in (1, 2))  # noqa: SIM115
        if without_rights:
            give_up_rights()
        if limit:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        sys.argv = [f"{script.__name__}.py", *before, *options]
        run_main(script.main, **getattr(script, "ADVICE", {}))
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def give_up_rights():
    """Take all capabilities from this process: root may then read and write only as the files' modes say."""
    version, nothing = 0x20080522, (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(version, 0), nothing)


def outcome_of(code, output, errors) -> dict:
    """Return exit code, all output, and the text after `error: ` at its end, None without one."""
    text = errors.read_text(errors="replace")
    found = re.search(r"(?:error|line \d+): (.*)\n?\Z", text.rsplit("\r", 1)[-1]) if code else None
    error = (found[1] if found else text[-3000:]) if code else None
    return {"code": code, "output": output.read_text(errors="replace") + text, "error": error, "one_line": bool(found)}


def files_of(folder) -> dict[str, bytes]:
    """Return the content of all files under a folder."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.parent != folder}


def lost(before, after) -> str | None:
    """Return what a refused run has lost, cut or left half written, or None. A log is written again from its rows."""
    for name, content in before.items():
        if not after.get(name, b"").startswith(content) and not name.endswith((".lock", ".log")):
            return f"{name} is changed" if name in after else f"{name} is gone"
    for name, content in after.items():
        if name.endswith(".tmp") or name.endswith(".jsonl") and name not in before and content[-1:] not in (b"", b"\n"):
            return f"{name} is half written"
    return None


def answers_in(folder) -> list:
    """Return the rows of the result files in logs/ of seeds 41 and 42, and the projection's bytes."""
    rows = [read_result_file(file)[1] for file in sorted(folder.glob("work/logs/gsm8k--seed_4[12]-ntt_3*t.jsonl"))]
    return rows


def judged(command, found, expected, before, after, same) -> tuple[str, str]:
    """Return a case's outcome and why. expected: as in hostile_cases.py."""
    kind, _, words = expected.partition(" ")
    lines = [line for line in re.split(r"[\r\n]+", found["output"]) if not re.search(r"(it|question)/s|s/it", line)]
    last = " ".join(" ".join(lines).split())[-600:]
    if "Traceback (most recent call last)" in found["output"] or found["code"] < 0:
        return "traceback", last
    if found["code"]:
        if "--overwrite" not in command and (gone := lost(before, after)):
            return "silently wrong", gone
        fits = kind == "error" and found["one_line"] and re.search(words, found["error"])
        return "clear error" if fits else "refused", found["error"]
    if kind == "error":
        return "silently wrong", last
    if kind == "same" and not same() or words and not re.search(words, found["output"]):
        return "silently wrong", last
    return "accepted", words


def case(template, folder, command, edits, expected, **how) -> tuple[str, str]:
    """Run one case in a copy of the template; return its outcome and why."""
    shutil.copytree(template, folder, symlinks=True)
    os.chdir(folder / "work")
    for change, *values in edits:
        change(*values)
    before = files_of(folder)
    found = run(command, folder, **how)
    outcome = judged(
        command, found, expected, before, files_of(folder), lambda: answers_in(folder) == answers_in(template)
    )
    os.chdir(ROOT)
    shutil.rmtree(folder)
    return outcome


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("areas", nargs="*", choices=[[], *AREAS], metavar="AREA", help=", ".join(AREAS))
    parser.add_argument("--only", default="", help="cases whose command or edits have this text", metavar="TEXT")
    args = parser.parse_args()
    areas = args.areas or list(AREAS)
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    for name in LAZY:
        with contextlib.suppress(ImportError):
            __import__(name)
    counts, wrong = {}, []
    with tempfile.TemporaryDirectory() as root:
        make_template(template := Path(root, "template"))
        for area in areas:
            counts[area] = Counter()
            for command, edits, expected, *how in tqdm([c for c in AREAS[area] if args.only in str(c)], desc=area):
                outcome, why = case(template, Path(root, "case"), command, edits, expected, **dict(*how))
                counts[area][outcome] += 1
                if outcome not in OUTCOMES[:2]:
                    described = [(change.__name__, *values) for change, *values in edits]
                    wrong.append(
                        {"area": area, "command": command, "edits": str(described)[:300], "expected": expected}
                    )
                    wrong[-1] |= {"outcome": outcome, "why": why}
                    tqdm.write(json.dumps(wrong[-1], indent=1, ensure_ascii=False))
    total = sum(map(Counter, counts.values()), Counter())
    for area, count in [*counts.items(), ("all", total)]:
        print(f"{area:12}", *(f"{outcome}: {count[outcome]:3}" for outcome in OUTCOMES), sep="  ")
    if not args.only:
        known = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
        known |= {area: {outcome: count[outcome] for outcome in OUTCOMES} for area, count in counts.items()}
        write_json({area: known[area] for area in AREAS if area in known}, RESULTS)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
