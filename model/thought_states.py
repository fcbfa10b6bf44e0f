"""The assistant's pass over a data set, computed once and memory-mapped.

The assistant is frozen, so its thought states are a constant of the data: every epoch, and a resumed run, reads them
from one file. The file ends in its key and in a checksum of sampled blocks, which opening it compares.
"""

import contextlib
import glob
import hashlib
import math
import os
import shutil
from pathlib import Path

import torch
from accelerate import PartialState
from tqdm import tqdm

from model.processes import decided_by_main
from model.softcot import assistant_part, refuse_not_finite
from utils import replaced

BLOCK, SAMPLED_BLOCKS = 4096, 64  # bytes of a block; blocks in the checksum


def thought_states_key(model, examples, weights: str) -> str:
    """Return a hash of all that the thought states of encoded examples depend on.

    weights: the fingerprint of the assistant's.
    """
    parts = (
        [example["assistant_ids"] for example in examples],
        weights,
        str(next(model.assistant.parameters()).dtype),
        str(model.assistant.config),
        model.embedding.tolist(),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def add_thought_states(model, examples, collate, folder: Path, split: str, weights: str) -> bool:
    """Put its thought states `[N, L, d_a]` into each example and return True; False if the disk has no room for them.

    weights: the fingerprint of the assistant's. Without the states a training step computes the states of its examples.
    """
    states = cached_thought_states(model, examples, collate, folder, split, weights)
    if states is None:
        return False
    for example, own in zip(examples, states, strict=True):
        example["thought_states"] = own
    return True


def cached_thought_states(model, examples, collate, folder: Path, split: str, weights: str, batch_size: int = 16):
    """Return the thought states of all examples, `[len(examples), N, L, d_a]`, mapped from a file of `folder`.

    A missing or damaged file, or one of another key, is computed again; files of the same split under another key are
    removed. Each of several processes computes its share, and process 0 joins the shares. None if the disk has no room.
    For one run at a time in `folder`.
    """
    state, key = PartialState(), thought_states_key(model, examples, weights)
    main, dtype = state.is_main_process, next(model.assistant.parameters()).dtype
    shape = (len(examples), model.num_chains, model.length, model.width_assistant)
    size = math.prod(shape) * dtype.itemsize
    path = folder / f"thoughts-{split}-{key[:16]}.bin"
    if not decided_by_main(lambda: is_whole(path, key, size)):
        if not decided_by_main(lambda: has_room(folder, split, size)):
            return None
        first, last = (len(examples) * (state.process_index + i) // state.num_processes for i in (0, 1))
        parts = [path.with_name(f".part-{i}-of-{path.name}.tmp") for i in range(1, state.num_processes)]
        with replaced(path) if main else contextlib.nullcontext(parts[state.process_index - 1]) as own:
            compute(model, examples[first:last], collate, own, (last - first, *shape[1:]), dtype, batch_size)
            state.wait_for_everyone()
            if main:
                join(own, parts, key)
        state.wait_for_everyone()
    return torch.from_file(str(path), shared=False, size=math.prod(shape), dtype=dtype).view(shape)


def has_room(folder: Path, split: str, size: int) -> bool:
    """Remove a split's states of other keys, and return whether `size` bytes fit the disk; prints it if they do not."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"thoughts-{glob.escape(split)}-*.bin"):
        old.unlink()
    free = shutil.disk_usage(folder).free
    if size > free:
        print(
            f"the {split} set's thought states take {size / 2**30:.1f} GiB and the disk has {free / 2**30:.1f} GiB: "
            "each step computes those of its examples",
            flush=True,
        )
    return size <= free


def compute(model, examples, collate, path: Path, shape, dtype, batch_size: int) -> None:
    """Write the thought states of `examples`, `shape`, to `path`: longest first, so that too long ones fail at once."""
    path.write_bytes(b"")
    if not examples:
        return
    with open(path, "r+b") as file:  # a full disk is an OSError here, but a SIGBUS in mapped memory
        os.posix_fallocate(file.fileno(), 0, math.prod(shape) * dtype.itemsize)
    states = torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=dtype).view(shape)
    order = sorted(range(len(examples)), key=lambda i: -len(examples[i]["assistant_ids"]))

    bar = tqdm(total=len(order), desc="Thought states", unit="question", disable=not PartialState().is_main_process)
    with torch.no_grad(), bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = collate([examples[i] for i in chosen])
            computed = model.thought_states(**assistant_part(batch, model.device_name)).cpu()
            indices = [examples[i]["index"] for i in chosen]
            refuse_not_finite(computed, indices, "the assistant's thought states hold NaN or inf")
            states[chosen] = computed
            bar.update(len(chosen))


def join(path: Path, parts: list[Path], key: str) -> None:
    """Append the other processes' files, then key and checksum."""
    with open(path, "ab") as whole:
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, whole)
            part.unlink()
        whole.flush()
        whole.write(ending(path, key, whole.tell()))


def ending(path: Path, key: str, size: int) -> bytes:
    """Return what follows the `size` bytes of states: the key and the SHA-256 of sampled blocks, 64 bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for i in range(SAMPLED_BLOCKS):
            file.seek(max(0, size - BLOCK) * i // (SAMPLED_BLOCKS - 1))
            digest.update(file.read(min(BLOCK, size)))
    return bytes.fromhex(key) + digest.digest()


def is_whole(path: Path, key: str, size: int) -> bool:
    """Return whether `path` holds `size` bytes of states of this key, undamaged as far as sampled."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        file.seek(size)
        whole = file.read() == ending(path, key, size)
    if not whole:
        print(f"{path} is damaged or holds other thought states: computed again", flush=True)
    return whole
