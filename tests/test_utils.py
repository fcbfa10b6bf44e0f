"""Files are whole or as they were, have one writer, and no signal cuts a write."""

import errno
import fcntl
import os
import signal
import time

import pytest

from utils import Stop, locked, noted_signals, one_line, remove_stale, replaced, replaced_folder, run_main


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


def test_a_killed_writer_leaves_the_old_file_and_what_else_it_left_is_removed(tmp_path):
    (tmp_path / "a").write_text("old")

    def half():
        with replaced(tmp_path / "a") as scratch:
            scratch.write_text("half")
            die()

    assert in_a_child(half) == -signal.SIGKILL
    assert len(list(tmp_path.glob(".a.*.tmp"))) == 1
    (tmp_path / ".model.tmp").mkdir()
    remove_stale(tmp_path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "old")]


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
    with replaced_folder(tmp_path / "model") as scratch:
        (scratch / "other").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "other"]


def test_on_a_file_system_without_locks_a_run_goes_on_with_a_warning(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with locked(tmp_path / "run", busy="busy here"):
        pass
    assert str(tmp_path / "run") in capsys.readouterr().out


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_script_at_once_and_in_a_block_that_notes_it_only_by_its_reader(signum, capsys):
    before, steps = signal.getsignal(signum), []

    def wait():
        os.kill(os.getpid(), signum)
        time.sleep(1)
        steps.append("not reached")

    def read():
        with noted_signals() as noted:
            os.kill(os.getpid(), signum)
            while not noted:
                time.sleep(0.01)
            steps.append("read")
            raise Stop(*noted)

    for main in (wait, read):
        with pytest.raises(SystemExit) as end:
            run_main(main)
        assert end.value.code == 128 + signum and signum.name in capsys.readouterr().err
    assert steps == ["read"] and signal.getsignal(signum) is before


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    "error, words",
    [
        (FloatingPointError("the loss is nan"), "error: the loss is nan"),
        (OutOfMemoryError("tried to allocate 2 GiB\nmore"), "error: tried to allocate 2 GiB; take half"),
        (RuntimeError("can't allocate memory: 2 GiB\nmore"), "error: can't allocate memory: 2 GiB; take half"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x"),
            "error: No space left on device: x; make room, then go",
        ),
    ],
)
def test_an_expected_error_is_one_line(error, words):
    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        run_main(main, on_stop="go", on_memory="take half")
    assert end.value.code.startswith(words) and "\n" not in end.value.code


@pytest.mark.parametrize("error", [ValueError, TypeError, RuntimeError, KeyError])
def test_a_bug_keeps_its_traceback(error):
    def main():
        raise error("a bug")

    assert one_line(error("a bug"), "", "") is None
    with pytest.raises(error):
        run_main(main)
