"""What a run loads: data, backbones, prompts."""

import logging
import os
import sys
import warnings
from datetime import timedelta

import torch
import transformers
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import InitProcessGroupKwargs, ProjectConfiguration

from data_loader.collator import Collator
from data_loader.loaders import load_task
from data_loader.prompts import DATE, NO_GENERATION_PROMPT, PromptEncoder, PromptError
from data_loader.published import PublishedEncoder, backbone_word
from experiment.arguments import naming
from model.backbone import (
    ThoughtTokensError,
    check_role,
    first_line,
    load_backbone,
    load_embeddings,
    open_backbone,
    runs_fast,
    tokens_of_family,
)
from model.causal_lm import text_config
from model.frozen_lm import IGNORE
from utils import UserError


def quiet_libraries():
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    for name in ("pin_memory", "pkg_resources"):
        warnings.filterwarnings("ignore", message=f".*{name}.*")


def load_instances(args, split, k=0):
    """Return the Instances of a split, the first k of them (0: all)."""
    instances = list(load_task(args.task_name, args.data_dir, split).get_dataset(split))
    return instances[:k] if k else instances


def device_of(args):
    """Return the device asked for. Raises UserError if there is none of that name."""
    if args.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(args.device).type
    except RuntimeError as error:
        raise UserError(f"--device {args.device}: {first_line(error)}") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(f"--device {args.device}: torch sees no GPU here")
    if kind == "cuda" and (torch.device(args.device).index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {args.device}: torch sees {torch.cuda.device_count()} GPUs here, from 0")
    return args.device


def emulates_bfloat16(device: str) -> bool:
    """Return whether AVX2 is the best this CPU has: its bfloat16 products are then slower than float32's."""
    return device == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"


def make_accelerator(args) -> Accelerator:
    """Return Accelerate's accelerator with the tracker that the options name, which is not started yet.

    Of several processes (torchrun) only the first one prints from now on. Raises UserError if that tracker is not
    installed.
    """
    available = ["none", *(tracker.value for tracker in get_available_trackers())]
    if args.report_to not in available:
        raise UserError(f"--report_to {args.report_to}: not installed; available are {', '.join(available)}")
    accelerator = Accelerator(
        cpu=device_of(args) == "cpu",
        log_with=None if args.report_to == "none" else args.report_to,
        project_config=ProjectConfiguration(logging_dir="logs"),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],  # one may have more to read than others
    )
    if not accelerator.is_main_process:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
    return accelerator


def load_backbones(args, base_id, assistant_id, with_assistant=True, embeddings_only=False, assistant_writes=False):
    """Return base and assistant as Backbones. embeddings_only: no more of the base; without an assistant, None."""
    if args.base_device_map and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise UserError("--base_device_map spreads the base over the GPUs of one process: run without torchrun")
    if args.dtype == "bfloat16" and emulates_bfloat16(device_of(args)):
        print("This CPU emulates bfloat16, which is slower than float32: --dtype float32", flush=True)
    code = {"trust_remote_code": args.trust_remote_code}
    with naming("--base_thought_tokens", ThoughtTokensError):
        base = open_backbone(base_id, custom_tokens=args.base_thought_tokens, **code)
    assistant = None
    if with_assistant:
        own = {"custom_tokens": args.assistant_thought_tokens, "initial_id": args.assistant_initial_token}
        with naming("--assistant_thought_tokens", ThoughtTokensError):
            assistant = open_backbone(assistant_id, **own, **code)
    for backbone in (base, assistant):
        if backbone and backbone.thought_tokens.family == "qwen3" and args.switches().qwen3_tokens != "own":
            backbone.thought_tokens = tokens_of_family(args.switches().qwen3_tokens)
    make_encoder(args, base, assistant)  # what is wrong with the prompts shows before the weights are read

    common = {"dtype": args.dtype, "device": device_of(args), **code}
    if embeddings_only:
        load_embeddings(base, **common)
    else:
        load_backbone(base, device_map=args.base_device_map, quantization=args.quantization, **common)
    if assistant:
        load_backbone(assistant, **common)
    for backbone in (base, assistant):
        if backbone and (backbone is assistant or not embeddings_only) and not runs_fast(backbone.model):
            check_role(backbone, generates=backbone is base or assistant_writes)
            print(f"{backbone.model_id} runs the plain way: one row at a time, slower", flush=True)
    return base, assistant


