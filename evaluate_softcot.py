"""Evaluate SoftCoT, a control or a baseline in its place (--thoughts), zero-shot CoT (--num_thought_tokens 0).

One process loads the models once and serves all seeds; one log and one result file a seed. Run
again after an interruption, it goes on where it stopped.
"""

from collections import defaultdict, deque
from itertools import product
from pathlib import Path

import torch
from tqdm import tqdm

from data_loader.tasks import get_task
from experiment.arguments import EvaluateSoftCoT, Parser, naming
from experiment.loading import device_of, encode_split, load_backbones, load_instances, make_encoder, quiet_libraries
from experiment.record import check_against_training, data_hash, evaluation_record, log_name, method_of
from experiment.results import SeedResults, judge, mean_and_std
from model.causal_lm import embeddings_of
from model.controls import FROM_FILE, SOFT, UNTRAINED_SEED, WITH_ASSISTANT, ThoughtSlot
from model.generation import Request, TransformersEngine
from model.memory import in_parts
from model.processes import decided_by_main, is_main, join, leave
from model.softcot import SoftCoT, check_adapter, found_projection, load_lora, load_projection
from model.vllm_engine import VllmEngine, check_can_start
from utils import UserError, fingerprint, run_main

QUESTIONS_AT_ONCE = 8  # whose soft thoughts are made in one pass of the assistant


def build_softcot(args, base, assistant):
    return SoftCoT(base, assistant, args.num_thought_tokens)


