"""What others measured: the tables and plots of docs/EVIDENCE.md, made from docs/evidence.

`python -m report.evidence` writes the tables between the page's markers and the plots into docs/img.
"""

import re

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from experiment.run_files import ROOT
from report.output import format_number, markdown_table
from report.papers import find_published
from report.plots import save_figure
from report.summary import bootstrap_interval
from utils import replaced, run_main

DOCS = ROOT / "docs"
DATA = DOCS / "evidence"
# Conditions without thoughts, with marker and color. The first that a source has is its baseline.
CONTROLS = {"no slot": "oC0", "CoT prompt": "sC0", "plain prompt": "DC7", "zero vectors": "^C1"}
PAIRS = [("released_l4", "no_slot"), ("trained_l4", "no_slot"), ("trained_l4", "released_l4")]
PAIRS += [("released_l32", "no_slot"), ("released_l32", "released_l4")]


def list_published(runs, method) -> np.ndarray:
    """Return the SoftCoT paper's accuracy of a method for each run's base model and task; NaN: not there."""
    return np.array([find_published(run.base, method, run.task, 1)[0] for run in runs.itertuples()], float)


def read_reruns() -> pd.DataFrame:
    """Return what others ran, a row a run, with its name, its L and the SoftCoT paper's accuracy."""
    runs = pd.read_csv(DATA / "runs.csv")
    name = runs.base + ", " + runs.task + (", " + runs.projection).fillna("")
    lengths = ["L not known" if pd.isna(length) else f"L = {length:.0f}" for length in runs.thought_tokens]
    return runs.assign(name=name, length=lengths, paper=list_published(runs, "SoftCoT"))


def read_verdicts() -> pd.DataFrame:
    """Return 1 (correct) or 0, a row a question, a column each of the four runs; NaN where a run has no answer yet."""
    answers = pd.read_csv(DATA / "qwen2.5-7b-1.5b-gsm8k.csv", dtype=str, keep_default_na=False, index_col="index")
    gold = answers.pop("gold").astype(float)
    numbers = answers.apply(pd.to_numeric, errors="coerce")  # "None": no number in the response
    return numbers.eq(gold, axis=0).astype(float).where(answers != "")


def compare_paired(verdicts, a, b) -> dict:
    """Return two runs' accuracies in percent on their common questions, their difference and its interval."""
    both = 100 * verdicts[[a, b]].dropna()
    low, high = bootstrap_interval(both[a] - both[b])
    found = {"questions": len(both), "accuracy": both[a].mean(), "accuracy_c": both[b].mean()}
    return found | {"difference": (both[a] - both[b]).mean(), "low": low, "high": high}


def half_width(questions, *accuracies):
    """Return half the 95 % interval (normal approximation) of an accuracy, or of an unpaired difference of two."""
    return 1.96 * np.sqrt(sum(value * (100 - value) / questions for value in accuracies))


def compare_with_controls(runs, verdicts) -> pd.DataFrame:
    """Return a row for each SoftCoT run and control (`_c`) of its source, by the difference from the baseline.

    Intervals are paired if the answers are known, else unpaired, NaN without the number of questions.
    """
    soft, controls = runs[runs.condition == "SoftCoT"], runs[runs.condition.isin(CONTROLS)]
    rows = soft.reset_index(names="run").merge(controls, on=["source", "base", "task"], suffixes=("", "_c"))
    half, difference = half_width(rows.questions, rows.accuracy, rows.accuracy_c), rows.accuracy - rows.accuracy_c
    rows = rows.assign(difference=difference, low=difference - half, high=difference + half)
    for place, run in rows[rows.answers.notna()].iterrows():
        paired = compare_paired(verdicts, run.answers, run.answers_c)
        rows.loc[place, list(paired)] = list(paired.values())
    rows["paper"] -= list_published(rows, "Zero-Shot CoT")
    rows = rows.sort_values("condition_c", key=lambda names: names.map([*CONTROLS].index), kind="stable")
    rows["to_baseline"] = rows.groupby("run").difference.transform("first")
    return rows.sort_values(["to_baseline", "run"], ascending=False, kind="stable", ignore_index=True)


