"""The pictures: losses of a training, and accuracies of the summary's table."""

import json
import textwrap
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from experiment.run_files import without_training
from utils import replaced


def save_figure(figure, path) -> None:
    with replaced(path) as scratch:
        figure.savefig(scratch, dpi=120, format="png")


def plot_loss(history, path, title):
    """Draw the losses against epochs. history: of `training_loop`; the loss's terms too if there are several."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    terms = [("token", "token", ""), ("contrastive", "contrastive", "")] if "contrastive" in history[0] else []
    for key, label, marker in (("loss", "training", ""), *terms, ("eval_loss", "dev", "o")):
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, label=label)
    axes.set(xlabel="epoch", ylabel="loss", title=title)
    axes.set_yscale("log")
    axes.legend()
    save_figure(figure, path)


def plot_summary(table, comparisons: list[dict], folder: Path) -> dict[str, str | None]:
    """Write the pictures of a summary; return file name -> None, or why it is not there."""
    lengths, chains = "accuracy_by_thought_tokens.png", "accuracy_by_chains.png"
    found = {
        "per_task.png": plot_tasks(table, folder / "per_task.png"),
        lengths: plot_against(table, "num_thought_tokens", "number of thought tokens L", folder / lengths),
        chains: plot_against(table, "num_scaling_times", "number of chains N", folder / chains),
        "differences.png": plot_differences(comparisons, folder / "differences.png"),
    }
    for name in (name for name, reason in found.items() if reason):
        (folder / name).unlink(missing_ok=True)  # of an earlier summary
    return found


def plot_differences(comparisons: list[dict], path) -> str | None:
    """Draw the paired differences with their intervals; return why there is no picture, or None."""
    found = [entry for entry in comparisons if entry["published"]]
    if not found:
        return "no paired difference"
    figure = Figure(figsize=(10, 1.2 + 0.5 * len(found)), layout="constrained")
    axes = figure.subplots()
    rules = [[entry["published"][key] for entry in found] for key in ("difference", "low", "high")]
    middle, low, high = map(np.array, rules)
    axes.errorbar(middle, range(len(found)), xerr=[middle - low, high - middle], fmt="o", capsize=4, color="C0")
    axes.set_yticks(range(len(found)), [f"{e['base']}, {e['task']}\n{e['a']}\n- {e['b']}" for e in found], fontsize=7)
    axes.axvline(0, color="black", linewidth=1)
    axes.invert_yaxis()
    axes.set(xlabel="points of accuracy on the same questions, 95 % interval")
    save_figure(figure, path)


def select_cells(table):
    """Return the rows that have an accuracy, without the papers' averages, which have no seeds."""
    return table[(table.status == "ok") & (table.seeds.str.len() > 0)]


def plot_tasks(table, path) -> str | None:
    """Draw a panel a base model, a group of bars a task, a bar a method; the papers' figures as black lines.

    Returns why there is no picture, or None.
    """
    order, table = list(table.task.unique()), select_cells(table)
    if table.empty:
        return "no whole run"
    bases = list(table.base.unique())
    figure = Figure(figsize=(max(7, 0.4 * len(table) + 3), 4.5 * len(bases)), layout="constrained")
    for base, axes in zip(bases, figure.subplots(len(bases), squeeze=False)[:, 0], strict=True):
        part = table[table.base == base]
        tasks, labels = sorted(set(part.task), key=order.index), list(part.label.unique())
        mean, std, published = (
            part.pivot(index="task", columns="label", values=value).reindex(index=tasks, columns=labels)
            for value in ("mean", "std", "published")
        )
        colors, width = colormaps["tab10" if len(labels) <= 10 else "tab20"].colors, 0.85 / len(labels)
        mean.plot.bar(ax=axes, yerr=std, capsize=3, width=0.85, rot=0, color=colors)
        axes.set_xticklabels([textwrap.fill(task, 20) for task in tasks])
        for row, label in enumerate(labels):
            left = [place - 0.425 + row * width for place in range(len(tasks))]
            axes.hlines(published[label], left, [x + width for x in left], color="black")
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
        lines = "; black: published" if published.notna().any(axis=None) else ""
        axes.set(title=base, ylim=(0, 100), xlabel="", ylabel=f"accuracy in %, standard deviation{lines}")
    save_figure(figure, path)


def plot_against(table, key, title, path) -> str | None:
    """Draw accuracy against a setting, a line for cells that differ in nothing else.

    Returns why there is no picture, or None.
    """
    letters = {"num_thought_tokens": "L", "num_scaling_times": "N", "num_return_sequences": "R"}
    # Each L or N has its own prompt and may have its own training.
    ignored = (key, "training", "several_trainings", "prompt_hash", "rendered_prompt", "run_name")
    points, lines = [], defaultdict(list)
    for cell in select_cells(table).itertuples():
        if cell.settings.get(key) and cell.settings["num_thought_tokens"]:
            rest = {k: v for k, v in without_training(cell.settings).items() if k not in ignored}
            training = [cell.settings.get(name) for name in ("training", "training_seed", "projection")]
            points.append((json.dumps([cell.method, rest], sort_keys=True), json.dumps(training), cell))
    places = Counter((line, cell.settings[key]) for line, _, cell in points)
    twice = {line for (line, _), count in places.items() if count > 1}  # trainings of the same L: a line each
    for line, training, cell in points:
        lines[line, training if line in twice else None].append((cell.settings[key], cell))
    lines = [line for line in lines.values() if len(line) > 1]
    if not lines:
        return f"needs two values of {title} with all else equal"
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for line in lines:
        places, cells = zip(*sorted(line, key=lambda point: point[0]), strict=True)
        first, std = cells[0], np.nan_to_num([cell.std for cell in cells])
        fixed = [f"{letter}={first.settings[k]}" for k, letter in letters.items() if k != key and first.settings.get(k)]
        label = f"{first.base}, {first.task}, {first.method} ({', '.join(fixed)})"
        label += "".join(first.label.partition(" [")[1:])
        axes.errorbar(places, [cell.mean for cell in cells], yerr=std, marker="o", capsize=4, label=label)
    axes.set(xlabel=title, ylabel="accuracy in %, bars: standard deviation over seeds")
    axes.set_xticks(sorted({place for line in lines for place, _ in line}))
    axes.legend(fontsize="small")
    save_figure(figure, path)
