"""Fingerprints of a model's files: its weights and its tokenizer, whatever dtype, quantization or engine reads them.

Of weights, blocks of every tensor are read, spread evenly: a second for a large model, where all bytes take minutes.
Tensors count by name, not by file: the same weights in other shards have the same fingerprint.
"""

import hashlib
import json
from pathlib import Path

from transformers.utils import cached_file

from model.backbone import Backbone, loading, resolve

BLOCK, BLOCKS = 64, 64  # bytes of a block; blocks of a tensor
TAIL = 2**16  # last bytes of a pickled file, where torch's zip keeps a checksum of each tensor
# What transformers loads, the first that is there: one file, or an index of several.
CHECKPOINTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
)


def model_hashes(base: Backbone, assistant: Backbone | None) -> dict[str, str | None]:
    """Return the fingerprints of both models for a record; None for an assistant that has no part."""
    hashes = {}
    for part, backbone in (("base", base), ("assistant", assistant)):
        hashes[f"{part}_weights"] = weights_fingerprint(backbone.model_id) if backbone else None
        hashes[f"{part}_tokenizer"] = tokenizer_fingerprint(backbone.model_id) if backbone else None
    return hashes


def weights_fingerprint(model_id: str) -> str:
    """Return a hash of names, types, shapes and sampled bytes of a checkpoint's tensors.

    Raises UserError if a file is absent or damaged.
    """
    digest = hashlib.sha256()
    with loading("weights of", model_id):
        for name, path, start, length in sorted(pieces_of(folder_of(model_id), resolve(model_id))):
            digest.update(repr((name, length)).encode())
            digest.update(sample(path, start, length))
    return digest.hexdigest()[:16]


def tokenizer_fingerprint(model_id: str) -> str:
    """Return a hash of the tokenizer's files, its chat template among them."""
    digest = hashlib.sha256()
    with loading("tokenizer of", model_id):
        folder = folder_of(model_id)
        for path in (folder / name for name in TOKENIZER if (folder / name).is_file()):
            content = path.read_bytes()
            digest.update(repr((path.name, len(content))).encode())
            digest.update(content)
    return digest.hexdigest()[:16]


def folder_of(model_id: str) -> Path:
    """Return the model's directory; of a Hub id, the snapshot in the cache."""
    return Path(cached_file(resolve(model_id), "config.json")).parent


def pieces_of(folder: Path, source: str) -> list[tuple[str, Path, int, int]]:
    """Return what is sampled of a checkpoint: (name, file, first byte, number of bytes) of each tensor or whole file.

    source: directory or Hub id; a file of its index that is not in the cache yet is fetched. A checkpoint of another
    kind is all files of weights in the folder, with the folder's name, which for the Hub is the commit.
    """
    found = next((folder / name for name in CHECKPOINTS if (folder / name).is_file()), None)
    if not found:
        files = [path for kind in ("safetensors", "bin", "pt", "pth") for path in folder.glob(f"*.{kind}")]
        return [(folder.name, folder / "config.json", 0, 0), *(piece for file in files for piece in file_pieces(file))]
    files = [found]
    if found.suffix == ".json":
        names = set(json.loads(found.read_text(encoding="utf-8"))["weight_map"].values())
        files = [Path(cached_file(source, name)) for name in names]
    return [piece for file in files for piece in (tensors_of if file.suffix == ".safetensors" else file_pieces)(file)]


def file_pieces(file: Path) -> list[tuple[str, Path, int, int]]:
    """Return a file of an unknown form as a piece, and its end in pieces that are read whole."""
    size, step = file.stat().st_size, BLOCK * BLOCKS
    ends = [(f"{file.name} {start - size}", file, start, step) for start in range(max(0, size - TAIL), size, step)]
    return [(file.name, file, 0, size), *ends]


def tensors_of(file: Path) -> list[tuple[str, Path, int, int]]:
    """Return the pieces of a safetensors file; a piece's name holds the tensor's type and shape."""
    with open(file, "rb") as content:
        size = int.from_bytes(content.read(8), "little")
        if size > file.stat().st_size:
            raise ValueError(f"{file.name} is not a safetensors file, or is cut off")
        header = json.loads(content.read(size))
    return [
        (
            f"{name} {tensor['dtype']} {tensor['shape']}",
            file,
            8 + size + tensor["data_offsets"][0],
            tensor_bytes(tensor),
        )
        for name, tensor in header.items()
        if name != "__metadata__"
    ]


def tensor_bytes(tensor: dict) -> int:
    return tensor["data_offsets"][1] - tensor["data_offsets"][0]


def sample(path: Path, start: int, length: int) -> bytes:
    """Return BLOCKS blocks of the bytes from `start`, first and last included, or all if they are no more."""
    with open(path, "rb", buffering=0) as file:
        if length <= BLOCK * BLOCKS:
            file.seek(start)
            return file.read(length)
        blocks = []
        for place in range(BLOCKS):
            file.seek(start + (length - BLOCK) * place // (BLOCKS - 1))
            blocks.append(file.read(BLOCK))
        return b"".join(blocks)
