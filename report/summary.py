"""From runs to the table that all outputs are made of: cells of seeds, their labels, paired differences."""

import hashlib
import re
from dataclasses import dataclass, field
from itertools import permutations

import numpy as np
import pandas as pd

from data_loader.tasks import TASKS
from experiment.protocol import SWITCHES
from experiment.run_files import LEVERS, METHODS, name_method, short_name
from report.papers import PAPERS, find_published, list_differences
from report.runs import RULES, Run, count_answers, group, to_json
from utils import UserError

NUMBERS = ["mean", "std", "strict_mean", "strict_std", "tokens", "published", "published_std", "difference"]
COLUMNS = ["base", "task", "method", "label", "status", *NUMBERS, "source", "seeds", "questions", "votes", "flags"]
BASELINE = "Zero-Shot CoT"
# Only the JSON has them, and the plots use settings.
MORE = ["accuracies", "runs", "left_out", "settings"]
# Settings in a label only if no others tell its cell from the rest: `evaluated_with` and `trained_with` sum them up.
SUMMED_UP = {*SWITCHES, "training", "rendered_prompt"}
# What cells of two protocols, and cells with and without a lever, may differ in.
OF_TRAINING = {"projection", "mean_thoughts", "several_trainings"}
OF_PROTOCOL = {*SWITCHES, *OF_TRAINING, "evaluated_with", "trained_with", "engine", "max_new_tokens", "rendered_prompt"}
OF_LEVERS = {*LEVERS, *OF_TRAINING}
# What the tasks of an average should share, and two cells that are compared.
OF_AVERAGES = (
    *("evaluated_with", "trained_with", "dtype", "quantization", "engine"),
    *("temperature", "top_p", "top_k", "greedy"),
)


# ---- cells ----


@dataclass(eq=False)
class Cell:
    """All seeds of one task, split, base model and method with its arguments."""

    settings: dict
    method: str
    task: str  # with its split, if that is not test: a column of the table
    runs: list[Run] = field(default_factory=list)  # averaged
    left_out: list[Run] = field(default_factory=list)  # incomplete, or part of another run of the seed; flagged
    questions: int = 0  # of a whole run
    base: str = ""
    label: str = ""


def make_cells(runs: list[Run], include_incomplete=False) -> list[Cell]:
    """Return the cells in the table's order.

    A run with fewer questions than others of its data, or than its log says, is incomplete.
    """
    cells = []
    for same in group(runs, lambda run: run.settings):
        s = same[0].settings
        task = s["task_name"] + ("" if s["split"] == "test" else f" ({s['split']})")
        cells.append(Cell(s, name_method(s), task))
        for run in sorted(same, key=lambda run: run.seed):
            add_run(cells[-1], run)
    for same in group(cells, lambda c: (c.settings["base_model_id"], c.task, c.settings.get("data_hash"))):
        questions = max(max(len(run.rows), run.questions) for cell in same for run in cell.runs)
        for cell in same:
            cell.questions = questions
            for run in [run for run in cell.runs if len(run.rows) < questions]:
                averaged = include_incomplete and len(run.rows)
                use = "averaged all the same" if averaged else "left out"
                run.flags.insert(0, f"{len(run.rows)} of {questions} questions, {use}")
                if not averaged:
                    cell.runs.remove(run)
                    cell.left_out.append(run)
    name_cells(cells)
    return sorted(cells, key=place_in_table)


def place_in_table(cell):
    s, task = cell.settings, list(TASKS).index(cell.settings["task_name"])
    levers = [to_json(s.get(key) or "") for key in LEVERS]
    return cell.base, METHODS.index(cell.method), s["num_thought_tokens"], count_answers(s), levers, task


def add_run(cell, run) -> None:
    """Add a run to its cell. Raises UserError if another run of its seed has other answers."""
    twice = next((other for other in cell.runs if other.seed == run.seed), None)
    if twice:
        shorter, run = sorted((run, twice), key=lambda r: len(r.rows))
        if not run.rows.reindex(shorter.rows.index).equals(shorter.rows):
            both = f"{shorter.path} and {run.path} are both seed {run.seed} of the same run"
            raise UserError(f"{both}: remove one, or name the folders to summarize one by one")
        shorter.flags.append(f"{shorter.path.name} is not counted, another file has the same answers and more")
        cell.runs.remove(twice)
        cell.left_out.append(shorter)
    cell.runs.append(run)


