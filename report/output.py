"""The summary's table as Markdown, LaTeX, CSV and JSON."""

import json
import re

import pandas as pd

from report.papers import PAPERS
from report.summary import COLUMNS, order_tasks

PUBLISHED = "*published*"
HEAD = (
    "Accuracy in percent, mean ± sample standard deviation over seeds. *Accuracy*: the published answer rule; "
    "*strict*: the final answer as stated. `-`: not known.\n"
)
HEAD_OF_DIFFERENCES = (
    "Points of accuracy on the same questions, each question's verdicts averaged over seeds; percentile bootstrap over "
    "questions.\n"
)


def overview(table: pd.DataFrame) -> pd.DataFrame:
    """Return a base model's part of the table as methods x tasks, the papers' figures below a method that has any."""
    tasks, rows = order_tasks(set(table.task)), []
    for label, part in table.groupby("label", sort=False):
        part = part.set_index("task").reindex(tasks)
        rows.append([label, *map(format_accuracy, part.itertuples())])
        if part.published.notna().any():
            rows.append([PUBLISHED, *map(format_number, part.published)])
    return pd.DataFrame(rows, columns=["method", *tasks])


def details(table: pd.DataFrame) -> pd.DataFrame:
    """Return a base model's part of the table, a row a task and method, all numbers formatted."""
    tasks = order_tasks(set(table.task))
    table = table.sort_values("task", key=lambda task: task.map(tasks.index), kind="stable")
    columns = {
        "task": table.task,
        "method": table.label,
        "accuracy": map(format_accuracy, table.itertuples()),
        "strict": map(format_number, table.strict_mean, table.strict_std),
        "tokens": (format_number(tokens, form=".1f") for tokens in table.tokens),
        "seeds": (", ".join(map(str, seeds)) or "-" for seeds in table.seeds),
        "questions": table.questions.astype("string").fillna("-"),
        "published": map(format_number, table.published, table.published_std),
        "difference": (format_number(difference, form="+.2f") for difference in table.difference),
    }
    return pd.DataFrame({name: list(column) for name, column in columns.items()})


def format_number(mean, std=None, form=".2f") -> str:
    return "-" if pd.isna(mean) else f"{mean:{form}}" + ("" if pd.isna(std) else f" ± {std:{form}}")


def format_accuracy(row) -> str:
    """Return a row's accuracy, or why there is none; † if there are notes on it. row: of `itertuples`."""
    if row.status != "ok":
        return "" if pd.isna(row.status) else row.status
    return format_number(row.mean, row.std) + (" †" if row.flags else "")


def comparison_table(comparisons: list[dict]) -> pd.DataFrame:
    rows = []
    for found in comparisons:
        row = [found[key] for key in ("base", "task", "a", "b", "questions")]
        for rule in (found["published"], found["strict"]):
            row += [f"{rule['difference']:+.2f}", f"{rule['low']:+.2f} to {rule['high']:+.2f}"] if rule else ["-", "-"]
        rows.append([*row, ", ".join(found["differ"])])
    head = ["base", "task", "A", "B", "questions", "A - B", "95 % interval", "A - B, strict", "95 % interval"]
    return pd.DataFrame(rows, columns=[*head, "also differ in"])


def list_notes(table: pd.DataFrame) -> list[str]:
    flagged = table[table["flags"].str.len() > 0]
    notes = [f"† {row.base}, {row.task}, {row.label}: {'; '.join(row.flags)}." for row in flagged.itertuples()]
    sources = table.source.dropna().unique()
    return notes + [f"Published figures: {source}." for source in sources] + ([PAPERS["note"]] if len(sources) else [])


def markdown_table(frame: pd.DataFrame) -> str:
    rows = [frame.columns, ["---"] * frame.shape[1], *frame.to_numpy()]
    return "".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |\n" for row in rows)


def markdown(table: pd.DataFrame, comparisons: list[dict]) -> str:
    """Return the report: an overview and the details of each base model, then comparisons and notes."""
    parts = ["# Results\n", HEAD]
    for base, part in table.groupby("base", sort=False):
        parts += [f"## {base}\n", markdown_table(overview(part)), markdown_table(details(part))]
    if comparisons:
        parts += ["## Paired differences\n", HEAD_OF_DIFFERENCES, markdown_table(comparison_table(comparisons))]
    if notes := list_notes(table):
        parts += ["## Notes\n", "".join(f"- {note}\n" for note in notes)]
    return "\n".join(parts)


def latex(table: pd.DataFrame) -> str:
    """Return a booktabs table a base model: methods down, tasks across, the papers' figures in italics below."""
    parts = ["% needs \\usepackage{booktabs}\n"]
    for base, part in table.groupby("base", sort=False):
        frame, base = overview(part), re.sub(r"([&%$#_{}])", r"\\\1", base)
        style = frame.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
        style = style.apply(lambda row: ["emph: --rwrap" * (row["method"] == PUBLISHED)] * len(row), axis=1)
        text = style.to_latex(
            hrules=True,
            position="t",
            position_float="centering",
            column_format="l" + "c" * (frame.shape[1] - 1),
            caption=f"{base}: accuracy in percent, mean ± standard deviation over seeds. †: see the notes in table.md.",
        )
        parts.append(text.replace("±", r"$\pm$").replace("†", r"$^\dagger$").replace(PUBLISHED, PUBLISHED.strip("*")))
    return "\n".join(parts)


def comma_separated(table: pd.DataFrame) -> str:
    flat = table[COLUMNS].assign(seeds=table.seeds.map(lambda seeds: " ".join(map(str, seeds))))
    return flat.assign(flags=table["flags"].str.join("; ")).to_csv(index=False, lineterminator="\n")


def json_text(table: pd.DataFrame, comparisons: list[dict], not_compared: list[str]) -> str:
    whole = {"cells": json.loads(table.to_json(orient="records", double_precision=15)), "comparisons": comparisons}
    whole |= {"not_compared": not_compared, "notes": list_notes(table)}
    return json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
