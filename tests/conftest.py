"""Fixtures of several rooms: tokenizers, tiny models, runs. One thread a process, or as many as TEST_THREADS says."""

import os
import shutil
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when huggingface_hub is imported

import pytest
import torch
from transformers import AutoTokenizer

import evaluate_softcot
import train_softcot
import train_softcotpp
from tests import warm
from tests.commands import save_data
from tests.system import soak
from tests.tiny import byte_level_tokenizer, make_inputs, once, save_documented
from tests.tiny_runs import EVALUATE, RUN, TRAIN
from tests.tokenizers import FIXTURES, real_tokenizer_dir
from utils import run_main

THREADS = os.environ.get("TEST_THREADS", "1")
torch.set_num_threads(int(THREADS))
os.environ["OMP_NUM_THREADS"] = THREADS  # of the processes that tests start


def pytest_sessionstart():
    os.environ["WARM_PYTHON"] = str(warm.start())


SMOLLM2_SPECIAL_TOKENS = """
<|endoftext|> <|im_start|> <|im_end|> <repo_name> <reponame> <file_sep> <filename> <gh_stars> <issue_start>
<issue_comment> <issue_closed> <jupyter_start> <jupyter_text> <jupyter_code> <jupyter_output> <jupyter_script>
<empty_output>
"""


def make_chatml_tokenizer():
    """Return a byte-level tokenizer with SmolLM2's special tokens (ids 0 to 16)."""
    return byte_level_tokenizer(SMOLLM2_SPECIAL_TOKENS.split())


@pytest.fixture
def chatml_tokenizer():
    return make_chatml_tokenizer()


@pytest.fixture(scope="session")
def llama_tokenizer():
    return AutoTokenizer.from_pretrained(real_tokenizer_dir("llama3_1"))


@pytest.fixture(scope="session")
def qwen2_5_tokenizer():
    return AutoTokenizer.from_pretrained(real_tokenizer_dir("qwen2_5"))


@pytest.fixture(scope="session")
def qwen3_tokenizer():
    return AutoTokenizer.from_pretrained(real_tokenizer_dir("qwen3"))


@pytest.fixture
def tokenizer(family, request):
    """The tokenizer of the test's fixture `family`."""
    return request.getfixturevalue(FIXTURES[family])


# ---- tiny models named as the documented ones, each with its real tokenizer ----


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    return once(tmp_path_factory, "models", save_documented)


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    return once(tmp_path_factory, "data", save_data)


# ---- runs on two tiny models with a byte-level tokenizer ----


@pytest.fixture(scope="session")
def inputs(tmp_path_factory):
    """Folder with base, assistant and data; the undisturbed runs are there too."""

    def make(folder):
        make_inputs(folder)
        for script, more, name in ((train_softcot, [], "whole"), (train_softcotpp, soak.CHAINS, "whole_pp")):
            soak.finish(script, [*TRAIN, *more], folder / name)
        soak.finish(
            evaluate_softcot, [*EVALUATE, "--params_file_name", f"../whole/{RUN}/projection.bin"], folder / "answers"
        )

    return once(tmp_path_factory, "faults", make)


@pytest.fixture
def place(inputs, tmp_path):
    """A working folder whose neighbours are base, assistant and data, as in `inputs`."""
    for name in ("base", "assistant", "whole", "whole_pp"):
        (tmp_path / name).symlink_to(inputs / name)
    shutil.copytree(inputs / "data", tmp_path / "data")
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def run(place, monkeypatch, capfd):
    """run(script, arguments) in this process -> exit code and what it wrote."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", "")  # training sets it: put back afterwards
    monkeypatch.chdir(place)
    torch.set_num_threads(1)  # as in the forked runs: the last bits of a sum depend on the number of threads

    def start(script, arguments):
        monkeypatch.setattr(sys, "argv", [script.__name__, *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            run_main(script.main, **script.ADVICE)
        except SystemExit as stop:
            code = stop.code
            if isinstance(code, str):
                assert code.startswith("error: ") and "\n" not in code, code
                code = 1, code
        return code, "".join(capfd.readouterr())

    yield start
    torch.set_num_threads(int(THREADS))
