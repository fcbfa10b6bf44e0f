"""The training loop: batch, losses, backward, clip, step, log, dev loss, checkpoint.

As published: AdamW without weight decay, linear decay without warm-up, gradient clip 1.0, and the order of examples and
the dropout that transformers.Trainer draws. Several processes, or gradient accumulation, take the steps of one process
with the whole batch. Each process knows all examples of a step and weighs its own by the step's `count`. Gradients are
summed.
"""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate.utils import gather_object
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm
from transformers import get_linear_schedule_with_warmup

from model.checkpoint import write_checkpoint
from model.frozen_lm import IGNORE
from model.processes import find_largest
from utils import Stop, noted_signals

CLIP = 1.0
LOGGING_STEPS = 10
REMEDY = "a lower learning rate or a float32 projection helps"


@dataclass(frozen=True)
class Recipe:
    """The loop's settings."""

    batch_size: int  # examples in a forward pass of one process
    accumulation: int  # forward passes of a process in an optimizer step
    epochs: float
    learning_rate: float
    seed: int
    keep_checkpoints: int
    save_minutes: float = 30.0  # between checkpoints inside an epoch


@dataclass
class Progress:
    """What has been done, as a checkpoint holds it."""

    step: int = 0  # optimizer steps
    epoch: int = 0  # epochs, their dev loss included
    history: list[dict] = field(default_factory=list)  # what was logged
    unlogged: list[torch.Tensor] = field(default_factory=list)  # this process's losses since the last log, [names] each


def training_loop(
    model, train_set, dev_set, collate, recipe: Recipe, folder: Path, record: dict, accelerator, state=None
):
    """Train what requires a gradient in `model`; return the history of losses, one dict an entry.

    collate: encoded examples -> what `model.losses` takes; folder, record: of the checkpoints; state: of the one to
    resume from. After SIGINT or SIGTERM a checkpoint is written and Stop raised. Raises FloatingPointError if a loss or
    a weight is not finite.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    step_size = recipe.batch_size * recipe.accumulation * accelerator.num_processes  # examples of an optimizer step
    steps_per_epoch = math.ceil(len(train_set) / step_size)
    total_steps = math.ceil(recipe.epochs * steps_per_epoch)
    optimizer = torch.optim.AdamW(trained.values(), lr=recipe.learning_rate, weight_decay=0.0)
    schedule = get_linear_schedule_with_warmup(optimizer, num_warmup_steps=0, num_training_steps=total_steps)
    torch.manual_seed(recipe.seed + accelerator.process_index)  # each process draws its own dropout
    progress = restore(state, trained, optimizer, schedule, accelerator) if state else Progress()
    next_save = time.monotonic() + 60 * recipe.save_minutes

    def save():
        check_finite(progress, trained)
        content = make_state(progress, trained, optimizer, schedule, accelerator)
        if accelerator.is_main_process:
            write_checkpoint(content, record, folder, recipe.keep_checkpoints, steps_per_epoch)
        accelerator.wait_for_everyone()
        return time.monotonic() + 60 * recipe.save_minutes

    bar = tqdm(desc="Training", total=total_steps, initial=progress.step, disable=not accelerator.is_main_process)
    with noted_signals() as signals, bar:
        for epoch in range(progress.epoch, math.ceil(recipe.epochs)):
            first, last = epoch * steps_per_epoch, min((epoch + 1) * steps_per_epoch, total_steps)
            batches = cut_in_parts(shuffle_examples(train_set, recipe.seed + epoch), step_size)
            if progress.step == first:
                draw_as_data_loader()
            for examples in batches[progress.step - first : last - first]:
                # 1) losses and gradient, each process on its share of the examples
                losses = backward(model.train(), examples, collate, recipe.batch_size, accelerator)
                # 2) clip, step, schedule
                norm, learning_rate = clip_grad_norm_(trained.values(), CLIP), schedule.get_last_lr()[0]
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
                progress.step += 1
                progress.unlogged.append(losses)
                bar.update()
                # 3) log
                if progress.step % LOGGING_STEPS == 0 or progress.step in (1, total_steps):
                    check_finite(progress, trained)
                    sums = accelerator.reduce(torch.stack(progress.unlogged), reduction="sum")
                    values = dict(zip(model.loss_names, sums.mean(0).tolist(), strict=True))
                    values |= {"grad_norm": norm.item(), "learning_rate": learning_rate}
                    log(values, progress, steps_per_epoch, accelerator, bar)
                    progress.unlogged = []
                # 4) stop on a signal, save at times; the dev loss looks for signals too
                if progress.step < last:
                    stop, due = find_largest(accelerator, max(signals, default=0), time.monotonic() > next_save)
                    if stop or due:
                        next_save = save()
                    if stop:
                        raise Stop(stop)
            # 5) dev loss, 6) checkpoint
            check_finite(progress, trained)
            loss = dev_loss(model.eval(), dev_set, collate, recipe.batch_size, accelerator, signals)
            (stop,) = find_largest(accelerator, max(signals, default=0))
            if loss is not None:  # else a signal came before its end, and a resumed run begins it again
                draw_as_data_loader()
                log({"eval_loss": loss}, progress, steps_per_epoch, accelerator, bar)
                progress.epoch = epoch + 1
            next_save = save()
            if stop:
                raise Stop(stop)
    return progress.history


def shuffle_examples(train_set, seed: int) -> list:
    """Return the examples in the order of accelerate's SeedableRandomSampler. seed: the run's, plus the epoch."""
    order = torch.randperm(len(train_set), generator=torch.Generator().manual_seed(seed))
    return [train_set[i] for i in order.tolist()]


def draw_as_data_loader() -> None:
    """Draw the number that each pass of a DataLoader draws, so that dropout is the same as transformers.Trainer's."""
    torch.empty((), dtype=torch.int64).random_()


