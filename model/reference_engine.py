"""Sampling as the published evaluation does it: transformers' own `generate`, one question at a time.

The interface is that of `TransformersEngine`. Nothing is shared and nothing is batched beyond the published calls:
whole forward passes, transformers' own attention. So this engine is slow; it is there to compare with.

The noise differs from the other engines', where each row has a generator. Here the global generator is set to the seed
before each `generate`. With one sample a chain all chains are one call, each with its own noise. With more samples
each chain is a call, and the chains share their noise. The published code also sets the generator before it encodes
the prompt and before it fills the slot. Nothing draws there, so those seeds are left out.

Every version of transformers samples with the settings that are passed. (4.51 replaces those that equal its defaults by
the model's own, if 4.50 or later saved them. So the settings are put on the model too.)
"""

from collections.abc import Iterable, Iterator
from itertools import groupby

import torch
from transformers import LogitsProcessor, LogitsProcessorList, set_seed

from model.attention import use_stock_attention
from model.backbone import generation_config_of
from model.causal_lm import bare, embed
from model.generation import Request, can_be_drawn_from, end_ids_of, refuse_no_token

# Family -> what the published code pads finished rows with: ids 128009 and 151643.
PADDING = {"llama": "<|eot_id|>", "qwen2.5": "<|endoftext|>", "qwen3": "<|endoftext|>"}


class ReferenceEngine:
    """The published calls of `generate`. Settings that are not given are the model's own.

    end_ids: what ends a response, by default as published.
    """

    def __init__(
        self,
        backbone,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int | None = None,
        greedy: bool = False,
        end_ids: set[int] | None = None,
    ):
        use_stock_attention(backbone.model)
        self.model, self.greedy, self.name = bare(backbone.model), greedy, backbone.model_id
        self.end_ids = sorted(end_ids or end_ids_of(backbone, of_tokenizer_only=True))
        self.config = generation_config_of(backbone.model_id, self.model.config)
        self.config.pad_token_id = padding_id(backbone)
        self.config.temperature, self.config.top_p = temperature, top_p
        if top_k is not None:
            self.config.top_k = top_k
        self.model.generation_config = self.config

    @torch.no_grad()
    def generate(self, requests: Iterable[Request], max_new_tokens: int) -> Iterator[tuple[Request, list[int]]]:
        """Yield each request with its token ids up to the end token (kept).

        The requests of a (seed, question) follow each other, chain by chain, and all have the same number of samples.
        """
        for (seed, _), question in groupby(requests, key=lambda request: request.key[:2]):
            chains = [list(rows) for _, rows in groupby(question, key=lambda request: request.key[2])]
            samples = len(chains[0])
            calls = chains if samples > 1 else [[row for rows in chains for row in rows]]
            for rows in calls:
                prompts = torch.stack([torch.cat([row.prefix, row.tail]) for row in rows[::samples]])
                set_seed(seed)
                output = self.model.generate(
                    inputs_embeds=prompts,
                    attention_mask=torch.ones(1, prompts.shape[1], dtype=torch.long, device=prompts.device),
                    max_new_tokens=max_new_tokens,
                    eos_token_id=self.end_ids,
                    do_sample=not self.greedy,
                    generation_config=self.config,
                    num_return_sequences=samples,
                    logits_processor=LogitsProcessorList([Checked(self.name, rows)]),
                )
                yield from zip(rows, (self.without_padding(ids) for ids in output.tolist()), strict=True)

    def without_padding(self, ids: list[int]) -> list[int]:
        """Return a response's ids up to its end token."""
        end = next((place for place, token in enumerate(ids) if token in self.end_ids), len(ids))
        return ids[: end + 1]


class Checked(LogitsProcessor):
    """Changes no logits; raises FloatingPointError if a row has NaN or +inf, from which `generate` may draw."""

    def __init__(self, model_id: str, rows: list[Request]):
        self.model_id, self.rows = model_id, rows

    def __call__(self, input_ids, scores):
        for row, good in zip(self.rows, can_be_drawn_from(scores).tolist(), strict=True):
            if not good:
                refuse_no_token(self.model_id, row.key, input_ids.shape[1])
        return scores


def padding_id(backbone) -> int:
    """Return what `generate` pads finished rows with."""
    tokenizer, family = backbone.tokenizer, backbone.thought_tokens.family
    if family in PADDING:
        return tokenizer.convert_tokens_to_ids(PADDING[family])
    return tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id


def plain_soft_thoughts(
    softcot, assistant_ids: torch.Tensor, assistant_lengths: list[int], assistant_instruction: tuple[int, ...] = ()
) -> torch.Tensor:
    """Return the soft thoughts `[B, N, L, d_b]`, a whole pass of the assistant for each question and chain.

    The arguments are those of `SoftCoT.thought_states`.
    """
    model, length = softcot.assistant, softcot.num_thought_tokens
    use_stock_attention(model)
    start, questions = assistant_ids.new_tensor(assistant_instruction), []
    for row, own in zip(assistant_ids, assistant_lengths, strict=True):
        ids, chains = torch.cat([start, row[-own:]]), []
        for initial_token in softcot.embedding:
            embeds = embed(model, ids[None]).clone()
            embeds[:, -length:] = initial_token.to(embeds.dtype)
            output = bare(model)(
                inputs_embeds=embeds,
                attention_mask=torch.ones_like(ids)[None],
                output_hidden_states=True,
                use_cache=False,
            )
            chains.append(softcot.soft_thoughts(output.hidden_states[-1][:, -length:]))
        questions.append(torch.cat(chains))
    return torch.stack(questions)
