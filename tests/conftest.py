"""Tokenizers for the tests: three real ones and a small ChatML one. One thread a process."""

import os

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tests.tokenizers import real_tokenizer_dir

# Tests compare bytes, and the last bits of a sum depend on the number of threads.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that they start

SMOLLM2_SPECIAL_TOKENS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<repo_name>",
    "<reponame>",
    "<file_sep>",
    "<filename>",
    "<gh_stars>",
    "<issue_start>",
    "<issue_comment>",
    "<issue_closed>",
    "<jupyter_start>",
    "<jupyter_text>",
    "<jupyter_code>",
    "<jupyter_output>",
    "<jupyter_script>",
    "<empty_output>",
]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_chatml_tokenizer():
    """A byte-level tokenizer without merges, with SmolLM2's special tokens (ids 0 to 16)."""
    vocab = SMOLLM2_SPECIAL_TOKENS + sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(vocab)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SMOLLM2_SPECIAL_TOKENS)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.chat_template = CHATML
    return tokenizer


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
