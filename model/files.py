"""Files that are whole or not there, and written by one process at a time. Knows nothing of their content."""

import contextlib
import fcntl
import os
from pathlib import Path


@contextlib.contextmanager
def replaced(path: str | Path):
    """Yield a temporary path beside `path`; what is written there is flushed and renamed to `path`.

    After an error nothing is left and `path` is as it was.
    """
    path = Path(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield scratch
        with open(scratch, "rb") as file:
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path):
    """Hold an exclusive lock on `path`.lock: a second process waits until the first is done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
