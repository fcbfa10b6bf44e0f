"""A pair of models with a projection that answers single questions: for ask.py and for Python."""

import dataclasses
from collections.abc import Iterator
from typing import NamedTuple

from data_loader.answers import extract, majority_vote
from data_loader.tasks import get_task
from experiment.arguments import naming
from experiment.loading import encode_split, make_encoder
from experiment.method import Method, load_method
from experiment.responses import local_engine, requests_of, sampling_of, texts_of_ids
from model.generation import Request
from model.weights import load_projection
from utils import UserError

ROWS = 64  # that are written together


class Answer(NamedTuple):
    """What the base model says to one question: N x R texts, chain by chain, the answers read from them, their vote."""

    texts: list[str]
    answers: list  # numbers, letters or booleans by the task's answer rule; None if there is none to read
    vote: int | float | str | bool | None


class SoftCoTModel:
    """Frozen models, projection and prompts, loaded once. Answers are evaluation's for question 0, up to rounding."""

    def __init__(self, args):
        with naming("--params_file_name"):
            state = load_projection(args.params_file_name)
        own_chains = len(state["embedding"]) if "embedding" in state else None
        self.args = args
        self.method = load_method(args, args.num_scaling_times or own_chains)
        base = self.method.base
        # The same models without a slot: zero-shot CoT.
        encoder, collate = make_encoder(dataclasses.replace(args, num_thought_tokens=0), base, None)
        self.plain = Method(base, None, encoder, collate, None, None, 1, {})
        self.limit = args.max_new_tokens or get_task(args.task_name).generation_length(base.thought_tokens.family)
        self.engine = local_engine(base, ROWS, **sampling_of(args, base))

    def answer(self, question: str, thoughts: bool = True) -> Answer:
        """Return the answer with soft thoughts, or without them."""
        parts = self.stream(self.requests(question, thoughts))
        return self.read([text for _, _, text in parts if text is not None])

    def read(self, texts: list[str]) -> Answer:
        """Return the texts with their answers and vote."""
        answers = [extract(self.args.task_name, text) for text in texts]
        return Answer(texts, answers, majority_vote(answers))

    def example(self, question: str, thoughts: bool = True) -> dict:
        """Return the question encoded. Raises UserError if it is empty or too long for the models."""
        if not question.strip():
            raise UserError("the question is empty")
        method = self.method if thoughts else self.plain
        instance = {"question": question, "options": [], "steps": [], "answer": "", "facts": [], "index": 0}
        (example,) = encode_split(
            method.encoder, method.base, method.assistant, [instance], "eval", new_tokens=self.limit
        )
        return example

    def requests(self, question: str, thoughts: bool = True) -> list[Request]:
        """Return a request for each response: N chains x R samples, or R without thoughts."""
        method = self.method if thoughts else self.plain
        todo = [(self.example(question, thoughts), [self.args.seed])]
        return list(requests_of(todo, method, self.args.num_return_sequences))

    def stream(self, requests: list[Request]) -> Iterator[tuple[int, str, str | None]]:
        """Yield (row, new text, whole text or None) while the rows are written, one row after the other.

        All rows are written at once; what a later row has so far follows when the rows before it are finished. The
        whole text comes last, once a row.
        """
        tokenizer = self.method.base.tokenizer
        rows, ids, ended = {id(request): row for row, request in enumerate(requests)}, {}, set()
        turn, shown = 0, 0
        for request, tokens, finished in self.engine.stream(requests, self.limit):
            row = rows[id(request)]
            ids[row] = tokens
            if finished:
                ended.add(row)
            while row <= turn and turn in ids:
                # Cleaned-up spaces would change text that is already shown; the last bytes may be half a letter.
                text = tokenizer.decode(ids[turn], skip_special_tokens=True, clean_up_tokenization_spaces=False)
                text = text if turn in ended else text.rstrip("\ufffd")
                whole = texts_of_ids(tokenizer, [ids[turn]], skip_special_tokens=True)[0] if turn in ended else None
                yield turn, text[shown:], whole
                if turn not in ended:
                    shown = len(text)
                    break
                turn, shown = turn + 1, 0
