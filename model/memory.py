"""Work that runs out of memory is done in smaller parts. Knows nothing of the work."""

import gc

import torch


def is_out_of_memory(error: RuntimeError) -> bool:
    """Of a GPU (torch.OutOfMemoryError is a RuntimeError) or of a CPU, which has no class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def free_memory() -> None:
    """Call it outside the `except` block, whose error holds on to what was allocated."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_parts(function, items: list) -> list:
    """`function(items)`, a list with an entry an item; out of memory, of each half of the items, and so on."""
    try:
        return function(items)
    except RuntimeError as error:
        if not is_out_of_memory(error) or len(items) == 1:
            raise
    free_memory()
    print(f"out of memory: going on with {len(items) // 2} questions at a time", flush=True)
    half = len(items) // 2
    return in_parts(function, items[:half]) + in_parts(function, items[half:])
