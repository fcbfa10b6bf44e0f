"""The pictures: losses of a training, and accuracies of the summary's table."""

import json
import textwrap
from pathlib import Path

from experiment.record import without_training
from utils import replaced


def pyplot():
    """Return matplotlib's pyplot, which draws into files only. The import takes a second, and few runs need it."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save(figure, path) -> None:
    with replaced(path) as scratch:
        figure.savefig(scratch, dpi=120, format="png")
    pyplot().close(figure)


def plot_loss(history, path, title):
    """Draw the losses against epochs. history: of `training_loop`; the loss's terms too if there are several."""
    figure, axes = pyplot().subplots(figsize=(6, 4), layout="constrained")
    terms = [("token", "token", ""), ("contrastive", "contrastive", "")] if "contrastive" in history[0] else []
    for key, label, marker in (("loss", "training", ""), *terms, ("eval_loss", "dev", "o")):
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, label=label)
    axes.set(xlabel="epoch", ylabel="loss", title=title)
    axes.set_yscale("log")
    axes.legend()
    save(figure, path)


def plot_table(table, folder: Path) -> dict[str, str | None]:
    """Write the pictures of a summary's table; return file name -> None, or why it is not there."""
    lines = {
        "accuracy_by_thought_tokens.png": ("num_thought_tokens", "number of thought tokens L"),
        "accuracy_by_chains.png": ("num_scaling_times", "number of chains N"),
    }
    found = {"per_task.png": plot_tasks(table, folder / "per_task.png")}
    found |= {name: plot_against(table, key, title, folder / name) for name, (key, title) in lines.items()}
    for name in (name for name, reason in found.items() if reason):
        (folder / name).unlink(missing_ok=True)  # of an earlier summary
    return found


def plot_differences(comparisons: list[dict], folder: Path) -> dict[str, str | None]:
    """Draw the paired differences with their intervals; return as `plot_table`."""
    name, found = "differences.png", [entry for entry in comparisons if entry["published"]]
    if not found:
        (folder / name).unlink(missing_ok=True)
        return {name: "no paired difference"}
    figure, axes = pyplot().subplots(figsize=(10, 1.2 + 0.5 * len(found)), layout="constrained")
    for place, entry in enumerate(found):
        rule = entry["published"]
        middle = rule["difference"]
        axes.errorbar(
            middle, place, xerr=[[middle - rule["low"]], [rule["high"] - middle]], fmt="o", capsize=4, color="C0"
        )
    axes.set_yticks(range(len(found)), [f"{e['base']}, {e['task']}\n{e['a']}\n- {e['b']}" for e in found], fontsize=7)
    axes.axvline(0, color="black", linewidth=1)
    axes.invert_yaxis()
    axes.set(xlabel="points of accuracy on the same questions, 95 % interval")
    save(figure, folder / name)
    return {name: None}


def cells_in(table):
    """Return the rows that have an accuracy, without the papers' averages, which have no seeds."""
    return table[(table.status == "ok") & (table.seeds.str.len() > 0)]


def plot_tasks(table, path) -> str | None:
    """Draw a panel a base model, a group of bars a task, a bar a method; the papers' figures as black lines."""
    order, table = list(table.task.unique()), cells_in(table)
    if table.empty:
        return "no whole run"
    bases = list(table.base.unique())
    size = (max(7, 0.4 * len(table) + 3), 4.5 * len(bases))
    figure, panels = pyplot().subplots(len(bases), squeeze=False, layout="constrained", figsize=size)
    for base, axes in zip(bases, panels[:, 0], strict=True):
        part = table[table.base == base]
        tasks, labels = sorted(set(part.task), key=order.index), list(part.label.unique())
        mean, std, published = (
            part.pivot(index="task", columns="label", values=value).reindex(index=tasks, columns=labels)
            for value in ("mean", "std", "published")
        )
        colors = pyplot().get_cmap("tab10" if len(labels) <= 10 else "tab20").colors
        mean.plot.bar(ax=axes, yerr=std, capsize=3, width=0.85, rot=0, color=colors)
        axes.set_xticklabels([textwrap.fill(task, 20) for task in tasks])
        for row, label in enumerate(labels):
            left = [place - 0.425 + row * 0.85 / len(labels) for place in range(len(tasks))]
            axes.hlines(published[label], left, [x + 0.85 / len(labels) for x in left], color="black")
        axes.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
        lines = "; black: published" if published.notna().any(axis=None) else ""
        axes.set(title=base, ylim=(0, 100), xlabel="", ylabel=f"accuracy in %, standard deviation{lines}")
    save(figure, path)


def plot_against(table, key, title, path) -> str | None:
    """Draw accuracy against a setting, a line for cells that differ in nothing else; return why there is none."""
    letters = {"num_thought_tokens": "L", "num_scaling_times": "N", "num_return_sequences": "R"}
    # Each L or N has its own prompt and may have its own training.
    ignored = (key, "training", "several_trainings", "prompt_hash", "rendered_prompt", "run_name")
    table = cells_in(table)
    table = table[[bool(s.get(key) and s["num_thought_tokens"]) for s in table.settings]]
    rest = [
        json.dumps({k: s[k] for k in sorted(without_training(s).keys() - ignored)}, sort_keys=True)
        for s in table.settings
    ]
    table = table.assign(rest=rest, place=[settings[key] for settings in table.settings])
    groups = [g.sort_values("place") for _, g in table.groupby(["method", "rest"], sort=False) if g.place.nunique() > 1]
    if not groups:
        return f"needs two values of {title} with all else equal"
    figure, axes = pyplot().subplots(figsize=(7, 4.5), layout="constrained")
    for group in groups:
        first = group.iloc[0]
        fixed = [f"{letter}={first.settings[k]}" for k, letter in letters.items() if k != key and first.settings.get(k)]
        label = f"{first.base}, {first.task}, {first.method} ({', '.join(fixed)})"
        axes.errorbar(group.place, group["mean"], yerr=group["std"].fillna(0), marker="o", capsize=4, label=label)
    axes.set(xlabel=title, ylabel="accuracy in %, bars: standard deviation over seeds")
    axes.set_xticks(sorted({place for group in groups for place in group.place}))
    axes.legend(fontsize="small")
    save(figure, path)


def plot_curves(histories: dict[str, list[dict]], path, title) -> None:
    """Draw training and dev losses of several runs against optimizer steps. histories: label -> history."""
    figure, panels = pyplot().subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    for panel, key, name in zip(panels, ("loss", "eval_loss"), ("training loss", "dev loss"), strict=True):
        for label, history in histories.items():
            points = [(entry["step"], entry[key]) for entry in history if key in entry]
            panel.plot(*zip(*points, strict=True), label=label, linewidth=1)
        panel.set(xlabel="optimizer step", ylabel=name, title=title)
        panel.set_yscale("log")
    panels[0].legend(fontsize="small")
    save(figure, path)
