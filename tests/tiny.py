"""Tiny random-weight causal LMs: in memory with a small vocabulary, saved with a real tokenizer, or a pair beside data.

Weights are drawn wide (initializer_range 0.15), so that logits are far from uniform and a wrong
column, mask or position moves every number that a test compares.
"""

import json
import os
import shutil
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PreTrainedTokenizerFast

from data_loader.collator import Collator
from model.attention import group_heads
from model.backbone import Backbone, ThoughtTokens, runs_fast
from model.softcot import SoftCoT
from model.weights import add_lora
from tests.tokenizers import real_tokenizer_dir
from utils import locked

MINI = Path(__file__).resolve().parent.parent / "data" / "mini"
VOCABULARY = 64
MERGES = 4000  # of the real tokenizers' 280,000 and 151,000: they load in a third of the time, with all ids
TOKENS = ThoughtTokens("tiny", "<3>", "<4>", "<5>", initial_id=40, max_chains=10)
# The documented ids and what stands for them: (family, real tokenizer, width, end-of-text ids).
DOCUMENTED = {
    "Llama-3.1-8B-Instruct": ("llama", "llama3_1", 48, [128001, 128008, 128009]),
    "Llama-3.2-1B-Instruct": ("llama", "llama3_1", 32, [128001, 128008, 128009]),
    "Qwen3-8B": ("qwen3", "qwen3", 48, [151645, 151643]),
    "Qwen3-0.6B": ("qwen3", "qwen3", 32, [151645, 151643]),
    "Qwen2.5-7B-Instruct": ("qwen2", "qwen2_5", 48, [151645, 151643]),
    "Qwen2.5-1.5B-Instruct": ("qwen2", "qwen2_5", 32, [151645, 151643]),
}
# The pair of `make_inputs`: its special tokens (ids 0 to 4), and options of the scripts in a folder beside it.
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<begin>", "<end>"]
TOKEN_OPTIONS = (
    "--base_thought_tokens <|endoftext|>,<begin>,<end> --assistant_thought_tokens <|endoftext|>,<begin>,<end>,20"
)
COMMON = f"--data_dir ../data --dtype float32 --num_thought_tokens 3 {TOKEN_OPTIONS}"
TRAINED = f"--large_model_id ../base --small_model_id ../assistant {COMMON}"
EVALUATED = f"--base_model_id ../base --assistant_model_id ../assistant --seed_from 41 --seed_to 42 {COMMON}"
WIDTHS = {"base": 48, "assistant": 32}
WINDOW = "window"  # a base model of the same shape that runs the plain way
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class NumberTokenizer:
    """The token "<7>" has id 7: all that a model needs of a tokenizer."""

    eos_token_id, pad_token_id = 2, None

    @staticmethod
    def convert_tokens_to_ids(token):
        return int(token.strip("<>"))