def name_cells(cells) -> None:
    """Name each cell's base model; label it by method, L, N, R, levers and the settings that differ from its like."""
    bases = name_distinctly([cell.settings["base_model_id"] for cell in cells])
    for cell in cells:
        s, cell.base = cell.settings, bases[to_json(cell.settings["base_model_id"])]
        parts = [f"L={s['num_thought_tokens']}"] if s["num_thought_tokens"] else []
        parts += [f"N={s['num_scaling_times']}"] if s.get("num_scaling_times") else []
        parts += [f"R={s['num_return_sequences']}"] if s["num_return_sequences"] > 1 else []
        parts += [f"std={s['perturb_std']:g}"] if s["perturb_std"] else []
        parts += [f"{key.removeprefix('thought_')}={to_json(s[key])}" for key in LEVERS if s.get(key)]
        adapter = s.get("tune_base_model") or s.get("base_model_ckpt")
        parts += ["adapter ignored"] if adapter and s.get("base_adapter") == "ignored" else []
        cell.label = cell.method + (f" ({', '.join(parts)})" if parts else "")
    for same in group(cells, lambda cell: (cell.base, cell.task, cell.label)):
        keys = distinguishing_keys(same)
        names = {key: name_distinctly([cell.settings.get(key) for cell in same]) for key in keys}
        for cell in same if keys else ():
            cell.label += f" [{', '.join(f'{key}={names[key][to_json(cell.settings.get(key))]}' for key in keys)}]"


def distinguishing_keys(cells) -> list[str]:
    """Return the settings that name each cell: all that differ and every cell has, then others until no two are alike.

    A training's hashes are among the others: they differ by task, and each row would hold one task.
    """

    def differ(*keys):
        return len({to_json([cell.settings.get(key) for key in keys]) for cell in cells})

    names = {key for cell in cells for key in cell.settings}
    own = SUMMED_UP | OF_TRAINING | {"base_model_ckpt", "assistant_model_ckpt"}
    shared = {key for key in names - own if all(key in cell.settings for cell in cells)}
    chosen = []
    for key in sorted(names, key=lambda key: (key not in shared, key in SUMMED_UP, key)):
        if differ(key) > 1 and (key in shared or differ(*chosen) < len(cells)):
            chosen.append(key)
    return chosen


def name_distinctly(values) -> dict[str, str]:
    """Return a short, distinct name for each value, by its JSON: a path's end, the JSON or the start of a hash."""
    values = {to_json(value): value for value in values}

    def name(key, length):
        if not isinstance(values[key], str):
            return key if len(key) < 12 else hashlib.sha256(key.encode()).hexdigest()[: 6 * length]
        if re.fullmatch(r"\d+ [0-9a-f]{64}", values[key]):  # a fingerprint: size and SHA-256 of a file
            return values[key].split()[-1][: 6 * length]
        return "/".join(values[key].split("/")[-length:])

    names = {}
    for key in values:
        lengths = (n for n in range(1, 64) if name(key, n) not in {name(other, n) for other in values.keys() - {key}})
        names[key] = name(key, next(lengths, 64))
    return names if len(set(names.values())) == len(names) else {key: key for key in values}


# ---- the table ----


def make_table(cells: list[Cell], tasks=(), methods=()) -> pd.DataFrame:
    """Return a row for each method and task of a base model, and for the papers' averages: COLUMNS and MORE.

    tasks, methods: shown even if all is missing.
    """
    rows = []
    for mine in group(cells, lambda cell: cell.base):
        columns = order_tasks({cell.task for cell in mine} | set(tasks))
        labels = {cell.label: cell.method for cell in mine}
        labels |= {method: method for method in methods if method not in labels.values()}
        most_seeds = max(len(cell.runs) for cell in mine)
        for label in sorted(labels, key=lambda label: METHODS.index(labels[label])):
            empty = dict.fromkeys(COLUMNS + MORE) | {"base": mine[0].base, "label": label, "method": labels[label]}
            empty |= {"status": "missing", "seeds": [], "flags": [], "runs": [], "left_out": []}
            empty |= {"model": short_name(mine[0].settings["base_model_id"]), "averaged": None}
            known = {cell.task: make_table_row(cell, most_seeds) for cell in mine if cell.label == label}
            settings = next((row["settings"] for row in known.values()), None)
            row = [add_published(empty | {"task": task} | known.get(task, {}), settings) for task in columns]
            rows += row + average_tasks(row, empty)
    table = pd.DataFrame(rows, columns=COLUMNS + MORE)
    return table.astype(dict.fromkeys(NUMBERS, float) | {"questions": "Int64", "votes": "Int64"})


