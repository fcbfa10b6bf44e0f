"""Train SoftCoT: one linear projection between a frozen assistant and a frozen base model.

With --num_thought_tokens 0 --tune_base_model the LoRA baseline: the adapter alone, no assistant and no projection.
arguments -> data -> models -> SoftCoT -> training loop -> ckpt/<run>/projection.bin, results/<run>/loss.png, logs/<run>
"""

from experiment.options import Parser, TrainSoftCoT

if __name__ == "__main__":  # help and wrong arguments end before the imports that take seconds
    Parser(TrainSoftCoT, __doc__).parse_args()

from pathlib import Path

from data_loader.tasks import get_task
from experiment.model_card import write_model_card
from experiment.resume import open_training, refuse_earlier_run
from experiment.run_files import ADAPTER, data_hash, describe_run, make_record, rendered_prompt
from experiment.setup import (
    build_for_training,
    encode_split,
    load_backbones,
    load_instances,
    make_accelerator,
    quiet_libraries,
    share_instructions,
)
from model.causal_lm import is_tuned
from model.checkpoint import read_checkpoint
from model.slot import MEAN
from model.thought_states import add_thought_states, mean_thoughts
from model.training import Recipe, training_loop
from model.weight_files import model_hashes
from model.weights import save_projection
from report.plots import plot_loss
from utils import fingerprint, replaced_folder, run_main, write_json

ADVICE = {
    "on_stop": "finished work is kept: run the same command again with --resume",
    "on_memory": "a smaller --micro_batch_size, or --quantization of the base model, needs less memory",
}


def train(args, dev_k):
    """Train and write the run's files. dev_k: the dev loss is on the first dev_k dev examples; 0: on all."""
    quiet_libraries()
    thinks = args.thinks()
    name = args.name_run()
    folder = Path("ckpt", name)

    # 1) processes (torchrun), device, trackers
    refuse_earlier_run(folder, args.resume)
    accelerator = make_accelerator()

    # 2) data, before the models: a bad line shows at once
    train_data, dev_data = load_instances(args, "train", args.k_shot), load_instances(args, "dev", dev_k)

    # 3) frozen models, prompts
    assistant_id = args.small_model_id if thinks else None
    base, assistant, encoder, collate = load_backbones(args, args.large_model_id, assistant_id, args.thought_scaling)
    limit = args.max_len if args.max_len > 0 and args.too_long == "skipped" else float("inf")
    train_set = encode_split(encoder, base, assistant, train_data, "train", limit=limit)
    dev_set = encode_split(encoder, base, assistant, dev_data, "dev")

    # 4) the record: what fixes the result
    hashes = {"prompt_hash": encoder.prompt_hash, "rendered_prompt": rendered_prompt(encoder, train_data, "train")}
    hashes |= {"train_hash": data_hash(train_data), "dev_hash": data_hash(dev_data), **model_hashes(base, assistant)}
    batch = args.batch_size * args.gradient_accumulation_steps * accelerator.num_processes
    record = make_record(args.fixing_result(), hashes | {"global_batch_size": batch})
    description = describe_run(vars(args), encoder, base, assistant, record)

    # 5) SoftCoT around the models
    softcot = build_for_training(args, base, assistant)
    share_instructions(collate, [*train_set, *dev_set], args.num_thought_tokens, base, assistant)

    with open_training(name, record, args.resume) as (finished, checkpoint):
        if finished:
            print(f"{folder} holds this run, finished: nothing to do", flush=True)
            return accelerator.end_training()
        trained = sum(p.numel() for p in softcot.parameters() if p.requires_grad)
        print(
            f"{name}: {len(train_set)} training examples, {len(dev_set)} dev examples, "
            f"{trained:,} trained parameters, resuming from {checkpoint or 'nothing'}",
            flush=True,
        )
        # 6) thought states, once
        if thinks and not is_tuned(softcot.assistant):
            splits, weights = {"train": train_set, "dev": dev_set}, hashes["assistant_weights"]
            if all(add_thought_states(softcot, splits[split], collate, folder, split, weights) for split in splits):
                softcot.assistant.to("cpu")
        if args.thought_scaling == "standardized":
            softcot.standardize(train_set)

        # 7) the training loop
        recipe = Recipe(
            batch_size=args.batch_size,
            accumulation=args.gradient_accumulation_steps,
            epochs=args.n_epochs,
            learning_rate=args.learning_rate,
            seed=args.seed,
            keep_checkpoints=get_task(args.task_name).keep_checkpoints,
        )
        state = read_checkpoint(checkpoint) if checkpoint else None
        accelerator.init_trackers(name)
        history = training_loop(softcot, train_set, dev_set, collate, recipe, folder, record, accelerator, state)
        # 8) files
        if accelerator.is_main_process:
            if thinks:
                save_projection({"soft_thoughts": mean_thoughts(softcot, train_set, collate)}, folder / MEAN)
                description["mean_thoughts"] = fingerprint(folder / MEAN)
            write_results(args, name, folder, softcot, base, assistant, description, history)
    accelerator.end_training()


def write_results(args, name, folder, softcot, base, assistant, description, history):
    """Write adapters, losses, projection and model card, then run.json, which says that the run is finished."""
    for part, backbone, tuned in (
        ("base_model", base, args.tune_base_model),
        ("assistant_model", assistant, args.tune_assistant_model),
    ):
        if tuned:
            with replaced_folder(folder / part) as scratch:
                backbone.model.save_pretrained(scratch)
            description[part] = fingerprint(folder / part / ADAPTER)
    results, written = Path("results", name), folder / "base_model"
    write_json(history, results / "loss.json")
    plot_loss(history, results / "loss.png", name)
    if args.num_thought_tokens:
        written = folder / "projection.bin"
        save_projection(softcot.projection_state(), written)
        if args.thinks():
            write_model_card(folder, vars(args), history)
        description["projection"] = fingerprint(written)
    write_json(description, folder / "run.json")
    print(f"Wrote {written} and {results / 'loss.png'}", flush=True)


def main():
    args = Parser(TrainSoftCoT, __doc__).parse_args()
    train(args, args.dev_k)


if __name__ == "__main__":
    run_main(main, **ADVICE)