class Attack:
    """Makes a file if it is unpickled carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def tiny_model(family, width, vocabulary=VOCABULARY, seed=0, **more):
    """Two layers, tied embeddings, float32, frozen, eval mode. gemma3_text: one sliding layer of two."""
    settings = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": width // 4,
        "tie_word_embeddings": True,
        "max_position_embeddings": 2048,
        "initializer_range": 0.15,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    if family == "gemma3_text":
        settings |= {"sliding_window": 4, "sliding_window_pattern": 2, "query_pre_attn_scalar": width // 4}
    if family == "qwen2":
        del settings["head_dim"]
    config = CONFIG_MAPPING[family](**settings | more)
    config._attn_implementation = "eager" if family == "gemma3_text" else "sdpa"
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    if runs_fast(model):
        group_heads(model)
    return model.float().requires_grad_(False).eval()


def tiny_backbone(family, width, seed=0, tokens=TOKENS):
    return Backbone(tiny_model(family, width, seed=seed), NumberTokenizer(), tokens, f"tiny/{family}-{width}")


def tiny_pair(base="llama", assistant="qwen3", tokens=TOKENS):
    """A base model and an assistant of other width and family."""
    return tiny_backbone(base, 48, seed=1), tiny_backbone(assistant, 32, seed=2, tokens=tokens)


def make_softcot(chains=None, pair=("llama", "qwen3"), tokens=TOKENS, **options):
    """Return SoftCoT with three thought tokens around a tiny pair, its projection always drawn the same."""
    base, assistant = tiny_pair(*pair, tokens)
    torch.manual_seed(3)
    return SoftCoT(base, None if options.get("learned") else assistant, 3, chains, **options)


def add_lora_away_from_zero(backbone, std=0.3):
    """A LoRA adapter whose B, zero at first, is drawn: as after a training."""
    add_lora(backbone)
    for name, parameter in backbone.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=std)


def ragged_examples(length, seed=0):
    """Three encoded examples of different lengths, with labels that skip some tokens."""
    generator = torch.Generator().manual_seed(seed)

    def ids(count):
        return torch.randint(6, 40, (count,), generator=generator).tolist()

    examples = []
    for index, (prefix, suffix, assistant) in enumerate([(5, 7, 6), (11, 3, 4), (8, 9, 10)]):
        suffix_ids = ids(suffix)
        labels = [-100, *suffix_ids[1:]]
        if suffix > 4:
            labels[3] = -100
        examples.append(
            {
                "index": index,
                "prefix_ids": ids(prefix),
                "suffix_ids": suffix_ids,
                "labels": labels,
                "assistant_ids": ids(assistant) + [3] * length,
            }
        )
    return examples


def batch_of(examples):
    """The padded batch as SoftCoT.losses takes it."""
    return {key: value for key, value in Collator(0, 0)(examples).items() if key != "index"}


def once(tmp_path_factory, name, make):
    """Folder `name`, made by `make(folder)` once a test session, whatever the number of workers."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root
    folder = root / name
    with locked(folder):
        if not (folder / ".done").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / ".done").touch()
    return folder


def save_documented(folder):
    """Save the models of DOCUMENTED under their documented names, each with its real tokenizer of fewer merges."""
    for seed, (name, (family, tokenizer, width, eos)) in enumerate(DOCUMENTED.items()):
        vocabulary = 128256 if family == "llama" else 151936
        ends = {"eos_token_id": eos, "bos_token_id": eos[-1]}
        model = tiny_model(family, width, vocabulary, seed, **ends, pad_token_id=None, initializer_range=0.1)
        sampling = {"temperature": 0.6, "top_p": 0.9} | ({} if family == "llama" else {"top_k": 20})
        model.generation_config.update(**ends, **sampling, do_sample=True)
        model.save_pretrained(folder / name)
        real = real_tokenizer_dir(tokenizer)
        shutil.copy(real / "tokenizer_config.json", folder / name)
        settings = json.loads((real / "tokenizer.json").read_text(encoding="utf-8"))
        del settings["model"]["merges"][MERGES:]
        (folder / name / "tokenizer.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")


def byte_level_tokenizer(special):
    """Return a tokenizer without merges: the special tokens have the first ids, then each byte has one."""
    vocabulary = special + sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(vocabulary)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|im_end|>")
    tokenizer.chat_template = CHATML
    return tokenizer


def make_inputs(folder):
    """Write base/, assistant/, window/ (tiny models with a byte-level tokenizer) and data/ (from data/mini)."""
    tokenizer = byte_level_tokenizer(SPECIAL)
    more = {"max_position_embeddings": 4096, "eos_token_id": 2, "bos_token_id": None, "pad_token_id": 2}
    window = ("mistral", WIDTHS["base"], {"sliding_window": 16})
    kinds = [(name, "llama", width, {}) for name, width in WIDTHS.items()] + [(WINDOW, *window)]
    for seed, (name, family, width, own) in enumerate(kinds):
        tiny_model(family, width, len(tokenizer), seed, **more, **own).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    (folder / "data").mkdir()
    for split, count in (("train", 12), ("test", 8)):
        lines = (MINI / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()[:count]
        (folder / "data" / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
