"""The assistant's pass over a data set, computed once and memory-mapped.

The assistant is frozen, so its thought states are a constant of the data: every epoch, and a resumed run, reads them
from one file.
"""

import errno
import hashlib
import math
import os
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from model.processes import decided_by_main
from model.training import cut_in_parts, on_device
from utils import replaced

BATCH_SIZE = 16


def add_thought_states(model, examples, collate, folder: Path, split: str, weights: str) -> bool:
    """Put its thought states `[N, L, d_a]` into each example and return True; False if the disk has no room for them.

    They are mapped from a file of `folder`, named by a hash of all that they depend on, which process 0 computes if it
    is missing; other files of the split are removed. weights: the fingerprint of the assistant's. Without the states a
    training step computes those of its examples.
    """
    dtype = next(model.assistant.parameters()).dtype
    ids = [example["assistant_ids"] for example in examples]
    parts = ids, weights, str(dtype), str(model.assistant.config), model.embedding.tolist()
    path = folder / f"thoughts-{split}-{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.bin"
    shape = (len(examples), model.num_chains, model.length, model.width_assistant)
    size = math.prod(shape) * dtype.itemsize

    def is_there():
        """Return whether the file is there, computed now or before. One of another size is computed again."""
        if path.is_file() and path.stat().st_size == size:
            return True
        for old in folder.glob(f"thoughts-{split}-*.bin"):
            old.unlink()
        try:
            compute(model, examples, collate, path, shape, dtype)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            text = f"the {split} set's thought states take {size / 2**30:.1f} GiB, for which there is no room"
            print(f"{text}: each step computes those of its examples", flush=True)
            return False
        return True

    if not decided_by_main(is_there):
        return False
    # Shared, though only read: Linux counts a private mapping as memory and refuses one larger than RAM and swap.
    states = torch.from_numpy(np.memmap(path, np.uint8, "r+")).view(dtype).view(shape)
    for example, own in zip(examples, states, strict=True):
        example["thought_states"] = own
    return True


@torch.no_grad()
def compute(model, examples, collate, path: Path, shape, dtype) -> None:
    """Write the thought states of `examples`, `shape`, to `path`: longest first, so that too long ones fail at once."""
    order = sorted(range(len(examples)), key=lambda i: -len(examples[i]["assistant_ids"]))
    with replaced(path) as scratch:
        with open(scratch, "wb") as file:  # a full disk is an OSError here, but a SIGBUS in mapped memory
            os.posix_fallocate(file.fileno(), 0, math.prod(shape) * dtype.itemsize)
        states = torch.from_file(str(scratch), shared=True, size=math.prod(shape), dtype=dtype).view(shape)
        for chosen in tqdm(cut_in_parts(order, BATCH_SIZE), desc=f"Thought states, {BATCH_SIZE} questions a batch"):
            batch = on_device(collate([examples[i] for i in chosen]), model.device_name)
            states[chosen] = model.thought_states(batch).cpu()


@torch.no_grad()
def mean_thoughts(model, examples, collate) -> torch.Tensor:
    """Return the mean of the examples' soft thoughts, `[N, L, d_b]`: one set for all questions, a control."""
    model.eval()
    batches = (on_device(collate(part), model.device_name) for part in cut_in_parts(examples, BATCH_SIZE))
    sums = (model.batch_thoughts(batch).double().sum(0) for batch in batches)
    return (sum(sums) / len(examples)).float().cpu()
