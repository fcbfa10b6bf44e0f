"""The method that a run trains or evaluates: frozen models, prompts, and what fills the thought slot."""

from dataclasses import dataclass

import torch
from transformers import set_seed

from experiment.arguments import naming
from experiment.loading import load_backbones, make_encoder
from experiment.record import check_against_training, describe_training, warn_of_other_models
from model.backbone import Backbone
from model.choices import FROM_FILE, SOFT, WITH_ASSISTANT
from model.controls import UNTRAINED_SEED, ThoughtSlot
from model.softcot import SoftCoT
from model.weight_files import model_hashes
from model.weights import (
    add_lora,
    check_adapter,
    check_lora_modules,
    found_projection,
    load_lora,
    load_projection,
    local_projection,
)
from utils import UserError, fingerprint


def build_softcot(args, base, assistant, chains: int | None, **options):
    """Return the module around the models: SoftCoT, SoftCoT++ with N chains, or LoRA alone if L is 0."""
    with naming("--num_scaling_times, --assistant_initial_token"):
        return SoftCoT(base, assistant, args.num_thought_tokens, chains, **options)


def chains_of(args) -> int | None:
    """Return N, or None for SoftCoT."""
    return getattr(args, "num_scaling_times", None)


@dataclass
class Method:
    """What an evaluation needs of a method: models, prompts, slot."""

    base: Backbone
    assistant: Backbone | None
    encoder: object  # data_loader.prompts.PromptEncoder
    collate: object  # data_loader.collator.Collator
    softcot: SoftCoT | None  # None for zero-shot CoT and controls without a projection
    slot: ThoughtSlot | None  # None for zero-shot CoT
    chains: int  # sets of soft thoughts a question
    hashes: dict  # of prompts, models and projection, and what the projection was trained with, for the record


def load_method(args, chains: int | None) -> Method:
    """Load the models, adapters and projection that the options name. chains: N, or None for SoftCoT.

    Raises UserError if a file is missing or damaged, or if models and projection do not fit each other.
    """
    thinks, thoughts = args.num_thought_tokens > 0, getattr(args, "thoughts", "projected")
    engine = getattr(args, "engine", "transformers")
    own_engine = engine == "vllm"  # it loads the base model and its adapter itself
    file = state = None
    if thinks and thoughts in FROM_FILE:
        with naming("--params_file_name"):
            file = local_projection(args.params_file_name)
        state = read_projection(args, file, chains)
    check_adapters(args)
    base, assistant = load_backbones(
        args,
        args.base_model_id,
        args.assistant_model_id,
        with_assistant=thinks and thoughts in WITH_ASSISTANT,
        embeddings_only=own_engine,
        assistant_writes=thoughts == "assistant_text",
    )
    encoder, collate = make_encoder(args, base, assistant)
    hashes = {"prompt_hash": encoder.prompt_hash, **model_hashes(base, assistant)}
    if state:
        path = found_projection(file)
        check_against_training(args, encoder, path)
        warn_of_other_models(hashes, path)
        hashes |= {"projection": fingerprint(path), "own_chains": "embedding" in state, **describe_training(path)}
    elif not thinks and args.base_model_ckpt:
        path = found_projection(args.base_model_ckpt)
        check_against_training(args, encoder, path)
        warn_of_other_models(hashes, path)
        hashes |= describe_training(path)
    load_adapters(args, base, assistant, own_engine)
    softcot = load_softcot(args, base, assistant, chains, state) if thinks and thoughts in SOFT else None
    number, noise = (chains or 1) if thinks else 1, getattr(args, "perturb_std", 0.0)
    slot = ThoughtSlot(thoughts, base, softcot, args.num_thought_tokens, number, noise) if thinks else None
    return Method(base, assistant, encoder, collate, softcot, slot, number, hashes)


def read_projection(args, file, chains) -> dict[str, torch.Tensor]:
    """Return the state of the projection's file. SoftCoT's has no chains, so N chains need noise (SoftCoT-P)."""
    with naming("--params_file_name"):
        state = load_projection(file)
    if chains and "embedding" not in state and not getattr(args, "perturb_std", 0.0):
        raise UserError(
            f"{file} is SoftCoT's, without initial tokens: all {chains} chains would be the same; "
            "ask and evaluate it without --num_scaling_times (evaluate_softcot.py), or give --perturb_std (SoftCoT-P)"
        )
    return state


def ignores_base_adapter(args) -> bool:
    return args.switches().base_adapter == "ignored"


def check_adapters(args) -> None:
    """Raise UserError if a folder that the options name as an adapter holds none."""
    for part in ("base_model", "assistant_model"):
        with naming(f"--{part}_ckpt"):
            if folder := getattr(args, f"{part}_ckpt"):
                check_adapter(folder)


def load_adapters(args, base, assistant, own_engine: bool) -> None:
    """Put the LoRA adapters that the options name on the models, but for one that the engine loads itself."""
    with naming("--base_model_ckpt"):
        if args.base_model_ckpt and not own_engine and not ignores_base_adapter(args):
            load_lora(base, args.base_model_ckpt)
    with naming("--assistant_model_ckpt"):
        if args.assistant_model_ckpt and assistant:
            load_lora(assistant, args.assistant_model_ckpt)


def load_softcot(args, base, assistant, chains, state):
    """Return the module in eval mode. state: of the projection, or None for the untrained one."""
    same_in_all_chains = state is not None and "embedding" not in state
    torch.manual_seed(UNTRAINED_SEED)
    dtype = getattr(torch, args.switches().projection_dtype)
    chains = None if same_in_all_chains else chains
    plain_way = getattr(args, "engine", None) == "reference"
    softcot = build_softcot(args, base, assistant, chains, projection_dtype=dtype, plain_way=plain_way).eval()
    if state:
        with naming("--params_file_name"):
            softcot.load_projection_state(state)
    return softcot


def check_tuned_models(args) -> None:
    """Raise UserError if LoRA cannot tune a model that the options want tuned."""
    pair = (args.large_model_id, args.tune_base_model), (args.small_model_id, args.tune_assistant_model)
    for model_id, tuned in pair:
        if tuned:
            check_lora_modules(model_id, args.trust_remote_code)


def build_for_training(args, base, assistant):
    """Return the module to train. Models that the options tune get a LoRA adapter first."""
    set_seed(args.seed)
    for backbone, tuned in ((base, args.tune_base_model), (assistant, args.tune_assistant_model)):
        if tuned:
            add_lora(backbone)
    set_seed(args.seed)  # again: the projection begins at the same weights beside an adapter
    options = {"micro_batch_size": args.micro_batch_size}
    if args.num_thought_tokens:
        options["projection_dtype"] = getattr(torch, args.switches().projection_dtype)
    if chains_of(args):
        contrastive = args.model_name == "scaling-nce"
        options |= {"contrastive": contrastive, "tune_init_tokens": args.tune_init_tokens}
        options["reduction"] = "pairs" if contrastive and args.pairs_examples() else "examples"
    return build_softcot(args, base, assistant, chains_of(args), **options)
