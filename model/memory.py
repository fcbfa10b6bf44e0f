"""Work that runs out of memory is done in smaller parts. Knows nothing of the work."""

import gc

import torch


def is_out_of_memory(error: RuntimeError) -> bool:
    """Return whether the error says so: a GPU's has a class, a CPU's only a text."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def free_memory() -> None:
    """Free what the failed call allocated. To be called outside the `except` block, whose error refers to it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_parts(function, items: list) -> list:
    """Return `function(items)`, a list with an entry an item; if memory runs out, of each half, and so on."""
    try:
        return function(items)
    except RuntimeError as error:
        if not is_out_of_memory(error) or len(items) == 1:
            raise
    free_memory()
    print(f"out of memory: continuing with {len(items) // 2} questions at a time", flush=True)
    half = len(items) // 2
    return in_parts(function, items[:half]) + in_parts(function, items[half:])
