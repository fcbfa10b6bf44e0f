"""The model that lm-evaluation-harness asks for texts; the questions, the sampling and the verdicts are its own.

Needs no lm-eval: lm_eval_softcot.py registers this class with it.
"""

import dataclasses
import json
from collections import defaultdict
from itertools import groupby, takewhile

from tqdm import tqdm

from data_loader.tasks import Task
from experiment.options import EvaluateSoftCoT, EvaluateSoftCoTPlusPlus, Parser
from experiment.protocol import protocol_name
from experiment.responses import decode_texts, finished_questions, make_requests, write_hints
from experiment.run_files import make_record
from experiment.setup import drop_long, load_method, make_engine, share_instructions
from utils import UserError

HARNESS = Task("harness", {}, answer_kind="")  # its template alone is used
# Options that lm-eval decides on. They are refused, and the record leaves them out.
NOT_OF_HARNESS = (
    *("task_name", "data_dir", "split", "test_k", "published_code", "eval_batch_size", "max_new_tokens"),
    *("num_return_sequences", "greedy", "temperature", "top_p", "seed_from", "seed_to"),
)
GENERATION_KWARGS = ("until", "do_sample", "temperature", "top_p", "max_gen_toks")


def read_model_args(given: dict):
    """Return the options of evaluate_softcot.py, with num_scaling_times those of evaluate_softcotpp.py."""
    refused = [name for name in NOT_OF_HARNESS if name in given]
    refused += ["thoughts=shuffled"] if given.get("thoughts") == "shuffled" else []
    if refused:
        raise UserError(f"--model_args: leave out {', '.join(refused)}: lm-eval has the data and the sampling")
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    words = [f"--{name}" if text == "true" else f"--{name}={text}" for name, text in texts.items() if text != "false"]
    return Parser(EvaluateSoftCoTPlusPlus if "num_scaling_times" in given else EvaluateSoftCoT, "").parse_args(words)


def read_options(request, count: int, chains: int) -> tuple[tuple[str, object], ...]:
    """Return a request's sampling as options and values. count: of its responses. Raises UserError for other kwargs."""
    asked, task = request.args[1], f"task {request.task_name}"
    if unknown := sorted(asked.keys() - set(GENERATION_KWARGS)):
        raise UserError(f"{task}: generation_kwargs may be {', '.join(GENERATION_KWARGS)}, not {', '.join(unknown)}")
    if count % chains:
        raise UserError(f"{task}: `repeats: {count}` is no multiple of the {chains} chains: set it in the task's file")
    temperature, length = asked.get("temperature"), int(asked.get("max_gen_toks", 256))  # as lm-eval's own models
    options = {"max_new_tokens": length, "num_return_sequences": count // chains}
    if temperature == 0 or not asked.get("do_sample", temperature):
        return *options.items(), ("greedy", True)
    return *options.items(), ("temperature", float(temperature or 1)), ("top_p", float(asked.get("top_p", 1)))


class HarnessModel:
    """Models and projection, loaded once, with the methods that lm-eval calls."""

    tokenizer_name = "softcot"  # names a cache of requests, which the script refuses

    def __init__(self, batch_size=1, max_batch_size=None, device=None, **model_args):
        """batch_size: rows decoded at once; "auto": 64. device: not read. model_args: of `read_model_args`."""
        super().__init__()
        rows = 64 if str(batch_size).startswith("auto") else int(batch_size)
        self.args = dataclasses.replace(read_model_args(model_args), eval_batch_size=rows, task_name=HARNESS)
        self.method = load_method(self.args)
        self.slot_models = self.args.num_thought_tokens, self.method.base, self.method.assistant
        self.tokenizer = self.method.base.tokenizer
        self.examples = {}  # of each prompt, by its text

    def get_model_info(self) -> dict:
        """Return the record of what fixes the texts, but for what lm-eval records itself."""
        record = make_record(self.args.fixing_result(), self.method.hashes)
        own = {name: value for name, value in record.items() if name not in NOT_OF_HARNESS} | {"seed": self.args.seed}
        return {"softcot": own | {"protocol": protocol_name(own), "slot": self.method.encoder.slot}}

    def apply_chat_template(self, chat_history: list[dict], add_generation_prompt=True) -> str:
        """Return the base model's prompt of a chat that ends with a user turn, placeholders in its slot."""
        if not add_generation_prompt:
            raise UserError("the task begins the model's own turn (gen_prefix), which is not known here: take another")
        example = self.method.encoder.encode_turns(chat_history)
        self.examples[example["text"]] = example
        return example["text"]

    def loglikelihood(self, requests, disable_tqdm=False):
        """Raise UserError."""
        task = f"task {requests[0].task_name} needs log-likelihoods, and softcot returns texts"
        raise UserError(f"{task}: take one with `output_type: generate_until`, such as gsm8k_platinum_cot_zeroshot")

    loglikelihood_rolling = loglikelihood

    def generate_until(self, requests, disable_tqdm=False) -> list[str]:
        """Return a text a request. A question that is there several times gets its chains in turn."""
        method, texts, groups = self.method, [], defaultdict(lambda: defaultdict(list))
        for _, (request, *others) in groupby(requests, id):
            options = read_options(request, 1 + len(others), method.chains)
            example = self.examples[request.args[0]] | {"index": request.doc_id, "place": len(texts)}
            groups[options][request.task_name, request.idx].append(example)
            texts += [""] * (1 + len(others))
        runs = []  # all of them before the first runs: a task without a question that fits is refused
        for options, tasks in groups.items():
            args = dataclasses.replace(self.args, **dict(options))
            new = args.max_new_tokens
            fitting = [drop_long(examples, *self.slot_models, name, new) for (name, _), examples in tasks.items()]
            runs.append((args, fitting))
        for args, tasks in runs:
            for place, ids in self.generate(args, tasks):
                texts[place] = self.decode_response(ids, requests[place].args[1].get("until") or [])
                self.cache_hook.add_partial("generate_until", requests[place].args, texts[place])
        return texts

    def generate(self, args, tasks: list[list[dict]]):
        """Yield place and token ids of each response. tasks: the examples of each, in which an index is there once."""
        method, samples = self.method, args.num_return_sequences
        share_instructions(method.collate, sum(tasks, []), *self.slot_models)
        engine = make_engine(args, method, sum(tasks, []), args.max_new_tokens)
        for examples in tasks:
            todo = [(example, [args.seed]) for example in examples]
            if method.slot and method.slot.mode.writes_text:
                write_hints(method.assistant, method.encoder, examples, args.eval_batch_size)
            generated = engine.generate(make_requests(todo, method, samples), args.max_new_tokens)
            finished = finished_questions(generated, todo, method.chains * samples)
            for _, example, rows in tqdm(finished, total=len(todo), desc="Questions"):
                in_turn = [ids for sample in range(samples) for ids in rows[sample::samples]]  # chain by chain in rows
                yield from enumerate(in_turn, example["place"])
        if args.engine == "vllm":
            engine.close()

    def decode_response(self, ids: list[int], until) -> str:
        """Return the text of a response up to the first of the texts `until`."""
        until = [until] if isinstance(until, str) else until
        ends = {self.tokenizer.get_added_vocab().get(stop) for stop in until}  # a special token has no text
        ids = list(takewhile(lambda token: token not in ends, ids))
        (text,) = decode_texts(self.tokenizer, [ids], skip_special_tokens=True)
        for stop in filter(None, until):
            text = text.split(stop)[0]
        return text
