"""Checkpoints of a training: one file each, whole or not there.

A file is what `torch.save` writes, so `torch.load(path, weights_only=True)` reads it, and then its SHA-256: a flipped
byte is noticed.
"""

import hashlib
import io
import json
import re
from pathlib import Path

import torch

from utils import UserError, naming, replaced

DIGEST = hashlib.sha256().digest_size  # bytes


class DamagedCheckpoint(UserError):
    """An error of a checkpoint whose bytes are not those that were written."""


def write_checkpoint(state: dict, record: dict, folder: Path, keep: int, steps_per_epoch: int = 1) -> None:
    """Write checkpoint-<step>.pt under another name, flush and rename it; then remove what it replaces.

    These are earlier checkpoints inside an epoch, the oldest beyond `keep`, and all later ones, which were damaged and
    skipped at resumption. state: tensors and plain values, `state["progress"]["step"]` its step; record: what fixes the
    run's result, as JSON. Raises OSError if it cannot be written; the earlier checkpoints are then unchanged.
    """
    content = io.BytesIO()
    torch.save({**state, "record": json.dumps(record, default=str)}, content)
    folder.mkdir(parents=True, exist_ok=True)
    written = folder / f"checkpoint-{state['progress']['step']}.pt"
    with replaced(written) as scratch:
        scratch.write_bytes(content.getvalue() + hashlib.sha256(content.getvalue()).digest())
    found = checkpoints(folder)
    earlier = [path for path in found if read_step(path) < read_step(written)]
    whole_epochs = [path for path in earlier if read_step(path) % steps_per_epoch == 0]
    for path in set(found) - {written, *whole_epochs[: keep - 1]}:
        path.unlink()


def read_checkpoint(path: Path) -> dict:
    """Return the state that a checkpoint holds, its `record` parsed.

    Raises DamagedCheckpoint if the file is damaged, UserError if it is whole, but not what `write_checkpoint` writes.
    It never runs code from the file.
    """
    content = path.read_bytes()
    if hashlib.sha256(content[:-DIGEST]).digest() != content[-DIGEST:]:
        raise DamagedCheckpoint(f"{path} is damaged: remove it, and the run resumes from an earlier checkpoint")
    with naming(f"{path} is not a checkpoint of this project", Exception):  # torch raises many kinds
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        return {**state, "record": json.loads(state["record"])}


def checkpoints(folder: str | Path) -> list[Path]:
    """Return a run's checkpoints, newest first, whole or not."""
    found = [path for path in Path(folder).glob("checkpoint-*.pt") if re.fullmatch(r"checkpoint-\d+\.pt", path.name)]
    return sorted(found, key=lambda path: -read_step(path))


def read_step(path: Path) -> int:
    """Return the optimizer step of a checkpoint."""
    return int(path.stem.split("-")[1])


def newest_checkpoint(folder: str | Path) -> tuple[Path, dict] | None:
    """Return path and state of the newest whole checkpoint, or None; prints which newer ones are damaged."""
    for path in checkpoints(folder):
        try:
            return path, read_checkpoint(path)
        except DamagedCheckpoint:
            print(f"{path} is damaged and skipped", flush=True)
    return None
