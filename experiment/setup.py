"""From options to plain values: data, models, prompts, method, engine. The last room that sees `args`."""

import logging
import os
import sys
import warnings
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import transformers
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, ProjectConfiguration
from transformers import set_seed

from data_loader.collator import Collator
from data_loader.loaders import load_task
from data_loader.prompts import DATE, PromptEncoder
from data_loader.published import PublishedEncoder
from experiment.responses import local_engine, take_next_questions_thoughts
from experiment.run_files import compare_with_training, read_training
from model.backbone import (
    FAMILIES,
    Backbone,
    ThoughtTokensError,
    check_role,
    load_backbone,
    load_embeddings,
    open_backbone,
    own_sampling,
    runs_fast,
)
from model.causal_lm import embedding_table, is_tuned, text_config
from model.frozen_lm import IGNORE
from model.generation import find_end_ids
from model.plain import PlainEngine
from model.slot import MEAN, MODES, UNTRAINED_SEED, ThoughtSlot, assistant_thinks
from model.softcot import SoftCoT
from model.vllm_engine import VllmEngine
from model.weight_files import config_fingerprint, model_hashes
from model.weights import add_lora, check_adapter, load_lora, load_projection, local_projection
from utils import UserError, fingerprint, naming

# ---- the machine ----


def quiet_libraries():
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*(pin_memory|pkg_resources).*")


def choose_device() -> str:
    """Return the first GPU that is visible (CUDA_VISIBLE_DEVICES), else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def emulates_bfloat16() -> bool:
    """Return whether AVX2 is the best this CPU has: its bfloat16 products are then slower than float32's."""
    return choose_device() == "cpu" and torch.backends.cpu.get_cpu_capability() == "AVX2"


def make_accelerator() -> Accelerator:
    """Return Accelerate's accelerator, which logs to TensorBoard. Of several processes only the first one prints."""
    accelerator = Accelerator(
        cpu=choose_device() == "cpu",
        log_with="tensorboard",
        project_config=ProjectConfiguration(logging_dir="logs"),
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(hours=6))],  # one may have more to read than others
    )
    if not accelerator.is_main_process:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
    return accelerator


# ---- data, models, prompts ----


def load_instances(args, split, k=0):
    """Return the Instances of a split, the first k of them (0: all)."""
    return list(load_task(args.task_name, args.data_dir, split).get_dataset(split))[: k or None]


def load_backbones(args, base_id, assistant_id, scaling="none", embeddings_only=False, assistant_writes=False):
    """Return base and assistant as Backbones, prompt encoder and collator.

    assistant_id: None for no assistant; scaling: --thought_scaling of the training, whose thought states are float32 if
    it is standardized (bfloat16 rounds what differs between questions); embeddings_only: no more of the base.
    """
    if args.dtype == "bfloat16" and emulates_bfloat16():
        print("This CPU emulates bfloat16, which is slower than float32: --dtype float32", flush=True)
    code = {"trust_remote_code": args.trust_remote_code}

    def open_part(part, model_id):
        custom, switch = vars(args)[f"{part}_thought_tokens"], args.switches().qwen3_tokens
        with naming(f"--{part}_thought_tokens", ThoughtTokensError):
            backbone = open_backbone(model_id, custom_tokens=custom, **code)
        if backbone.thought_tokens.family == "qwen3" and switch != "own" and not custom:
            backbone.thought_tokens = next(tokens for _, tokens in FAMILIES if tokens.family == switch)
        return backbone

    base = open_part("base", base_id)
    assistant = open_part("assistant", assistant_id) if assistant_id else None
    encoder, collate = make_encoder(args, base, assistant)  # what is wrong with the prompts shows before the weights
    common = {"dtype": args.dtype, "device": choose_device(), **code}
    if embeddings_only:
        load_embeddings(base, **common)
    else:
        load_backbone(base, device_map=args.base_device_map, quantization=args.quantization, **common)
    if assistant:
        load_backbone(assistant, **common | ({"dtype": "float32"} if scaling == "standardized" else {}))
    for backbone in (base, assistant):
        if backbone and (backbone is assistant or not embeddings_only) and not runs_fast(backbone.model):
            check_role(backbone, generates=backbone is base or assistant_writes)
            print(f"{backbone.model_id} runs the plain way: one row at a time, slower", flush=True)
    return base, assistant, encoder, collate


