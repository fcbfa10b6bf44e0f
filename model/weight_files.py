"""Fingerprints of a model's files: weights, configs, tokenizer, whatever dtype, quantization or engine reads them.

Of weights, sampled bytes are read: a second for a large model, where all bytes take minutes.
"""

import hashlib
import json
from pathlib import Path

from transformers.utils import cached_file

from model.backbone import Backbone, resolve
from utils import naming

BLOCK, BLOCKS = 4096, 256  # bytes of a block; blocks of a file, the first and the last bytes among them
# What transformers loads, the first that is there: one file, or an index of several.
WEIGHTS = tuple(name + end for name in ("model.safetensors", "pytorch_model.bin") for end in ("", ".index.json"))
TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "chat_template.json"),
    *("special_tokens_map.json", "added_tokens.json", "tokenizer.model", "vocab.json", "merges.txt"),
)


def model_hashes(base: Backbone, assistant: Backbone | None) -> dict[str, str | None]:
    """Return the fingerprints of both models for a record; None for an assistant that has no part."""
    hashes = {}
    for part, backbone in (("base", base), ("assistant", assistant)):
        hashes[f"{part}_weights"] = weights_fingerprint(backbone.model_id) if backbone else None
        hashes[f"{part}_config"] = config_fingerprint(backbone.model_id) if backbone else None
        hashes[f"{part}_tokenizer"] = tokenizer_fingerprint(backbone.model_id) if backbone else None
    return hashes


def weights_fingerprint(model_id: str) -> str:
    """Return a hash of the sizes and sampled bytes of a checkpoint's files. Raises UserError if one is absent."""
    with naming(f"cannot load the weights of {model_id!r}", Exception):
        folder = find_folder(model_id)
        names = [next((name for name in WEIGHTS if (folder / name).is_file()), WEIGHTS[0])]
        if names[0].endswith(".json"):
            index = json.loads((folder / names[0]).read_text(encoding="utf-8"))
            names = sorted(set(index["weight_map"].values()))
        # Another engine may not have fetched all files of a Hub id.
        return hash_parts(read_blocks(Path(cached_file(resolve(model_id), name))) for name in names)


def config_fingerprint(model_id: str, name: str = "config.json") -> str | None:
    """Return a hash of one of a model's configs, but for the version that saved it; None if there is no such file."""
    with naming(f"cannot load the {name} of {model_id!r}", Exception):
        file = find_folder(model_id) / name
        if not file.is_file():
            return None
        values = json.loads(file.read_text(encoding="utf-8")) | {"transformers_version": None}
        return hash_parts([json.dumps(values, sort_keys=True).encode()])


def tokenizer_fingerprint(model_id: str) -> str:
    """Return a hash of the tokenizer's files, its chat template among them."""
    with naming(f"cannot load the tokenizer of {model_id!r}", Exception):
        files = [find_folder(model_id) / name for name in TOKENIZER]
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
