"""transformers.Trainer that saves trainable weights only, and the thought states it trains on.

A checkpoint holds the projection (and LoRA or initial tokens if they learn): a few MB, never the
frozen models. Knows nothing about tasks.
"""

import contextlib
import glob
import hashlib
import itertools
import json
import math
import os
import re
import shutil
from pathlib import Path

import torch
from accelerate import PartialState
from safetensors.torch import load_file, save_file
from tqdm import tqdm
from transformers import ProgressCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments

from experiment.record import refuse_differences
from model.backbone import first_line
from model.causal_lm import TRANSFORMERS_5
from model.frozen_lm import IGNORE
from model.memory import in_parts
from model.processes import decided_by_main, signal_of_any
from model.softcot import refuse_not_finite
from utils import UserError, deferred_signals, fingerprint, flush, locked, remove_folder, replaced

WEIGHTS = "trainable.safetensors"
MANIFEST = "manifest.json"


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


class CheckpointOnSignal(TrainerCallback):
    """After SIGINT or SIGTERM: finish the step, write a checkpoint and end (`deferred_signals` raises the Stop).

    The last step of an epoch is followed by the dev loss and a checkpoint anyway, and only what
    stands after the dev loss can be resumed to the same bits.
    """

    def on_step_end(self, args, state, control, **kwargs):
        if signal_of_any() and not control.should_training_stop and not float(state.epoch).is_integer():
            control.should_save = True

    def on_save(self, args, state, control, **kwargs):
        if signal_of_any():
            raise StopTraining


class StopTraining(Exception):
    """Out of the Trainer's loop, after the checkpoint."""