def make_encoder(args, base, assistant):
    """Return prompt encoder and collator of a pair of backbones."""
    small, switches = assistant or base, args.switches()
    models = (base.tokenizer, base.thought_tokens, small.tokenizer, small.thought_tokens, args.num_thought_tokens)
    more = {"date_string": DATE if switches.date == "fixed" else None}
    more |= {"max_len": args.max_len} if args.max_len > 0 and args.too_long == "cut" else {}
    if args.published_code:
        with naming("--published_code"):
            encoder = PublishedEncoder(args.task_name, *models, folder=args.published_code, **more)
    else:
        by_family = base.thought_tokens.generation_prompt
        encoder = PromptEncoder(
            args.task_name,
            *models,
            prompt_dir=args.prompt_dir,
            generation_prompt={"yes": True, "no": False, "by_family": by_family}[switches.generation_prompt],
            keep_last_token=switches.last_token == "kept",
            word_dev_label=switches.yes_no_dev_label == "word",
            **more,
        )
    padding = (0 if part.tokenizer.pad_token_id is None else part.tokenizer.pad_token_id for part in (base, small))
    return encoder, Collator(*padding)


def share_instructions(collate, examples, length: int, base, assistant) -> None:
    """Set the instruction that these examples begin with, so that each model that can share it runs it once."""
    can = [part is not None and runs_fast(part.model) and not is_tuned(part.model) for part in (base, assistant)]
    collate.share_instructions(examples, length, *can)


def encode_split(
    encoder, base, assistant, instances, split, new_tokens=0, limit=float("inf"), shuffled_in=None
) -> list[dict]:
    """Return the encoded examples of a split that fit `limit` and the models' contexts; prints how many do not.

    assistant: None if it has no part; new_tokens: room for the response; shuffled_in: all instances of the split, for
    the thoughts of the next question. Raises UserError if --max_len cuts all labels of an example away.
    """
    encoded = [encoder.encode(instance, split) for instance in instances]
    for example in encoded if split != "eval" else ():
        if all(label == IGNORE for label in example["labels"]):
            raise UserError(f"--max_len cuts {split} example {example['index']} (from 0) before its first label")
    if shuffled_in:
        take_next_questions_thoughts(encoded, shuffled_in, encoder)
    return drop_long(encoded, encoder.length, base, assistant, split, new_tokens, limit)


def drop_long(encoded, length: int, base, assistant, name: str, new_tokens=0, limit=float("inf")) -> list[dict]:
    """Return the encoded examples that fit, as `encode_split` does. length: L; name: of the split or task."""
    room, of_assistant = min(limit, read_context(base) - new_tokens), read_context(assistant)
    fitting = [
        example
        for example in encoded
        if len(example["prefix_ids"]) + length + len(example["suffix_ids"]) <= room
        and len(example["assistant_ids"]) <= of_assistant
    ]
    if len(fitting) < len(encoded):
        limits = f"{room} tokens" + (f" (or {of_assistant} of the assistant)" if assistant else "")
        skipped = f"{name}: {len(encoded) - len(fitting)} of {len(encoded)} examples are longer than {limits}"
        if not fitting:
            raise UserError(f"{skipped}: see --max_new_tokens (in lm-eval max_gen_toks) and --max_len")
        print(f"{skipped} and skipped", flush=True)
    return fitting


def read_context(backbone):
    """Return how many tokens a model's positions are for; infinity for None or if its config has no limit."""
    return backbone and getattr(text_config(backbone.model), "max_position_embeddings", None) or float("inf")


# ---- the method ----


@dataclass
class Method:
    """What an evaluation needs of a method: models, prompts, slot."""

    base: Backbone
    assistant: Backbone | None
    encoder: PromptEncoder | PublishedEncoder
    collate: Collator
    slot: ThoughtSlot | None  # None for zero-shot CoT
    chains: int  # sets of soft thoughts a question
    hashes: dict  # of prompts, models and projection, and what the projection was trained with, for the record


