"""Sampling from soft prompts with vLLM: the interface of `TransformersEngine`, another engine behind it.

vLLM holds the base model, in its own processes, and batches continuously; torch here needs only the base's
embedding table (`load_embeddings` in model/backbone.py). Tensor, pipeline and data parallelism and Ray are vLLM's own.
"""

import asyncio
import atexit
import json
import os
from pathlib import Path

import torch

from model.backbone import resolve
from model.causal_lm import text_config
from model.generation import Sampling, choose_settings, derive_seed
from utils import UserError


class VllmEngine:
    """vLLM over prompts of embeddings.

    `options` are arguments of vLLM's `AsyncEngineArgs` under its own names (tensor_parallel_size, max_model_len ...);
    `sampling` has fields of `Sampling`; `adapter` is the folder of a LoRA adapter of the base. Raises UserError, one
    line, if vLLM does not start with these options.
    """

    def __init__(
        self, backbone, sampling: dict | None = None, *, dtype: str = "bfloat16", adapter: str | None = None, **options
    ):
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
        import vllm
        from vllm.sampling_params import RequestOutputKind

        eos, penalty, sampling = choose_settings(backbone, Sampling(**sampling or {}))
        sampling = {key: value for key, value in (sampling or {"temperature": 0.0}).items() if value is not None}
        # Whatever is not named here keeps vLLM's neutral default: generation_config="vllm" below.
        self.sampling = {
            **sampling,
            "repetition_penalty": penalty,
            "stop_token_ids": sorted(eos),
            "detokenize": False,
            "output_kind": RequestOutputKind.FINAL_ONLY,
        }
        self.params = vllm.SamplingParams
        self.no_token = text_config(backbone.model).vocab_size
        self.lora = None
        if adapter:
            from vllm.lora.request import LoRARequest

            rank = json.loads((Path(adapter) / "adapter_config.json").read_text(encoding="utf-8"))["r"]
            options = {"enable_lora": True, "max_lora_rank": rank} | options
            self.lora = LoRARequest("base_model", 1, str(Path(adapter).resolve()))
        settings = {
            "model": resolve(backbone.model_id),
            "dtype": dtype,
            "enable_prompt_embeds": True,
            "generation_config": "vllm",
            "skip_tokenizer_init": True,
            # The assistant and the table are on the GPU too; without one, the share is of the computer's memory.
            "gpu_memory_utilization": 0.85 if torch.cuda.is_available() else 0.3,
            "disable_log_stats": True,
            "enable_log_requests": False,
            **on_cpu(options),
        } | options
        self.loop = asyncio.new_event_loop()
        try:
            self.engine = self.loop.run_until_complete(start(settings))
        except Exception as error:  # vLLM raises many kinds, and most reasons are in its log
            raise UserError(
                f"vLLM did not start: {type(error).__name__}: {str(error).strip().splitlines()[-1]} "
                "(VLLM_LOGGING_LEVEL=INFO shows its log)"
            ) from error
        atexit.register(self.close)  # later, vLLM's own clean-up no longer finds its modules
        # Enough that no replica runs dry while torch here makes the next soft thoughts.
        scheduler = self.engine.vllm_config.scheduler_config
        self.in_flight = 2 * scheduler.max_num_seqs * settings.get("data_parallel_size", 1)

    def generate(self, requests, max_new_tokens: int):
        """Yield (request, token ids) as rows finish; see `TransformersEngine.generate`."""
        requests, running = iter(requests), {}
        try:
            while True:
                while len(running) < self.in_flight and (request := next(requests, None)) is not None:
                    running[self.loop.create_task(self.answer(request, max_new_tokens))] = request
                if not running:
                    return
                done, _ = self.loop.run_until_complete(asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED))
                for task in done:
                    yield running.pop(task), task.result()
        finally:
            for task in running:
                task.cancel()
            if running:  # the caller stopped early
                self.loop.run_until_complete(asyncio.wait(running))

    async def answer(self, request, max_new_tokens):
        prompt = {"prompt_embeds": torch.cat([request.prefix, request.tail]).cpu()}
        if self.sampling["repetition_penalty"] != 1.0:
            # vLLM penalizes the prompt's tokens too and, without any, what lay in its memory. The default engine
            # penalizes generated tokens only; the vocabulary's size is the id that vLLM pads with and passes over.
            length = len(prompt["prompt_embeds"])
            prompt |= {"prompt_token_ids": [self.no_token] * length, "prompt_is_token_ids": [False] * length}
        params = self.params(**self.sampling, seed=derive_seed(request.key), max_tokens=max_new_tokens)
        name = "-".join(map(str, request.key))
        async for output in self.engine.generate(prompt, params, name, lora_request=self.lora):
            final = output
        return list(final.outputs[0].token_ids)

    def close(self):
        """Stop vLLM's processes; done at exit too."""
        atexit.unregister(self.close)
        self.engine.shutdown()
        self.loop.run_until_complete(asyncio.sleep(0))  # its tasks see their end
        self.engine = None


def on_cpu(options) -> dict:
    """Return what vLLM 0.32 needs without a GPU: it cannot rewind a row's generator if a prompt runs in pieces."""
    if torch.cuda.is_available():
        return {}
    return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(4096, options.get("max_model_len", 0))}


async def start(settings):
    from vllm import AsyncEngineArgs, AsyncLLMEngine

    return AsyncLLMEngine.from_engine_args(AsyncEngineArgs(**settings))
