"""The papers' figures, docs/paper_results.json."""

import json

from experiment.run_files import LEVERS, ROOT

PAPERS = json.loads((ROOT / "docs" / "paper_results.json").read_text(encoding="utf-8"))
THOUGHT_TOKENS = 4  # in evaluation
SAMPLING = {"temperature": 1, "top_p": 1, "top_k": "the model's own", "greedy": False}


def list_differences(settings: dict | None, task: str, questions: int | None) -> list[str]:
    """Return a text for each setting that differs from the papers'. One that is not recorded counts as theirs."""
    if not settings:
        return []
    found, wanted = [], PAPERS["questions"].get(task)
    if settings["num_thought_tokens"] not in (0, THOUGHT_TOKENS):
        found.append(f"L={settings['num_thought_tokens']}, not {THOUGHT_TOKENS}")
    if settings.get("num_scaling_times") and settings["num_return_sequences"] > 1:
        found.append(f"R={settings['num_return_sequences']} with chains, not 1")
    found += [f"{key}={settings[key]!r}, which the papers lack" for key in LEVERS if settings.get(key)]
    sampling = {key: settings[key] for key in SAMPLING if settings.get(key) is not None}
    found += [f"{key}={value}, not {SAMPLING[key]}" for key, value in sampling.items() if value != SAMPLING[key]]
    if wanted and questions not in (None, wanted):
        found.append(f"{questions} questions, not {wanted}")
    return found


def find_published(model: str, method: str, task: str, votes: int | None):
    """Return the papers' (mean, std or None, source) of a task or average; (None, None, None) if they give none.

    model: name of the base model without its path; votes: answers a question, None if any number does.
    """
    for paper in PAPERS["papers"]:
        row, tasks = paper["models"].get(model, {}).get(method, {}), PAPERS["averages"].get(task)
        if votes not in (None, paper["votes"]):
            continue
        value = row.get(task)
        if value is None and tasks and None not in [row.get(part) for part in tasks]:
            value = sum(row[part] for part in tasks) / len(tasks)
        if value is not None:
            return value, paper["std"].get(model, {}).get(method, {}).get(task), paper["source"]
    return None, None, None
