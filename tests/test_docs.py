"""The documents agree with the scripts: options, commands, links, names."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
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
# Options of pip, TensorBoard, torchrun and Ray.
FOREIGN = {"--no-deps", "--logdir", "--help", "--head", "--address"}
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


def options_of(parser):
    return {name for action in parser._actions for name in action.option_strings or [action.dest]} - {"-h", "--help"}


def lines_of(document):
    """The lines of a document's indented blocks, continuation lines joined."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^    (.*)$", text, re.MULTILINE)).replace("\\\n", " ").split("\n")


def commands_in(document):
    """A document's commands: lines of indented blocks, and code in its sentences."""
    spans = re.findall(r"`([^`]+)`", re.sub(r"\s+", " ", (ROOT / document).read_text(encoding="utf-8")))
    calls = re.compile(r"(?:\w+=\S+ )*(?:\S*python|bash|make|torchrun) [\w./-]")
    return dict.fromkeys(line for line in [*lines_of(document), *spans] if calls.match(line) and "..." not in line)


def commands(pattern):
    """The commands of all documents that a pattern finds, as parameters of a test."""
    return sorted(
        {command for document in DOCUMENTS for command in commands_in(document) if re.search(pattern, command)}
    )


def words_of(command):
    """The command's words, [...] filled in."""
    return shlex.split(re.sub(r"\[[^]]*\]", "X", command), comments=True)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_option_named_in_the_text_exists(parsers, document):
    known = {option for parser in parsers.values() for option in options_of(parser)}
    text = (ROOT / document).read_text(encoding="utf-8")
    benchmarks = set(re.findall(r"--\w+", "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))))
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text)) <= known | FOREIGN | benchmarks


SCRIPT = rf"(?:python|bash|torchrun(?: --\S+)*) (?:{'|'.join(map(re.escape, NAMES))})(?!\S)"


def test_each_script_has_a_documented_command():
    assert len(commands(SCRIPT)) >= 20
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
    path = ROOT / f"{module.replace('.', '/')}.py"
    assert path.is_file()
    options = [word for word in rest if word.startswith("--")]
    assert all(f'"{option}"' in path.read_text(encoding="utf-8") for option in options)


@pytest.mark.parametrize("command", commands(r"^(\S+=\S+ )*make "))
def test_the_documented_make_targets_exist(command):
    target = words_of(command)[1]
    assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_linked_section_exists(document):
    """GitHub's name of a heading: lower case, no punctuation, hyphens for spaces."""
    path = ROOT / document
    for link, section in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if "://" not in link:
            text = (path.parent / link if link else path).read_text(encoding="utf-8")
            headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
            assert section in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_the_index_has_every_page():
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert all(f"]({path.name})" in index for path in (ROOT / "docs").glob("*.md") if path.name != "README.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_linked_file_exists(document):
    path = ROOT / document
    links = re.findall(r"(?:\]\(|src=\")([^)#\s\"]+)[^)]*[)\"]", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("document", ["docs/ARCHITECTURE.md", "docs/DEVIATIONS.md"])
def test_names_are_in_the_file_that_a_document_gives_for_them(document):
    path = ROOT / document
    text = re.sub(r"\s+", " ", path.read_text(encoding="utf-8"))
    places = re.findall(r"((?:`[\w.]+`(?:,| and)? )+)(?:in|of) \[[^]]*\]\(([^)#]+\.(?:py|jinja))\)", text)
    assert places
    for names, link in places:
        code = (path.parent / link).read_text(encoding="utf-8")
        for name in re.findall(r"[\w.]+", names.replace(" and ", " ")):
            assert all(re.search(rf"\b{part}\b", code) for part in name.split(".")), (name, link)


def test_the_map_has_every_module():
    listed = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for room in ("", "experiment/", "model/", "data_loader/"):
        for path in (ROOT / room).glob("*.py"):
            assert path.name == "__init__.py" or f"](../{room}{path.name})" in listed, path
