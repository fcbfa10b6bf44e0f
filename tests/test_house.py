"""Imports point one way, and rooms below the scripts' own do not know the command line."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = {path.stem for path in ROOT.glob("*.py")} - {"utils"} | {"benchmarks", "tests"}
# Room -> what it may not import.
ABOVE = {
    "utils.py": {"model", "data_loader", "experiment", "report", "torch", "transformers", *SCRIPTS},
    "data_loader": {"model", "experiment", "report", *SCRIPTS},
    "model": {"data_loader", "experiment", "report", *SCRIPTS},
    "experiment": {"report", *SCRIPTS},
    "report": SCRIPTS,
}


def files_of(room):
    """Return the files of a room; a room that was renamed has none."""
    files = [ROOT / room] if room.endswith(".py") else sorted((ROOT / room).glob("*.py"))
    assert files
    return files


@pytest.mark.parametrize("room", ABOVE)
def test_imports_point_one_way(room):
    for path in files_of(room):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & ABOVE[room], path


@pytest.mark.parametrize("room", ["model", "data_loader"])
def test_no_option_is_named_below_the_scripts(room):
    for path in files_of(room):
        text = re.sub(r"pip install [^\n]*", "", path.read_text(encoding="utf-8"))
        assert not re.findall(r"(?<![\w-])--[a-z][a-z_]+", text), path
