"""A pair of models with a projection that answers single questions: for ask.py and for Python."""

from collections.abc import Iterator
from typing import NamedTuple

from data_loader.answers import extract, majority_vote
from experiment.responses import requests_of, texts_of_ids
from experiment.setup import encode_split
from model.generation import Request


class Answer(NamedTuple):
    """What the base model says to one question: N x R texts, chain by chain, the answers read from them, their vote."""

    texts: list[str]
    answers: list  # numbers, letters or booleans by the task's answer rule; None if there is none to read
    vote: int | float | str | bool | None


class SoftCoTModel:
    """Frozen models, projection and prompts, loaded once. Answers are evaluation's for question 0, up to rounding."""

    def __init__(self, method, plain, engine, task: str, seed: int, samples: int, limit: int):
        """method, plain: with and without a slot; samples: R; limit: of new tokens."""
        self.method, self.plain, self.engine = method, plain, engine
        self.task, self.seed, self.samples, self.limit = task, seed, samples, limit

    def answer(self, question: str, thoughts: bool = True) -> Answer:
        """Return the answer with soft thoughts, or without them."""
        parts = self.stream(self.requests(question, thoughts))
        return self.read([text for _, _, text in parts if text is not None])

    def read(self, texts: list[str]) -> Answer:
        """Return the texts with their answers and vote."""
        answers = [extract(self.task, text) for text in texts]
        return Answer(texts, answers, majority_vote(answers))

    def example(self, question: str, thoughts: bool = True) -> dict:
        """Return the question encoded. Raises UserError if it is too long for the models."""
        method = self.method if thoughts else self.plain
        instance = {"question": question, "options": [], "steps": [], "answer": "", "facts": [], "index": 0}
        models = method.base, method.assistant
        return encode_split(method.encoder, *models, [instance], "eval", new_tokens=self.limit)[0]

    def requests(self, question: str, thoughts: bool = True) -> list[Request]:
        """Return a request for each response: N chains x R samples, or R without thoughts."""
        method = self.method if thoughts else self.plain
        todo = [(self.example(question, thoughts), [self.seed])]
        return list(requests_of(todo, method, self.samples))

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
