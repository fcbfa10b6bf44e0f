"""Sampling from soft prompts: requests in, token ids out.

An engine is a class with `generate(requests, max_new_tokens)`. Each row samples from its own
generator, so its text depends neither on the batch it shares nor on order or restarts (up to
rounding, which can change a sample in bfloat16). Knows nothing about tasks, thoughts or files.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import DynamicCache, GenerationConfig

from model.causal_lm import bare, embed
from model.prefix import continue_prefix, make_additive, run_instruction, run_prefix
from utils import UserError

DEFAULT_TOP_K = 50  # what transformers 4.51 samples with if a model's generation config has none
# Settings of a generation config that are read here, or change no sample. Others may only have a neutral value.
KNOWN_SETTINGS = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id"),
    *("do_sample", "temperature", "top_p", "top_k", "min_p", "repetition_penalty"),
    *("max_length", "max_new_tokens", "use_cache", "cache_implementation", "cache_config", "compile_config"),
    *("return_dict_in_generate", "output_scores", "output_logits", "output_attentions", "output_hidden_states"),
    *("disable_compile", "prefill_chunk_size", "num_return_sequences", "transformers_version"),
    *("early_stopping", "length_penalty"),  # of beam search
}
GROWTH = 128  # columns by which the cache grows
TIES = 64  # tokens behind the k-th that are looked at: with bfloat16 logits some tie with it
NEUTRAL_AT_ONE = {"num_beams", "num_beam_groups", "encoder_repetition_penalty", "typical_p", "guidance_scale"}
NO_TOKEN = -1  # of a row whose logits hold NaN or +inf


class Request(NamedTuple):
    """One row to sample."""

    key: tuple[int, int, int, int]  # seed, question, chain, sample
    prefix: torch.Tensor  # [P, d_b], what stands before the soft thoughts: one tensor for all rows of a question
    tail: torch.Tensor  # [T, d_b], soft thoughts and what follows: one tensor for all rows of a chain


def derive_seed(key: tuple) -> int:
    """Return a 64-bit seed; key: (seed, question, chain, sample) of a row, (question, chain) of the slot's noise."""
    digest = hashlib.sha256(repr(tuple(int(part) for part in key)).encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def row_generator(key: tuple) -> torch.Generator:
    """Return the CPU generator of a row."""
    return torch.Generator().manual_seed(derive_seed(key))


def find_end_ids(backbone, of_tokenizer_only: bool = False) -> set[int]:
    """Return the ids that end a response: the tokenizer's end-of-text token and those of the generation config.

    of_tokenizer_only: as published, the tokenizer's alone and the family's end of turn.
    """
    tokenizer, end_of_turn = backbone.tokenizer, backbone.thought_tokens.end_of_turn
    if of_tokenizer_only:
        more = tokenizer.convert_tokens_to_ids(end_of_turn) if end_of_turn else None
    else:
        more = bare(backbone.model).generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(more if isinstance(more, list) else [more])} - {None}


@dataclass(frozen=True)
class Sampling:
    """The sampling that is asked for. None: the model's own generation config decides."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    greedy: bool = False
    end_ids: set[int] | None = None  # that end a response


def choose_settings(backbone, asked: Sampling):
    """Return end ids, repetition penalty (over generated tokens) and settings of `draw` (None: greedy).

    Raises UserError if the model's generation config has a setting that would change samples and is not read here.
    """
    own = bare(backbone.model).generation_config
    fields = vars(GenerationConfig()).keys() - KNOWN_SETTINGS
    given = {name: value for name, value in own.to_diff_dict().items() if name in fields and name[0] != "_"}
    at_one = [name for name, value in given.items() if value == 1 and name in NEUTRAL_AT_ONE]
    refuse_settings(backbone.model_id, [n for n, v in given.items() if v not in (None, False, []) and n not in at_one])
    sampling = {"temperature": asked.temperature, "top_p": asked.top_p}
    sampling |= {"top_k": choose_top_k(own, asked.top_k), "min_p": own.min_p}
    return asked.end_ids or find_end_ids(backbone), own.repetition_penalty or 1.0, None if asked.greedy else sampling


def choose_top_k(config, asked: int | None) -> int:
    """Return the top_k that is asked for, else the generation config's own, else transformers 4.51's default."""
    own = DEFAULT_TOP_K if config.top_k is None else config.top_k
    return own if asked is None else asked


def refuse_settings(model_id: str, names: list[str]) -> None:
    """Raise UserError if any settings are named, of a model's generation config."""
    if names:
        raise UserError(
            f"the generation config of {model_id} sets {', '.join(names)}, which is not known here; "
            "take it out of generation_config.json"
        )


