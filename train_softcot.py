"""Train SoftCoT: one linear projection between a frozen assistant and a frozen base model.

arguments -> data -> SoftCoT -> Trainer -> ckpt/<run>/projection.bin, results/<run>/loss.png, logs/<run> (TensorBoard)
"""

from pathlib import Path

import torch
from transformers import set_seed

from data_loader.tasks import get_task
from model.backbone import DTYPES
from model.processes import decided_by_main, join, leave
from model.softcot import SoftCoT, add_lora, save_projection
from model.trainer import ProjectionTrainer, cached_thought_states, key_of, last_checkpoint, training_arguments
from utils import (
    Parser,
    add_training_arguments,
    describe_run,
    device_of,
    encode_split,
    load_backbones,
    load_instances,
    make_encoder,
    plot_loss,
    quiet_libraries,
    run_name,
    stop_with_one_line,
    write_json,
)


def build_softcot(args, base, assistant):
    return SoftCoT(base, assistant, args.num_thought_tokens, projection_dtype=DTYPES[args.projection_dtype],
                   micro_batch_size=args.micro_batch_size)


def train(args, name, build):
    """Train the model that `build(args, base, assistant)` makes and write the run's files under `name`."""
    quiet_libraries()
    join(device_of(args))
    folder = Path("ckpt", name)
    checkpoint = decided_by_main(lambda: checkpoint_to_resume(folder, args.resume))

    # Data first: a bad line shows before the models are loaded.
    train_set, dev_set = load_instances(args, "train", args.k_shot), load_instances(args, "dev")
    base, assistant = load_backbones(args, args.large_model_id, args.small_model_id)
    set_seed(args.seed)
    encoder, collate = make_encoder(args, base, assistant)
    limit = args.max_len if args.max_len > 0 else float("inf")
    train_set = encode_split(args, encoder, base, train_set, "train", limit=limit)
    dev_set = encode_split(args, encoder, base, dev_set, "dev")
    if args.tune_base_model:
        add_lora(base)
    if args.tune_assistant_model:
        add_lora(assistant)
    softcot = build(args, base, assistant)
    learned = sum(p.numel() for p in softcot.parameters() if p.requires_grad)
    print(f"{name}: {len(train_set)} training examples, {len(dev_set)} dev examples, "
          f"{learned:,} trained parameters, resuming from {checkpoint or 'nothing'}", flush=True)

    folder.mkdir(parents=True, exist_ok=True)
    if softcot.thoughts_are_constant:
        collate = with_thought_states(args, softcot, assistant, collate, {"train": train_set, "dev": dev_set}, folder)
    else:
        collate = without_index(collate)
    trainer = ProjectionTrainer(
        model=softcot, data_collator=collate, train_dataset=train_set, eval_dataset=dev_set,
        args=training_arguments(
            str(folder), batch_size=args.batch_size, epochs=args.n_epochs, learning_rate=args.learning_rate,
            seed=args.seed, checkpoints=get_task(args.task_name).keep_checkpoints,
            device=device_of(args), accumulation=args.gradient_accumulation_steps, log_dir=str(Path("logs", name))))
    trainer.train(resume_from_checkpoint=checkpoint)

    if trainer.is_world_process_zero():
        for part, model, tuned in (("base_model", softcot.base, args.tune_base_model),
                                   ("assistant_model", softcot.assistant, args.tune_assistant_model)):
            if tuned:
                model.save_pretrained(folder / part)
        write_json(describe_run(args, encoder, base, assistant), folder / "run.json")
        save_projection(softcot.projection_state(), folder / "projection.bin")
        results = Path("results", name)
        results.mkdir(parents=True, exist_ok=True)
        write_json(trainer.state.log_history, results / "loss.json")
        plot_loss(trainer.state.log_history, results / "loss.png", name)
        print(f"Wrote {folder / 'projection.bin'} and {results / 'loss.png'}", flush=True)
    leave()


def checkpoint_to_resume(folder, resume):
    """The run's newest checkpoint with `resume`. Raises ValueError where there is one without it."""
    checkpoint = last_checkpoint(folder)
    if checkpoint and not resume:
        raise ValueError(f"{folder} holds checkpoints of an earlier run: --resume goes on from the last of them; "
                         "to start over, remove the folder or take another --output_name")
    return checkpoint


def without_index(collate):
    """A collator of what the model's forward pass takes."""
    return lambda examples: {key: value for key, value in collate(examples).items() if key != "index"}


def with_thought_states(args, softcot, assistant, collate, splits, folder):
    """A collator that adds each example's thought states, computed once; the assistant then leaves the device."""
    for split, examples in splits.items():
        fingerprint = key_of([e["assistant_ids"] for e in examples], args.small_model_id, str(assistant.model.config),
                             args.dtype, softcot.embedding.tolist(), sum_of_weights(assistant.model))
        path = folder / f"thoughts-{split}-{fingerprint}.bin"
        states = cached_thought_states(softcot, examples, collate, path)
        for example, state in zip(examples, states, strict=True):
            example["thought_states"] = state
    if softcot.assistant is not softcot.base:
        softcot.assistant.to("cpu")
    softcot.drop_assistant()

    def collate_with_states(examples):
        batch = {key: value for key, value in collate(examples).items()
                 if key not in ("assistant_ids", "assistant_mask", "index")}
        return {**batch, "thought_states": torch.stack([example["thought_states"] for example in examples])}

    return collate_with_states


def sum_of_weights(model):
    """A cheap fingerprint of a model's weights: the sum of each tensor's magnitudes."""
    return [parameter.abs().sum(dtype=torch.float32).item() for parameter in model.parameters()]


def main():
    parser = Parser(__doc__)
    add_training_arguments(parser, "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.2-1B-Instruct")
    args = parser.parse_args()
    train(args, run_name(args), build_softcot)


if __name__ == "__main__":
    stop_with_one_line(main)
