"""--dtype fastest: the measured faster dtype, recorded as the dtype it chose; an earlier start of a run decides."""

import json
import os
import subprocess
import sys
import time

import pytest

import evaluate_softcot
import train_softcot
from experiment.results import read_result_file
from model.checkpoint import checkpoints, read_checkpoint
from model.fastest import CANDIDATES, fastest_dtype, matrix_rates
from tests.commands import ROOT
from tests.tiny_runs import ANSWERS, EVALUATE, RUN, TRAIN, params

FASTEST = ["--dtype", "fastest"]


def test_the_rates_are_measured_in_well_under_a_second():
    start = time.process_time()
    rates = matrix_rates(576, 1536)
    assert time.process_time() - start < 5  # of all threads, on a loaded machine
    assert rates.keys() == set(CANDIDATES) and all(1e6 < rate < 1e15 for rate in rates.values())


def test_the_dtype_with_the_higher_rate_is_taken_on_a_cpu_and_bfloat16_on_a_gpu(inputs):
    dtype, reason = fastest_dtype(str(inputs / "base"), "cpu")
    assert dtype in CANDIDATES and all(name in reason for name in CANDIDATES)
    assert fastest_dtype("no/such-model", "cuda:1")[0] == "bfloat16"


@pytest.mark.parametrize("capability", ["avx2", "default"])
def test_a_cpu_that_emulates_bfloat16_is_said(place, capability):
    command = [sys.executable, str(ROOT / "evaluate_softcot.py"), *EVALUATE, *params(), "--dtype", "bfloat16"]
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": capability}  # what torch takes the CPU for
    output = subprocess.check_output([*command, "--seed_to", "41"], env=environment, cwd=place, text=True)
    assert ("--dtype fastest" in output) == (capability == "avx2")


@pytest.mark.parametrize("dtype", CANDIDATES)
def test_an_earlier_start_decides_the_dtype(place, run, dtype):
    """One of the two parameters is not what a measurement gives."""
    short = ["--k_shot", "2", "--n_epochs", "2", "--dev_k", "2"]
    assert run(train_softcot, [*TRAIN, *short, "--dtype", dtype])[0] == 0
    for finished in (True, False):
        if not finished:  # the first epoch's checkpoint is left
            (place / RUN / "run.json").unlink()
            checkpoints(place / RUN)[0].unlink()
        code, output = run(train_softcot, [*TRAIN, *short, *FASTEST, "--resume"])
        assert code == 0 and f" {dtype}, " in output, output
        assert ("nothing to do" in output) == finished
    written = json.loads((place / RUN / "run.json").read_text(encoding="utf-8"))
    assert written["record"]["dtype"] == written["arguments"]["dtype"] == dtype
    assert read_checkpoint(checkpoints(place / RUN)[0])["record"] == written["record"]

    evaluate = [*EVALUATE, *params()]  # the projection's own dtype, float32, does not decide
    assert run(evaluate_softcot, [*evaluate, "--dtype", dtype, "--test_k", "1", "--seed_to", "41"])[0] == 0
    code, output = run(evaluate_softcot, [*evaluate, *FASTEST, "--test_k", "2"])
    assert code == 0 and f" {dtype}, " in output, output
    for seed in (41, 42):
        record, rows = read_result_file(place / "logs" / ANSWERS.format(seed))
        assert record["dtype"] == dtype and len(rows) == 2


def test_without_an_earlier_start_the_measurement_decides(place, run):
    code, output = run(evaluate_softcot, [*EVALUATE, *params(), *FASTEST, "--test_k", "1", "--seed_to", "41"])
    record, _ = read_result_file(place / "logs" / ANSWERS.format(41))
    assert code == 0 and record["dtype"] in CANDIDATES
    assert f" {record['dtype']}, " in output and "GFLOP/s" in output
