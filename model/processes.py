"""The processes of one run (torchrun): which one this is, and how all come to the same decision.

Without torchrun there is one process, and nothing here waits.
"""

import os
import sys
from datetime import timedelta

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather

from utils import UserError, pending_signal, set_pending_signal

TIMEOUT = timedelta(hours=6)  # of a collective call: an evaluation's processes end at different times


def join(device: str) -> PartialState:
    """Join the run's other processes (on a GPU, take the one of this process); only process 0 prints."""
    state = PartialState(cpu=device == "cpu", timeout=TIMEOUT)
    if not state.is_main_process:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process
    return state


def leave() -> None:
    """Leave the process group, after the last exchange. One of several processes exits here."""
    state = PartialState()
    state.wait_for_everyone()  # see signal_of_any
    state.destroy_process_group()
    if state.num_processes > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # Gloo's threads may want the interpreter while it closes: now and then a process would hang there


def is_main() -> bool:
    return int(os.environ.get("RANK", 0)) == 0


def decided_by_main(function):
    """Return in every process what `function()` returns in process 0; if it raises UserError or OSError, all stop."""
    decision, failure = [None, None], None
    if PartialState().is_main_process:
        try:
            decision = [function(), None]
        except (UserError, OSError) as error:
            decision, failure = [None, str(error)], error
    broadcast_object_list(decision)
    if decision[1] is not None:
        raise failure or UserError(decision[1])
    return decision[0]


def largest(*values: int) -> list[int]:
    """Return the largest of each value over the processes."""
    if PartialState().num_processes == 1:
        return list(values)
    return gather(torch.tensor([values], device=PartialState().device)).max(0).values.tolist()


def signal_of_any() -> int:
    """Return the signal that is pending in this or another process, or 0; it is then pending in all."""
    (signum,) = largest(pending_signal())
    if signum:
        set_pending_signal(signum)
        # Gloo's thread may still hold a gathered tensor: without a further exchange, the process would hang at its end.
        PartialState().wait_for_everyone()
    return signum
