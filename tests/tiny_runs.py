"""Runs of the scripts on two tiny models (see conftest.py)."""

from pathlib import Path

from tests.system import soak

EPOCHS = 2
RUN = Path("ckpt/soak-gsm8k-2.0-3-base-assistant")
RUN_PP = Path("ckpt/soak-gsm8k-2.0-3-2-base-assistant-nce")
TRAIN = [*soak.TRAIN, "--n_epochs", str(EPOCHS), "--k_shot", "6"]
EVALUATE = [*soak.EVALUATE, "--test_k", "4", "--max_new_tokens", "8"]
ANSWERS = "gsm8k--seed_{}-ntt_3-nrs_1-base-assistant.jsonl"


def read_refusal(outcome):
    """Return the one line of a refusal."""
    (code, line), _ = outcome
    assert code == 1
    return line


def params(name="whole", run_folder=RUN):
    return ["--params_file_name", f"../{name}/{run_folder}/projection.bin"]
