"""The model that lm-evaluation-harness asks for texts; the questions, the sampling and the verdicts are its own.

Needs no lm-eval: lm_eval_softcot.py registers this class with it.
"""

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from tqdm import tqdm

from data_loader.tasks import HARNESS
from experiment.options import EvaluateSoftCoT, EvaluateSoftCoTPlusPlus, Parser
from experiment.protocol import protocol_name
from experiment.responses import finished_questions, requests_of, write_hints
from experiment.run_files import make_record
from experiment.setup import load_method, make_engine, quiet_libraries, read_context, share_instructions
from model.vllm_engine import check_can_start
from utils import UserError

# Options of an evaluation that the harness decides, or that need a data set of this project.
NOT_OF_HARNESS = (
    *("task_name", "data_dir", "split", "test_k", "published_code", "eval_batch_size", "max_new_tokens"),
    *("num_return_sequences", "greedy", "temperature", "top_p", "seed_from", "seed_to", "log_dir", "run_name"),
    *("print_input", "print_response", "overwrite", "tune_base_model", "tune_assistant_model"),
)
GENERATION_KWARGS = ("until", "do_sample", "temperature", "top_p", "max_gen_toks")
DEFAULT_TOKENS = 256  # the longest response, as of lm-eval's own models


class Arguments(Parser):
    """The options of an evaluation, with errors of one line."""

    def error(self, message):
        raise UserError(f"--model_args: {message}")


def read_model_args(given: dict):
    """Return the options of evaluate_softcot.py, with num_scaling_times those of evaluate_softcotpp.py."""
    refused = [name for name in NOT_OF_HARNESS if name in given]
    refused += ["thoughts=shuffled"] if given.get("thoughts") == "shuffled" else []
    if refused:
        raise UserError(f"--model_args: leave out {', '.join(refused)}: lm-eval has the data and the sampling")
    words = []
    for name, value in given.items():
        if value is not None and value is not False:  # a flag that is off
            text = json.dumps(value) if isinstance(value, dict) else str(value)
            words += [f"--{name}"] if value is True else [f"--{name}", text]
    options = EvaluateSoftCoTPlusPlus if given.get("num_scaling_times") else EvaluateSoftCoT
    return dataclasses.replace(Arguments(options, "").parse_args(words), task_name=HARNESS)


