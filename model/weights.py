"""Trained weights on disk and on the Hugging Face Hub: projection.bin and LoRA adapters."""

import io
import json
import re
from pathlib import Path, PurePosixPath

import torch
from huggingface_hub import snapshot_download

from model.backbone import Backbone
from model.choices import EMBEDDED, EMBEDDED_REPO
from model.slot import MEAN
from utils import UserError, naming, replaced

PROJECTION_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
LORA = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"]}
# `user/repo` or `user/repo/file.bin` on the Hub.
NAME = r"[A-Za-z0-9][\w.-]*"
REPO = re.compile(f"{NAME}/{NAME}")
HUB_FILE = re.compile(rf"({NAME}/{NAME}(?<!\.bin))(?:/((?:{NAME}/)*{NAME}\.bin))?")
BESIDE = ("run.json", MEAN, "base_model/*", "assistant_model/*")  # what belongs to a projection


def find_repo(model_id: str) -> str | None:
    """Return a model id as the Hub knows it, None for a folder."""
    if model_id == EMBEDDED:
        return EMBEDDED_REPO
    return model_id if REPO.fullmatch(model_id) and not Path(model_id).exists() else None


def local_projection(asked: str | Path) -> Path:
    """Return the path, or for a Hub id that of the downloaded projection, with its run.json and adapters beside it.

    What begins with a file or folder that is here is a path; for `projectin.bin`, as the published commands spell
    it, the projection.bin beside it serves. Raises UserError if the Hub has no such projection.
    """
    named = HUB_FILE.fullmatch(str(asked))
    if not named or Path(Path(asked).parts[0]).exists():
        path = Path(asked)
        if path.name == "projectin.bin" and not path.is_file() and path.with_name("projection.bin").is_file():
            path = path.with_name("projection.bin")
            print(f"No projectin.bin there; using {path}", flush=True)
        return path
    repo, file = named[1], PurePosixPath(named[2] or "projection.bin")
    patterns = [str(file.parent / name) for name in (file.name, *BESIDE)]
    with naming(f"no file {asked} here, and none from the Hub", Exception):  # HTTP, the cache, the file system
        path = Path(snapshot_download(repo, allow_patterns=patterns)) / file
    if not path.is_file():
        raise UserError(f"no file {asked} here, and no {file} in {repo} on the Hub")
    return path


def add_lora(backbone: Backbone) -> None:
    """Wrap a backbone's model in a trainable LoRA adapter, with the published settings.

    Raises UserError if a module that it wraps is missing: PEFT takes those that are there.
    """
    from peft import LoraConfig, get_peft_model

    modules = {name.rsplit(".", 1)[-1] for name, _ in backbone.model.named_modules()}
    if missing := [name for name in LORA["target_modules"] if name not in modules]:
        named = f"{backbone.model_id} has no modules {' and '.join(missing)}"
        raise UserError(f"{named}, which LoRA tunes: choose another model")
    backbone.model = get_peft_model(backbone.model, LoraConfig(task_type="CAUSAL_LM", **LORA))


def load_lora(backbone: Backbone, directory: str) -> None:
    """Put a saved LoRA adapter on a backbone's model, frozen. Raises UserError unless each of its weights is used."""
    from peft import PeftConfig, PeftModelForCausalLM

    with naming(f"{directory} is not a readable LoRA adapter of {backbone.model_id}", Exception):
        model = PeftModelForCausalLM(backbone.model, PeftConfig.from_pretrained(directory))
        result = model.load_adapter(directory, "default")
    faults = {"no place in the model": result.unexpected_keys, "no weight in the file": result.missing_keys}
    for fault, keys in faults.items():
        if keys:
            raise UserError(
                f"{directory} is not a LoRA adapter of {backbone.model_id}: {fault} for {keys[0]}, one of {len(keys)}"
            )
    backbone.model = model.eval().requires_grad_(False)


def check_adapter(directory: str) -> None:
    """Raise UserError unless the directory holds a LoRA adapter."""
    wanted = "give the folder base_model or assistant_model that training wrote, no whole state dict"
    with naming(f"no LoRA adapter in {directory!r} ({wanted})", Exception):
        Path(directory, "adapter_model.safetensors").stat()
        kind = json.loads(Path(directory, "adapter_config.json").read_text(encoding="utf-8"))["peft_type"]
        if kind != "LORA":
            raise UserError(f"it is an adapter of the kind {kind}")


def save_projection(state: dict[str, torch.Tensor], path: Path) -> None:
    """Write a state dict whole or not at all; the same state gives the same bytes."""
    content = io.BytesIO()  # given a path, torch.save would write the file's name into it
    torch.save(state, content)
    with replaced(path) as scratch:
        scratch.write_bytes(content.getvalue())


def load_projection(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a projection.bin: a dict of finite tensors, never a pickle of anything else.

    Raises UserError if the file is missing, unreadable or of another form.
    """
    with naming(f"{path} is not a readable projection (a torch.save'd dict of tensors)", Exception):
        state = torch.load(path, map_location="cpu", weights_only=True)
    forms = {"weight", "bias"}, {"weight", "bias", "embedding"}, {"soft_thoughts"}
    if not isinstance(state, dict) or set(state) not in forms or not all(map(torch.is_tensor, state.values())):
        found = sorted(map(str, state)) if isinstance(state, dict) else type(state).__name__
        raise UserError(f"{path} holds {found}; a projection has weight, bias and, for SoftCoT++, embedding")
    for key, value in state.items():
        if value.dtype not in PROJECTION_DTYPES or value.layout != torch.strided or not value.isfinite().all():
            raise UserError(f"{path}: {key} is not finite, dense floats ({value.dtype}, {value.layout})")
    return state
