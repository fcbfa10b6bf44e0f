"""Fingerprints of a model's files: weights, configs, tokenizer, whatever dtype, quantization or engine reads them.

Of weights, sampled bytes are read: a second for a large model, where all bytes take minutes.
"""

import hashlib
import json
from pathlib import Path

from transformers.utils import cached_file

from model.backbone import Backbone, loading, resolve

BLOCK, BLOCKS = 4096, 256  # bytes of a block; blocks of a file, the first and the last bytes among them
# What transformers loads, the first that is there: one file, or an index of several.
WEIGHTS = tuple(name + end for name in ("model.safetensors", "pytorch_model.bin") for end in ("", ".index.json"))
CONFIGS = ("config.json", "generation_config.json")  # the latter has sampling and end tokens of its own
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json"),
    *("special_tokens_map.json", "added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt"),
)


def model_hashes(base: Backbone, assistant: Backbone | None) -> dict[str, str | None]:
    """Return the fingerprints of both models for a record; None for an assistant that has no part."""
    hashes = {}
    for part, backbone in (("base", base), ("assistant", assistant)):
        hashes[f"{part}_weights"] = weights_fingerprint(backbone.model_id) if backbone else None
        for what, names in (("config", CONFIGS), ("tokenizer", TOKENIZER)):
            hashes[f"{part}_{what}"] = files_fingerprint(backbone.model_id, names) if backbone else None
    return hashes


def weights_fingerprint(model_id: str) -> str:
    """Return a hash of the sizes and sampled bytes of a checkpoint's files. Raises UserError if one is absent."""
    with loading("weights of", model_id):
        folder = find_folder(model_id)
        names = [next((name for name in WEIGHTS if (folder / name).is_file()), WEIGHTS[0])]
        if names[0].endswith(".json"):
            index = json.loads((folder / names[0]).read_text(encoding="utf-8"))
            names = sorted(set(index["weight_map"].values()))
        # Another engine may not have fetched all files of a Hub id.
        return hash_parts(read_blocks(Path(cached_file(resolve(model_id), name))) for name in names)


def files_fingerprint(model_id: str, names) -> str:
    """Return a hash of those of a model's small files that it has, by their names: CONFIGS or TOKENIZER."""
    with loading("files of", model_id):
        files = [find_folder(model_id) / name for name in names]
        return hash_parts(file.name.encode() + file.read_bytes() for file in files if file.is_file())


def find_folder(model_id: str) -> Path:
    """Return the model's directory; of a Hub id, the snapshot in the cache."""
    return Path(cached_file(resolve(model_id), "config.json")).parent


def hash_parts(parts) -> str:
    """Return a hash of byte strings and their lengths."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d " % len(part) + part)
    return digest.hexdigest()[:16]


def read_blocks(path: Path) -> bytes:
    """Return a file's size and BLOCKS blocks, from its first bytes to its last; of a small file all bytes."""
    size = path.stat().st_size
    with open(path, "rb", buffering=0) as file:
        if size <= BLOCK * BLOCKS:
            return file.read()
        content = b"%d " % size
        for place in range(BLOCKS):
            file.seek((size - BLOCK) * place // (BLOCKS - 1))
            content += file.read(BLOCK)
        return content
