"""Files that are whole or not there, written by one process at a time, and writes that a signal does not cut.

Knows nothing of the files' content, but for the manifest that tells a whole folder from a damaged one.
"""

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

MANIFEST = "manifest.json"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


# ---- whole or not there ----


@contextlib.contextmanager
def replaced(path: str | Path):
    """Yield a temporary path beside `path`; what is written there is flushed and renamed to `path`.

    After an error nothing is left and `path` is as it was. What a killed process left of the same
    file is removed.
    """
    path = Path(path)
    remove_stale(path.parent, f"{glob.escape(path.name)}.*")
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(scratch, "wb") as mark:
        fcntl.flock(mark, fcntl.LOCK_EX)  # says that the writer lives; a kill lets it go
        try:
            yield scratch
            flush(scratch)
            os.replace(scratch, path)
            flush(path.parent)
        finally:
            scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_folder(folder: Path):
    """Yield a temporary folder beside `folder` that takes its place, flushed; for one writer at a time."""
    scratch = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        for file in scratch.iterdir():
            flush(file)
        flush(scratch)
        remove_folder(folder)
        scratch.rename(folder)
        flush(folder.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def remove_stale(folder: Path, name: str = "*") -> None:
    """Remove temporary files of `name` (a pattern) whose writer is dead, and, of all names, temporary folders: call
    it so only where no other process writes folders here."""
    for path in folder.glob(f".{name}.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
            continue
        with contextlib.suppress(OSError), open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def flush(path: str | Path) -> None:
    """Bring a file's content, or a folder's names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def seal(folder: Path, **more) -> None:
    """Write the manifest of a finished folder (each file's size and SHA-256, and `more`) and flush all of it."""
    files = {file.name: fingerprint(file) for file in sorted(folder.iterdir()) if file.name != MANIFEST}
    (folder / MANIFEST).write_text(json.dumps({**more, "files": files}, indent=1, default=str), encoding="utf-8")
    for file in folder.iterdir():
        flush(file)
    flush(folder)


def damage(folder: Path) -> str | None:
    """What is wrong with a folder that `seal` finished, or None."""
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        for name, expected in files.items():
            if not (folder / name).is_file():
                return f"{name} is missing"
            if fingerprint(folder / name) != expected:
                return f"{name} is not what was written"
    except FileNotFoundError:
        return f"no {MANIFEST}: it was not written to its end"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    return None


def fingerprint(path: Path) -> str:
    """Size and SHA-256 of a file."""
    with open(path, "rb") as file:
        return f"{path.stat().st_size} {hashlib.file_digest(file, 'sha256').hexdigest()}"


def refuse_differences(found: dict, wanted: dict, what: str, remedy: str) -> None:
    """ValueError that lists the keys in which two records differ."""
    other = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    if other:
        raise ValueError(
            f"{what} other arguments: "
            + ", ".join(f"{key} was {found.get(key)!r}, now {wanted.get(key)!r}" for key in other)
            + f"; {remedy}"
        )


def remove_folder(folder: Path) -> None:
    """Remove a folder; killed half-way, it does not stand there half under its name."""
    aside = folder.with_name(f".{folder.name}.removed.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)


# ---- one process at a time ----


@contextlib.contextmanager
def locked(path: Path, busy: str | None = None):
    """Hold an exclusive lock on `path`.lock: a second process waits until the first is done.

    busy: do not wait, raise ValueError with this text and who holds the lock.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "a+", encoding="utf-8") as lock:
        take_lock(lock, busy)
        lock.truncate(0)
        lock.write(f"process {os.getpid()} on {socket.gethostname()}")
        lock.flush()
        try:
            yield
        finally:
            lock.truncate(0)


def take_lock(file, busy: str | None = None) -> None:
    """Lock an open file until it is closed; busy: as of `locked`."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
    except BlockingIOError:
        file.seek(0)
        holder = file.read(200) if str(file.name).endswith(".lock") else ""
        raise ValueError(busy + (f" ({holder})" if holder else "")) from None
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        print(
            f"warning: the file system of {file.name} knows no locks; see that no second run writes there", flush=True
        )


# ---- signals ----


class Stop(BaseException):
    """SIGINT or SIGTERM came; like KeyboardInterrupt no `except Exception` takes it for an error."""

    def __init__(self, signum: int):
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


TOGETHER = 2.0  # seconds: torchrun and a scheduler may both pass one signal on; a person's second one comes later
_held, _waiting, _since = 0, None, 0.0


def _on_signal(signum, _frame):
    if _held and _waiting is None:
        let_wait(signum)
    elif not _held or time.monotonic() - _since > TOGETHER:
        raise Stop(signum)


@contextlib.contextmanager
def signals_raise_stop():
    """In the block SIGINT and SIGTERM raise Stop (in the main thread, the only one that may set this)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {signum: signal.signal(signum, _on_signal) for signum in SIGNALS}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@contextlib.contextmanager
def held():
    """In the block a first signal waits for the block's end; a second one, not at once with it, does not."""
    global _held, _waiting
    _held += 1
    try:
        yield
    finally:
        _held -= 1
        if not _held and _waiting is not None:
            signum, _waiting = _waiting, None
            raise Stop(signum)


def stop_waits() -> int:
    """The signal that `held` keeps waiting, or 0."""
    return _waiting or 0


def let_wait(signum: int) -> None:
    """Keep a signal waiting that came here, or to another process as if it had come here."""
    global _waiting, _since
    _waiting, _since = signum, time.monotonic()