# ---- tables ----


def percent(accuracy) -> str:
    """Return an accuracy with the digits of its source, two at most."""
    return format_number(accuracy).removesuffix("0")


def show_difference(row) -> str:
    return f"{row['difference']:+.1f}" + ("" if pd.isna(row["low"]) else f" ({row['low']:+.1f} to {row['high']:+.1f})")


def tabulate_sources() -> str:
    sources = pd.read_csv(DATA / "sources.csv", keep_default_na=False)
    names = [f"[{row.source}]({row.link})" if row.link else row.source for row in sources.itertuples()]
    return markdown_table(pd.DataFrame({"source": names, "what it is": sources.conditions}))


def tabulate_pairs(verdicts) -> str:
    lines = []
    for pair in PAIRS:
        found, (a, b) = compare_paired(verdicts, *pair), verdicts[[*pair]].dropna().to_numpy().T
        names = [name.replace("_l", ", L = ").replace("_", " ") for name in pair]
        numbers = [f"{found['accuracy']:.2f}", f"{found['accuracy_c']:.2f}", (a > b).sum(), (a < b).sum()]
        lines.append([*names, f"{found['questions']:,}", *numbers, show_difference(found)])
    head = ["A", "B", "questions", "A, %", "B, %", "only A correct", "only B correct", "A - B (95 % interval)"]
    return markdown_table(pd.DataFrame(lines, columns=head))


def tabulate_controls(rows) -> str:
    lines = []
    for _, same in rows.groupby("run", sort=False):
        first, *more = same.to_dict("records")
        others = "; ".join(f"{row['condition_c']} {percent(row['accuracy_c'])}: {show_difference(row)}" for row in more)
        line = [
            first["name"],
            first["source"],
            format_number(first["questions"], form=",.0f"),
            percent(first["accuracy"]),
        ]
        line += [f"{first['condition_c']} {percent(first['accuracy_c'])}", show_difference(first), others or "-"]
        lines.append([*line, format_number(first["paper"], form="+.1f")])
    head = ["base model, task", "source", "questions", "SoftCoT", "baseline", "difference (95 % interval)"]
    return markdown_table(pd.DataFrame(lines, columns=[*head, "against further controls", "difference in the paper"]))


def tabulate_alone(alone) -> str:
    lines = []
    for (source, name), same in alone.groupby(["source", "name"], sort=False):
        accuracies = ", ".join(f"{percent(run.accuracy)} ({run.length})" for run in same.itertuples())
        questions = format_number(same.questions.max(), form=",.0f")  # at L = 4, if known at all
        lines.append([name, source, questions, accuracies, percent(same.paper.iloc[0])])
    head = ["base model, task", "source", "questions", "SoftCoT", "the paper (L = 4)"]
    return markdown_table(pd.DataFrame(lines, columns=head))