def cut_in_parts(items: list, size: int) -> list[list]:
    """Return the items in parts of `size`, the last one maybe shorter."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def backward(model, examples, collate, batch_size: int, accelerator) -> torch.Tensor:
    """Put the gradient of a step into `.grad`; return this process's share of the losses, `[names]`, on the device."""
    labels = sum(label != IGNORE for example in examples for label in example["labels"])
    count = labels if model.reduction == "tokens" else len(examples)  # what `frozen_lm.label_weights` divides by
    losses = torch.zeros(len(model.loss_names), device=accelerator.device)
    for part in cut_in_parts(examples, batch_size)[accelerator.process_index :: accelerator.num_processes]:
        found = model.losses(on_device(collate(part), accelerator.device), count, backward=True)
        losses += torch.stack([found[name] for name in model.loss_names])
    if accelerator.num_processes > 1:
        for parameter in (p for p in model.parameters() if p.requires_grad):
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = accelerator.reduce(gradient, reduction="sum")
    return losses


@torch.no_grad()
def dev_loss(model, dev_set, collate, batch_size: int, accelerator, signals) -> float | None:
    """Return the dev loss: the batches' losses, weighed by their examples. None if a signal came before its end."""
    total = torch.zeros((), dtype=torch.float64, device=accelerator.device)
    rounds = cut_in_parts(cut_in_parts(dev_set, batch_size), accelerator.num_processes)
    for batches in tqdm(rounds, desc="Dev loss", leave=False, disable=not accelerator.is_main_process):
        if any(find_largest(accelerator, max(signals, default=0))):
            return None
        for examples in batches[accelerator.process_index :][:1]:
            total += model.losses(on_device(collate(examples), accelerator.device))["loss"] * len(examples)
    loss = accelerator.reduce(total, reduction="sum").item() / len(dev_set)
    if not math.isfinite(loss):
        raise FloatingPointError(f"the dev loss is {loss}; {REMEDY}")
    return loss


def on_device(batch: dict, device) -> dict:
    """Return a batch with its tensors on a device."""
    return {
        name: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }


def check_finite(progress: Progress, trained: dict) -> None:
    """Raise FloatingPointError that names the first step since the last log whose loss is not finite, or a weight.

    trained: name -> parameter.
    """
    first = progress.step - len(progress.unlogged) + 1
    finite = torch.stack(progress.unlogged).isfinite().all(1).tolist() if progress.unlogged else []
    for step, good in enumerate(finite, first):
        if not good:
            raise FloatingPointError(f"the loss at step {step} is NaN or inf; {REMEDY}")
    for name, parameter in trained.items():
        if not parameter.isfinite().all():
            raise FloatingPointError(f"{name} holds NaN or inf after step {progress.step}; {REMEDY}")


def log(values: dict, progress: Progress, steps_per_epoch: int, accelerator, bar) -> None:
    """Append values to the history, send them to the trackers and show the losses in the bar."""
    progress.history.append({"step": progress.step, "epoch": progress.step / steps_per_epoch, **values})
    accelerator.log(values, step=progress.step)
    bar.set_postfix({name: f"{value:.4f}" for name, value in values.items() if "loss" in name})


def make_state(progress: Progress, trained: dict, optimizer, schedule, accelerator) -> dict:
    """Return the content of a checkpoint: tensors and plain values; a collective call of all processes."""
    unlogged = torch.stack(progress.unlogged) if progress.unlogged else torch.zeros(0, device=accelerator.device)
    gpu = torch.cuda.is_available()
    return {
        "progress": vars(progress) | {"unlogged": accelerator.reduce(unlogged, reduction="sum").tolist()},
        "weights": {name: parameter.detach().cpu() for name, parameter in trained.items()},
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "random": gather_object([{"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state() if gpu else None}]),
    }


def restore(state: dict, trained: dict, optimizer, schedule, accelerator) -> Progress:
    """Bring weights, optimizer, schedule and random state to a checkpoint's; return its Progress."""
    with torch.no_grad():
        for name, parameter in trained.items():
            parameter.copy_(state["weights"][name])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    if accelerator.process_index < len(state["random"]):
        random = state["random"][accelerator.process_index]  # what dropout draws from
        torch.set_rng_state(random["cpu"])
        if random["cuda"] is not None and torch.cuda.is_available():
            torch.cuda.set_rng_state(random["cuda"])
    progress = Progress(**state["progress"])
    share = 1.0 if accelerator.is_main_process else 0.0  # the sums over processes count once
    progress.unlogged = [share * torch.tensor(row, device=accelerator.device) for row in progress.unlogged]
    return progress