def draw(
    logits: torch.Tensor,
    uniforms: torch.Tensor,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float | None = None,
) -> torch.Tensor:
    """Return one token a row, `[R]`, from logits `[R, V]` and one uniform number a row `[R]`.

    Temperature, top-k (with all that tie with the k-th), top-p and min-p in transformers' order, then inverse-CDF
    sampling over the tokens left, likeliest first.
    """
    vocabulary = logits.shape[-1]
    k = min(top_k or vocabulary, vocabulary)
    values, tokens = (logits.float() / temperature).topk(min(k + TIES, vocabulary))
    values = values.masked_fill(values < values[:, k - 1 : k], -torch.inf)
    probabilities = values.softmax(-1).double()
    if top_p < 1.0:  # the shortest run of likeliest tokens that holds top_p
        above = probabilities.cumsum(-1) - probabilities
        probabilities = probabilities.masked_fill(above >= top_p, 0.0)
    if min_p:
        probabilities = probabilities.masked_fill(probabilities < min_p * probabilities[:, :1], 0.0)
    cdf = probabilities.cumsum(-1)
    place = torch.searchsorted(cdf, uniforms[:, None] * cdf[:, -1:], right=True).clamp(max=cdf.shape[-1] - 1)
    return tokens.gather(-1, place)[:, 0]


def can_be_drawn_from(logits: torch.Tensor) -> torch.Tensor:
    """Return `[R]` whether the logits `[R, V]` hold no NaN, no +inf and something above -inf (a masked token)."""
    return logits.amax(-1).isfinite()  # NaN counts as the largest


def refuse_no_token(model_id: str, key: tuple, step: int):
    """Raise FloatingPointError for a row without a token. key: (seed, question, chain, sample); step: from 0."""
    seed, question, chain, sample = key
    raise FloatingPointError(
        f"the logits of {model_id} hold NaN or +inf: question {question} (index in its file, from 0), seed {seed}, "
        f"chain {chain}, sample {sample}, token {step} (from 0); float16 overflows in some models: take bfloat16 or "
        "float32 as the dtype, and if that does not help, check the model's weights"
    )


