"""Files are whole or as they were, have one writer, and no signal cuts a write."""

import errno
import os
import signal
import time

import pytest

from model import files
from model.files import (
    Stop,
    damage,
    held,
    locked,
    remove_folder,
    replaced,
    replaced_folder,
    seal,
    signals_raise_stop,
    stop_waits,
)
from utils import one_line_of


def in_a_child(work):
    """Run `work` in a forked process; returns its exit code, minus the signal that killed it."""
    process = os.fork()
    if not process:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(RuntimeError), replaced(tmp_path / "a") as scratch:
        scratch.write_text("half")
        raise RuntimeError
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "old")]


def test_what_a_killed_writer_left_is_removed_by_the_next_and_a_living_one_s_is_not(tmp_path):
    def half():
        with replaced(tmp_path / "a") as scratch:
            scratch.write_text("half")
            die()

    assert in_a_child(half) == -signal.SIGKILL
    assert len(list(tmp_path.glob(".a.*.tmp"))) == 1
    with replaced(tmp_path / "a") as scratch:
        scratch.write_text("new")
        assert list(tmp_path.glob(".a.*.tmp")) == [scratch]

        def second():
            with replaced(tmp_path / "a") as other:
                other.write_text("second")

        assert in_a_child(second) == 0 and scratch.is_file()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "new")]


def test_a_killed_folder_is_not_there_and_made_again(tmp_path):
    def half():
        with replaced_folder(tmp_path / "model") as scratch:
            (scratch / "weights").write_text("half")
            die()

    assert in_a_child(half) == -signal.SIGKILL
    assert not (tmp_path / "model").exists()
    with replaced_folder(tmp_path / "model") as scratch:
        assert list(scratch.iterdir()) == []
        (scratch / "weights").write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    "harm, message",
    [
        (lambda folder: (folder / "weights").write_bytes(b"abc"), "weights is not what was written"),
        (lambda folder: (folder / "weights").write_bytes(b"abcX"), "weights is not what was written"),
        (lambda folder: (folder / "weights").unlink(), "weights is missing"),
        (lambda folder: (folder / "manifest.json").unlink(), "not written to its end"),
        (lambda folder: (folder / "manifest.json").write_text('{"files": {'), "manifest.json is damaged"),
        (lambda folder: (folder / "manifest.json").write_text('["files"]'), "manifest.json is damaged"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"\0" * 80), "manifest.json is damaged"),
    ],
)
def test_damage_to_a_sealed_folder_is_seen(tmp_path, harm, message):
    (tmp_path / "weights").write_bytes(b"abcd")
    (tmp_path / "state").write_bytes(b"")
    seal(tmp_path, run={"lr": 1})
    assert damage(tmp_path) is None
    harm(tmp_path)
    assert message in damage(tmp_path)


def test_a_removal_killed_half_way_leaves_no_half_folder(tmp_path, monkeypatch):
    folder = tmp_path / "checkpoint-2"
    folder.mkdir()
    (folder / "a").touch()

    def removal():
        monkeypatch.setattr("shutil.rmtree", lambda path, **_: path.exists() and die())
        remove_folder(folder)

    assert in_a_child(removal) == -signal.SIGKILL
    assert not folder.exists()


def test_a_second_holder_waits_or_is_told_who_holds(tmp_path):
    holder = rf"busy here \(process {os.getpid()} on "
    with locked(tmp_path / "run"), pytest.raises(ValueError, match=holder), locked(tmp_path / "run", busy="busy here"):
        pass
    with locked(tmp_path / "run", busy="busy here"):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    def hold():
        with locked(tmp_path / "run"):
            die()

    assert in_a_child(hold) == -signal.SIGKILL
    with locked(tmp_path / "run", busy="busy here"):
        pass


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_write_and_a_later_one_does_not(signum, monkeypatch):
    monkeypatch.setattr(files, "TOGETHER", 0.2)
    before = signal.getsignal(signum)
    steps = []
    with pytest.raises(Stop) as stop, signals_raise_stop():
        with held(), held():
            os.kill(os.getpid(), signum)
            time.sleep(0.01)
            assert stop_waits()
            os.kill(os.getpid(), signum)  # the same one again: torchrun passes on what a scheduler sends to all
            time.sleep(0.01)
            steps.append("finished")
        steps.append("not reached")
    assert (stop.value.signum, steps, stop_waits()) == (signum, ["finished"], False)
    with pytest.raises(Stop), signals_raise_stop(), held():
        os.kill(os.getpid(), signum)
        time.sleep(0.3)
        os.kill(os.getpid(), signum)
        time.sleep(1)
        steps.append("not reached")
    with pytest.raises(Stop), signals_raise_stop():
        os.kill(os.getpid(), signum)
        time.sleep(1)
        steps.append("not reached")
    assert steps == ["finished"] and not stop_waits()
    assert signal.getsignal(signum) is before


def test_a_full_disk_is_one_line_that_says_what_to_do():
    full = one_line_of(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "ckpt/x"))
    assert full.startswith("No space left on device: ckpt/x; ") and "--resume" in full
    assert one_line_of(PermissionError(13, "Permission denied", "x")) == "Permission denied: x"
    assert one_line_of(OSError("two\nlines")) == "two lines"