def pad_id(tokenizer):
    """Return an id to pad with; any does, because padding is masked."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0


def make_encoder(args, base, assistant):
    """Return prompt encoder and collator of a pair of backbones."""
    small = assistant or base
    models = (base.tokenizer, base.thought_tokens, small.tokenizer, small.thought_tokens, args.num_thought_tokens)
    date = DATE if args.switches().date == "fixed" else None
    cut = {"max_len": args.max_len} if cuts_at_max_len(args) else {}
    if args.published_code:
        with naming("--published_code", PromptError):
            words = backbone_word(base.thought_tokens), backbone_word(small.thought_tokens)
            encoder = PublishedEncoder(args.task_name, *models, args.published_code, *words, date_string=date, **cut)
    else:
        own = prompt_options(args.switches(), base.thought_tokens.family)
        encoder = PromptEncoder(args.task_name, *models, args.prompt_dir, date_string=date, **cut, **own)
    return encoder, Collator(pad_id(base.tokenizer), pad_id(small.tokenizer))


def cuts_at_max_len(args) -> bool:
    """Return whether training and dev sequences are cut at --max_len."""
    return getattr(args, "max_len", -1) > 0 and args.switches().too_long == "cut"


def share_instructions(collate, examples, length: int, base, assistant) -> None:
    """Let the instruction of these examples run once, for each backbone that is given and can share it."""
    can = [part is not None and keeps_instruction(part.model) for part in (base, assistant)]
    collate.share_instructions(examples, length, *can)


def keeps_instruction(model) -> bool:
    """Return whether the keys and values of a common beginning stay valid during a run."""
    return runs_fast(model) and not any(parameter.requires_grad for parameter in model.parameters())


def prompt_options(switches, family) -> dict:
    """Return what the switches say of the project's own prompts. family: of the base model."""
    by_family = family not in NO_GENERATION_PROMPT
    return {
        "generation_prompt": {"yes": True, "no": False, "by_family": by_family}[switches.generation_prompt],
        "keep_last_token": switches.last_token == "kept",
        "word_dev_label": switches.yes_no_dev_label == "word",
    }


def context_of(backbone):
    return getattr(text_config(backbone.model), "max_position_embeddings", None) or float("inf")


def encode_split(encoder, base, assistant, instances, split, new_tokens=0, limit=float("inf")) -> list[dict]:
    """Return the encoded examples of a split that fit `limit` and the models' contexts; prints how many do not.

    assistant: None if it has no part; new_tokens: room for the response. Raises UserError if --max_len cuts all labels
    of an example away.
    """
    encoded = [encoder.encode(instance, split) for instance in instances]
    for example in encoded if split != "eval" else ():
        if all(label == IGNORE for label in example["labels"]):
            cut = f"{split} example {example['index']} (from 0)"
            raise UserError(f"--max_len cuts {cut} before its first label: give more")
    context, max_len = context_of(base), limit
    limit = min(limit, context - new_tokens)
    assistant_limit = context_of(assistant) if assistant else float("inf")
    lengths = [len(example["prefix_ids"]) + encoder.length + len(example["suffix_ids"]) for example in encoded]
    kept = [
        example
        for example, length in zip(encoded, lengths, strict=True)
        if length <= limit and len(example["assistant_ids"]) <= assistant_limit
    ]
    if not kept:
        shortest = f"the shortest has {min(lengths)} tokens"
        shortest += f" and its response may have {new_tokens} (--max_new_tokens)" if new_tokens else ""
        limits = [f"the base model's context is {context}"]
        limits += [f"--max_len is {max_len}"] if max_len < float("inf") else []
        limits += [f"the assistant's context is {assistant_limit}"] if assistant else []
        raise UserError(f"no {split} example of {encoder.task.name} fits: {shortest}; {', '.join(limits)}")
    if len(kept) < len(encoded):
        of_assistant = f" (or {assistant_limit} of the assistant)" if assistant_limit < limit else ""
        skipped = f"{len(encoded) - len(kept)} of {len(encoded)} examples"
        print(f"{split}: {skipped} are longer than {limit} tokens{of_assistant} and skipped", flush=True)
    return kept
