"""Tokens a second of the vLLM engine, the default engine, and one response at a time: python -m benchmarks.vllm_engine

16 questions of data/mini x 4 samples, 128 tokens at most, the embedded model in bfloat16. Each engine first answers as
many other questions, so that it has compiled and allocated all it needs, then is timed. Merges its numbers as "vllm"
into benchmarks/results/cpu.json (gpu.json on a GPU). Without vLLM it says so and writes nothing.
"""

import json
import os
import time

import torch

from data_loader.loaders import DATA_DIR
from experiment.record import ROOT
from model.backbone import load_backbone, load_embeddings
from model.choices import EMBEDDED
from model.generation import Request, TransformersEngine
from model.vllm_engine import INSTALL, VllmEngine, is_installed
from utils import write_json

QUESTIONS, SAMPLES, TOKENS, THOUGHTS = 16, 4, 128, 4
ALONE = 4  # rows that are enough to time one at a time


def make_requests(base):
    """Return a `Request` a row, those to warm up with first, then those to time; a question's rows share its prompt."""
    embed = base.model.get_input_embeddings()
    lines = (DATA_DIR / "mini" / "test.jsonl").read_text(encoding="utf-8").splitlines()[: 2 * QUESTIONS]
    torch.manual_seed(0)
    requests = []
    for index, line in enumerate(lines):
        text = f"<|im_start|>user\n{json.loads(line)['question']}<|im_end|>\n<|im_start|>assistant\n"
        prefix = embed(torch.tensor(base.tokenizer(text)["input_ids"])).detach()
        tail = (0.1 * torch.randn(THOUGHTS, prefix.shape[1])).to(prefix.dtype)
        requests += [Request((41, index, 0, sample), prefix, tail) for sample in range(SAMPLES)]
    half = QUESTIONS * SAMPLES
    return requests[:half], requests[half:]


def speed(engine, requests):
    """Return generated tokens a second."""
    start = time.perf_counter()
    tokens = sum(len(ids) for _, ids in engine.generate(requests, TOKENS))
    return round(tokens / (time.perf_counter() - start), 1)


def main():
    if not is_installed():
        print(f"Not measured: {INSTALL}")
        return
    load = os.getloadavg()[0]
    light = load_embeddings(EMBEDDED)
    others, requests = make_requests(light)
    found = {
        "rows": len(requests),
        "max_new_tokens": TOKENS,
        "model": EMBEDDED,
        "torch": torch.__version__,
        "load_before": round(load, 2),
    }
    for name, caching in (("vllm", True), ("vllm_without_prefix_caching", False)):
        engine = VllmEngine(light, max_model_len=1024, enable_prefix_caching=caching)
        speed(engine, others)
        found[name] = speed(engine, requests)
        engine.close()
        print(f"{name}: {found[name]} tokens/s", flush=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    base = load_backbone(EMBEDDED, device=device)
    places = {}  # rows of a question go on sharing its tensors
    others, requests = (
        [Request(r.key, *(places.setdefault(id(part), part.to(device)) for part in (r.prefix, r.tail))) for r in rows]
        for rows in (others, requests)
    )
    for name, rows, warm_up, chosen in (
        ("transformers", 64, others, requests),
        ("one_at_a_time", 1, others[:1], requests[:ALONE]),
    ):
        engine = TransformersEngine(base, rows=rows)
        speed(engine, warm_up)
        found[name] = speed(engine, chosen)
        print(f"{name}: {found[name]} tokens/s", flush=True)

    path = ROOT / "benchmarks" / "results" / ("gpu.json" if torch.cuda.is_available() else "cpu.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    write_json({**results, "vllm": found}, path)
    print(f"Wrote {path}")


if __name__ == "__main__":
    main()
