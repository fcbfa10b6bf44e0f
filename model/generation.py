"""Sampling from soft prompts: soft prompts in, token ids out.

An engine is a class with `generate(prompts, keys, max_new_tokens)`. Each row samples from its own
generator, so its text depends neither on the batch it shares nor on order or restarts. Knows
nothing about tasks, thoughts or files.
"""

import copy
import hashlib

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import LogitsProcessor, LogitsProcessorList

from model.frozen_lm import bare

DEFAULT_TOP_K = 50  # what transformers 4.51 samples with where a model's generation config is silent


def row_generator(key: tuple) -> torch.Generator:
    """CPU generator of one row; key: (seed, question, chain, sample)."""
    digest = hashlib.sha256(repr(tuple(int(part) for part in key)).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


class RowSampler(LogitsProcessor):
    """Turns greedy decoding into sampling with one uniform number a row and step.

    Temperature, top-k, top-p and min-p in transformers' order, then inverse-CDF sampling over the
    tokens left, likeliest first: the drawn token gets 0, all others -inf. uniforms: `[R, steps]`.
    """

    def __init__(self, uniforms: torch.Tensor, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0,
                 min_p: float | None = None):
        self.uniforms, self.step = uniforms, 0
        self.temperature, self.top_k, self.top_p, self.min_p = temperature, top_k, top_p, min_p

    def __call__(self, input_ids, scores):
        vocabulary = scores.shape[-1]
        values, tokens = (scores.float() / self.temperature).topk(min(self.top_k or vocabulary, vocabulary))
        probabilities = values.softmax(-1).double()
        if self.top_p < 1.0:  # the shortest run of likeliest tokens that holds top_p
            above = probabilities.cumsum(-1) - probabilities
            probabilities = probabilities.masked_fill(above >= self.top_p, 0.0)
        if self.min_p:
            probabilities = probabilities.masked_fill(probabilities < self.min_p * probabilities[:, :1], 0.0)
        cdf = probabilities.cumsum(-1)
        drawn = self.uniforms[:, self.step, None] * cdf[:, -1:]
        place = torch.searchsorted(cdf, drawn, right=True).clamp(max=cdf.shape[-1] - 1)
        self.step += 1
        return torch.full_like(scores, -float("inf")).scatter(-1, tokens.gather(-1, place), 0.0)


class TransformersEngine:
    """Batched `generate` of transformers over prompts of embeddings."""

    def __init__(self, backbone, *, temperature: float = 1.0, top_p: float = 1.0, top_k: int | None = None,
                 greedy: bool = False):
        self.model = bare(backbone.model)
        own = self.model.generation_config
        eos = own.eos_token_id if isinstance(own.eos_token_id, list) else [own.eos_token_id]
        eos = sorted({token for token in [*eos, backbone.tokenizer.eos_token_id] if token is not None})
        if not eos:
            raise ValueError(f"{backbone.model_id} has no end-of-text token in its generation config or tokenizer")
        self.eos = set(eos)
        own_top_k = DEFAULT_TOP_K if own.top_k is None else own.top_k
        self.sampling = None if greedy else {
            "temperature": temperature, "top_p": top_p, "top_k": own_top_k if top_k is None else top_k,
            "min_p": own.min_p}
        # transformers mixes a model's own generation config into what is asked for; what it should
        # not add (its sampling) is taken out here, the rest (repetition penalty and so on) stays.
        config = copy.deepcopy(own)
        config.update(do_sample=False, temperature=1.0, top_p=1.0, top_k=50, min_p=None, max_length=None,
                      eos_token_id=eos, pad_token_id=eos[0])
        self.model.generation_config = config
        # The last position's hidden states are a strided view, for which torch's matmul copies the
        # vocabulary's weights once a row: gigabytes and seconds a batch on a CPU.
        self.model.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: (inputs[0].contiguous(),))

    @torch.no_grad()
    def generate(self, prompts: list[torch.Tensor], keys: list[tuple], max_new_tokens: int) -> list[list[int]]:
        """Token ids of each row, without the end-of-text token's padding (the token itself is kept).

        prompts: one `[T, d_b]` a row; keys: one (seed, question, chain, sample) a row.
        """
        lengths = [len(prompt) for prompt in prompts]
        # Left padding: reversed, right-padded, reversed again.
        embeds = pad_sequence([prompt.flip(0) for prompt in prompts], batch_first=True).flip(1)
        mask = torch.zeros(embeds.shape[:2], dtype=torch.long, device=embeds.device)
        for row, length in enumerate(lengths):
            mask[row, -length:] = 1
        processors = LogitsProcessorList()
        if self.sampling:
            uniforms = torch.stack([torch.rand(max_new_tokens, generator=row_generator(key), dtype=torch.float64)
                                    for key in keys])
            processors.append(RowSampler(uniforms.to(embeds.device), **self.sampling))
        output = self.model.generate(inputs_embeds=embeds, attention_mask=mask, max_new_tokens=max_new_tokens,
                                     logits_processor=processors)
        return [self.cut(row) for row in output.tolist()]

    def cut(self, ids: list[int]) -> list[int]:
        """Ids up to and including the first end-of-text token."""
        end = next((place for place, token in enumerate(ids) if token in self.eos), len(ids) - 1)
        return ids[: end + 1]
