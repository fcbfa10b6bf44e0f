"""A pair of tiny random models on disk, short examples, and the options to run the scripts on them."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, PreTrainedTokenizerFast

MINI = Path(__file__).resolve().parent.parent / "data" / "mini"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<begin>", "<end>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Options of the scripts, run in a folder beside the inputs.
TOKENS = "--base_thought_tokens <|endoftext|>,<begin>,<end> --assistant_thought_tokens <|endoftext|>,<begin>,<end>,20"
COMMON = f"--data_dir ../data --dtype float32 --num_thought_tokens 3 {TOKENS}"
TRAINED = f"--large_model_id ../base --small_model_id ../assistant {COMMON}"
EVALUATED = f"--base_model_id ../base --assistant_model_id ../assistant --seed_from 41 --seed_to 42 {COMMON}"
WIDTHS = {"base": 48, "assistant": 32}
WINDOW = "window"  # a base model of the same shape that runs the plain way


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
    for seed, (name, width) in enumerate([*WIDTHS.items(), (WINDOW, WIDTHS["base"])]):
        torch.manual_seed(seed)
        config = (MistralConfig if name == WINDOW else LlamaConfig)(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.15,
            tie_word_embeddings=True,
            max_position_embeddings=4096,
            eos_token_id=2,
            bos_token_id=None,
            pad_token_id=2,
            **({"sliding_window": 16} if name == WINDOW else {}),
        )
        AutoModelForCausalLM.from_config(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    (folder / "data").mkdir()
    for split, count in (("train", 12), ("test", 8)):
        lines = (MINI / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()[:count]
        (folder / "data" / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
