"""docs/OPTIONS.md, made from the options' dataclasses: python -m experiment.options_page >docs/OPTIONS.md"""

import re
from collections import defaultdict
from dataclasses import MISSING, fields

from experiment.arguments import (
    Ask,
    EvaluateSoftCoT,
    EvaluateSoftCoTPlusPlus,
    Options,
    TrainSoftCoT,
    TrainSoftCoTPlusPlus,
)
from experiment.protocol import SWITCHES

SCRIPTS = {
    "T": ("train_softcot.py", TrainSoftCoT),
    "T+": ("train_softcotpp.py", TrainSoftCoTPlusPlus),
    "E": ("evaluate_softcot.py, run_batch_softcot.sh (which adds `--sweep`)", EvaluateSoftCoT),
    "E+": ("evaluate_softcotpp.py, run_batch_softcotpp.sh (which adds `--sweep`)", EvaluateSoftCoTPlusPlus),
    "A": ("ask.py", Ask),
}
CODE = r"(?<![\w`-])--\w+|[\w./]*<\w+>[\w/]*(?:\.\w+)?"  # an option, or a path with a part to fill in
HEAD = """\
# Options

The table is made by `python -m experiment.options_page >docs/OPTIONS.md` from the dataclasses in
[experiment/arguments.py](../experiment/arguments.py). A test keeps the two equal. Each script prints its own options
with `--help`.

{scripts}

A flag is off by default. "-": not set. *Free*: the option may change when a training resumes or an evaluation
continues. All others fix the result and must stay as they were. Models, data and prompts are compared by content,
batches by the number of examples an optimizer step. Exit codes: [FILES.md](FILES.md#exit-codes).
"""
SECTIONS = {
    "Training": "",
    "Evaluation, one question": "",
    "All scripts": "",
    "Switches": "The first value is the one of `--protocol corrected`. The meaning is what the published code does.\n"
    "What that does to a result: [DEVIATIONS.md](DEVIATIONS.md#switches).\n",
}


def section_of(script, name):
    """Return the section of an option."""
    if name in SWITCHES or name == "protocol":
        return "Switches"
    if name in Options.__dataclass_fields__:
        return "All scripts"
    return "Training" if script in ("T", "T+") else "Evaluation, one question"


def default_of(field):
    """Return the field's default as the page shows it; of a switch, that of the corrected protocol."""
    value = SWITCHES[field.name]["values"][0] if field.name in SWITCHES else field.default
    if value is MISSING and field.default_factory is not MISSING:
        value = field.default_factory()
    if value is MISSING:
        return "required"
    return "-" if value is None or value is False or value == "" else f"`{value}`"


def meaning_of(field):
    """Return the field's help with its choices. The published value of a switch is marked."""
    switch = SWITCHES.get(field.name, {})
    published, text = switch.get("published"), switch.get("does", field.metadata["help"])
    choices = (f"`{choice}`" + " (published)" * (choice == published) for choice in field.metadata["choices"] or ())
    parts = [", ".join(choices), re.sub(CODE, r"`\g<0>`", text)]
    return ": ".join(part for part in parts if part)


def merged(texts):
    """Return the text of all scripts, or each with the scripts it is for. texts: script -> text."""
    scripts = defaultdict(list)
    for script, text in texts.items():
        scripts[text].append(script)
    return "; ".join(text if len(scripts) == 1 else f"{', '.join(of)}: {text}" for text, of in scripts.items())


def row_of(options):
    """Return one line of a table. options: script -> the option's field."""
    defaults = merged({script: default_of(field) for script, field in options.items()})
    meaning = merged({script: meaning_of(field) for script, field in options.items()})
    field = next(iter(options.values()))
    free = "" if field.metadata["fixes_result"] else "free"
    name = field.name if field.metadata["positional"] else f"--{field.name}"
    cells = (f"`{name}`", " ".join(options), defaults, free, meaning)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def page():
    """Return docs/OPTIONS.md."""
    found = {section: defaultdict(dict) for section in SECTIONS}
    for script, (_, options) in SCRIPTS.items():
        for field in fields(options):
            found[section_of(script, field.name)][field.name][script] = field
    scripts = "\n".join(["| | |", "| --- | --- |", *(f"| **{key}** | {name} |" for key, (name, _) in SCRIPTS.items())])
    parts = [HEAD.format(scripts=scripts)]
    for section, rows in found.items():
        head = ["| option | scripts | default | resume | meaning |", "| --- | --- | --- | --- | --- |"]
        table = "\n".join([*head, *map(row_of, rows.values())])
        parts.append("\n".join(filter(None, (f"## {section}\n", SECTIONS[section], table))) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(page(), end="")
