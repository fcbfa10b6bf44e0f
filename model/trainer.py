"""transformers.Trainer that saves trainable weights only, and the thought states it trains on.

A checkpoint holds the projection (and LoRA or initial tokens if they learn): a few MB, never the
frozen models. Knows nothing about tasks.
"""

import contextlib
import hashlib
import itertools
import math
import os
import shutil
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from transformers import ProgressCallback, Trainer, TrainerCallback, TrainingArguments

from model.backbone import TRANSFORMERS_5
from model.files import locked, replaced
from model.processes import decided_by_main

WEIGHTS = "trainable.safetensors"


class LossBar(ProgressCallback):
    """The Trainer's progress bar, with the loss in it instead of lines under it."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.training_bar is not None and logs:
            shown = {key: f"{logs[key]:.4f}" for key in ("loss", "eval_loss") if key in logs}
            if shown:
                self.training_bar.set_postfix(shown)


class OwnNoise(TrainerCallback):
    """Each process draws dropout of its own; one process alone draws what it always drew."""

    def on_train_begin(self, args, state, control, **kwargs):
        if args.process_index:
            torch.manual_seed(args.seed + args.process_index)


class ProjectionTrainer(Trainer):
    """Trains what requires a gradient in a SoftCoT module; see the module docstring."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.remove_callback(ProgressCallback)
        self.add_callback(LossBar)
        self.add_callback(OwnNoise)
        # get_batch_samples weighs the batches; the Trainer, as 4.51 and 5.x ask, must not do so again.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = True
        self.global_batch_size = (self.args.per_device_train_batch_size * self.args.world_size
                                  * self.args.gradient_accumulation_steps)

    def get_train_dataloader(self):
        """4.51 takes the batch size from the checkpoint, also where other processes go on with it."""
        self._train_batch_size = self.args.train_batch_size
        return super().get_train_dataloader()

    def set_initial_training_values(self, args, *others):
        """transformers 4.51 does not count an epoch's last step where gradient accumulation leaves it short."""
        values = list(super().set_initial_training_values(args, *others))
        if not TRANSFORMERS_5:
            batches = values[5]
            values[1] = math.ceil(batches / args.gradient_accumulation_steps)
            values[6] = math.ceil(args.num_train_epochs * values[1])
        return tuple(values)

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """The batches of one optimizer step, each with the weight of its mean loss.

        A step's gradient is that of the mean over all its examples, whatever processes and accumulation steps they
        are spread over and however short the last batch is. Examples that only fill up the last round of several
        processes are dropped.
        """
        # 4.51 asks for too few in an epoch's last step, where batches hold several examples.
        batches = list(itertools.islice(epoch_iterator, max(num_batches, self.args.gradient_accumulation_steps)))
        sizes = [len(batch["labels"]) for batch in batches]
        ending = self.accelerator.gradient_state
        if batches and ending.end_of_dataloader and ending.remainder > 0:  # process 0's examples come first
            before = self.args.process_index * self.args.per_device_train_batch_size
            sizes[-1] = max(0, min(sizes[-1], ending.remainder - before))
        total = self.accelerator.gather(torch.tensor([sum(sizes)], device=device)).sum().item()
        for batch, size in zip(batches, sizes, strict=True):
            for key in batch:
                batch[key] = batch[key][: max(1, size)]  # also without an example of its own, a process takes part
            batch["weight"] = size * self.args.world_size / total  # DDP averages over the processes
        return batches, None

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        weight = inputs.pop("weight", 1.0)
        loss = weight * model(**inputs)["loss"]
        if not math.isfinite(loss.item()):
            raise FloatingPointError(
                f"the loss is {loss.item()} at step {self.state.global_step + 1}; lower --learning_rate "
                "or use --projection_dtype float32")
        return (loss, {"loss": loss}) if return_outputs else loss

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        with torch.no_grad():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss.detach(), None, None

    def _save(self, output_dir=None, state_dict=None):
        directory = Path(output_dir or self.args.output_dir)
        directory.mkdir(parents=True, exist_ok=True)
        weights = {name: value.detach().cpu().contiguous()
                   for name, value in self.model.named_parameters() if value.requires_grad}
        with replaced(directory / WEIGHTS) as scratch:
            save_file(weights, scratch, metadata={"global_batch_size": str(self.global_batch_size)})

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        path = Path(resume_from_checkpoint) / WEIGHTS
        if not path.is_file():
            raise ValueError(f"{resume_from_checkpoint} holds no {WEIGHTS}: not a checkpoint of this trainer")
        weights = load_file(path)
        with safe_open(path, framework="pt") as file:
            size = int((file.metadata() or {}).get("global_batch_size", self.global_batch_size))
        if size != self.global_batch_size:
            raise ValueError(
                f"{resume_from_checkpoint} was trained with {size} examples an optimizer step, now it would be "
                f"{self.global_batch_size} (processes x --batch_size x --gradient_accumulation_steps): resume with the "
                "same product")
        parameters = {n: p for n, p in (model or self.model).named_parameters() if p.requires_grad}
        if weights.keys() != parameters.keys():
            raise ValueError(f"{path} holds {sorted(weights)}, this run trains {sorted(parameters)}: "
                             "resume with the arguments the run was started with")
        with torch.no_grad():
            for name, value in weights.items():
                parameters[name].copy_(value)


