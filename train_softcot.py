"""Train SoftCoT: one linear projection between a frozen assistant and a frozen base model.

With --num_thought_tokens 0 --tune_base_model the LoRA baseline: the adapter alone, no assistant and no projection.
arguments -> data -> SoftCoT -> Trainer -> ckpt/<run>/projection.bin, results/<run>/loss.png, logs/<run> (TensorBoard)
"""

import contextlib
from pathlib import Path

import torch
from transformers import set_seed

from data_loader.tasks import get_task
from experiment.arguments import Parser, TrainSoftCoT
from experiment.loading import device_of, encode_split, load_backbones, load_instances, make_encoder, quiet_libraries
from experiment.plots import plot_loss
from experiment.record import data_hash, describe_run, run_name, training_record
from model.backbone import DTYPES
from model.processes import decided_by_main, join, leave
from model.softcot import LoRAOnly, SoftCoT, add_lora, save_projection
from model.trainer import (
    ProjectionTrainer,
    cached_thought_states,
    checkpoints,
    key_of,
    last_checkpoint,
    training_arguments,
    weights_hash,
)
from utils import UserError, fingerprint, locked, remove_stale, replaced_folder, run_main, write_json


def build_softcot(args, base, assistant):
    if not args.num_thought_tokens:
        return LoRAOnly(base, args.micro_batch_size)
    return SoftCoT(
        base,
        assistant,
        args.num_thought_tokens,
        projection_dtype=DTYPES[args.projection_dtype],
        micro_batch_size=args.micro_batch_size,
    )


def train(args, name, build, dev_k):
    """Train the model that `build(args, base, assistant)` makes and write the run's files under `name`.

    dev_k: the dev loss is on the first dev_k dev examples; 0: on all.
    """
    quiet_libraries()
    processes = join(device_of(args)).num_processes
    thinks = args.num_thought_tokens > 0
    folder = Path("ckpt", name)
    decided_by_main(lambda: refuse_checkpoints(args, folder))

    # Data first: a bad line shows before the models are loaded.
    train_set, dev_set = load_instances(args, "train", args.k_shot), load_instances(args, "dev", dev_k)
    hashes = {"train_hash": data_hash(train_set), "dev_hash": data_hash(dev_set)}
    base, assistant = load_backbones(args, args.large_model_id, args.small_model_id, with_assistant=thinks)
    encoder, collate = make_encoder(args, base, assistant)
    limit = args.max_len if args.max_len > 0 else float("inf")
    train_set = encode_split(args, encoder, base, train_set, "train", limit=limit, assistant=assistant)
    dev_set = encode_split(args, encoder, base, dev_set, "dev", assistant=assistant)
    hashes |= {
        f"{part}_weights": weights_hash(backbone.model)
        for part, backbone in (("base", base), ("assistant", assistant))
        if backbone
    }
    set_seed(args.seed)
    if args.tune_base_model:
        add_lora(base)
    if args.tune_assistant_model:
        add_lora(assistant)
    set_seed(args.seed)  # again: the projection begins at the same weights beside an adapter
    softcot = build(args, base, assistant)
    hashes["prompt_hash"] = encoder.prompt_hash
    record = training_record(args, hashes, processes)

    with one_run(args, folder, record) as checkpoint:
        learned = sum(p.numel() for p in softcot.parameters() if p.requires_grad)
        print(
            f"{name}: {len(train_set)} training examples, {len(dev_set)} dev examples, "
            f"{learned:,} trained parameters, resuming from {checkpoint or 'nothing'}",
            flush=True,
        )
        if not thinks:
            collate = without_assistant(collate)
        elif softcot.thoughts_are_constant:
            splits = {"train": train_set, "dev": dev_set}
            collate = with_thought_states(softcot, collate, splits, folder)
        trainer = ProjectionTrainer(
            model=softcot,
            data_collator=collate,
            train_dataset=train_set,
            eval_dataset=dev_set,
            record=record,
            args=training_arguments(
                str(folder),
                batch_size=args.batch_size,
                epochs=args.n_epochs,
                learning_rate=args.learning_rate,
                seed=args.seed,
                checkpoints=get_task(args.task_name).keep_checkpoints,
                device=device_of(args),
                accumulation=args.gradient_accumulation_steps,
                log_dir=str(Path("logs", name)),
            ),
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        if trainer.is_world_process_zero():
            for part, backbone, tuned in (
                ("base_model", base, args.tune_base_model),
                ("assistant_model", assistant, args.tune_assistant_model),
            ):
                if tuned:
                    with replaced_folder(folder / part) as scratch:
                        backbone.model.save_pretrained(scratch)
            record = describe_run(args, encoder, base, assistant) | hashes
            if thinks:
                save_projection(softcot.projection_state(), folder / "projection.bin")
                record["projection"] = fingerprint(folder / "projection.bin")
            write_json(record, folder / "run.json")
            results = Path("results", name)
            results.mkdir(parents=True, exist_ok=True)
            write_json(trainer.state.log_history, results / "loss.json")
            plot_loss(trainer.state.log_history, results / "loss.png", name)
            print(
                f"Wrote {folder / ('projection.bin' if thinks else 'base_model')} and {results / 'loss.png'}",
                flush=True,
            )
    leave()


def without_assistant(collate):
    """The collator without the assistant's part, which thought states or no thoughts at all stand for."""
    return lambda examples: {
        key: value for key, value in collate(examples).items() if key not in ("assistant_ids", "assistant_mask")
    }


def refuse_checkpoints(args, folder):
    """Nothing of an earlier run is written over without --resume."""
    if not args.resume and checkpoints(folder):
        raise UserError(
            f"{folder} holds checkpoints of an earlier run: --resume goes on from the last of them; "
            "to start over, remove the folder or take another --output_name"
        )


@contextlib.contextmanager
def one_run(args, folder, record):
    """Hold the run's folder (of several processes that train together, the first does); yields the checkpoint to
    resume from, or None."""
    with contextlib.ExitStack() as stack:

        def begin():
            stack.enter_context(
                locked(
                    folder / "run",
                    busy=f"another process is training in {folder}: wait for it, or take another --output_name",
                )
            )
            remove_stale(folder)
            refuse_checkpoints(args, folder)  # again, now that no other run can write there
            return last_checkpoint(folder, record) if args.resume else None

        yield decided_by_main(begin)


def with_thought_states(softcot, collate, splits, folder):
    """A collator that adds each example's thought states, computed once; the assistant then leaves the device."""
    of_model = weights_hash(softcot.assistant), str(softcot.assistant.config), softcot.embedding.tolist()
    for split, examples in splits.items():
        key = key_of([example["assistant_ids"] for example in examples], *of_model)
        states = cached_thought_states(softcot, examples, collate, folder / f"thoughts-{split}-{key}.bin")
        for example, state in zip(examples, states, strict=True):
            example["thought_states"] = state
    softcot.assistant.to("cpu")

    def collate_with_states(examples):
        batch = without_assistant(collate)(examples)
        return {**batch, "thought_states": torch.stack([example["thought_states"] for example in examples])}

    return collate_with_states


def main():
    args = Parser(TrainSoftCoT, __doc__).parse_args()
    train(args, run_name(args), build_softcot, args.dev_k)


if __name__ == "__main__":
    run_main(main)
