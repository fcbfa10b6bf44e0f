"""Projections on the Hugging Face Hub: `user/repo` or `user/repo/file.bin` where a path is expected."""

import re
from pathlib import Path, PurePosixPath

from huggingface_hub import snapshot_download
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from model.choices import EMBEDDED, EMBEDDED_REPO
from utils import UserError

NAME = r"[A-Za-z0-9][\w.-]*"
REPO = re.compile(f"{NAME}/{NAME}")
HUB_FILE = re.compile(rf"({NAME}/{NAME}(?<!\.bin))(?:/((?:{NAME}/)*{NAME}\.bin))?")
BESIDE = ("run.json", "base_model/*", "assistant_model/*")  # what belongs to a projection


def repo_of(model_id: str) -> str | None:
    """Return a model id as the Hub knows it, None for a folder."""
    if model_id == EMBEDDED:
        return EMBEDDED_REPO
    return model_id if REPO.fullmatch(model_id) and not Path(model_id).exists() else None


def found_projection(path: str | Path) -> Path:
    """Return the path, or for the documented spelling `projectin.bin` the `projection.bin` beside it."""
    path = Path(path)
    if path.name != "projectin.bin" or path.is_file():
        return path
    other = path.with_name("projection.bin")
    return other if other.is_file() else path


def local_projection(asked: str | Path) -> Path:
    """Return the path, or for a Hub id that of the downloaded projection, with its run.json and adapters beside it.

    What begins with a file or folder that is here is a path. Raises UserError if the Hub has no such projection.
    """
    named = HUB_FILE.fullmatch(str(asked))
    if not named or Path(Path(asked).parts[0]).exists():
        return Path(asked)
    repo, file = named[1], PurePosixPath(named[2] or "projection.bin")
    try:
        patterns = [str(file.parent / name) for name in (file.name, *BESIDE)]
        path = Path(snapshot_download(repo, allow_patterns=patterns)) / file
        why = "the repository has no such file"
    except RepositoryNotFoundError:
        path, why = None, "there is no such repository, or not for you (hf auth login)"
    except LocalEntryNotFoundError:
        path, why = None, "not in the cache, and the Hub is not reached (no network, or HF_HUB_OFFLINE is set)"
    except Exception as error:  # of many kinds: HTTP, the file system
        path, why = None, " ".join(str(error).split())[:300]
    if not path or not path.is_file():
        raise UserError(f"no file {asked} here, and no {file} in {repo} on the Hub: {why}")
    return path