def load_method(args) -> Method:
    """Load the models, adapters and projection that the options name.

    Raises UserError if a file is missing or damaged, or if models and projection do not fit each other.
    """
    has_slot, mode, chains = args.num_thought_tokens > 0, MODES[args.thoughts], args.num_scaling_times
    own_engine = args.engine == "vllm"  # it loads the base model and its adapter itself
    file = state = vectors = slot = None
    if has_slot and mode.reads:
        with naming("--params_file_name"):
            file = local_projection(args.params_file_name)
            source = file.with_name(MEAN) if mode.reads == MEAN else file
            if mode.reads == MEAN and not source.is_file():
                raise UserError(f"no {MEAN} beside {file}: training with this project writes it")
            state = load_projection(source)
            if mode.has_projection == ("soft_thoughts" in state):
                raise UserError(
                    f"{source} holds {', '.join(state)}; evaluation with --thoughts learned reads soft_thoughts"
                )
            own_chains = "embedding" in state or len(state.get("soft_thoughts", ())) > 1
            if not mode.has_projection:
                vectors = cut_vectors(state, args.num_thought_tokens, chains)
        if (chains or 1) > 1 and not own_chains and not args.perturb_std:
            raise UserError(
                f"{file} is SoftCoT's, without initial tokens: all {chains} chains would be the same; "
                "leave out --num_scaling_times (evaluate_softcot.py), or give --perturb_std (SoftCoT-P)"
            )
    for part in ("base_model", "assistant_model"):
        with naming(f"--{part}_ckpt"):
            if folder := vars(args)[f"{part}_ckpt"]:
                check_adapter(folder)
    assistant_id = args.assistant_model_id if assistant_thinks(args.num_thought_tokens, args.thoughts) else None
    path = file or (Path(args.base_model_ckpt) if not has_slot and args.base_model_ckpt else None)
    trained = read_training(path) if path else None
    scaling = trained["arguments"].get("thought_scaling") if trained else "none"
    projects = has_slot and mode.has_projection
    if projects and scaling == "standardized" and args.switches().projection_dtype != "float32":
        raise UserError("thought states were standardized in training, which needs --projection_dtype float32")
    base, assistant, encoder, collate = load_backbones(
        args, args.base_model_id, assistant_id, scaling, own_engine, assistant_writes=mode.writes_text
    )
    hashes = {"prompt_hash": encoder.prompt_hash, **model_hashes(base, assistant)}
    hashes["base_generation_config"] = config_fingerprint(base.model_id, "generation_config.json")
    if state:
        hashes |= {"projection": fingerprint(path), "own_chains": own_chains}
    if mode.reads == MEAN:
        hashes["mean_thoughts"] = fingerprint(source)
    if trained:
        hashes |= compare_with_training(vars(args), encoder, hashes, path, trained)
    load_adapters(args, base, assistant, own_engine)
    softcot = None
    if projects:
        softcot = build_for_evaluation(args, base, assistant, chains, state, hashes)
    number = chains if chains and has_slot else 1
    if has_slot:
        slot = ThoughtSlot(args.thoughts, base, softcot, args.num_thought_tokens, number, args.perturb_std, vectors)
    return Method(base, assistant, encoder, collate, slot, number, hashes)


def cut_vectors(state: dict, length: int, chains: int | None) -> torch.Tensor:
    """Return the first L of the vectors of each of the first N chains, `[1 or N, L, d_b]`, of a file that has them.

    chains: N, or None for SoftCoT, whose file has one. Raises UserError if the file has fewer, or is SoftCoT++'s.
    """
    vectors = state["soft_thoughts"]
    fits = len(vectors) == 1 or chains and len(vectors) >= chains
    if vectors.shape[1] < length or not fits:
        raise UserError(
            f"wanted are {length} vectors in each of {chains or 1} chains, and the file holds {list(vectors.shape[:2])}"
        )
    return vectors[:chains, :length]


def read_filler(assistant, text: str | None, chains: int | None) -> list[int] | None:
    """Return the ids of --thought_filler, one a chain; None for the published ones. Raises UserError."""
    if not text:
        return None
    ids, known = [], embedding_table(assistant.model).shape[0]
    for part in [text] if chains is None else text.split(","):
        found = [int(part)] if part.isdecimal() else assistant.tokenizer(part, add_special_tokens=False)["input_ids"]
        if len(found) != 1 or found[0] >= known:
            raise UserError(f"--thought_filler: {part!r} is not one token of {assistant.model_id}: {found}")
        ids += found
    if len(set(ids)) != (chains or 1):
        raise UserError(f"--thought_filler: {chains} chains need as many different tokens, with commas; got {text!r}")
    return ids