def options_of(request, count: int, chains: int) -> tuple[tuple[str, object], ...]:
    """Return a request's sampling as options and values. count: of its responses. Raises UserError for other kwargs."""
    asked, task = request.args[1], f"task {request.task_name}"
    if unknown := sorted(asked.keys() - set(GENERATION_KWARGS)):
        raise UserError(f"{task}: generation_kwargs may be {', '.join(GENERATION_KWARGS)}, not {', '.join(unknown)}")
    if count % chains:
        raise UserError(f"{task}: `repeats: {count}` is no multiple of the {chains} chains: set it in the task's file")
    temperature, length = asked.get("temperature"), int(asked.get("max_gen_toks", DEFAULT_TOKENS))
    greedy = temperature == 0 or not asked.get("do_sample", temperature)
    sampling = {"temperature": float(temperature or 1), "top_p": float(asked.get("top_p", 1))}
    options = {"greedy": True} if greedy else sampling
    return tuple({"max_new_tokens": length, "num_return_sequences": count // chains, **options}.items())


class HarnessModel:
    """Models and projection, loaded once, with the methods that lm-eval calls."""

    tokenizer_name = "softcot"  # names a cache of requests, which the script refuses

    def __init__(self, batch_size=1, max_batch_size=None, device=None, **model_args):
        """batch_size: rows decoded at once; "auto": 64. device: not read. model_args: of `read_model_args`."""
        super().__init__()
        quiet_libraries()
        rows = 64 if str(batch_size).startswith("auto") else int(batch_size)
        self.args = dataclasses.replace(read_model_args(model_args), eval_batch_size=rows)
        if self.args.engine == "vllm":
            check_can_start()
        self.method = load_method(self.args, self.args.num_scaling_times)
        self.tokenizer = self.method.base.tokenizer
        self.examples = {}  # of each prompt, by its text

    def get_model_info(self) -> dict:
        """Return the record of what fixes the texts, but for what lm-eval records itself."""
        record = make_record(self.args.fixing_result(), self.method.hashes)
        own = {name: value for name, value in record.items() if name not in NOT_OF_HARNESS} | {"seed": self.args.seed}
        tokens = self.method.base.thought_tokens
        slot = tokens.begin + tokens.placeholder * self.args.num_thought_tokens + tokens.end
        return {"softcot": own | {"protocol": protocol_name(own), "slot": slot if self.method.slot else None}}

    def chat_template(self, chat_template=False):
        return self.tokenizer.chat_template if chat_template else None

    def apply_chat_template(self, chat_history: list[dict], add_generation_prompt=True) -> str:
        """Return the base model's prompt of a chat that ends with a user turn, placeholders in its slot."""
        if not add_generation_prompt:
            raise UserError("the task begins the model's own turn (gen_prefix), which is not known here: take another")
        example = self.method.encoder.encode_turns(chat_history)
        self.examples[example["text"]] = example
        return example["text"]

    def set_cache_hook(self, cache_hook):
        if self.method.chains > 1:
            raise UserError("leave out --use_cache: it keeps one response a prompt, not one a chain")
        super().set_cache_hook(cache_hook)

    def loglikelihood(self, requests, disable_tqdm=False):
        """Raise UserError."""
        raise UserError(
            f"task {requests[0].task_name} needs log-likelihoods, and softcot returns texts: take a task with "
            "`output_type: generate_until`, such as gsm8k_platinum_cot_zeroshot"
        )

    loglikelihood_rolling = loglikelihood

    def generate_until(self, requests, disable_tqdm=False) -> list[str]:
        """Return a text a request. A question that is there several times gets its chains in turn."""
        places, groups, seen = defaultdict(list), defaultdict(lambda: defaultdict(dict)), Counter()
        for place, request in enumerate(requests):
            places[id(request)].append(place)
        texts = [""] * len(requests)
        for own in places.values():
            request = requests[own[0]]
            options = options_of(request, len(own), self.method.chains)
            example = self.examples[request.args[0]] | {"index": request.doc_id}
            if not self.fits(example, dict(options)["max_new_tokens"]):
                print(f"task {request.task_name}: question {request.doc_id} is too long for the models", flush=True)
                continue
            # In a round each index is there once: another task's question of this index is in the next round.
            groups[options][seen[options, request.doc_id]][request.doc_id] = example, own
            seen[options, request.doc_id] += 1
        with tqdm(total=len(requests), desc="Responses") as bar:
            for options, rounds in groups.items():
                args = dataclasses.replace(self.args, **dict(options))
                for place, ids in self.generate(args, rounds.values()):
                    asked = requests[place].args
                    texts[place] = self.text_of(ids, asked[1].get("until") or [])
                    self.cache_hook.add_partial("generate_until", asked, texts[place])
                    bar.update()
        return texts

    def fits(self, example, new_tokens: int) -> bool:
        """Return whether prompt and response fit the models' contexts."""
        method, prompt = self.method, len(example["prefix_ids"]) + len(example["suffix_ids"])
        room = read_context(method.base) - self.args.num_thought_tokens - new_tokens
        return prompt <= room and len(example["assistant_ids"]) <= read_context(method.assistant)

    def generate(self, args, rounds: Iterable[dict]) -> Iterator[tuple[int, list[int]]]:
        """Yield place and token ids of each response. rounds: index -> (example, places), in the order to run."""
        method, samples = self.method, args.num_return_sequences
        examples = [example for questions in rounds for example, _ in questions.values()]
        if args.engine != "reference":
            share_instructions(method.collate, examples, args.num_thought_tokens, method.base, method.assistant)
        engine = make_engine(args, method, examples, args.max_new_tokens)
        for questions in rounds:
            todo = [(example, [args.seed]) for example, _ in questions.values()]
            if method.slot and method.slot.mode.writes_text:
                write_hints(method.assistant, method.encoder, [example for example, _ in todo], args.eval_batch_size)
            generated = engine.generate(requests_of(todo, method, samples), args.max_new_tokens)
            for _, example, rows in finished_questions(generated, todo, method.chains * samples):
                for clone, place in enumerate(questions[example["index"]][1]):
                    sample, chain = divmod(clone, method.chains)
                    yield place, rows[chain * samples + sample]
        if args.engine == "vllm":
            engine.close()

    def text_of(self, ids: list[int], until) -> str:
        """Return the text of a response up to the first of the texts `until`."""
        until = [until] if isinstance(until, str) else until
        added = self.tokenizer.get_added_vocab()  # what ends a response may be a special token, which has no text
        ends = {added[stop] for stop in until if stop in added}
        ids = ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        for stop in filter(None, until):
            text = text.split(stop)[0]
        return text
