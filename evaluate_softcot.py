"""Evaluate SoftCoT, a control or a baseline in its place (--thoughts), zero-shot CoT (--num_thought_tokens 0).

One process loads the models once and serves all seeds; one log and one result file a seed. Run again after an
interruption, it continues.
"""

from experiment.options import EvaluateSoftCoT, Parser

if __name__ == "__main__":  # help and wrong arguments end before the imports that take seconds
    Parser(EvaluateSoftCoT, __doc__).parse_args()

from statistics import mean, stdev

from tqdm import tqdm

from data_loader.tasks import get_task
from experiment.responses import decode_texts, finished_questions, make_requests, write_hints
from experiment.results import LogForm, SeedFiles, judge, keep_texts
from experiment.run_files import ONLY_IN_LOGS, data_hash, make_record, name_method, rendered_prompt
from experiment.setup import encode_split, load_instances, load_method, make_engine, quiet_libraries, share_instructions
from utils import run_main

ADVICE = {
    "on_stop": "finished work is kept: run the same command again, without --overwrite",
    "on_memory": "a smaller --eval_batch_size, or --quantization of the base model, needs less memory",
}


def evaluate(args):
    """Evaluate every seed and write its result file and log."""
    quiet_libraries()

    # 1) data
    split = load_instances(args, args.split)
    questions = {question["index"]: question for question in split[: args.test_k or None]}

    # 2) models and method, the record of what fixes the answers
    method = load_method(args)
    num_answers = method.chains * args.num_return_sequences
    task, family = get_task(args.task_name), method.base.thought_tokens
    max_new_tokens = args.max_new_tokens or task.generation_length(family.long_responses)
    hashes = {"data_hash": data_hash(split), "questions_in_split": len(split), **method.hashes}
    hashes |= {"rendered_prompt": rendered_prompt(method.encoder, split, "eval"), "max_new_tokens": max_new_tokens}
    record = make_record(args.fixing_result(), hashes)

    # 3) prompts
    models = method.base, method.assistant
    shuffled_in = split if args.thoughts == "shuffled" else None
    examples = encode_split(
        method.encoder, *models, questions.values(), "eval", max_new_tokens, shuffled_in=shuffled_in
    )
    too_long = questions.keys() - {example["index"] for example in examples}
    share_instructions(method.collate, examples, args.num_thought_tokens, *models)

    # 4) files: what is finished is read back
    files = SeedFiles(args.result_paths(), record, make_log_form(args, method, len(questions)), args.overwrite)
    skipped = {"skipped": "too long for the model"}
    files.add_missing(judge(task, questions[index], [], []) | skipped for index in sorted(too_long))
    todo = files.todo(examples)
    if method.slot and method.slot.mode.writes_text:
        write_hints(method.assistant, method.encoder, [example for example, _ in todo], args.eval_batch_size)

    # 5) soft thoughts and responses, 6) verdicts
    requests = make_requests(todo, method, args.num_return_sequences)
    generated = make_engine(args, method, examples, max_new_tokens).generate(requests, max_new_tokens) if todo else ()
    bar = tqdm(
        finished_questions(generated, todo, num_answers),
        desc="Questions x seeds",
        unit="question",
        total=sum(len(seeds) for _, seeds in todo),
    )
    for seed, example, rows in bar:
        files.results[seed].add(make_row(args, method, questions[example["index"]], example, rows))

    # 7) files in the data's order, report
    files.finish()
    name = name_method(record) + (f", noise {args.perturb_std:g}" if args.perturb_std else "")
    print_scores(files.scores(questions), name + (f", vote of {num_answers}" if num_answers > 1 else ""))


def make_log_form(args, method, num_questions) -> LogForm:
    """Return what the logs show besides their rows."""
    slot = () if method.slot else None
    if method.slot and not method.slot.mode.writes_text:  # text is part of the prompt
        backbones = (method.assistant or method.base, method.base)
        slot = tuple(backbone.thought_tokens.placeholder * args.num_thought_tokens for backbone in backbones)
    arguments = tuple((name, vars(args)[name]) for name in ONLY_IN_LOGS)
    return LogForm(num_questions, args.num_return_sequences, args.num_scaling_times is not None, slot, arguments)


def make_row(args, method, question, example, rows):
    """Return the result row of a question. rows: N x R lists of token ids, chain by chain."""
    tokenizer = method.base.tokenizer
    responses = decode_texts(tokenizer, rows, skip_special_tokens=True)
    row = judge(args.task_name, question, responses, [len(ids) for ids in rows])
    if args.print_input:
        placeholders = [method.slot.placeholder] * args.num_thought_tokens if method.slot else []
        slot_ids = example.get("hint_ids", placeholders)
        row["input"] = tokenizer.decode(example["prefix_ids"] + slot_ids + example["suffix_ids"])
    raw_responses = decode_texts(tokenizer, rows, skip_special_tokens=False)
    return row | keep_texts(args.task_name, row["answers"], responses, raw_responses, keep=args.print_response)


def print_scores(scores, method_name):
    """Print each seed's scores, then mean and sample standard deviation over seeds, by both answer rules."""
    for seed, score in scores.items():
        print(
            f"Seed {seed}: accuracy {100 * score['correct']:.2f} % (strict {100 * score['correct_strict']:.2f} %), "
            f"{score['questions']} questions, {score['tokens']:.1f} tokens a response"
        )
    both = []
    for rule in ("correct", "correct_strict"):
        values = [100 * score[rule] for score in scores.values()]
        both.append(f"{mean(values):.2f}" + (f" +- {stdev(values):.2f}" if len(values) > 1 else ""))
    print(f"Seeds {min(scores)} to {max(scores)}: accuracy {both[0]} % (strict {both[1]} %), {method_name}", flush=True)


def main():
    evaluate(Parser(EvaluateSoftCoT, __doc__).parse_args())


if __name__ == "__main__":
    run_main(main, **ADVICE)