def load_adapters(args, base, assistant, own_engine: bool) -> None:
    """Put the LoRA adapters that the options name on the models, but for one that the engine loads itself."""
    base_learns = not own_engine and args.switches().base_adapter == "used"
    for part, backbone in (("base_model", base if base_learns else None), ("assistant_model", assistant)):
        if backbone and (folder := vars(args)[f"{part}_ckpt"]):
            with naming(f"--{part}_ckpt"):
                load_lora(backbone, folder)


def build_for_evaluation(args, base, assistant, chains, state, hashes):
    """Return the module in eval mode. state: of the projection, None for the untrained one.

    hashes: of the training; a filler that --thought_filler names is added.
    """
    if state and "embedding" in state:
        filler = [0] * (chains or 1)  # the file's embeddings replace it
    else:
        chains = None if state else chains  # a projection without initial tokens: chains share their thought states
        if args.thought_filler:
            hashes["thought_filler"] = args.thought_filler
        filler = read_filler(assistant, hashes.get("thought_filler"), chains)
    torch.manual_seed(UNTRAINED_SEED)
    options = {"projection_dtype": getattr(torch, args.switches().projection_dtype), "filler": filler}
    options["plain_way"] = args.engine == "reference"
    with naming("--num_scaling_times, --assistant_thought_tokens"):
        softcot = SoftCoT(base, assistant, args.num_thought_tokens, chains, **options).eval()
    if state:
        with naming("--params_file_name"):
            softcot.load_projection_state(state)
    return softcot


def build_for_training(args, base, assistant):
    """Return the module to train. Models that the options tune get a LoRA adapter first."""
    set_seed(args.seed)
    for backbone, tuned in ((base, args.tune_base_model), (assistant, args.tune_assistant_model)):
        if tuned:
            add_lora(backbone)
    set_seed(args.seed)  # again: the projection begins at the same weights beside an adapter
    filler = assistant and read_filler(assistant, args.thought_filler, args.num_scaling_times)
    with naming("--num_scaling_times, --assistant_thought_tokens"):
        return SoftCoT(
            base,
            assistant,
            args.num_thought_tokens,
            args.num_scaling_times,
            contrastive=args.adds_contrast(),
            reduction="pairs" if args.pairs_examples() else None,
            projection_dtype=getattr(torch, args.switches().projection_dtype),
            micro_batch_size=args.micro_batch_size,
            filler=filler,
            learned=args.thoughts == "learned",
        )


# ---- the engine ----


def make_engine(args, method, examples, max_new_tokens: int):
    """Return the engine that the options name; examples: all that it may get, of which vLLM plans for the longest."""
    sampling = read_sampling(args, method.base)
    if args.engine == "transformers":
        return local_engine(method.base, args.eval_batch_size, method.collate.instruction, **sampling)
    if args.engine == "reference":
        return PlainEngine(method.base, published=True, **sampling)
    prompts = (len(e["prefix_ids"]) + method.encoder.length + len(e["suffix_ids"]) for e in examples)
    longest = max(prompts) + max_new_tokens
    options = {"max_model_len": longest, "trust_remote_code": args.trust_remote_code} | (args.vllm_args or {})
    if options["max_model_len"] < longest:
        raise UserError(f"--vllm_args: max_model_len cuts responses off: give {longest} or more, or --max_new_tokens")
    adapter = args.base_model_ckpt if args.switches().base_adapter == "used" else None
    return VllmEngine(method.base, sampling, dtype=args.dtype, adapter=adapter, **options)


def read_sampling(args, base) -> dict:
    """Return the sampling options as engines take them; with --sampling of_model, 1.0 is the model's own value."""
    options = {name: vars(args)[name] for name in ("temperature", "top_p", "top_k", "greedy")}
    if args.switches().sampling == "of_model":
        options |= {name: value for name, value in own_sampling(base.model_id).items() if options[name] == 1.0}
    end_ids = find_end_ids(base, of_tokenizer_only=args.switches().end_tokens == "tokenizer")
    return options | {"end_ids": end_ids}
