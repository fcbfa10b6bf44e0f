"""A `python` for the commands of tests that starts scripts in a forked process, their imports done: seconds saved each.

`start` forks the server from pytest before any test runs, so a script finds no state that a test left. The command that
it returns passes words, folder, environment and streams to the server, signals too, and ends with the script's exit
code. What begins with an option (`-c`, `-m`) runs in a new interpreter.
"""

import atexit
import contextlib
import importlib
import json
import logging
import os
import runpy
import select
import signal
import socket
import sys
import tempfile
import traceback
from pathlib import Path

COMMAND = """#!/bin/sh
case "$1" in -*) exec '{python}' "$@" ;; esac
exec '{python}' -IS '{client}' '{address}' "$@"
"""
LATER = (  # what the scripts import later on
    "accelerate",
    "fastNLP",
    "matplotlib.pyplot",
    "pandas",
    "torch.utils.tensorboard",
    "transformers.generation.utils",
    "transformers.models.llama.modeling_llama",
    "transformers.models.qwen2.modeling_qwen2",
    "transformers.models.qwen3.modeling_qwen3",
)


def start():
    """Fork the server, which ends with this process; return the path of the command."""
    folder = tempfile.TemporaryDirectory(prefix="softcot-tests-")
    atexit.register(folder.cleanup)
    command, address = Path(folder.name, "python"), str(Path(folder.name, "socket"))
    command.write_text(COMMAND.format(python=sys.executable, client=__file__, address=address), encoding="utf-8")
    command.chmod(0o755)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(16)
    parent = os.pidfd_open(os.getpid())
    if os.fork():
        os.close(parent)
        listener.close()
        return command
    try:
        serve(listener, parent)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)  # nothing of pytest's runs twice at its exit, nor coverage's


def serve(listener, parent):
    """Fork a process for each connection, and send its exit code; return when `parent` ends."""
    running = {}  # pidfd -> process, connection
    while True:
        for ready in select.select([listener, parent, *running], [], [])[0]:
            if ready == parent:
                return
            if ready is not listener:
                process, connection = running.pop(ready)
                os.close(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
                with connection, contextlib.suppress(OSError):  # a test may have killed the client
                    connection.sendall(b"%d\n" % code)
                continue
            connection, _ = listener.accept()
            for name in LATER:
                importlib.import_module(name)
            if process := os.fork():
                with contextlib.suppress(OSError):
                    connection.sendall(b"%d\n" % process)
                running[os.pidfd_open(process)] = process, connection
            else:
                listener.close()
                run(connection)


def run(connection):
    """Run the script that a connection asks for, as a new interpreter would, and end this process."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    with connection, connection.makefile(encoding="utf-8") as lines:
        words, folder, environment = json.loads(lines.readline())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.stdin, sys.stdout = open(0), open(1, "w")  # noqa: SIM115 - to the end
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace")  # noqa: SIM115
    logging.root.handlers.clear()  # pytest's
    for handler in logging.getLogger("transformers").handlers:
        if type(handler) is logging.StreamHandler:
            handler.setStream(sys.stderr)
    atexit._clear()
    # A pool of threads does not survive the fork: PyTorch makes a new one, and fails if several threads ask at once.
    sys.modules["torch"].set_num_threads(int(environment["OMP_NUM_THREADS"]))
    sys.argv, sys.path[0:0] = words, [str(Path(words[0]).parent)]
    code = 1
    try:
        runpy.run_path(words[0], run_name="__main__")
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ask(address, *words):
    """Let the server run a script; return its exit code."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [b"."], [0, 1, 2])
        connection.sendall(json.dumps([words, os.getcwd(), dict(os.environ)]).encode() + b"\n")
        with connection.makefile(encoding="utf-8") as lines:
            process = int(lines.readline())
            for signum in (signal.SIGINT, signal.SIGTERM):
                signal.signal(signum, lambda signum, _: os.kill(process, signum))
            code = int(lines.readline())
    if code < 0:
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    sys.exit(ask(*sys.argv[1:]))
