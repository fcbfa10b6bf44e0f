"""How the processes of a training (torchrun) come to the same decision. Without torchrun nothing here waits."""

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from utils import UserError


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


def find_largest(accelerator, *values: int) -> list[int]:
    """Return the largest of each value over the processes."""
    if accelerator.num_processes == 1:
        return list(values)
    return accelerator.gather(torch.tensor([values], device=accelerator.device)).amax(0).tolist()
