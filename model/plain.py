"""The plain way: SoftCoT's equations on any causal LM, one row at a time.

No padding, no cache, nothing shared: the model's own forward pass on embeddings, its own head, its own `generate`. So
it is right for every model, and it runs for all that `runs_fast` (model/backbone.py) leaves out. Tests compare the fast
way with it. `PlainEngine` also makes the published calls of `generate`.
"""

import copy
from collections.abc import Iterable, Iterator
from itertools import groupby

import torch
import torch.nn.functional as F
from transformers import LogitsProcessor, LogitsProcessorList

from model.attention import use_stock_attention
from model.causal_lm import bare, embed
from model.generation import (
    Request,
    Sampling,
    can_be_drawn_from,
    choose_top_k,
    derive_seed,
    find_end_ids,
    refuse_no_token,
    refuse_settings,
)


def thought_states(assistant, ids: torch.Tensor, initial_token: torch.Tensor, length: int) -> torch.Tensor:
    """Return the assistant's last hidden states at the L placeholders that end its prompt, `[L, d_a]`.

    ids: `[A]`, the prompt; initial_token: `[d]`, the input embedding of every placeholder.
    """
    before = embed(assistant, ids[:-length])
    embeds = torch.cat([before, initial_token.to(before).expand(length, -1)])
    return forward(assistant, embeds, output_hidden_states=True).hidden_states[-1][0, -length:]


def label_losses(base, prefix_ids, soft: torch.Tensor, suffix_ids, columns: list[int]) -> torch.Tensor:
    """Return -log p(label | all tokens before it) of each label, `[K]` in float32.

    prefix_ids `[P]`, soft `[L, d_b]`, suffix_ids `[S]`: one row; columns: which suffix tokens are labels.
    """
    logits = forward(base, torch.cat([embed(base, prefix_ids), soft, embed(base, suffix_ids)])).logits[0]
    before_suffix = len(prefix_ids) + len(soft)
    predicting = [before_suffix + column - 1 for column in columns]
    return F.cross_entropy(logits[predicting].float(), suffix_ids[columns].to(logits.device), reduction="none")


def plain_rows(base, batch: dict, chains: int, weights: list[float]):
    """Return a function of a row and its soft thoughts `[1, L, d_b]`: the sum of weight x cross-entropy, `[1]`.

    Row b N + i is chain i of example b. weights: of each example's labels.
    """
    prompts = unpad_prompts(batch["instruction"], batch["prefix_ids"], batch["prefix_lengths"])

    def row_losses(rows: list[int], soft: torch.Tensor) -> torch.Tensor:
        question = rows[0] // chains
        suffix = batch["suffix_ids"][question, : batch["suffix_lengths"][question]]
        losses = label_losses(base, prompts[question], soft[0], suffix, batch["label_columns"][question])
        return weights[question] * losses.sum(0, keepdim=True).to(soft.device)

    return row_losses


def unpad_prompts(instruction: tuple[int, ...], ids: torch.Tensor, lengths: list[int]) -> list[torch.Tensor]:
    """Return whole prompts: the instruction, then the last `lengths` ids of each left-padded row `[B, P]`."""
    start = ids.new_tensor(instruction)
    return [torch.cat([start, row[len(row) - own :]]) for row, own in zip(ids, lengths, strict=True)]


def forward(model, embeds: torch.Tensor, **options):
    """Return the output of the model's own forward pass on one row of embeddings `[T, d]`."""
    return bare(model)(inputs_embeds=embeds[None], use_cache=False, **options)


class PlainEngine:
    """Sampling with the model's own `generate`; the interface is that of `TransformersEngine`.

    A row is one call, and its seed is that of its key. With `published`, calls and seeds are the published ones: the
    global generator is set to the run's seed before each call. With one sample a chain all chains are one call, each
    with its own noise. With more samples each chain is a call, and the chains share their noise. Greedy, each row is a
    call. sampling: fields of `Sampling`.
    """

    def __init__(self, backbone, *, published: bool = False, **sampling):
        asked = Sampling(**sampling)
        use_stock_attention(backbone.model)
        self.model, self.name, self.published = bare(backbone.model), backbone.model_id, published
        self.end_ids = sorted(asked.end_ids or find_end_ids(backbone))
        config = copy.deepcopy(self.model.generation_config)
        if (config.num_beams or 1) > 1:
            refuse_settings(self.name, ["num_beams"])
        config.update(
            do_sample=not asked.greedy,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=choose_top_k(config, asked.top_k),
            eos_token_id=self.end_ids,
            pad_token_id=self.end_ids[0],  # of finished rows, which are cut
        )
        self.config = config

    def generate(self, requests: Iterable[Request], max_new_tokens: int) -> Iterator[tuple[Request, list[int]]]:
        """Yield each request with its token ids up to the end-of-text token (kept), in the order asked.

        With `published` the requests of a (seed, question) follow each other, chain by chain, and all chains have the
        same number of samples.
        """
        joined = self.published and self.config.do_sample  # `generate` refuses several greedy samples
        calls = published_calls(requests) if joined else ([request] for request in requests)
        for rows in calls:
            prompts = list({id(row.tail): torch.cat([row.prefix, row.tail]) for row in rows}.values())
            seed = rows[0].key[0] if self.published else derive_seed(rows[0].key)
            output = self.sample(torch.stack(prompts), rows, seed, max_new_tokens)
            yield from zip(rows, map(self.cut_at_end, output), strict=True)

    @torch.no_grad()
    def sample(self, prompts: torch.Tensor, rows: list[Request], seed: int, max_new_tokens: int) -> list[list[int]]:
        """Return the ids of one call of `generate`, as many rows for each of the prompts `[B, T, d_b]`."""
        own = self.model.generation_config
        with torch.random.fork_rng([prompts.device] if prompts.device.type == "cuda" else []):
            torch.manual_seed(seed)
            # On the model, because transformers 4.51 replaces a temperature or top_p of 1.0 by the model's own.
            self.model.generation_config = self.config
            try:
                return self.model.generate(
                    inputs_embeds=prompts,
                    attention_mask=torch.ones(prompts.shape[:2], dtype=torch.long, device=prompts.device),
                    max_new_tokens=max_new_tokens,
                    num_return_sequences=len(rows) // len(prompts),
                    logits_processor=LogitsProcessorList([RefuseNoToken(self.name, rows)]),
                ).tolist()
            finally:
                self.model.generation_config = own

    def cut_at_end(self, ids: list[int]) -> list[int]:
        """Return a response's ids up to its end token."""
        end = next((place for place, token in enumerate(ids) if token in self.end_ids), len(ids))
        return ids[: end + 1]


def published_calls(requests: Iterable[Request]) -> Iterator[list[Request]]:
    """Yield the rows of each published call of `generate`."""
    for _, question in groupby(requests, key=lambda request: request.key[:2]):
        chains = [list(rows) for _, rows in groupby(question, key=lambda request: request.key[2])]
        yield from chains if len(chains[0]) > 1 else [[row for rows in chains for row in rows]]


class RefuseNoToken(LogitsProcessor):
    """Changes no logits; raises FloatingPointError if a row has NaN or +inf, from which `generate` may draw."""

    def __init__(self, model_id: str, rows: list[Request]):
        self.model_id, self.rows = model_id, rows

    def __call__(self, input_ids, scores):
        for row, good in zip(self.rows, can_be_drawn_from(scores).tolist(), strict=True):
            if not good:
                refuse_no_token(self.model_id, row.key, input_ids.shape[1])
        return scores
