"""The bottom room: whole files, locks, signals, the console. Knows nothing of tensors, tasks or runs."""

import contextlib
import errno
import hashlib
import json
import os
import pickle
import shutil
import signal
import sys
import time
from pathlib import Path

from filelock import lock_descriptor

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class UserError(ValueError):
    """An error that the user can correct. Its text is one line: what was found, where, and what to do."""


class Stop(BaseException):
    """SIGINT or SIGTERM, by its number. As with KeyboardInterrupt, `except Exception` does not catch it."""


@contextlib.contextmanager
def replaced(path: str | Path):
    """Yield a temporary path; what is written there is flushed and renamed to `path`, after an error removed."""
    path = Path(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield scratch
        flush(scratch)
        os.replace(scratch, path)
        flush(path.parent)
    except OSError as error:  # a failed write names no file
        error.filename = error.filename or str(path)
        raise
    finally:
        scratch.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_folder(folder: Path):
    """Yield a temporary folder beside `folder`; flushed, it replaces `folder`. For one writer at a time."""
    scratch, old = (folder.with_name(f".{folder.name}{kind}.tmp") for kind in ("", ".old"))
    try:
        for path in (scratch, old):  # of a killed writer
            shutil.rmtree(path, ignore_errors=True)
        scratch.mkdir(parents=True)
        yield scratch
        for path in (*scratch.iterdir(), scratch):
            flush(path)
        with contextlib.suppress(FileNotFoundError):
            folder.rename(old)  # a kill while it is removed would leave a part of it under its name
        scratch.rename(folder)
        flush(folder.parent)
    finally:
        for path in (scratch, old):
            shutil.rmtree(path, ignore_errors=True)


def remove_stale(folder: Path) -> None:
    """Remove what killed writers left in a folder. The caller holds the folder's lock, so no writer lives."""
    for path in folder.glob(".*.tmp"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def flush(path: str | Path) -> None:
    """Bring a file's content, or a folder's names, to the disk (fsync)."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(value, path: str | Path, indent: int | None = 2) -> None:
    """Write JSON whole or not at all."""
    with replaced(path) as scratch:
        scratch.write_text(json.dumps(value, indent=indent, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def fingerprint(path: Path) -> str:
    """Return a file's size and SHA-256."""
    content = path.read_bytes()
    return f"{len(content)} {hashlib.sha256(content).hexdigest()}"


@contextlib.contextmanager
def locked(path: str | Path, busy: str | None = None):
    """Hold the lock `path`.lock. A second process waits, or with `busy` raises UserError: that text and the holder."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(f"{path}.lock", "a+", encoding="utf-8") as file:
        lock_file(file, busy)
        file.truncate(0)
        print(f"process {os.getpid()} on {os.uname().nodename}", file=file, flush=True)
        yield


def lock_file(file, busy: str | None = None) -> None:
    """Lock an open file until it is closed; `busy` as for `locked`."""
    try:
        free = lock_descriptor(file.fileno(), blocking=busy is None)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        print(f"warning: {file.name}: this file system has no locks; start no second run there", flush=True)
        return
    if not free:
        file.seek(0)
        raise UserError(busy + (f" ({file.read(200).strip()})" if file.readable() else ""))


@contextlib.contextmanager
def noted_signals():
    """Yield a list to which SIGINT and SIGTERM in the block only append their number; its reader ends the work."""
    noted = []
    handlers = {signum: signal.signal(signum, lambda number, _frame: noted.append(number)) for signum in SIGNALS}
    try:
        yield noted
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


def _stop(signum, _frame):
    raise Stop(signum)


def run_main(main, on_stop: str = "run it again", on_memory: str = "more memory is needed") -> None:
    """Run a script's main. An expected error is one line on stderr and exit code 1; SIGINT gives 130, SIGTERM 143."""
    handlers = {signum: signal.signal(signum, _stop) for signum in SIGNALS}
    is_main = os.environ.get("RANK", "0") == "0"  # of several processes (torchrun)
    try:
        return main()
    except Stop as stop:
        number = stop.args[0]
        if is_main:
            print(f"\nstopped by {signal.Signals(number).name}; {on_stop}", file=sys.stderr, flush=True)
        sys.exit(128 + number)
    except Exception as error:
        if (line := one_line(error, on_stop, on_memory)) is None:
            raise
        if not is_main:
            time.sleep(30)  # an error of all processes is printed by process 0, whose exit ends the others
        sys.exit(f"error: {line}")
    finally:
        for signum, handler in handlers.items():
            signal.signal(signum, handler)


@contextlib.contextmanager
def naming(what, kind=UserError):
    """Raise a UserError that says `what` before the text of an error of this kind that the block raises."""
    try:
        yield
    except kind as error:
        raise UserError(f"{what}: {error if isinstance(error, UserError) else describe(error)}") from error


def describe(error: BaseException) -> str:
    """Return an error's kind and text, on one line."""
    if isinstance(error, pickle.UnpicklingError):  # torch's text advises to run what the file holds
        return "it holds code or objects, or is damaged"
    return f"{type(error).__name__}: {' '.join(str(error).split())[:800]}"


def one_line(error: Exception, on_stop: str, on_memory: str) -> str | None:
    """Return an expected error's line: what happened, and what to do by the two texts of `run_main`. None for a bug."""
    if isinstance(error, OSError):
        name = f": {error.filename}" if error.filename else ""
        text = " ".join((f"{error.strerror}{name}" if error.strerror else str(error)).split())
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        return f"{text}; make room, then {on_stop}" if full else text
    # torch's, which this room does not import: a GPU's has a class, a CPU's only a text
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return f"{str(error).splitlines()[0][:300]}; {on_memory}"
    return str(error) if isinstance(error, (UserError, FloatingPointError)) else None