def order_tasks(tasks) -> list[str]:
    """Return tasks in the papers' order, each with its other splits, then averages."""
    order = [*TASKS, *PAPERS["averages"]]
    return sorted(tasks, key=lambda task: (order.index(task.split(" (")[0]), task))


def make_table_row(cell, most_seeds) -> dict:
    """Return what the table says of a cell."""
    scores = pd.DataFrame([run.scores for run in cell.runs], columns=RULES)
    mean, std = scores.mean(skipna=False), scores.std(skipna=False)
    tokens = [run.tokens for run in cell.runs if run.tokens is not None]
    return {
        "status": "incomplete" if pd.isna(mean["correct"]) else "ok",
        "mean": mean["correct"],
        "std": std["correct"],
        "strict_mean": mean["correct_strict"],
        "strict_std": std["correct_strict"],
        "tokens": np.mean(tokens) if tokens else None,
        "seeds": [run.seed for run in cell.runs],
        "questions": cell.questions,
        "averaged": min((len(run.rows) for run in cell.runs), default=cell.questions),
        "votes": count_answers(cell.settings),
        "flags": list_flags(cell, most_seeds),
        "accuracies": {str(run.seed): run.scores["correct"] for run in cell.runs},
        "runs": [run.describe() for run in cell.runs],
        "left_out": [run.describe() for run in cell.left_out],
        "settings": cell.settings,
    }


def list_flags(cell, most_seeds) -> list[str]:
    """Return what a reader must know before comparing a cell's number."""
    folders = ", ".join(dict.fromkeys(str(run.path.parent) for run in [*cell.runs, *cell.left_out]))
    flags = [f"files in {folders}"] if cell.label.endswith("]") else []  # others have the same method and numbers
    flags += [f"seed {run.seed}: {flag}" for run in cell.left_out for flag in run.flags]
    if cell.settings.get("several_trainings"):
        flags.append("each seed has its own training")
    if any(skipped := [run.skipped for run in cell.runs]):
        numbers = " to ".join(map(str, sorted({min(skipped), max(skipped)})))
        flags.append(f"{numbers} of {cell.questions} questions skipped as too long, counted as not correct")
    in_split = cell.settings.get("questions_in_split")
    if in_split and cell.questions < in_split:
        flags.append(f"{cell.questions} of the split's {in_split} questions")
    if 0 < len(cell.runs) < most_seeds:
        flags.append(f"{len(cell.runs)} of {most_seeds} seeds")
    return flags + [f"seed {run.seed}: {flag}" for run in cell.runs for flag in run.flags]


def average_tasks(row, empty) -> list[dict]:
    """Return the papers' averages over tasks, if all their tasks are there."""
    averages = []
    for name, tasks in PAPERS["averages"].items():
        parts = [part for part in row if part["task"] in tasks and part["status"] == "ok"]
        if len(parts) == len(tasks):
            means = pd.DataFrame(parts)[["mean", "strict_mean", "tokens"]].astype(float).mean(skipna=False)
            flags = [f"{part['task']}: {flag}" for part in parts for flag in part["flags"]]
            mixed = [key for key in OF_AVERAGES if len({to_json(part["settings"].get(key)) for part in parts}) > 1]
            flags += [f"the tasks differ in {', '.join(mixed)}"] if mixed else []
            average = {"task": name, "status": "ok", "votes": parts[0]["votes"], "flags": flags}
            averages.append(add_published(empty | average | means.to_dict(), parts=parts))
    return averages


def add_published(row, settings: dict | None = None, parts=()) -> dict:
    """Return a row with the papers' figures, or with a flag that says why they do not compare.

    settings: of the row's method, for a row without a run; parts: the rows that an average is of.
    """
    value, std, source = find_published(row["model"], row["method"], row["task"], row["votes"])
    others = [
        text
        for part in parts or [row]
        for text in list_differences(part["settings"] or settings, part["task"], part["averaged"])
    ]
    if value is not None and others:
        flag = f"not comparable with the papers' {value:.2f}: {', '.join(dict.fromkeys(others))}"
        return row | {"flags": row["flags"] if row["status"] == "missing" else [*row["flags"], flag]}
    difference = None if None in (value, row["mean"]) else row["mean"] - value
    return row | {"published": value, "published_std": std, "source": source, "difference": difference}