def evaluate(args, build, chains=None):
    """Evaluate every seed; `build(args, base, assistant)` makes the model, chains: N of SoftCoT++."""
    quiet_libraries()
    seeds = args.seeds()
    if args.engine == "vllm":
        with naming("--engine vllm"):
            check_can_start()
    processes = join(device_of(args))
    thinks = args.num_thought_tokens > 0
    state = projection_of(args, chains) if thinks and args.thoughts in FROM_FILE else None
    split = load_instances(args, args.split)
    data = data_hash(split)
    questions = split[: args.test_k or None]

    base, assistant = load_backbones(
        args,
        args.base_model_id,
        args.assistant_model_id,
        with_assistant=thinks and args.thoughts in WITH_ASSISTANT,
        embeddings_only=args.engine == "vllm",
    )
    encoder, collate = make_encoder(args, base, assistant, generation_prompt=not args.no_generation_prompt)
    if state or (not thinks and args.base_model_ckpt):
        check_against_training(
            args, encoder, found_projection(args.params_file_name if state else args.base_model_ckpt)
        )
    with naming("--base_model_ckpt"):
        if args.base_model_ckpt and args.engine == "vllm":
            check_adapter(args.base_model_ckpt)  # vLLM loads it itself
        elif args.base_model_ckpt:
            load_lora(base, args.base_model_ckpt)
    with naming("--assistant_model_ckpt"):
        if args.assistant_model_ckpt and assistant:
            load_lora(assistant, args.assistant_model_ckpt)
    softcot = None
    if thinks and args.thoughts in SOFT:
        same_in_all_chains = state and "embedding" not in state
        torch.manual_seed(UNTRAINED_SEED)
        softcot = (build_softcot if same_in_all_chains else build)(args, base, assistant).eval()
        if state:
            softcot.projection.to(next(iter(state.values())).dtype)
            with naming("--params_file_name"):
                softcot.load_projection_state(state)

    max_new_tokens = args.max_new_tokens or get_task(args.task_name).generation_length(base.thought_tokens.family)
    examples = encode_split(args, encoder, base, questions, "eval", new_tokens=max_new_tokens, assistant=assistant)
    if args.thoughts == "shuffled":
        take_next_questions_thoughts(examples, split, encoder)
    questions = {question["index"]: question for question in questions}

    number_of_chains = chains if thinks and chains else 1
    slot = thinks and ThoughtSlot(
        args.thoughts, base, softcot, args.num_thought_tokens, number_of_chains, args.perturb_std
    )
    answers = number_of_chains * args.num_return_sequences
    hashes = {"prompt_hash": encoder.prompt_hash, "data_hash": data, "questions_in_split": len(split)}
    if state:
        projection = fingerprint(found_projection(args.params_file_name))
        hashes |= {"projection": projection, "own_chains": "embedding" in state}
    run = evaluation_record(args, hashes, max_new_tokens)
    results = {}

    def open_results(part=None, overwrite=False, echo=False):
        """Each seed's result file and log; process 0 of several writes them, each other one a part to be joined."""
        for seed in seeds:
            name = log_name(args, seed)
            log = Path(args.log_dir, f"{name}.log") if part is None else None
            ending = ".jsonl" if part is None else f".jsonl.part-{part}"
            results[seed] = SeedResults(
                Path(args.results_dir or args.log_dir, name + ending),
                log,
                run | {"seed": seed},
                votes=chains is not None or answers > 1,
                overwrite=overwrite,
                echo=echo and len(seeds) == 1,
            )
        return {seed: set(result.rows) for seed, result in results.items()}

    alone = processes.num_processes == 1
    finished = decided_by_main(lambda: open_results(overwrite=args.overwrite, echo=alone))
    # What is still to answer, in the data's order.
    todo = [(example, [seed for seed in seeds if example["index"] not in finished[seed]]) for example in examples]
    todo = [(example, open_seeds) for example, open_seeds in todo if open_seeds]
    if not alone:
        todo = todo[processes.process_index :: processes.num_processes]
        if not processes.is_main_process:
            open_results(part=processes.process_index, overwrite=True)
    if args.thoughts == "assistant_text":
        write_hints(args, assistant, encoder, [example for example, _ in todo])

    def requests():
        for start in range(0, len(todo), QUESTIONS_AT_ONCE):
            chosen = todo[start : start + QUESTIONS_AT_ONCE]
            prompts = in_parts(lambda part: soft_prompts(slot, base, collate, part), [example for example, _ in chosen])
            for (example, open_seeds), (prefix, tails) in zip(chosen, prompts, strict=True):
                samples = range(args.num_return_sequences)
                for seed, (chain, tail), sample in product(open_seeds, enumerate(tails), samples):
                    yield Request((seed, example["index"], chain, sample), prefix, tail)

    def result_row(example, rows):
        """rows: N x R lists of token ids, chain by chain."""
        responses = base.tokenizer.batch_decode(rows, skip_special_tokens=True)
        row = judge(args.task_name, questions[example["index"]], responses, [len(ids) for ids in rows])
        if args.print_input:
            row["input"] = base.tokenizer.decode(
                example["prefix_ids"] + example.get("hint_ids", []) + example["suffix_ids"]
            )
        if args.print_response:
            row["responses"] = responses
        return row

    waiting = {seed: deque(example for example, open_seeds in todo if seed in open_seeds) for seed in seeds}
    found = defaultdict(dict)  # (seed, question) -> {(chain, sample): token ids}
    longest = max(len(e["prefix_ids"]) + encoder.length + len(e["suffix_ids"]) for e in examples) + max_new_tokens
    generated = make_engine(args, base, longest).generate(requests(), max_new_tokens) if todo else ()
    with tqdm(
        total=sum(map(len, waiting.values())),
        desc="Questions x seeds",
        unit="question",
        disable=not processes.is_main_process,
    ) as bar:
        for request, ids in generated:
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
    if unanswered := sum(map(len, waiting.values())):
        raise UserError(f"the engine left {unanswered} questions without all their answers; run again to go on")
    if not alone or any(list(result.rows) != sorted(result.rows) for result in results.values()):
        for result in results.values():
            result.close()
        processes.wait_for_everyone()
        if processes.is_main_process:
            open_results(echo=not alone)
    if processes.is_main_process:
        name = method_of(run) + (f", noise {args.perturb_std:g}" if args.perturb_std else "")
        report(
            results, {example["index"] for example in examples}, name + (f", vote of {answers}" if answers > 1 else "")
        )
    leave()


