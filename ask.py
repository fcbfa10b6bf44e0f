"""Ask one question: the answer without soft thoughts, then with them; what the thoughts look like.

    python ask.py "A box has 3 bags of 4 red balls. How many red balls are in 5 boxes?" --params_file_name FILE

FILE is the projection.bin that training wrote (`make demo`: results/demo/ckpt/<run>/projection.bin). Models, task,
prompts, L, chains, dtype and protocol are those of its training, by the run.json beside it. Python: `load_softcot`.
"""

from experiment.options import Ask, Parser
from utils import naming, run_main

if __name__ == "__main__":  # help and wrong arguments end before the imports that take seconds
    run_main(Parser(Ask, __doc__).parse_args)  # which reads files

from argparse import ArgumentTypeError
from dataclasses import replace
from typing import NamedTuple

from data_loader.answers import extract, majority_vote
from data_loader.tasks import get_task
from experiment.protocol import CORRECTED
from experiment.responses import decode_texts, local_engine, make_requests
from experiment.setup import encode_split, load_method, make_encoder, quiet_libraries, read_sampling
from model.weights import load_projection
from report.thoughts import measure_thoughts, plot, show

ROWS = 64  # that are written together
NEAREST = 5  # tokens of each thought
ADVICE = {"on_memory": "--quantization of the base model needs less memory"}


class Answer(NamedTuple):
    """What the base model says to one question: N x R texts, chain by chain, the answers read from them, their vote."""

    texts: list[str]
    answers: list  # numbers, letters or booleans by the task's answer rule; None if there is none to read
    vote: int | float | str | bool | None


class SoftCoTModel:
    """Frozen models, projection and prompts, loaded once.

    Answers are those that evaluation with the same protocol and `--engine transformers` gives to question 0, up to
    rounding.
    """

    def __init__(self, args):
        quiet_libraries()
        with naming("--params_file_name"):
            state = load_projection(args.params_file_name)
        if chains := args.num_scaling_times or len(state.get("embedding", ())):  # SoftCoT++'s scripts lack the switch
            args = replace(args, num_scaling_times=chains, qwen3_tokens=CORRECTED.qwen3_tokens)
        self.args, self.method = args, load_method(args)
        base = self.method.base
        encoder, collate = make_encoder(replace(args, num_thought_tokens=0), base, None)
        self.without = replace(self.method, assistant=None, encoder=encoder, collate=collate, slot=None, chains=1)
        limit = get_task(args.task_name).generation_length(base.thought_tokens.long_responses)
        self.limit, self.engine = args.max_new_tokens or limit, local_engine(base, ROWS, **read_sampling(args, base))

    def answer(self, question: str, thoughts: bool = True) -> Answer:
        """Return the answer with soft thoughts, or without them. Raises UserError if the question is too long."""
        todo = [(self.encode(question, thoughts), [self.args.seed])]
        requests = make_requests(todo, self.method if thoughts else self.without, self.args.num_return_sequences)
        rows = {request.key: ids for request, ids in self.engine.generate(requests, self.limit)}
        tokenizer = self.method.base.tokenizer
        texts = decode_texts(tokenizer, [rows[key] for key in sorted(rows)], skip_special_tokens=True)
        answers = [extract(self.args.task_name, text) for text in texts]
        return Answer(texts, answers, majority_vote(answers))

    def encode(self, question: str, thoughts: bool = True) -> dict:
        """Return the question encoded, as `PromptEncoder.encode` does."""
        method = self.method if thoughts else self.without
        instance = {"question": question, "steps": [], "answer": "", "facts": [], "index": 0}
        models = method.base, method.assistant
        return encode_split(method.encoder, *models, [instance], "eval", new_tokens=self.limit)[0]


def load_softcot(base: str | None, assistant: str | None, projection: str, **options) -> SoftCoTModel:
    """Return a model to ask. base, assistant: None for those of training; options: those of ask.py, by name."""
    given = {"base_model_id": base, "assistant_model_id": assistant, "params_file_name": projection, **options}
    given = {name: value for name, value in given.items() if value is not None}
    for name in options.keys() & given.keys() & Ask.__dataclass_fields__.keys():
        with naming(name, (ArgumentTypeError, TypeError, ValueError)):
            given[name] = Ask.__dataclass_fields__[name].metadata["check"](given[name])
    args = Ask(**Ask.implied(given))
    args.check()
    return SoftCoTModel(args)


def main():
    args = Parser(Ask, __doc__).parse_args()
    model = SoftCoTModel(args)
    for name, thoughts in (("without", False), ("with", True)):
        found = model.answer(args.question, thoughts)
        for number, text in enumerate(found.texts, 1):
            print(f"--- {name} soft thoughts, response {number} of {len(found.texts)} ---\n{text}\n")
        votes = f" (vote of {', '.join(map(str, found.answers))})" if len(found.answers) > 1 else ""
        print(f"Answer {name} soft thoughts: {found.vote}{votes}\n", flush=True)
    if args.show_thoughts:
        (soft,) = model.method.slot.fill([model.encode(args.question)], model.method.collate)
        shown = measure_thoughts(model.method.base, soft.float(), NEAREST)
        show(shown)
        plot(shown, args.show_thoughts)


if __name__ == "__main__":
    run_main(main, **ADVICE)