# ---- paired differences ----


def bootstrap_interval(differences) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of `differences` (one a question) over resampled questions."""
    differences, generator = np.asarray(differences), np.random.default_rng(0)
    means = [generator.choice(differences, (100, len(differences))).mean(1) for _ in range(100)]
    return tuple(map(float, np.percentile(means, [2.5, 97.5])))


def compare_methods(cells, pairs) -> tuple[list[dict], list[str]]:
    """Return the paired differences of pairs (methods or labels), and a line for each that is refused.

    Without pairs every method is compared with zero-shot CoT, each run under another protocol with its corrected twin,
    and each run with a lever with its twin without one.
    """
    names = {cell.method for cell in cells} | {cell.label for cell in cells}
    for name in {name for pair in pairs for name in pair} - names:
        raise UserError(f"--compare {name!r}: no such method here; there are {', '.join(sorted(names))}")
    chosen = list(pairs)
    if not pairs:
        chosen = [(method, BASELINE) for method in dict.fromkeys(c.method for c in cells) if method != BASELINE]
        chosen += pair_alike(
            cells, OF_PROTOCOL, lambda s: s.get("evaluated_with") == s.get("trained_with", "corrected") == "corrected"
        )
        chosen += pair_alike(cells, OF_LEVERS, lambda s: not any(map(s.get, LEVERS)))
    found, refused = [], []
    for left, right in chosen:
        alike = [
            (a, b)
            for a, b in permutations(cells, 2)
            if (a.base, a.task) == (b.base, b.task) and left in (a.method, a.label) and right in (b.method, b.label)
        ]
        if pairs and not alike:
            refused.append(f"{left} and {right} are not compared: no base model, by its id, has both on one task")
        for a, b in alike:
            result = compare_cells(a, b)
            if result is None:
                refused.append(
                    f"{a.base}, {a.task}: {a.label} and {b.label} are not compared: no whole seed of one, or not "
                    "the same questions in the same order"
                )
            elif result not in found:
                found.append(result)
    return found, refused


def compare_cells(a: Cell, b: Cell) -> dict | None:
    """Return the paired difference of two cells of a task by each rule, None if they do not answer the same questions.

    A question's verdicts are averaged over seeds. A rule whose verdicts are not known has None. "differ": the settings
    of OF_AVERAGES that are known of both cells and not the same.
    """
    runs = a.runs + b.runs
    if not a.runs or not b.runs or not all(len(r.rows) and r.rows.gold.equals(runs[0].rows.gold) for r in runs):
        return None
    left, right = (100 * sum(run.rows[RULES] for run in cell.runs) / len(cell.runs) for cell in (a, b))
    found = {"base": a.base, "task": a.task, "a": a.label, "b": b.label, "questions": len(left)}
    known = a.settings.keys() & b.settings.keys()
    known |= {"quantization", "top_k"} if "version" in known else set()  # None in our records, which is left out
    found["differ"] = [key for key in OF_AVERAGES if key in known and a.settings.get(key) != b.settings.get(key)]
    for name, rule in zip(("published", "strict"), RULES, strict=True):
        difference, found[name] = left[rule] - right[rule], None
        if not difference.isna().any():
            low, high = bootstrap_interval(difference)
            found[name] = {"difference": difference.mean(), "low": low, "high": high}
    return found


def pair_alike(cells, keys, is_reference) -> list[tuple[str, str]]:
    """Return pairs of labels: each cell, and the only reference that differs from it in nothing but `keys`."""
    pairs, paired = [], set()
    for more in (set(), {"training_seed"}):  # with the training of the same seed, else with the only reference
        for same in group(cells, lambda c, own=keys | more: {k: v for k, v in c.settings.items() if k not in own}):
            references = [cell.label for cell in same if is_reference(cell.settings)]
            if len(references) == 1:
                others = [cell for cell in same if cell.label not in references and cell not in paired]
                pairs += [(cell.label, *references) for cell in others]
                paired |= set(others)
    return pairs
