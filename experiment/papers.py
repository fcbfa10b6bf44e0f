"""The papers' figures, docs/paper_results.json."""

import json

from experiment.record import ROOT

PAPERS = json.loads((ROOT / "docs" / "paper_results.json").read_text(encoding="utf-8"))


def published_figure(model: str, method: str, task: str, votes: int | None):
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
