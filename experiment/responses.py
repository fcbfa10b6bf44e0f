"""From encoded questions to finished responses: soft prompts for an engine, its rows back question by question."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import product

import torch
from tqdm import tqdm

from model.backbone import runs_fast
from model.causal_lm import embed_ids
from model.generation import Request, TransformersEngine
from model.plain import PlainEngine
from utils import UserError

QUESTIONS_AT_ONCE = 8  # whose soft thoughts are made in one pass of the assistant


def local_engine(backbone, rows: int, instruction: tuple[int, ...] = (), **sampling):
    """Return the engine of transformers' models: `rows` rows together, or one by one if the fast way does not run."""
    if runs_fast(backbone.model):
        return TransformersEngine(backbone, rows=rows, instruction=instruction, **sampling)
    return PlainEngine(backbone, **sampling)


def make_requests(todo, method, num_return_sequences: int) -> Iterator[Request]:
    """Yield a request for each seed, chain and sample of each question. todo: (example, seeds) in the data's order.

    Soft thoughts are made once a question and chain, for all seeds and samples.
    """
    for start in range(0, len(todo), QUESTIONS_AT_ONCE):
        chosen = todo[start : start + QUESTIONS_AT_ONCE]
        prompts = soft_prompts(method, [example for example, _ in chosen])
        for (example, seeds), (prefix, tails) in zip(chosen, prompts, strict=True):
            for seed, (chain, tail), sample in product(seeds, enumerate(tails), range(num_return_sequences)):
                yield Request((seed, example["index"], chain, sample), prefix, tail)


def soft_prompts(method, examples) -> list[tuple[torch.Tensor, list[torch.Tensor]]]:
    """Return the base embeddings of each example's prompt: the prefix `[P, d_b]`, and a tail a chain `[T, d_b]`.

    A tail is what fills the thought slot, then the suffix. Without a slot it is the prompt's last token.
    """
    model = method.base.model
    if not method.slot:
        return [(prefix, [tail]) for prefix, tail in (embed_prompt(model, e["prefix_ids"]) for e in examples)]
    prompts = []
    for example, chains in zip(examples, method.slot.fill(examples, method.collate), strict=True):
        suffix = embed_ids(model, example["suffix_ids"])
        tails = [torch.cat([thoughts, suffix]) for thoughts in chains]
        prompts.append((embed_ids(model, example["prefix_ids"]), tails))
    return prompts


def embed_prompt(model, ids) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the embeddings of a prompt without a slot: all but the last token `[P, d]` and the last `[1, d]`."""
    prompt = embed_ids(model, ids)
    return prompt[:-1], prompt[-1:]


def finished_questions(generated: Iterable[tuple[Request, list[int]]], todo, num_answers: int) -> Iterator[tuple]:
    """Yield (seed, example, its N x R lists of token ids, chain by chain) of each question as soon as all are there.

    generated: requests with their token ids, in the order they finish; todo: as for `make_requests`.
    """
    examples = {example["index"]: example for example, _ in todo}
    left = {(seed, example["index"]) for example, seeds in todo for seed in seeds}
    found = defaultdict(dict)  # (seed, question) -> {(chain, sample): token ids}
    for request, ids in generated:
        seed, index, *place = request.key
        found[seed, index][tuple(place)] = ids
        if len(found[seed, index]) == num_answers:
            left.remove((seed, index))
            rows = found.pop((seed, index))
            yield seed, examples[index], [rows[key] for key in sorted(rows)]
    if left:
        raise UserError(f"the engine left {len(left)} questions without all their answers; run again to continue")


def decode_texts(tokenizer, rows, skip_special_tokens: bool) -> list[str]:
    """Return the texts of rows of token ids, cleaned up if the tokenizer says so, as transformers 4.51 does."""
    texts = tokenizer.batch_decode(rows, skip_special_tokens=skip_special_tokens, clean_up_tokenization_spaces=False)
    return list(map(tokenizer.clean_up_tokenization, texts)) if tokenizer.clean_up_tokenization_spaces else texts


# ---- controls that need more than vectors ----


def take_next_questions_thoughts(examples, split, encoder) -> None:
    """Give each example the assistant's prompt of the split's next question, evaluated or not."""
    if len(split) < 2:
        raise UserError("shuffled thoughts are those of another question, and the split has only one")
    for example in examples:
        other = split[(example["index"] + 1) % len(split)]
        example["assistant_ids"] = encoder.encode(other, "eval")["assistant_ids"]


def write_hints(assistant, encoder, examples, batch_size: int) -> None:
    """Let the assistant write up to L tokens after its prompt, greedily; the base's ids go into `hint_ids`."""
    engine = local_engine(assistant, batch_size, greedy=True)
    by_index = {example["index"]: example for example in examples}
    requests = (
        Request((0, index, 0, 0), *embed_prompt(assistant.model, example["assistant_ids"][: -encoder.length]))
        for index, example in by_index.items()
    )
    written = engine.generate(requests, encoder.length)
    for request, ids in tqdm(written, total=len(examples), desc="Hints", unit="question"):
        (text,) = decode_texts(assistant.tokenizer, [ids], skip_special_tokens=True)
        by_index[request.key[1]]["hint_ids"] = encoder.hint_ids(text)