class CacheRows(DynamicCache):
    """Keys and values of R rows, each from column 0, written in place.

    transformers' own cache is copied whole for each token. `lengths[r]` columns of row r are filled, at most `width` of
    any.
    """

    def __init__(self, layers: int, size: int):
        super().__init__()
        self.buffers = [None] * layers  # per layer [2 (keys, values), size, heads, columns, d]
        self.lengths: list[int] = []  # of the rows in use
        self.size, self.width = size, 0
        self.last = None  # [R], the column that a step fills

    def put(self, layers, source: list[int], shared: int, skip: list[int], lengths: list[int]) -> None:
        """Append rows: row i takes lengths[i] columns of row source[i] of `layers`.

        These are its first `shared` ones, then those behind its skip[i] columns of padding.
        """
        new = slice(len(self.lengths), len(self.lengths) + len(source))
        device, longest = layers[0][0].device, max(lengths)
        columns = torch.arange(longest, device=device)
        columns = columns + torch.tensor(skip, device=device)[:, None] * (columns >= shared)
        rows = torch.tensor(source, device=device)[:, None]
        for layer, pair in enumerate(layers):
            columns = columns.clamp(max=pair[0].shape[2] - 1)  # past a row's end stands what no mask lets through
            for half, states in enumerate(pair):
                buffer = self.grown(layer, states, longest + 1)
                here = rows.to(states.device), columns.to(states.device)  # layers may be on several devices
                buffer[half, new, :, :longest] = states[here[0], :, here[1]].transpose(1, 2)
        self.lengths += lengths
        self.width = max(self.width, longest)

    def grown(self, layer, states, columns):
        """Return the layer's buffer, made or lengthened to hold that many columns."""
        buffer = self.buffers[layer]
        have = 0 if buffer is None else buffer.shape[3]
        if have < columns:
            columns = -(-columns // GROWTH) * GROWTH
            wider = states.new_zeros(2, self.size, states.shape[1], columns, states.shape[3])
            if have:
                wider[:, :, :, :have] = buffer
            self.buffers[layer] = buffer = wider
        return buffer

    def step(self, device) -> torch.Tensor:
        """Let a step of one token a row take place; return which columns it sees, `[R, width]`."""
        self.width = max(self.lengths) + 1
        for layer, buffer in enumerate(self.buffers):
            self.grown(layer, buffer[0], self.width)
        self.last = torch.tensor(self.lengths, device=device)
        self.lengths = [length + 1 for length in self.lengths]
        return torch.arange(self.width, device=device) <= self.last[:, None]

    def keep(self, rows: list[int]) -> None:
        """Keep these rows, in this order."""
        moved = [(old, new) for new, old in enumerate(rows) if old != new]
        if moved:
            source, target = map(list, zip(*moved, strict=True))
            for buffer in self.buffers:
                buffer[:, target, :, : self.width] = buffer[:, source, :, : self.width]
        self.lengths = [self.lengths[row] for row in rows]

    def update(self, keys, values, layer_idx, *_, **__):
        """Do what a layer asks for in a step of one token a row."""
        buffer, count = self.buffers[layer_idx], len(self.lengths)
        rows, last = torch.arange(count, device=keys.device), self.last.to(keys.device)
        buffer[0, rows, :, last] = keys[:, :, 0]
        buffer[1, rows, :, last] = values[:, :, 0]
        return buffer[0, :count, :, : self.width], buffer[1, :count, :, : self.width]


class TransformersEngine:
    """Sampling with models of FAST_TYPES, `rows` rows at a time; for others there is `plain.PlainEngine`.

    A prompt runs once for all rows that share it, finished rows leave the batch, and waiting ones
    take their place when a quarter of it is free. instruction: the ids that every prompt begins with, which the caller
    has compared: comparing embeddings here would wait for the device. sampling: fields of `Sampling`.
    """

    def __init__(self, backbone, *, rows: int = 64, instruction: tuple[int, ...] = (), **sampling):
        self.model, self.rows, self.name = bare(backbone.model), rows, backbone.model_id
        self.instruction = run_instruction(self.model, instruction) if instruction else None
        self.shared = len(instruction)
        self.eos, self.penalty, self.sampling = choose_settings(backbone, Sampling(**sampling))

    @torch.no_grad()
    def generate(self, requests: Iterable[Request], max_new_tokens: int) -> Iterator[tuple[Request, list[int]]]:
        """Yield each request with its token ids up to the end-of-text token (kept), in the order they finish."""
        waiting, batch = iter(requests), Batch(self, max_new_tokens)
        while True:
            free = self.rows - len(batch.requests)
            if free >= max(1, self.rows // 4) or not batch.requests:
                batch.add(list(islice(waiting, free)))
            if not batch.requests:
                return
            yield from batch.step()

    def pick(self, logits, uniforms, ids):
        """Return the next token of each row `[R]`, NO_TOKEN if none can be drawn; ids: each row's tokens so far."""
        longest = max(map(len, ids))
        if self.penalty != 1.0 and longest:
            # Shorter rows are padded with one of their tokens, whose logit changes anyway.
            rows = [row + (row[:1] or [0]) * (longest - len(row)) for row in ids]
            tokens = torch.tensor(rows, device=logits.device)
            seen = logits.gather(-1, tokens)
            changed = torch.where(seen < 0, seen * self.penalty, seen / self.penalty)
            started = torch.tensor([[bool(row)] for row in ids], device=logits.device)
            logits = logits.scatter(-1, tokens, torch.where(started, changed, seen))
        tokens = draw(logits, uniforms, **self.sampling) if self.sampling else logits.argmax(-1)
        # Marked in what is read back anyway: a check here would wait for the device.
        return tokens.masked_fill(~can_be_drawn_from(logits), NO_TOKEN)


class Batch:
    """The rows in work. requests, ids, uniforms, hidden: one entry a row, in the order of the cache."""

    def __init__(self, engine, max_new_tokens):
        self.engine, self.model, self.limit = engine, engine.model, max_new_tokens
        self.requests, self.ids = [], []
        self.uniforms, self.hidden = None, None  # [R, limit], [R, d] of each row's last position
        self.cache = None

    def add(self, requests):
        """Run the prompts of new rows, each distinct one once."""
        if not requests:
            return
        self.requests += requests
        self.ids += [[] for _ in requests]
        prefixes = list({id(r.prefix): r.prefix for r in requests}.values())
        firsts = list({id(r.tail): r for r in requests}.values())  # the first request of each tail
        device, shared = firsts[0].tail.device, self.engine.shared
        prefix = run_prefix(self.model, *pad([p[shared:] for p in prefixes], left=True), self.engine.instruction)
        place = {id(one): i for i, one in enumerate(prefixes)}
        question = [place[id(r.prefix)] for r in firsts]
        embeds, after = pad([r.tail for r in firsts])
        hidden, layers = continue_prefix(self.model, prefix, question, embeds, after)

        before, longest = [prefix.lengths[row] for row in question], max(prefix.lengths)
        last = hidden[torch.arange(len(firsts), device=device), torch.tensor(after, device=device) - 1]
        place = {id(r.tail): i for i, r in enumerate(firsts)}
        source = [place[id(r.tail)] for r in requests]
        if self.cache is None:
            # The first call brings as many rows as the engine has. If fewer come, none wait: no more are needed.
            self.cache = CacheRows(len(layers), len(requests))
        lengths = [shared + before[row] + after[row] for row in source]
        self.cache.put(layers, source, shared, [longest - before[row] for row in source], lengths)
        self.hidden = torch.cat([self.hidden, last[source]]) if self.hidden is not None else last[source]
        uniforms = draw_uniforms(requests, self.limit).to(device)
        self.uniforms = torch.cat([self.uniforms, uniforms]) if self.uniforms is not None else uniforms

    def step(self):
        """Add one token to every row and yield the rows that are finished."""
        steps = torch.tensor([[len(ids)] for ids in self.ids], device=self.hidden.device)
        logits = self.model.get_output_embeddings()(self.hidden).to(self.hidden.device).float()
        tokens = self.engine.pick(logits, self.uniforms.gather(1, steps)[:, 0], self.ids)
        for request, ids, token in zip(self.requests, self.ids, tokens.tolist(), strict=True):
            if token == NO_TOKEN:
                refuse_no_token(self.engine.name, request.key, len(ids))
            ids.append(token)
        done = [row for row, ids in enumerate(self.ids) if ids[-1] in self.engine.eos or len(ids) == self.limit]
        finished = [(self.requests[row], self.ids[row]) for row in done]
        tokens = self.drop(done, tokens)
        yield from finished
        if self.requests:
            self.decode(tokens)

    def drop(self, done, tokens):
        """Take rows out: the last rows take their places. Returns the tokens of the rows that stay."""
        if not done:
            return tokens
        gone, stay = set(done), len(self.requests) - len(done)
        from_end = (row for row in range(stay, len(self.requests)) if row not in gone)
        order = [next(from_end) if row in gone else row for row in range(stay)]
        self.cache.keep(order)
        self.uniforms, self.hidden, tokens = self.uniforms[order], self.hidden[order], tokens[order]
        self.requests = [self.requests[row] for row in order]
        self.ids = [self.ids[row] for row in order]
        return tokens

    def decode(self, tokens):
        seen = self.cache.step(tokens.device)
        embeds = embed(self.model, tokens[:, None])
        output = self.model.get_decoder()(
            inputs_embeds=embeds,
            attention_mask=make_additive(seen, embeds.dtype)[:, None, None],
            position_ids=self.cache.last[:, None],
            past_key_values=self.cache,
            use_cache=True,
        )
        # A strided view would make torch's matmul copy the vocabulary's weights once a row on a CPU.
        self.hidden = output.last_hidden_state[:, -1].contiguous().to(tokens.device)


def draw_uniforms(requests: list[Request], steps: int) -> torch.Tensor:
    """Return one uniform number a row and step, `[R, steps]`, each row from its own generator."""
    return torch.stack([torch.rand(steps, generator=row_generator(r.key), dtype=torch.float64) for r in requests])


def pad(pieces: list[torch.Tensor], left: bool = False) -> tuple[torch.Tensor, list[int]]:
    """Return embeddings of different lengths as `[B, T, d]`, padded with zeros, and their lengths."""
    side = "left" if left else "right"
    return pad_sequence(pieces, batch_first=True, padding_side=side), [len(piece) for piece in pieces]