def training_arguments(output_dir: str, *, batch_size: int, epochs: float, learning_rate: float, seed: int,
                       checkpoints: int, device: str, accumulation: int,
                       log_dir: str) -> TrainingArguments:
    """The published recipe: AdamW, linear decay without warm-up, clip 1.0, one checkpoint an epoch."""
    if TRANSFORMERS_5:  # TensorBoard's folder: an argument in 4.x, a variable in 5.x
        os.environ["TENSORBOARD_LOGGING_DIR"], tensorboard = log_dir, {}
    else:
        tensorboard = {"logging_dir": log_dir}
    arguments = TrainingArguments(
        **tensorboard,
        output_dir=output_dir, per_device_train_batch_size=batch_size, per_device_eval_batch_size=batch_size,
        num_train_epochs=epochs, learning_rate=learning_rate, lr_scheduler_type="linear", warmup_steps=0,
        optim="adamw_torch", weight_decay=0.0, max_grad_norm=1.0, seed=seed, data_seed=seed,
        gradient_accumulation_steps=accumulation, eval_strategy="epoch",
        save_strategy="epoch", save_total_limit=checkpoints, logging_steps=10, logging_first_step=True,
        report_to=["tensorboard"], remove_unused_columns=False, label_names=["labels"],
        use_cpu=device == "cpu", dataloader_pin_memory=device != "cpu", ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False)
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs: torchrun, not DataParallel
    return arguments


def last_checkpoint(directory: str | Path) -> str | None:
    """The newest complete checkpoint of a run's folder, or None."""
    found = [path for path in Path(directory).glob("checkpoint-*")
             if (path / WEIGHTS).is_file() and (path / "trainer_state.json").is_file()]
    return str(max(found, key=lambda path: int(path.name.split("-")[1]))) if found else None


def key_of(*parts) -> str:
    """Hash of all that thought states depend on."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode())
    return digest.hexdigest()[:16]


def cached_thought_states(model, examples, collate, path: Path, batch_size: int = 16) -> torch.Tensor:
    """Thought states of all examples, `[len(examples), N, L, d_a]`, memory-mapped from `path`.

    The assistant is frozen, so they are a constant of the data: computed once, longest examples first (an
    out-of-memory shows at once), then read by every epoch and every later run whose key is in `path`. Of several
    processes each computes its share into a file of its own; process 0 joins them.
    """
    state = PartialState()
    dtype = next(model.assistant.parameters()).dtype
    shape = (len(examples), model.num_chains, model.num_thought_tokens, model.width_assistant)
    with locked(path) if state.is_main_process else contextlib.nullcontext():
        if decided_by_main(lambda: not path.is_file()):
            parts = [path.with_name(f".{path.name}.{process}.tmp") for process in range(state.num_processes)]
            first, last = (len(examples) * (state.process_index + i) // state.num_processes for i in (0, 1))
            compute_thought_states(model, examples[first:last], collate, parts[state.process_index],
                                   (last - first, *shape[1:]), dtype, batch_size)
            state.wait_for_everyone()
            if state.is_main_process:
                with replaced(path) as scratch:
                    parts[0].rename(scratch)
                    with open(scratch, "ab") as whole:
                        for part in parts[1:]:
                            with open(part, "rb") as file:
                                shutil.copyfileobj(file, whole)
                            part.unlink()
            state.wait_for_everyone()
    return torch.from_file(str(path), shared=False, size=math.prod(shape), dtype=dtype).view(shape)


def compute_thought_states(model, examples, collate, path, shape, dtype, batch_size):
    """Write thought states of the shape `shape` to `path`."""
    path.unlink(missing_ok=True)
    path.touch()
    if not examples:
        return
    try:
        states = torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=dtype).view(shape)
        order = sorted(range(len(examples)), key=lambda i: -len(examples[i]["assistant_ids"]))
        bar = tqdm(total=len(order), desc="Thought states", unit="question", disable=not PartialState().is_main_process)
        with torch.no_grad(), bar:
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                batch = collate([examples[i] for i in chosen])
                computed = model.thought_states(batch["assistant_ids"].to(model.device_name),
                                                batch["assistant_mask"].to(model.device_name))
                if not torch.isfinite(computed).all():
                    raise FloatingPointError("the assistant's thought states hold NaN or inf")
                states[chosen] = computed.cpu()
                bar.update(len(chosen))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
