"""Evaluate SoftCoT (or, with --num_thought_tokens 0, zero-shot CoT): accuracy over seeds.

One process loads the models once and serves all seeds; one log and one result file a seed. Run
again after an interruption, it goes on where it stopped.
"""

from collections import defaultdict, deque
from itertools import product
from pathlib import Path

import torch
from tqdm import tqdm

from data_loader.tasks import get_task
from model.files import fingerprint
from model.generation import Request, TransformersEngine
from model.softcot import (
    SoftCoT,
    embedding_table,
    embeddings_of,
    found_projection,
    load_lora,
    load_projection,
    refuse_not_finite,
)
from utils import (
    Parser,
    SeedResults,
    add_evaluation_arguments,
    check_against_training,
    data_hash,
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

# Arguments that change no answer, or that a hash stands for: results may be continued under
# other values of them.
FREE = ("eval_batch_size", "seed", "seed_from", "seed_to", "test_k", "device", "overwrite", "print_input",
        "print_response", "log_dir", "results_dir", "run_name", "params_file_name", "prompt_dir", "data_dir")
QUESTIONS_AT_ONCE = 8  # whose soft thoughts are made in one pass of the assistant


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
    questions = load_instances(args, args.split)
    data = data_hash(questions)
    questions = questions[: args.test_k or None]

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
    examples = encode_split(args, encoder, base, questions, "eval", new_tokens=max_new_tokens, assistant=assistant)
    questions = {question["index"]: question for question in questions}
    engine = TransformersEngine(base, rows=args.eval_batch_size, temperature=args.temperature, top_p=args.top_p,
                                top_k=args.top_k, greedy=args.greedy)

    number_of_chains = chains if thinks and chains else 1
    answers = number_of_chains * args.num_return_sequences
    run = {key: value for key, value in vars(args).items() if key not in FREE}
    run |= {"prompt_hash": encoder.prompt_hash, "data_hash": data, "max_new_tokens": max_new_tokens}
    run |= {part: fingerprint(Path(run[part], "adapter_model.safetensors"))
            for part in ("base_model_ckpt", "assistant_model_ckpt") if run[part]}
    if thinks:
        run["projection"] = fingerprint(found_projection(args.params_file_name))
    results = {}
    for seed in seeds:
        name = log_name(args, seed, chains)
        results[seed] = SeedResults(
            Path(args.results_dir or args.log_dir, f"{name}.jsonl"), Path(args.log_dir, f"{name}.log"),
            run | {"seed": seed}, votes=chains is not None or answers > 1, overwrite=args.overwrite,
            echo=len(seeds) == 1)

    # What is still to answer, in the data's order.
    todo = [(example, [seed for seed in seeds if example["index"] not in results[seed].rows]) for example in examples]
    todo = [(example, open_seeds) for example, open_seeds in todo if open_seeds]

    def requests():
        for start in range(0, len(todo), QUESTIONS_AT_ONCE):
            chosen = todo[start : start + QUESTIONS_AT_ONCE]
            prompts = soft_prompts(softcot, base, collate, [example for example, _ in chosen])
            for (example, open_seeds), (prefix, tails) in zip(chosen, prompts, strict=True):
                samples = range(args.num_return_sequences)
                for seed, (chain, tail), sample in product(open_seeds, enumerate(tails), samples):
                    yield Request((seed, example["index"], chain, sample), prefix, tail)

    def result_row(example, rows):
        """rows: N x R lists of token ids, chain by chain."""
        responses = base.tokenizer.batch_decode(rows, skip_special_tokens=True)
        row = judge(args.task_name, questions[example["index"]], responses, [len(ids) for ids in rows])
        if args.print_input:
            row["input"] = base.tokenizer.decode(example["prefix_ids"] + example["suffix_ids"])
        if args.print_response:
            row["responses"] = responses
        return row

    waiting = {seed: deque(example for example, open_seeds in todo if seed in open_seeds) for seed in seeds}
    found = defaultdict(dict)  # (seed, question) -> {(chain, sample): token ids}
    with tqdm(total=sum(map(len, waiting.values())), desc="Questions x seeds", unit="question") as bar:
        for request, ids in engine.generate(requests(), max_new_tokens):
            seed, index, *place = request.key
            found[seed, index][tuple(place)] = ids
            # Rows finish in any order, files keep the data's.
            while waiting[seed] and len(found[seed, waiting[seed][0]["index"]]) == answers:
                example = waiting[seed].popleft()
                rows = found.pop((seed, example["index"]))
                results[seed].add(result_row(example, [rows[key] for key in sorted(rows)]))
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
    """Base embeddings of each example's prompt: what stands before the soft thoughts `[P, d_b]`, and for each chain the
    soft thoughts and what follows `[T, d_b]`. Without soft thoughts the last token is what follows."""
    table = embedding_table(base.model)
    if softcot is None:
        prompts = [embeddings_of(base.model, example["prefix_ids"]) for example in examples]
        return [(prompt[:-1], [prompt[-1:]]) for prompt in prompts]
    batch = collate(examples)
    states = softcot.thought_states(batch["assistant_ids"].to(table.device), batch["assistant_mask"].to(table.device))
    soft = softcot.soft_thoughts(states).to(table.dtype)
    refuse_not_finite(soft, batch["index"].tolist(),
                      "the soft thoughts hold NaN or inf: the projection does not fit these models")
    return [(embeddings_of(base.model, example["prefix_ids"]),
             [torch.cat([thoughts, embeddings_of(base.model, example["suffix_ids"])]) for thoughts in chains])
            for example, chains in zip(examples, soft, strict=True)]


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