class ProjectionTrainer(Trainer):
    """Trains what requires a gradient in a SoftCoT module; see the module docstring.

    record: a JSON-able dict of all that fixes the result; it goes into each checkpoint's manifest.
    Batches may hold `index`, the examples' places in their file, which only messages use.
    """

    def __init__(self, *args, record=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.record, self.writing_to = record or {}, None
        self.remove_callback(ProgressCallback)
        self.add_callback(LossBar)
        self.add_callback(OwnNoise)
        self.add_callback(CheckpointOnSignal)
        # get_batch_samples weighs the batches; the Trainer, as 4.51 and 5.x ask, must not do so again.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = True

    def train(self, resume_from_checkpoint=None, **kwargs):
        """As the Trainer's; SIGINT and SIGTERM first write a checkpoint, then raise Stop."""
        if resume_from_checkpoint:
            state = TrainerState.load_from_json(str(Path(resume_from_checkpoint, "trainer_state.json")))
            if state.global_step >= state.max_steps:  # the Trainer would do one step more
                self.state = state
                return self._load_from_checkpoint(resume_from_checkpoint)
        with deferred_signals(), contextlib.suppress(StopTraining):  # Stop comes as the block ends
            return super().train(resume_from_checkpoint=resume_from_checkpoint, **kwargs)

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
        """Return the batches of one optimizer step, each with the `count` that its loss divides by.

        A step's gradient is that of one mean over all its labels or examples (`label_weights`), whatever processes
        and accumulation steps hold them and however short the last batch is. Examples that only fill up the last
        round of several processes are dropped.
        """
        batches, sizes, own = [], [], 0
        # 4.51 asks for too few in an epoch's last step, where batches hold several examples.
        for batch in itertools.islice(epoch_iterator, max(num_batches, self.args.gradient_accumulation_steps)):
            size = self.own_examples(len(batch["labels"]), self.args.per_device_train_batch_size)
            own += int((batch["labels"][:size] != IGNORE).sum()) if self.model.reduction == "tokens" else size
            batches.append(batch)
            sizes.append(size)
        total = self.accelerator.gather(torch.tensor([own], device=device)).sum().item()
        for batch, size in zip(batches, sizes, strict=True):
            self.cut(batch, size)
            # DDP averages over the processes; a batch of fill-up examples alone has no share.
            batch["count"] = total / self.args.world_size if size else math.inf
        return batches, None

    def own_examples(self, size: int, usual: int) -> int:
        """How many examples of the batch read last are no filling; size: how many it holds, usual: a whole batch's."""
        ending = self.accelerator.gradient_state
        if ending.end_of_dataloader and ending.remainder > 0:  # process 0's examples come first
            return max(0, min(size, ending.remainder - self.args.process_index * usual))
        return size

    @staticmethod
    def cut(batch: dict, size: int) -> None:
        for key in batch:
            batch[key] = batch[key][: max(1, size)]  # also without an example of its own, a process takes part

    def compute_loss(self, model, inputs, return_outputs=False, **kwargs):
        indices, count = inputs.pop("index", None), inputs.pop("count", None)
        loss = model(**inputs, count=count)["loss"]
        if not math.isfinite(loss.item()):
            where = "in the dev loss after" if not model.training else "at"
            raise FloatingPointError(
                f"the loss is {loss.item()} {where} step {self.state.global_step + model.training}"
                f"{self.culprits(inputs, indices)}; lower --learning_rate or use --projection_dtype float32"
            )
        return (loss, {"loss": loss}) if return_outputs else loss

    @torch.no_grad()
    def culprits(self, inputs, indices):
        """Words for a message: the examples of a batch whose own loss is not finite, else all of them."""
        if indices is None:
            return ""
        alone = [
            self.model(**{key: value[row : row + 1] for key, value in inputs.items()})["loss"].item()
            for row in range(len(indices))
        ]
        chosen = [index for index, loss in zip(indices.tolist(), alone, strict=True) if not math.isfinite(loss)]
        return f" (index of the example in its file, from 0: {', '.join(map(str, chosen or indices.tolist()))})"

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        self.cut(inputs, self.own_examples(len(inputs["labels"]), self.args.per_device_eval_batch_size))
        with torch.no_grad():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss.detach(), None, None

    def _get_output_dir(self, trial=None):
        return str(self.writing_to or super()._get_output_dir(trial))

    def _save_checkpoint(self, model, trial):
        """Write a checkpoint under another name, seal and rename it; then remove the oldest beyond the limit.

        A folder checkpoint-N is therefore whole. Raises OSError where it cannot be written; the
        earlier checkpoints are then as they were.
        """
        folder = Path(self.args.output_dir, f"checkpoint-{self.state.global_step}")
        self.writing_to = folder.with_name(f".{folder.name}.tmp")
        try:
            if self.args.should_save:
                shutil.rmtree(self.writing_to, ignore_errors=True)
            self.accelerator.wait_for_everyone()
            try:
                super()._save_checkpoint(model, trial)
            except RuntimeError as error:  # what torch.save makes of a full disk, among others
                full = re.search("inline_container|iostream|file write", str(error))
                what = "no room on the disk, or not allowed" if full else first_line(error)
                raise OSError(f"cannot write {folder}: {what}") from error
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                seal(self.writing_to / folder.name, run=self.record)
                remove_folder(folder)
                (self.writing_to / folder.name).rename(folder)
                for old in checkpoints(self.args.output_dir)[self.args.save_total_limit :]:
                    remove_folder(old)
        finally:
            if self.args.should_save:
                shutil.rmtree(self.writing_to, ignore_errors=True)
            self.writing_to = None

    def _save(self, output_dir=None, state_dict=None):
        directory = Path(output_dir or self.args.output_dir)
        directory.mkdir(parents=True, exist_ok=True)
        weights = {
            name: value.detach().cpu().contiguous()
            for name, value in self.model.named_parameters()
            if value.requires_grad
        }
        for name, value in weights.items():
            if not torch.isfinite(value).all():
                raise FloatingPointError(
                    f"{name} holds NaN or inf after step {self.state.global_step}; "
                    "lower --learning_rate or use --projection_dtype float32"
                )
        save_file(weights, directory / WEIGHTS)

    def _load_rng_state(self, checkpoint):
        with one_line_errors(checkpoint):
            super()._load_rng_state(checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint):
        with one_line_errors(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_from_checkpoint(self, resume_from_checkpoint, model=None):
        path = Path(resume_from_checkpoint) / WEIGHTS
        if not path.is_file():
            raise UserError(f"{resume_from_checkpoint} holds no {WEIGHTS}: not a checkpoint of this trainer")
        parameters = {n: p for n, p in (model or self.model).named_parameters() if p.requires_grad}
        with one_line_errors(resume_from_checkpoint), torch.no_grad():
            weights = load_file(path)
            if weights.keys() != parameters.keys():
                raise UserError(
                    f"{path} holds {sorted(weights)}, this run trains {sorted(parameters)}: "
                    "resume with the arguments the run was started with"
                )
            for name, value in weights.items():
                parameters[name].copy_(value)


def training_arguments(
    output_dir: str,
    *,
    batch_size: int,
    epochs: float,
    learning_rate: float,
    seed: int,
    checkpoints: int,
    device: str,
    accumulation: int,
    log_dir: str,
) -> TrainingArguments:
    """The published recipe: AdamW, linear decay without warm-up, clip 1.0, one checkpoint an epoch."""
    if TRANSFORMERS_5:  # TensorBoard's folder: an argument in 4.x, a variable in 5.x
        os.environ["TENSORBOARD_LOGGING_DIR"], tensorboard = log_dir, {}
    else:
        tensorboard = {"logging_dir": log_dir}
    arguments = TrainingArguments(
        **tensorboard,
        output_dir=output_dir,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=batch_size,
        num_train_epochs=epochs,
        learning_rate=learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=0,
        optim="adamw_torch",
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=seed,
        data_seed=seed,
        gradient_accumulation_steps=accumulation,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=checkpoints,
        logging_steps=10,
        logging_first_step=True,
        report_to=["tensorboard"],
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=False,
        use_cpu=device == "cpu",
        dataloader_pin_memory=device != "cpu",
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # several GPUs: torchrun, not DataParallel
    return arguments


@contextlib.contextmanager
def one_line_errors(checkpoint):
    """Whatever a foreign or damaged checkpoint raises when it is read becomes a UserError that names it."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # torch, safetensors and the optimizers raise many kinds
        raise UserError(
            f"{checkpoint} is not a readable checkpoint of this trainer: {first_line(error)[:200]}"
        ) from error


def checkpoints(directory: str | Path) -> list[Path]:
    """Folders checkpoint-N of a run, newest first, whole or not."""
    found = [path for path in Path(directory).glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name)]
    return sorted(found, key=lambda path: -int(path.name.split("-")[1]))


def last_checkpoint(directory: str | Path, record: dict | None = None) -> str | None:
    """The newest whole checkpoint of a run's folder, or None; says which newer ones are damaged.

    record: what fixes the run's result now; UserError where the checkpoint was written under another.
    """
    for path in checkpoints(directory):
        if what := damage(path):
            print(f"{path} is left aside: {what}", flush=True)
            continue
        if record is not None:
            found = json.loads((path / MANIFEST).read_text(encoding="utf-8")).get("run") or {}
            refuse_differences(
                found,
                json.loads(json.dumps(record, default=str)),
                f"{path} was written by a run with",
                "resume with the arguments and data the run was started with, or take another --output_name",
            )
        return str(path)
    return None


def key_of(*parts) -> str:
    """Hash of all that thought states depend on."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode())
    return digest.hexdigest()[:16]


def weights_hash(model) -> str:
    """Hash of some numbers of every weight, the same on every device: tells models of one name apart, at no cost."""
    samples = (
        weight.detach().flatten()[:: max(1, weight.numel() // 64)].cpu().contiguous() for weight in model.parameters()
    )
    return key_of(*(sample.view(torch.uint8).numpy().tobytes() for sample in samples))


def reserve(path: Path, size: int) -> None:
    """Give a file its size on disk now: a full disk is an OSError here, but a SIGBUS in mapped memory."""
    with open(path, "r+b") as file:
        os.posix_fallocate(file.fileno(), 0, max(size, 1))


def cached_thought_states(model, examples, collate, path: Path, batch_size: int = 16) -> torch.Tensor:
    """Thought states of all examples, `[len(examples), N, L, d_a]`, memory-mapped from `path`.

    The assistant is frozen, so they are a constant of the data: computed once, longest examples first (an
    out-of-memory shows at once), then read by every epoch and every later run whose key is in `path`. Of several
    processes each computes its share into a file of its own; process 0 joins them. Earlier files of the same name but
    for the key, the part behind its last dash, are removed.
    """
    state = PartialState()
    dtype = next(model.assistant.parameters()).dtype
    shape = (len(examples), model.num_chains, model.num_thought_tokens, model.width_assistant)
    size = math.prod(shape)
    with locked(path) if state.is_main_process else contextlib.nullcontext():
        if decided_by_main(lambda: is_missing(path, size * dtype.itemsize)):
            first, last = (len(examples) * (state.process_index + i) // state.num_processes for i in (0, 1))
            parts = [path.with_name(f".part-{process}-of-{path.name}.tmp") for process in range(state.num_processes)]
            alone = state.num_processes == 1
            with replaced(path) if alone else contextlib.nullcontext(parts[state.process_index]) as own:
                compute_thought_states(
                    model, examples[first:last], collate, own, (last - first, *shape[1:]), dtype, batch_size
                )
            state.wait_for_everyone()
            if not alone and state.is_main_process:
                join_files(parts, path)
            state.wait_for_everyone()
            if state.is_main_process:
                of_other_data = f"{glob.escape(path.name.rpartition('-')[0])}-*{path.suffix}"
                for old in set(path.parent.glob(of_other_data)) - {path}:
                    old.unlink()
    return torch.from_file(str(path), shared=False, size=size, dtype=dtype).view(shape)


def is_missing(path: Path, size: int) -> bool:
    """Whether there is no file of that size (bytes) at `path`; removes one of another size."""
    if path.is_file() and path.stat().st_size != size:
        print(f"{path} is {path.stat().st_size} bytes in place of {size}: computed again", flush=True)
        path.unlink()
    return not path.is_file()


def compute_thought_states(model, examples, collate, path: Path, shape, dtype, batch_size: int) -> None:
    """Write thought states of the shape `shape` to `path`."""
    path.write_bytes(b"")
    if not examples:
        return
    reserve(path, math.prod(shape) * dtype.itemsize)
    states = torch.from_file(str(path), shared=True, size=math.prod(shape), dtype=dtype).view(shape)
    order = sorted(range(len(examples)), key=lambda i: -len(examples[i]["assistant_ids"]))

    def states_of(chosen):
        batch = collate(chosen)
        return list(
            model.thought_states(
                batch["assistant_ids"].to(model.device_name), batch["assistant_mask"].to(model.device_name)
            ).cpu()
        )

    bar = tqdm(total=len(order), desc="Thought states", unit="question", disable=not PartialState().is_main_process)
    with torch.no_grad(), bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            computed = torch.stack(in_parts(states_of, [examples[i] for i in chosen]))
            refuse_not_finite(
                computed, [examples[i]["index"] for i in chosen], "the assistant's thought states hold NaN or inf"
            )
            states[chosen] = computed
            bar.update(len(chosen))


def join_files(parts: list[Path], path: Path) -> None:
    """Put files together, whole or not at all, and remove them."""
    with replaced(path) as scratch, open(scratch, "r+b") as whole:
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, whole)
    for part in parts:
        part.unlink()


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
