"""The documents agree with the scripts: commands, options, switches, links."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

from experiment.protocol import switch_table

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    str(path.relative_to(ROOT)) for pattern in ("*.md", "docs/*.md", "data/**/*.md") for path in ROOT.glob(pattern)
]
NAMES = (
    "train_softcot.py",
    "train_softcotpp.py",
    "evaluate_softcot.py",
    "evaluate_softcotpp.py",
    "run_batch_softcot.sh",
    "run_batch_softcotpp.sh",
    "ask.py",
    "summarize_results.py",
    "demo.py",
    "data/prepare.py",
    "data/make_mini.py",
)
SCRIPT = rf"(?:python|bash|torchrun(?: --\S+)*) (?:{'|'.join(map(re.escape, NAMES))})(?!\S)"
# Options of pip, lm-eval, torchrun and Ray.
FOREIGN = {"--no-deps", "--help"}
FOREIGN |= {"--model", "--model_args", "--tasks", "--apply_chat_template", "--log_samples", "--output_path", "--device"}
FOREIGN |= {"--nnodes", "--nproc_per_node", "--rdzv_backend", "--rdzv_endpoint"}


class Captured(Exception):
    """Carries a script's parser out of its main, before any work."""


def parser_of(name):
    """Return the parser that a script, or the Python script behind a batch script, makes in its main."""

    def capture(self, *_):
        raise Captured(self)

    module = name.replace("run_batch_", "evaluate_").replace("/", ".").removesuffix(".py").removesuffix(".sh")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Captured) as caught:
        patch.setattr(argparse.ArgumentParser, "parse_args", capture)
        importlib.import_module(module).main()
    return caught.value.args[0]


@pytest.fixture(scope="module")
def parsers():
    return {name: parser_of(name) for name in NAMES}


def commands(pattern):
    """Return the commands in all documents that a pattern finds: lines of indented blocks, and code in sentences."""
    calls = re.compile(r"(?:\w+=\S+ )*(?:\S*python|bash|make|torchrun) [\w./-]")
    found = set()
    for document in DOCUMENTS:
        text = (ROOT / document).read_text(encoding="utf-8")
        lines = "\n".join(re.findall(r"^    (.*)$", text, re.MULTILINE)).replace("\\\n", " ").split("\n")
        found.update(lines, re.findall(r"`([^`]+)`", re.sub(r"\s+", " ", text)))
    return sorted(line for line in found if calls.match(line) and re.search(pattern, line))


def words_of(command):
    """Return the command's words, [...] filled in."""
    return shlex.split(re.sub(r"\[[^]]*\]", "X", command), comments=True)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_option_named_in_the_text_exists(parsers, document):
    known = {option for parser in parsers.values() for option in parser._option_string_actions}
    text = (ROOT / document).read_text(encoding="utf-8")
    benchmarks = set(re.findall(r"--\w+", "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))))
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) <= known | FOREIGN | benchmarks


def test_each_script_has_a_documented_command():
    found = {name for name in NAMES for command in commands(SCRIPT) if f" {name} " in f"{command} "}
    assert found == set(NAMES) - {"demo.py"}  # make demo


@pytest.mark.parametrize("command", commands(SCRIPT))
def test_the_documented_commands_are_understood(parsers, command):
    words = words_of(command)
    start = next(place for place, word in enumerate(words) if word in NAMES)
    # Not its own parse_args: ask.py's looks for the projection.
    argparse.ArgumentParser.parse_args(parsers[words[start]], words[start + 1 :])


@pytest.mark.parametrize("command", commands(r"python -m [\w.]+"))
def test_the_documented_modules_are_there(command):
    words = words_of(command)
    module, *rest = words[words.index("-m") + 1 :]
    code = Path(importlib.import_module(module).__file__).read_text(encoding="utf-8")
    assert all(f'"{word}"' in code for word in rest if word.startswith("--"))


@pytest.mark.parametrize("command", commands(r"^(\S+=\S+ )*make "))
def test_the_documented_make_targets_exist(command):
    target = words_of(command)[1]
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_linked_file_and_section_exists(document):
    """A section has GitHub's name of its heading: lower case, no punctuation, hyphens for spaces."""
    path = ROOT / document
    text = path.read_text(encoding="utf-8")
    for link, section in re.findall(r"(?:\]\(|src=\")([^)#\s\"]*)(?:#([^)\s]+))?[)\"]", text):
        target = path.parent / link if link else path
        assert "://" in link or target.exists(), link
        if section and "://" not in link:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert section in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_the_table_of_switches_is_the_protocols():
    """`python -m experiment.protocol` prints it."""
    text = (ROOT / "docs" / "DEVIATIONS.md").read_text(encoding="utf-8")
    assert re.search(r"<!-- switches.*?-->\n(.*?)\n<!-- /switches", text, re.DOTALL)[1] == switch_table()