def tabulate_tokens() -> str:
    tokens, lines = pd.read_csv(DATA / "next_tokens.csv"), []
    for (length, _), part in tokens.groupby(["thought_tokens", (tokens.position - 1) // 8]):
        columns = part.position, part.in_questions, part.total_variation
        ends = [" to ".join(dict.fromkeys(f"{end:g}" for end in (column.min(), column.max()))) for column in columns]
        likeliest = ", ".join(f"`{token}`" for token in part.likeliest.unique())
        lines.append([length, ends[0], likeliest, f"{ends[1]} of {part.questions.iloc[0]}", ends[2]])
    head = ["L", "placeholder", "likeliest next token", "in so many questions", "total variation"]
    return markdown_table(pd.DataFrame(lines, columns=head))


# ---- plots ----


def plot_controls(rows, alone, path) -> None:
    """Draw each run's difference from its source's controls, and the runs of sources without a baseline apart."""
    figure = Figure(figsize=(13, 8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.4, 1])
    first, place = rows.drop_duplicates("run"), rows.groupby("run", sort=False).ngroup()
    for control, style in CONTROLS.items():
        part = rows[rows.condition_c == control]
        bars = np.nan_to_num([part.difference - part.low, part.high - part.difference])
        style = {"fmt": style, "capsize": 3, "label": f"against {control}"}
        left.errorbar(part.difference, place[part.index], xerr=bars, **style)
    left.axvline(0, color="black", linewidth=1)
    left.set(title="SoftCoT minus its source's own controls", xlabel="points of accuracy")
    alone = alone[alone.length.isin(["L = 4", "L not known"])]
    bars = np.nan_to_num(half_width(alone.questions, alone.accuracy))
    right.errorbar(alone.accuracy, range(len(alone)), xerr=bars, fmt="oC0", capsize=3, label="the source")
    right.set(title="Sources without a baseline", xlabel="accuracy in %, L = 4 or not known")
    for axes, part in ((left, first), (right, alone)):
        axes.plot(part.paper, range(len(part)), "kx", label="the SoftCoT paper")
        axes.set_yticks(range(len(part)), part["name"] + "\n" + part.length + ", " + part.source, fontsize=8)
        axes.invert_yaxis()
        axes.legend(fontsize="small", loc="upper left")
    save_figure(figure, path)


def plot_lengths(alone, verdicts, path) -> None:
    """Draw accuracy against L for each projection that was evaluated with several."""
    common = 100 * verdicts.dropna()  # questions that all four runs answered
    label = f"Qwen2.5-7B-Instruct, gsm8k, released projection (1563245379/SoftCoT, {len(common)} questions)"
    lines = {label: ([0, 4, 32], common[["no_slot", "released_l4", "released_l32"]].mean())}
    for (source, name), same in alone.groupby(["source", "name"], sort=False):
        if len(same) > 1:
            lines[f"{name} ({source})"] = (same.thought_tokens, same.accuracy)
    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for (label, line), marker in zip(lines.items(), "osD^", strict=True):
        axes.plot(*line, marker=marker, label=label)
    axes.set_xscale("symlog", base=2, linthresh=1)
    ticks = [0, 1, 2, 4, 8, 12, 16, 20, 32]
    axes.set_xticks(ticks, map(str, ticks))
    axes.set(xlabel="thought tokens L in evaluation (0: no slot)", ylabel="accuracy in %", ylim=(0, 100))
    axes.legend(fontsize="x-small", loc="lower left")
    save_figure(figure, path)


def write_tables(tables: dict[str, str], page=DOCS / "EVIDENCE.md") -> None:
    """Put tables between the page's markers of their names; what is between others stays."""
    block = r"(?<=<!-- made: )([\w ]+)( -->\n)(.*?)(?=<!-- /made -->)"
    text = page.read_text(encoding="utf-8")
    text = re.sub(block, lambda found: found[1] + found[2] + tables.get(found[1], found[3]), text, flags=re.DOTALL)
    with replaced(page) as scratch:
        scratch.write_text(text, encoding="utf-8")


def main(page=DOCS / "EVIDENCE.md", images=DOCS / "img"):
    # 1) What others measured
    runs, verdicts = read_reruns(), read_verdicts()

    # 2) Each run against its own source's controls, and apart the sources that have none
    rows = compare_with_controls(runs, verdicts)
    alone = runs[~runs.source.isin(runs.source[runs.condition.isin(CONTROLS)])]

    # 3) Tables, each between its markers; runs whose answers are known have a table of their own
    tables = {"sources": tabulate_sources(), "pairs": tabulate_pairs(verdicts)}
    tables |= {"controls": tabulate_controls(rows[rows.answers.isna()]), "alone": tabulate_alone(alone)}
    tables |= {"next tokens": tabulate_tokens()}
    write_tables(tables, page)

    # 4) Plots
    plot_controls(rows, alone, images / "reruns.png")
    plot_lengths(alone, verdicts, images / "accuracy_by_thought_tokens.png")


if __name__ == "__main__":
    run_main(main)
