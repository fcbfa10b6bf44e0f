"""The documents agree with the scripts: options, defaults, commands, links."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

import evaluate_softcot
import evaluate_softcotpp
import train_softcot
import train_softcotpp

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SCRIPTS = {"T": train_softcot, "T+": train_softcotpp, "E": evaluate_softcot, "E+": evaluate_softcotpp}
OTHERS = {
    name: importlib.import_module(name.removesuffix(".py").replace("/", "."))
    for name in ("summarize_results.py", "ask.py", "data/prepare.py")
}
FILES = {
    "train_softcot.py": "T",
    "train_softcotpp.py": "T+",
    "evaluate_softcot.py": "E",
    "evaluate_softcotpp.py": "E+",
    "run_batch_softcot.sh": "E",
    "run_batch_softcotpp.sh": "E+",
    **{name: name for name in OTHERS},
}
# Options of other programs that the README names (pip, tensorboard).
FOREIGN = {
    "--no-deps",
    "--logdir",
    "--quick",  # of pip, TensorBoard and demo.py
    "--help",
    "--nnodes",
    "--nproc_per_node",
    "--rdzv_backend",
    "--rdzv_endpoint",
    "--head",
    "--address",
}  # torchrun, Ray
DOCUMENTS = [
    "README.md",
    "docs/ARCHITECTURE.md",
    "docs/DEVIATIONS.md",
    "docs/PERFORMANCE.md",
    "docs/REPRODUCING.md",
    "data/README.md",
    "data/mini/README.md",
]


class Captured(Exception):
    """Carries a script's parser out of its main, before any work."""


def parser_of(script):
    def capture(self, *_):
        raise Captured(self)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Captured) as caught:
        patch.setattr(argparse.ArgumentParser, "parse_args", capture)
        {**SCRIPTS, **OTHERS}[script].main()
    return caught.value.args[0]


@pytest.fixture(scope="module")
def parsers():
    return {script: parser_of(script) for script in (*SCRIPTS, *OTHERS)}


def actions_of(parser):
    return {a.option_strings[-1]: a for a in parser._actions if a.option_strings and a.dest != "help"}


def options_table():
    """option -> (scripts, default column, meaning) of the README's table of options."""
    section = README.split("\n## Options\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `(--\w+)` \| (.*?) \| (.*?) \| (.*) \|$", section, re.MULTILINE)
    assert len({row[0] for row in rows}) == len(rows), "an option stands twice"
    return {option: (scripts.split(), default, meaning) for option, scripts, default, meaning in rows}


def documented_commands(names, documents=DOCUMENTS):
    """Lines of the documents' indented blocks that call one of these scripts, continuation lines joined."""
    texts = [(ROOT / document).read_text(encoding="utf-8").split("\n") for document in documents]
    code = "\n".join(line[4:] for text in texts for line in text if line.startswith("    "))
    lines = code.replace("\\\n", " ").split("\n")
    calls = re.compile(rf"\b(?:python|bash|torchrun(?: --\S+)*) (?:{'|'.join(map(re.escape, names))})(?!.*\.\.\.)")
    return [line for line in lines if calls.search(line)]


def words_of(command):
    """The command's words, [...] filled in."""
    return shlex.split(re.sub(r"\[[^]]*\]", "X", command), comments=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_table_has_every_option_of_a_script_and_no_other(parsers, script):
    listed = {option for option, (scripts, *_) in options_table().items() if script in scripts}
    assert listed == set(actions_of(parsers[script]))


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_table_has_every_default_and_choice(parsers, script):
    table = options_table()
    for option, action in actions_of(parsers[script]).items():
        _, default, meaning = table[option]
        if action.required:
            assert default == "required", option
        elif action.default is None or action.default is False or action.default == "":
            assert default == "-", option
        else:
            own = re.search(rf"(?:^|, ){re.escape(script)}: `([^`]*)`", default)
            assert (own[1] if own else default.strip("`")) == str(action.default), option
        for choice in action.choices or []:
            assert f"`{choice}`" in meaning, (option, choice)


@pytest.mark.parametrize("document", ["README.md", "docs/DEVIATIONS.md", "docs/REPRODUCING.md"])
def test_every_option_named_in_the_text_exists(parsers, document):
    known = {option for parser in parsers.values() for option in actions_of(parser)}
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", (ROOT / document).read_text(encoding="utf-8")))
    assert named <= known | FOREIGN


def test_there_are_documented_commands():
    assert len(documented_commands(FILES, ["README.md"])) >= 9
    assert all(documented_commands([name]) for name in FILES)


@pytest.mark.parametrize("command", documented_commands(FILES))
def test_the_documented_commands_are_understood(parsers, command, tmp_path, monkeypatch):
    words = words_of(command)
    start = next(i for i, word in enumerate(words) if word in FILES)
    if words[start] == "ask.py":  # it looks whether the projection is there
        monkeypatch.chdir(tmp_path)
        file = Path(words[words.index("--params_file_name") + 1])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    parsers[FILES[words[start]]].parse_args(words[start + 1 :])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_linked_file_exists(document):
    path = ROOT / document
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("document", ["README.md", "docs/ARCHITECTURE.md", "docs/DEVIATIONS.md"])
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


@pytest.mark.parametrize("name", sorted(FILES))
def test_every_script_is_in_the_readme(name):
    assert name in README


def test_make_targets_named_in_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make ([\w-]+)`|^    make ([\w-]+)", README, re.MULTILINE)):
        assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), target


def test_the_demo_table_can_be_filled_in():
    assert len(re.findall(r"^<!-- demo-table -->\n.*?^<!-- /demo-table -->$", README, re.MULTILINE | re.DOTALL)) == 1
