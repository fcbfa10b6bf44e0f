"""Evaluate SoftCoT (or, with --num_thought_tokens 0, zero-shot CoT): accuracy over seeds.

One process loads the models once and serves all seeds; one log and one result file a seed. Run
again after an interruption, it goes on where it stopped.
"""

from pathlib import Path

import torch
from tqdm import tqdm

from data_loader.tasks import get_task
from model.generation import TransformersEngine
from model.softcot import SoftCoT, embedding_table, load_lora, load_projection
from utils import (
    Parser,
    SeedResults,
    add_evaluation_arguments,
    check_against_training,
    encode_split,
    judge,
    load_backbones,
    load_instances,
    log_name,
    make_encoder,
    mean_and_std,
    quiet_libraries,
    stop_with_one_line,
)

# Arguments that change no answer, or that a hash or sum stands for: results may be continued under
# other values of them.
FREE = ("eval_batch_size", "seed", "seed_from", "seed_to", "test_k", "device", "overwrite", "print_input",
        "print_response", "log_dir", "results_dir", "run_name", "params_file_name", "prompt_dir", "data_dir")


def build_softcot(args, base, assistant):
    return SoftCoT(base, assistant, args.num_thought_tokens)


def evaluate(args, build, chains=None):
    """Evaluate every seed; `build(args, base, assistant)` makes the model, chains: N of SoftCoT++."""
    quiet_libraries()
    seeds = seeds_of(args)
    for part in ("base", "assistant"):
        if getattr(args, f"tune_{part}_model") and not getattr(args, f"{part}_model_ckpt"):
            raise ValueError(f"--tune_{part}_model needs the adapter that training wrote: --{part}_model_ckpt FOLDER")
    thinks = args.num_thought_tokens > 0
    if thinks and not args.params_file_name:
        raise ValueError("--params_file_name is missing: soft thoughts need the projection.bin that training wrote "
                         "(zero-shot CoT: --num_thought_tokens 0)")
    state = load_projection(args.params_file_name) if thinks else None
    questions = load_instances(args, args.split, args.test_k)

    base, assistant = load_backbones(args, args.base_model_id, args.assistant_model_id, with_assistant=thinks)
    encoder, collate = make_encoder(args, base, assistant, generation_prompt=not args.no_generation_prompt)
    if thinks:
        check_against_training(args, encoder, args.params_file_name)
    for backbone, adapter in ((base, args.base_model_ckpt), (assistant, args.assistant_model_ckpt)):
        if adapter and backbone:
            load_lora(backbone, adapter)
    softcot = None
    if thinks:
        softcot = build(args, base, assistant).eval()
        softcot.projection.to(next(iter(state.values())).dtype)
        softcot.load_projection_state(state)

    max_new_tokens = args.max_new_tokens or get_task(args.task_name).generation_length(base.thought_tokens.family)
    examples = encode_split(args, encoder, base, questions, "eval", new_tokens=max_new_tokens)
    questions = {question["index"]: question for question in questions}
    engine = TransformersEngine(base, temperature=args.temperature, top_p=args.top_p, top_k=args.top_k,
                                greedy=args.greedy)

    number_of_chains = chains if thinks and chains else 1
    answers = number_of_chains * args.num_return_sequences
    run = {key: value for key, value in vars(args).items() if key not in FREE}
    run |= {"prompt_hash": encoder.prompt_hash, "max_new_tokens": max_new_tokens,
            "data_dir": args.data_dir and str(Path(args.data_dir).resolve())}
    if thinks:
        run["projection"] = {key: value.double().abs().sum().item() for key, value in state.items()}
    results = {}
    for seed in seeds:
        name = log_name(args, seed, chains)
        results[seed] = SeedResults(
            Path(args.results_dir or args.log_dir, f"{name}.jsonl"), Path(args.log_dir, f"{name}.log"),
            run | {"seed": seed}, votes=chains is not None or answers > 1, overwrite=args.overwrite,
            echo=len(seeds) == 1)

    # (question, seed) pairs still to answer, in the data's order; a group fills about one batch.
    todo = [(example, [seed for seed in seeds if example["index"] not in results[seed].rows]) for example in examples]
    todo = [(example, open_seeds) for example, open_seeds in todo if open_seeds]
    group = max(1, args.eval_batch_size // (len(seeds) * answers))
    with tqdm(total=sum(len(open_seeds) for _, open_seeds in todo), desc="Questions x seeds", unit="question") as bar:
        for start in range(0, len(todo), group):
            chosen = todo[start : start + group]
            prompts = soft_prompts(softcot, base, collate, [example for example, _ in chosen])
            rows = [(place, seed, chain, sample) for place, (_, open_seeds) in enumerate(chosen) for seed in open_seeds
                    for chain in range(number_of_chains) for sample in range(args.num_return_sequences)]
            keys = [(seed, chosen[place][0]["index"], chain, sample) for place, seed, chain, sample in rows]
            ids = []
            for first in range(0, len(rows), args.eval_batch_size):
                part = slice(first, first + args.eval_batch_size)
                ids += engine.generate([prompts[place][chain] for place, _, chain, _ in rows[part]], keys[part],
                                       max_new_tokens)
            texts = base.tokenizer.batch_decode(ids, skip_special_tokens=True)
            for first in range(0, len(rows), answers):
                place, seed = rows[first][:2]
                example, responses = chosen[place][0], texts[first : first + answers]
                row = judge(args.task_name, questions[example["index"]], responses,
                            [len(row_ids) for row_ids in ids[first : first + answers]])
                if args.print_input:
                    row["input"] = base.tokenizer.decode(example["prefix_ids"] + example["suffix_ids"])
                if args.print_response:
                    row["responses"] = responses
                results[seed].add(row)
                bar.update()
            done = [r for r in results.values() if r.rows]
            bar.set_postfix(accuracy=f"{100 * sum(r.correct for r in done) / sum(len(r.rows) for r in done):.1f}%")
    report(results, {example["index"] for example in examples})


def seeds_of(args):
    """All seeds of a sweep, or the one seed."""
    if args.seed_from is None and args.seed_to is None:
        return [args.seed]
    if args.seed_from is None or args.seed_to is None or args.seed_to < args.seed_from:
        raise ValueError(f"a sweep needs --seed_from and --seed_to, the second not below the first; got "
                         f"{args.seed_from} and {args.seed_to}")
    return list(range(args.seed_from, args.seed_to + 1))


@torch.no_grad()
def soft_prompts(softcot, base, collate, examples):
    """Base embeddings of each example's prompt around its soft thoughts: per example, `[T, d_b]` a chain."""
    table = embedding_table(base.model)
    embed = base.model.get_input_embeddings()

    def embeddings(ids):
        return embed(torch.tensor(ids, dtype=torch.long, device=table.device))

    if softcot is None:
        return [[embeddings(example["prefix_ids"])] for example in examples]
    batch = collate(examples)
    states = softcot.thought_states(batch["assistant_ids"].to(table.device), batch["assistant_mask"].to(table.device))
    soft = softcot.soft_thoughts(states).to(table.dtype)
    if not torch.isfinite(soft).all():
        raise FloatingPointError("the soft thoughts hold NaN or inf: the projection does not fit these models")
    prompts = []
    for example, chains in zip(examples, soft, strict=True):
        before, after = embeddings(example["prefix_ids"]), embeddings(example["suffix_ids"])
        prompts.append([torch.cat([before, thoughts, after]) for thoughts in chains])
    return prompts


def report(results, asked):
    """Scores of each seed on the questions asked for, then mean and deviation over seeds, by both answer rules."""
    scores = {seed: result.scores(asked) for seed, result in results.items()}
    for seed, score in scores.items():
        print(f"Seed {seed}: accuracy {100 * score['accuracy']:.2f} % (strict {100 * score['accuracy_strict']:.2f} %), "
              f"{score['questions']} questions, {score['tokens']:.1f} tokens a response")
    mean, std = mean_and_std([100 * score["accuracy"] for score in scores.values()])
    strict, strict_std = mean_and_std([100 * score["accuracy_strict"] for score in scores.values()])
    print(f"Seeds {min(scores)} to {max(scores)}: accuracy {mean:.2f} +- {std:.2f} % "
          f"(strict {strict:.2f} +- {strict_std:.2f} %)", flush=True)


def main():
    parser = Parser(__doc__)
    add_evaluation_arguments(parser, "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.2-1B-Instruct")
    evaluate(parser.parse_args(), build_softcot)


if __name__ == "__main__":
    stop_with_one_line(main)