def make_engine(args, base, longest):
    """The engine asked for; longest: tokens of the longest prompt and its response."""
    sampling = {"temperature": args.temperature, "top_p": args.top_p, "top_k": args.top_k, "greedy": args.greedy}
    if args.engine == "transformers":
        return TransformersEngine(base, rows=args.eval_batch_size, **sampling)
    return VllmEngine(
        base,
        dtype=args.dtype,
        adapter=args.base_model_ckpt,
        **sampling,
        **{"max_model_len": longest, **args.engine_arguments()},
    )


def projection_of(args, chains):
    """State of --params_file_name; SoftCoT's serves N chains only with noise (SoftCoT-P), else all are the same."""
    with naming("--params_file_name"):
        state = load_projection(args.params_file_name)
    if chains and "embedding" not in state and not args.perturb_std:
        raise UserError(
            f"{args.params_file_name} is SoftCoT's, without initial tokens: all chains would be the "
            "same; give --perturb_std (SoftCoT-P), or SoftCoT++'s, or use evaluate_softcot.py"
        )
    return state


def take_next_questions_thoughts(examples, split, encoder):
    """Give each example the assistant's prompt of the next question of the whole split, whatever part is evaluated."""
    if len(split) < 2:
        raise UserError("--thoughts shuffled needs thoughts of another question, and the split has only one")
    for example in examples:
        other = split[(example["index"] + 1) % len(split)]
        example["assistant_ids"] = encoder.encode(other, "eval")["assistant_ids"]


def write_hints(args, assistant, encoder, examples):
    """Let the assistant write up to L tokens after its prompt, greedily; the base's ids go into `hint_ids`."""
    engine = TransformersEngine(assistant, rows=args.eval_batch_size, greedy=True)
    by_index = {example["index"]: example for example in examples}
    requests = (
        Request((0, index, 0, 0), *plain_prompt(assistant, example["assistant_ids"][: -encoder.length]))
        for index, example in by_index.items()
    )
    written = engine.generate(requests, encoder.length)
    for request, ids in tqdm(written, total=len(examples), desc="Hints", unit="question", disable=not is_main()):
        text = assistant.tokenizer.decode(ids, skip_special_tokens=True)
        by_index[request.key[1]]["hint_ids"] = encoder.hint_ids(text)


@torch.no_grad()
def plain_prompt(backbone, ids):
    """Embeddings of a prompt without a slot: all but the last token `[P, d]` and the last `[1, d]`."""
    prompt = embeddings_of(backbone.model, ids)
    return prompt[:-1], prompt[-1:]


@torch.no_grad()
def soft_prompts(slot, base, collate, examples):
    """Base embeddings of each example's prompt: what stands before the thought slot `[P, d_b]`, and for each chain the
    slot's vectors and what follows `[T, d_b]`. Without a slot the last token is what follows."""
    if not slot:
        return [(prefix, [tail]) for prefix, tail in (plain_prompt(base, e["prefix_ids"]) for e in examples)]
    return [
        (
            embeddings_of(base.model, example["prefix_ids"]),
            [torch.cat([thoughts, embeddings_of(base.model, example["suffix_ids"])]) for thoughts in chains],
        )
        for example, chains in zip(examples, slot.fill(examples, collate), strict=True)
    ]


def report(results, asked, method):
    """Scores of each seed on the questions asked for, then mean and deviation over seeds, by both answer rules."""
    scores = {seed: result.scores(asked) for seed, result in results.items()}
    for seed, score in scores.items():
        print(
            f"Seed {seed}: accuracy {100 * score['accuracy']:.2f} % (strict {100 * score['accuracy_strict']:.2f} %), "
            f"{score['questions']} questions, {score['tokens']:.1f} tokens a response"
        )
    both = [
        f"{mean:.2f}" + (f" +- {std:.2f}" if len(scores) > 1 else "")
        for mean, std in (
            mean_and_std([100 * score[rule] for score in scores.values()]) for rule in ("accuracy", "accuracy_strict")
        )
    ]
    print(f"Seeds {min(scores)} to {max(scores)}: accuracy {both[0]} % (strict {both[1]} %), {method}", flush=True)


def main():
    evaluate(Parser(EvaluateSoftCoT, __doc__).parse_args(), build_softcot)


if __name__ == "__main__":
    run_main(main)
