"""What a training's folder holds: nothing yet, a run to resume, or a finished one."""

import contextlib
from pathlib import Path

from experiment.model_card import CARD
from experiment.run_files import read_training, refuse_differences
from model.checkpoint import checkpoints, newest_checkpoint
from model.processes import decided_by_main
from utils import UserError, locked, remove_stale


def refuse_earlier_run(folder: Path, resume: bool) -> None:
    """Raise UserError if an earlier run would be overwritten; --resume continues one of this project only."""
    if checkpoints(folder) or (folder / "run.json").exists():
        if not resume:
            raise UserError(
                f"{folder} holds an earlier run: --resume continues it from its last checkpoint; "
                "to start over, remove the folder or take another --output_name"
            )
    elif found := [name for name in ("projection.bin", CARD) if (folder / name).exists()]:
        raise UserError(f"{folder} holds {found[0]} of another origin: move it away, or take another --output_name")


@contextlib.contextmanager
def open_training(name: str, record: dict, resume: bool):
    """Hold ckpt/<name>; yield whether it holds this run finished, and the checkpoint to resume from, or None.

    Of several processes the first one holds it. Raises UserError if another process trains there, if the folder holds
    what `refuse_earlier_run` refuses, or a run with another record.
    """
    folder = Path("ckpt", name)
    with contextlib.ExitStack() as stack:

        def begin():
            busy = f"another process is training in {folder}: wait for it, or take another --output_name"
            stack.enter_context(locked(folder / "run", busy=busy))
            for top in ("results", "logs"):
                Path(top, name).mkdir(parents=True, exist_ok=True)
            remove_stale(folder)
            refuse_earlier_run(folder, resume)  # again, now that no other run can write there
            remedy = "resume with the arguments and data the run was started with, or take another --output_name"
            if finished := read_training(folder / "projection.bin"):
                refuse_differences(finished["record"], record, f"{folder} holds a finished run with", remedy)
                return True, None
            path, state = newest_checkpoint(folder) or (None, None)
            if state:
                refuse_differences(state["record"], record, f"{path} was written by a run with", remedy)
            return False, path

        yield decided_by_main(begin)
