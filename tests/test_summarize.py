"""summarize_results.py through its command line, against plain arithmetic."""

import csv
import json
import random
import re
import shutil
import statistics
import subprocess
from pathlib import Path

import pytest
from tqdm import tqdm

from data_loader.loaders import load_task
from experiment.protocol import CORRECTED, PUBLISHED
from experiment.record import ONLY_IN_LOGS, VERSION, data_hash
from experiment.results import LogForm, SeedResults, judge, skipped_row
from report.runs import read_runs
from report.summary import bootstrap_interval, make_cells
from tests.commands import environment
from utils import UserError

ROOT = Path(__file__).resolve().parent.parent
LLAMA = {"base_model_id": "meta-llama/Llama-3.1-8B-Instruct", "assistant_model_id": "meta-llama/Llama-3.2-1B-Instruct"}
PLAIN = {
    "version": VERSION,
    "num_thought_tokens": 4,
    "num_return_sequences": 1,
    "split": "test",
    "temperature": 1.0,
    "tune_base_model": False,
    "tune_assistant_model": False,
    "base_model_ckpt": None,
    "assistant_model_ckpt": None,
    "thoughts": "projected",
    "perturb_std": 0.0,
}


def summarize(cwd, *words, code=0):
    python = environment()["PYTHON"]
    command = [python, str(ROOT / "summarize_results.py"), *map(str, words)]
    done = subprocess.run(command, cwd=cwd, text=True, capture_output=True, env=environment())
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def verdicts(seed, count=20, share=0.6):
    """(correct, correct strict) a question."""
    draw = random.Random(f"{seed} {share}")
    return [(draw.random() < share, draw.random() < share - 0.1) for _ in range(count)]


def save_run(folder, name, seed, pairs, **settings):
    """A result file and its log as an evaluation writes them."""
    run = {**PLAIN, **LLAMA, "task_name": "gsm8k", "seed": seed, **settings}
    form = LogForm(len(pairs), arguments=tuple((key, None) for key in ONLY_IN_LOGS))
    results = SeedResults(folder / f"{name}-{seed}.jsonl", folder / f"{name}-{seed}.log", run, form)
    votes = (run.get("num_scaling_times") or 1) * run["num_return_sequences"]
    for index, (right, strict) in enumerate(pairs):
        results.add(
            {
                "index": index,
                "gold": index,
                "answers": [index if right else -1] * votes,
                "vote": index if right else -1,
                "correct": right,
                "answers_strict": [None] * votes,
                "vote_strict": None,
                "correct_strict": strict,
                "tokens": [129 + seed] * votes,
            }
        )
    results.file.close()
    results.log.close()


@pytest.fixture
def table(tmp_path):
    """Zero-shot and SoftCoT on gsm8k with three seeds, zero-shot alone on aqua with one."""
    for seed in (41, 42, 43):
        save_run(tmp_path / "logs", "zero", seed, verdicts(seed, share=0.5), num_thought_tokens=0)
        save_run(tmp_path / "logs", "soft", seed, verdicts(seed, share=0.8), projection={"weight": 1.5, "bias": 0.5})
    save_run(tmp_path / "logs", "aqua", 41, verdicts(41, 10), num_thought_tokens=0, task_name="aqua")
    return tmp_path


def cells_of(folder):
    whole = json.loads((folder / "table.json").read_text(encoding="utf-8"))
    return {(cell["label"], cell["task"]): cell for cell in whole["cells"]}, whole


def test_means_deviations_tokens_and_published_figures(table):
    done = summarize(table, "logs", "--out", "out")
    cells, _ = cells_of(table / "out")
    for label, share in (("Zero-Shot CoT", 0.5), ("SoftCoT (L=4)", 0.8)):
        cell = cells[label, "gsm8k"]
        for place, name in ((0, ""), (1, "strict_")):
            scores = [100 * sum(pair[place] for pair in verdicts(seed, share=share)) / 20 for seed in (41, 42, 43)]
            assert cell[f"{name}mean"] == pytest.approx(statistics.mean(scores))
            assert cell[f"{name}std"] == pytest.approx(statistics.stdev(scores))
        assert (cell["seeds"], cell["questions"], cell["tokens"]) == ([41, 42, 43], 20, pytest.approx(171))
    soft = cells["SoftCoT (L=4)", "gsm8k"]
    assert (soft["published"], soft["difference"]) == (None, None)
    assert any("81.03" in flag and "1319" in flag for flag in soft["flags"])
    row = f"| gsm8k | SoftCoT (L=4) | {soft['mean']:.2f} ± {soft['std']:.2f} † | {soft['strict_mean']:.2f} ± "
    assert row in done.stdout and "| 41-43 | 20 | - | - |" in done.stdout
    assert (table / "out" / "per_task.png").read_bytes().startswith(b"\x89PNG")
    assert "accuracy_by_chains.png" in done.stderr and not (table / "out" / "accuracy_by_chains.png").exists()


def test_missing_cells_are_shown_as_missing(table):
    summarize(
        table, "logs", "--out", "out", "--no_plots", "--tasks", "gsm8k", "du", "--methods", "Assist-CoT", "SoftCoT"
    )
    text = (table / "out" / "table.md").read_text(encoding="utf-8")
    assert "| method | gsm8k | aqua | du |" in text
    assert "| Assist-CoT | missing | missing | missing |" in text
    assert re.search(r"^\| SoftCoT \(L=4\) \| \d+\.\d+ ± \d+\.\d+ † \| missing \| missing \|$", text, re.M)
    with open(table / "out" / "table.csv", encoding="utf-8", newline="") as file:
        rows = {(row["label"], row["task"]): row for row in csv.DictReader(file)}
    assert rows["SoftCoT (L=4)", "du"]["status"] == "missing" and rows["SoftCoT (L=4)", "du"]["mean"] == ""
    assert rows["SoftCoT (L=4)", "du"]["published"] == "59.04"
    assert rows["Zero-Shot CoT", "aqua"]["std"] == "" and rows["Zero-Shot CoT", "aqua"]["seeds"] == "41"
    latex = (table / "out" / "table.tex").read_text(encoding="utf-8")
    assert (
        r"\emph{published} & \emph{-} & \emph{-} & \emph{54.40}" in latex and latex.count(r"\begin{tabular}{lccc}") == 1
    )
    assert all(line.count("&") == 3 for line in latex.splitlines() if line.endswith(r"\\"))


def test_incomplete_runs_are_left_out_and_flagged(table):
    path = table / "logs" / "soft-43.jsonl"
    path.write_text("\n".join(path.read_text(encoding="utf-8").split("\n")[:15])[:-30], encoding="utf-8")  # 13 rows
    path.with_suffix(".log").unlink()
    done = summarize(table, "logs", "--out", "out", "--no_plots")
    cell = cells_of(table / "out")[0]["SoftCoT (L=4)", "gsm8k"]
    assert cell["seeds"] == [41, 42]
    assert all(re.search(text, "; ".join(cell["flags"])) for text in ("seed 43: 13 of 20", "2 of 3 seeds"))
    assert cell["flags"][0] in done.stdout
    assert [run["file"] for run in cell["left_out"]] == [str(path)]
    summarize(table, "logs", "--out", "out", "--no_plots", "--include_incomplete")
    cell = cells_of(table / "out")[0]["SoftCoT (L=4)", "gsm8k"]
    assert cell["seeds"] == [41, 42, 43] and any("seed 43: 13 of 20" in flag for flag in cell["flags"])
    scores = [
        100 * sum(a for a, _ in verdicts(seed, share=0.8)[:count]) / count
        for seed, count in ((41, 20), (42, 20), (43, 13))
    ]
    assert cell["mean"] == pytest.approx(statistics.mean(scores))


def plain_interval(differences, resamples, seed):
    """Percentile bootstrap with the standard library alone."""
    draw = random.Random(seed)
    means = sorted(statistics.fmean(draw.choices(differences, k=len(differences))) for _ in range(resamples))
    return means[int(0.025 * resamples)], means[int(0.975 * resamples) - 1]


def test_bootstrap_interval_equals_a_plain_one():
    draw = random.Random(0)
    differences = [draw.choice([-100, -50, 0, 0, 0, 50, 100, 100]) for _ in range(200)]
    assert bootstrap_interval(differences) == pytest.approx(plain_interval(differences, 10000, 1), abs=0.6)
    assert bootstrap_interval([50.0] * 10) == (50, 50)


def test_methods_are_compared_on_the_same_questions(table):
    summarize(table, "logs", "--out", "out", "--no_plots", "--compare", "SoftCoT", "Zero-Shot CoT")
    (found,) = cells_of(table / "out")[1]["comparisons"]
    for place, rule in ((0, "published"), (1, "strict")):
        differences = []
        for question in range(20):
            soft, zero = (
                [verdicts(seed, share=share)[question][place] for seed in (41, 42, 43)] for share in (0.8, 0.5)
            )
            differences.append(100 * (statistics.mean(soft) - statistics.mean(zero)))
        assert found[rule]["difference"] == pytest.approx(statistics.mean(differences))
        low, high = plain_interval(differences, 4000, 2)
        assert (found[rule]["low"], found[rule]["high"]) == (pytest.approx(low, abs=3), pytest.approx(high, abs=3))


def test_other_questions_are_not_compared(table):
    for seed in (41, 42, 43):
        path = table / "logs" / f"soft-{seed}.jsonl"
        text = path.read_text(encoding="utf-8")
        text = text.replace('"gold": 7, "answers": [7], "vote": 7', '"gold": 8, "answers": [8], "vote": 8')
        text = text.replace('"gold": 7,', '"gold": 8,')
        path.write_text(text, encoding="utf-8")
    done = summarize(table, "logs", "--out", "out", "--no_plots")
    assert "SoftCoT (L=4) and Zero-Shot CoT" in done.stderr
    assert cells_of(table / "out")[1]["comparisons"] == []


METHOD_SETTINGS = {
    "Zero-Shot CoT": {"num_thought_tokens": 0},
    "LoRA": {"num_thought_tokens": 0, "tune_base_model": True, "base_model_ckpt": "ckpt/x/base_model"},
    "CoT-Unk (L=4)": {"thoughts": "placeholder", "perturb_std": 0.0},
    "Assist-CoT (L=4)": {"thoughts": "assistant_text"},
    "Zero vectors (L=4)": {"thoughts": "zero"},
    "Shuffled thoughts (L=4)": {"thoughts": "shuffled"},
    "Untrained projection (L=4)": {"thoughts": "untrained"},
    "SoftCoT (L=4)": {"thoughts": "projected"},
    "SoftCoT (L=8)": {"num_thought_tokens": 8},
    "SoftCoT-SC (L=4, R=10)": {"num_return_sequences": 10},
    "SoftCoT-P (L=4, N=2, std=0.1)": {"perturb_std": 0.1, "num_scaling_times": 2, "own_chains": False},
    "SoftCoT++ (L=4, N=2)": {"num_scaling_times": 2, "own_chains": True},
    "SoftCoT++ (L=4, N=10)": {"num_scaling_times": 10, "own_chains": True},
}


def test_methods_follow_from_their_arguments(tmp_path):
    for number, settings in enumerate(METHOD_SETTINGS.values()):
        trained = {"training": f"of {number}", "training_seed": 42, "projection": f"of {number}"}
        save_run(tmp_path / "logs", f"m{number}", 41, verdicts(number), **settings, **trained)
    summarize(tmp_path, "logs", "--out", "out")
    cells, _ = cells_of(tmp_path / "out")
    assert {label for label, _ in cells} == set(METHOD_SETTINGS)
    for number, label in enumerate(METHOD_SETTINGS):
        assert cells[label, "gsm8k"]["mean"] == pytest.approx(100 * sum(a for a, _ in verdicts(number)) / 20)
    for name in ("per_task.png", "accuracy_by_thought_tokens.png", "accuracy_by_chains.png"):
        assert (tmp_path / "out" / name).stat().st_size > 5000


IN_PAPERS = {"gsm8k": 1319, "asdiv-aug": 1038, "aqua": 254, "strategyqa": 458, "du": 250}


def test_the_averages_figure_needs_all_their_tasks_with_all_questions(tmp_path):
    scores = {}
    for task, count in IN_PAPERS.items():
        pairs = verdicts(task, count)
        scores[task] = 100 * sum(right for right, _ in pairs) / count
        save_run(tmp_path / "logs", task, 41, pairs, task_name=task, num_scaling_times=10, own_chains=True)
    summarize(tmp_path, "logs", "--out", "out", "--no_plots")
    cell = cells_of(tmp_path / "out")[0]["SoftCoT++ (L=4, N=10)", "overall average"]
    assert (cell["published"], cell["mean"]) == (77.57, pytest.approx(statistics.mean(scores.values())))
    assert cell["difference"] == pytest.approx(cell["mean"] - 77.57)
    save_run(tmp_path / "few", "du", 41, verdicts("du", 20), task_name="du", num_scaling_times=10, own_chains=True)
    (tmp_path / "logs" / "du-41.jsonl").unlink()
    (tmp_path / "logs" / "du-41.log").unlink()
    summarize(tmp_path, "logs", "few", "--out", "out", "--no_plots")
    cells = cells_of(tmp_path / "out")[0]
    cell = cells["SoftCoT++ (L=4, N=10)", "overall average"]
    assert (cell["published"], cell["difference"]) == (None, None) and any("77.57" in flag for flag in cell["flags"])
    assert cells["SoftCoT++ (L=4, N=10)", "math average"]["published"] == 82.64


@pytest.mark.parametrize(
    "other, word",
    [
        ({}, None),
        ({"greedy": False, "top_p": 1.0}, None),
        ({"num_thought_tokens": 32}, "L=32"),
        ({"greedy": True}, "greedy"),
        ({"temperature": 0.5}, "temperature"),
        ({"top_p": 0.9}, "top_p"),
        ({"top_k": 20}, "top_k"),
    ],
)
def test_a_published_figure_is_shown_beside_an_evaluation_as_in_the_papers_only(tmp_path, other, word):
    save_run(tmp_path / "logs", "soft", 41, verdicts(41, 1319), **other)
    summarize(tmp_path, "logs", "--out", "out", "--no_plots", "--tasks", "gsm8k", "du")
    cells = {task: cell for (_, task), cell in cells_of(tmp_path / "out")[0].items()}
    flags = [flag for flag in cells["gsm8k"]["flags"] if "81.03" in flag]
    if word:
        assert all((cell["published"], cell["difference"]) == (None, None) for cell in cells.values())
        assert len(flags) == 1 and word in flags[0] and not cells["du"]["flags"]
    else:
        assert (cells["gsm8k"]["published"], cells["gsm8k"]["published_std"], cells["du"]["published"]) == (
            81.03,
            0.42,
            59.04,
        )
        assert cells["gsm8k"]["difference"] == pytest.approx(cells["gsm8k"]["mean"] - 81.03) and not flags


def test_ten_answers_by_five_chains_are_not_the_papers(tmp_path):
    for task in ("gsm8k", "asdiv-aug", "aqua"):
        chains = {"num_scaling_times": 5, "num_return_sequences": 2, "own_chains": True}
        save_run(tmp_path / "logs", task, 41, verdicts(task, IN_PAPERS[task]), task_name=task, **chains)
    summarize(tmp_path, "logs", "--out", "out", "--no_plots")
    cell = cells_of(tmp_path / "out")[0]["SoftCoT++ (L=4, N=5, R=2)", "math average"]
    assert cell["published"] is None and any("82.64" in flag and "R=2" in flag for flag in cell["flags"])


def test_runs_of_other_arguments_are_other_cells(table):
    for seed in (41, 42, 43):
        save_run(table / "logs", "cool", seed, verdicts(seed), temperature=0.5, projection={"weight": 1.5, "bias": 0.5})
    summarize(table, "logs", "--out", "out", "--no_plots")
    labels = {label for label, _ in cells_of(table / "out")[0]}
    assert {"SoftCoT (L=4) [temperature=0.5]", "SoftCoT (L=4) [temperature=1.0]"} <= labels


def save_trained(folder, training_seed, evaluation_seeds, share, evaluated=CORRECTED, **training):
    """Runs of the projection of one training."""
    known = {"training_seed": training_seed, "training": "recipe", "trained_with": "corrected"} | training
    known |= {"projection": f"of {training_seed} {known}", "own_chains": False}
    for seed in evaluation_seeds:
        name = f"{training_seed}-{'-'.join(training.values())}"
        save_run(folder, name, seed, verdicts(seed, share=share), **vars(evaluated), **known)


def test_trainings_that_differ_in_their_seed_alone_share_a_cell(tmp_path):
    for seed in (41, 42, 43):
        save_trained(tmp_path / "logs", seed, [seed], 0.8)
        save_trained(tmp_path / "logs", seed, [seed], 0.2, trained_with="last_token dropped")
        save_trained(tmp_path / "published", seed, [seed], 0.4, PUBLISHED, trained_with="published")
    done = summarize(tmp_path, "logs", "published", "--out", "out", "--note", "Nothing else was run.")
    cells, whole = cells_of(tmp_path / "out")
    # The switches of the published protocol have one name, and each training is named by what it was under.
    label = "SoftCoT (L=4) [evaluated_with={}, trained_with={}]"
    corrected, *others = (
        label.format(*names)
        for names in (
            ("corrected", "corrected"),
            ("corrected", "last_token dropped"),
            ("published", "published"),
        )
    )
    assert {name for name, _ in cells} == {corrected, *others}
    for cell in cells.values():
        assert cell["seeds"] == [41, 42, 43] and any("training" in flag for flag in cell["flags"])
    # By default each is compared with the corrected one.
    assert {(found["a"], found["b"]) for found in whole["comparisons"]} == {(other, corrected) for other in others}
    assert all(found["published"]["high"] < 0 for found in whole["comparisons"])
    assert (tmp_path / "out" / "differences.png").read_bytes().startswith(b"\x89PNG")
    assert whole["notes"][-1] == "Nothing else was run." and "Nothing else was run." in done.stdout


@pytest.mark.parametrize(("tuned", "cells"), [(True, 1), (False, 3)])
def test_a_tuned_model_s_adapter_is_its_training_s(tmp_path, tuned, cells):
    for seed in (41, 42, 43):
        known = {"training_seed": seed, "training": "recipe", "projection": f"of {seed}"}
        adapter = {"tune_base_model": tuned, "base_model_ckpt": f"of {seed}"}
        save_run(tmp_path / "logs", "tuned", seed, verdicts(seed), **known, **adapter)
        save_run(tmp_path / "ignored", "tuned", seed, verdicts(seed), **known, **adapter, base_adapter="ignored")
    summarize(tmp_path, "logs", "ignored", "--out", "out", "--no_plots")
    labels = {label for label, _ in cells_of(tmp_path / "out")[0]}
    assert len(labels) == 2 * cells and sum("ignored" in label for label in labels) == cells


@pytest.mark.parametrize(
    ("seeds", "others", "more"),
    [([42], [42], {}), ([41, 42], [42, 43], {}), ([41, 42], [43], {}), ([42], [43], {"training": "another"})],
)
def test_other_trainings_are_other_cells(tmp_path, seeds, others, more):
    save_trained(tmp_path / "logs", 42, seeds, 0.8)
    save_trained(tmp_path / "logs", 43, others, 0.6, **more)
    save_run(tmp_path / "logs", "older", 41, verdicts(41), projection="older")  # says nothing of its training
    summarize(tmp_path, "logs", "--out", "out", "--no_plots")
    cells, whole = cells_of(tmp_path / "out")
    assert len(cells) == 3 and not whole["comparisons"]


def test_two_data_sets_of_a_task_are_whole_each_by_itself(table):
    for seed in (41, 42, 43):
        save_run(table / "mini", "zero", seed, verdicts(seed, 7), num_thought_tokens=0, data_hash="mini")
    summarize(table, "logs", "mini", "--out", "out", "--no_plots")
    cells, _ = cells_of(table / "out")
    zeros = [
        cell
        for (label, column), cell in cells.items()
        if label.startswith("Zero-Shot") and column == "gsm8k" and cell["status"] != "missing"
    ]
    assert sorted(cell["questions"] for cell in zeros) == [7, 20]
    assert all(cell["status"] == "ok" and cell["seeds"] == [41, 42, 43] for cell in zeros)


def test_a_part_of_a_split_and_other_data_are_called_so(table):
    for seed in (41, 42, 43):
        save_run(table / "part", "zero", seed, verdicts(seed, 7), num_thought_tokens=0, questions_in_split=200)
    summarize(table, "part", "--out", "out", "--no_plots")
    (cell,) = cells_of(table / "out")[0].values()
    assert "7 of the split's 200" in cell["flags"][0] and "1319" in cell["flags"][1]


def test_of_a_trial_and_the_whole_run_the_whole_run_counts(table):
    save_run(table / "trial", "soft", 42, verdicts(42, share=0.8)[:5], projection={"weight": 1.5, "bias": 0.5})
    summarize(table, "logs", "trial", "--out", "out", "--no_plots")
    cell = cells_of(table / "out")[0]["SoftCoT (L=4)", "gsm8k"]
    assert cell["seeds"] == [41, 42, 43] and cell["questions"] == 20
    assert [Path(run["file"]).parent.name for run in cell["left_out"]] == ["trial"]
    assert "soft-42.jsonl" in cell["flags"][0]


def test_the_papers_figures_are_of_as_many_votes(table):
    for seed in (41, 42, 43):
        save_run(table / "ten", "zero", seed, verdicts(seed), num_thought_tokens=0, num_return_sequences=10)
    summarize(table, "ten", "--out", "out", "--no_plots")
    assert all(cell["published"] is None for cell in cells_of(table / "out")[0].values())


def test_the_same_seed_twice_with_other_answers_is_an_error(table):
    save_run(table / "copy", "soft", 42, verdicts(1), projection={"weight": 1.5, "bias": 0.5})
    assert re.search(
        r"^error: \S+soft-42.jsonl and \S+soft-42.jsonl are both seed 42",
        summarize(table, "logs", "copy", code=1).stderr,
    )
    assert not (table / "results").exists()


# ---- no run is lost ----


def files_in(whole):
    """All files that table.json names: a run's, and logs with the same verdicts."""
    runs = [run for cell in whole["cells"] for run in (*cell["runs"], *cell["left_out"])]
    return {file for run in runs for file in (run["file"], *run.get("logs", ()))}


def test_models_of_one_name_show_their_paths(tmp_path):
    for folder, base, share in (
        ("hub", "meta-llama/X", 0.2),
        ("local", "/models/X", 0.9),
        ("slash", "/models/X/", 0.9),
    ):
        seed = 42 if folder == "slash" else 41
        pairs = [(k < 20 * share, True) for k in range(20)]
        save_run(tmp_path / folder, "soft", seed, pairs, base_model_id=base)
    summarize(tmp_path, ".", "--out", "out", "--no_plots")
    whole = cells_of(tmp_path / "out")[1]
    assert {cell["base"]: (cell["mean"], cell["seeds"]) for cell in whole["cells"]} == {
        "meta-llama/X": (pytest.approx(20), [41]),
        "models/X": (pytest.approx(90), [41, 42]),
    }


def test_assistants_of_one_name_have_two_rows(tmp_path):
    for folder, assistant, right in (("a", "hub/small", True), ("b", "/models/small", False)):
        save_run(tmp_path / folder, "soft", 41, [(right, right)] * 4, assistant_model_id=assistant)
    summarize(tmp_path, ".", "--out", "out", "--no_plots")
    means = {label: cell["mean"] for (label, _), cell in cells_of(tmp_path / "out")[0].items()}
    assert len(means) == 2
    for name, mean in (("hub/small", 100), ("models/small", 0)):
        assert [means[label] for label in means if name in label] == [mean]


ODD_SETTINGS = {
    "perturb_std": [0.1, 0.1000001, 0],
    "num_scaling_times": [None, 2],
    "temperature": [None, 1, "1", 1.0],
    "projection": [None, "6144 " + 64 * "a", "6144 " + 63 * "a" + "b"],
    "base_model_id": ["X", "a/X", "/a/X", "b/a/X/"],
    "vllm_args": [{}, {"seed": 1}],
    "split": ["test", "unseen"],
    "task_name": ["gsm8k", "du"],
}


def test_every_run_is_in_a_row_of_the_table(tmp_path):
    draw = random.Random(0)
    for number in range(60):
        settings = {key: draw.choice(values) for key, values in ODD_SETTINGS.items()}
        save_run(tmp_path / "logs", f"run{number}", number, verdicts(number, draw.choice([5, 6])), **settings)
    summarize(tmp_path, "logs", "--out", "out", "--no_plots")
    whole = cells_of(tmp_path / "out")[1]
    assert files_in(whole) == {str(path) for path in (tmp_path / "logs").glob("*.jsonl")}
    places = [(cell["base"], cell["task"], cell["label"]) for cell in whole["cells"]]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("folder", ["logs", "elsewhere"])
def test_a_log_with_other_verdicts_than_its_result_file_is_a_run_beside_it(tmp_path, folder):
    name = LOG.format(model="", seed=41, chains="").removesuffix(".log")
    log = tmp_path / folder / f"{name}.log"
    for right, keep in (([True, False, False], ".log"), ([False, False, True], ".jsonl")):
        save_run(tmp_path / "new", name, 41, [(verdict, verdict) for verdict in right])
        target = tmp_path / ("logs" if keep == ".jsonl" else folder) / f"{name}{keep}"
        target.parent.mkdir(exist_ok=True)
        (tmp_path / "new" / f"{name}-41{keep}").rename(target)
        shutil.rmtree(tmp_path / "new")
    summarize(tmp_path, ".", "--out", "out", "--no_plots")
    cells, whole = cells_of(tmp_path / "out")
    assert len(cells) == 2 and files_in(whole) == {str(log), str(tmp_path / "logs" / f"{name}.jsonl")}
    assert all(cell["mean"] == pytest.approx(100 / 3) and len(cell["runs"]) == 1 for cell in cells.values())


@pytest.mark.parametrize(
    "change, named",
    [
        ({"num_return_sequences": 0}, "num_return_sequences"),
        ({"num_return_sequences": 5}, "num_return_sequences"),
        ({"version": 9}, "version 9"),
    ],
)
def test_a_record_that_its_rows_contradict_is_refused(tmp_path, change, named):
    save_run(tmp_path, "soft", 41, verdicts(41))
    first, rows = (tmp_path / "soft-41.jsonl").read_text(encoding="utf-8").split("\n", 1)
    changed = json.dumps({"run": json.loads(first)["run"] | change})
    (tmp_path / "soft-41.jsonl").write_text(f"{changed}\n{rows}", encoding="utf-8")
    with pytest.raises(UserError, match=f"soft-41.jsonl.*{named}"):
        read_runs([tmp_path / "soft-41.jsonl"])


def test_seeds_with_other_gold_answers_are_refused(tmp_path):
    for seed, pairs in ((41, [(True, True), (False, True)]), (42, [(False, True), (False, True)])):
        save_run(tmp_path, "soft", seed, pairs, data_hash="0")
    make_cells(read_runs([tmp_path]))
    path = tmp_path / "soft-42.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace('"gold": 1', '"gold": 7'), encoding="utf-8")
    (tmp_path / "soft-42.log").unlink()
    with pytest.raises(UserError, match="question 1 .*soft-41.jsonl.*soft-42.jsonl"):
        make_cells(read_runs([tmp_path]))


def test_a_folder_of_a_file_s_name_is_searched(tmp_path):
    save_run(tmp_path / "of.jsonl", "soft", 41, verdicts(41))
    assert len(read_runs([tmp_path])) == 1


# ---- logs alone ----


def published_log(path, golds, right, chains=None, **tqdm_options):
    """A log in the published form, written while real progress bars write into the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        print("Args: {'num_thought_tokens': 4}", file=file)
        print("Loading checkpoint shards: 100%|██████████| 4/4 [00:03<00:00,  1.21it/s]", file=file)
        tokens = []
        for k, (gold, verdict) in enumerate(tqdm(list(zip(golds, right, strict=True)), file=file, mininterval=0), 1):
            print(f"Question {k}: what is the Correct answer? 1/2", file=file)
            print(f"Ground Truth Answer: {gold}", file=file)
            print(f"Model Answer: {gold if verdict else None}", file=file)
            if chains:
                tokens.append(100 + k)
                print(f"Model Answer Count: {{{gold}: {chains}}}\nFinal Model Answer: {gold}", file=file)
            for _ in tqdm(range(3), desc="inner", file=file, mininterval=0, leave=False):
                pass
            print(f"Is Correct: {verdict}", file=file)
            if chains:
                print(f"Average generated tokens ({chains * k} instances): {sum(tokens) / k}", file=file)
            print(f"Correct Count: {sum(right[:k])}/{k}\r", file=file)
            print("-" * 20, file=file)


LOG = "mygsm8k-{model}-seed_{seed}-ntt_4-nrs_1{chains}-Llama-3.1-8B-Instruct-Llama-3.2-1B-Instruct.log"


def test_logs_of_the_published_form_with_progress_bars_in_them(tmp_path):
    golds, right = list(range(30)), {}
    for method, chains in (("", None), ("scaling", 10)):
        for seed in (41, 42):
            draw = random.Random(f"{method}{seed}")
            right[method, seed] = [draw.random() < 0.5 for _ in golds]
            name = LOG.format(model=method, seed=seed, chains=f"-nst_{chains}" if chains else "")
            published_log(tmp_path / "logs" / name, golds, right[method, seed], chains)
    raw = (tmp_path / "logs" / LOG.format(model="", seed=41, chains="")).read_bytes()
    assert raw.count(b"\r") > 60 and b"\x1b[AIs Correct: " in raw and b"it/s]Question" in raw
    done = summarize(tmp_path, "logs", "--out", "out", "--no_plots", "--compare", "SoftCoT++", "SoftCoT")
    cells, whole = cells_of(tmp_path / "out")
    for label, method in (("SoftCoT (L=4)", ""), ("SoftCoT++ (L=4, N=10)", "scaling")):
        scores = [100 * sum(right[method, seed]) / 30 for seed in (41, 42)]
        cell = cells[label, "gsm8k"]
        assert cell["base"] == "Llama-3.1-8B-Instruct"
        assert cell["mean"] == pytest.approx(statistics.mean(scores))
        assert cell["std"] == pytest.approx(statistics.stdev(scores))
        assert cell["strict_mean"] is None and cell["questions"] == 30
    assert cells["SoftCoT++ (L=4, N=10)", "gsm8k"]["tokens"] == pytest.approx(statistics.mean(range(101, 131)))
    assert cells["SoftCoT (L=4)", "gsm8k"]["tokens"] is None
    (found,) = whole["comparisons"]
    plus, plain = cells["SoftCoT++ (L=4, N=10)", "gsm8k"], cells["SoftCoT (L=4)", "gsm8k"]
    assert found["published"]["difference"] == pytest.approx(plus["mean"] - plain["mean"])
    assert found["strict"] is None
    assert "| gsm8k | SoftCoT (L=4) | " in done.stdout


def test_our_logs_alone_give_the_same_table_as_the_result_files(tmp_path):
    names = {seed: LOG.format(model="", seed=seed, chains="").removesuffix(".log") for seed in (41, 42)}
    for seed, name in names.items():
        save_run(tmp_path / "logs", name, seed, verdicts(seed))
        for suffix in (".jsonl", ".log"):
            (tmp_path / "logs" / f"{name}-{seed}{suffix}").rename(tmp_path / "logs" / f"{name}{suffix}")
    summarize(tmp_path, "logs", "--out", "both", "--no_plots")
    for name in names.values():
        (tmp_path / "logs" / f"{name}.jsonl").unlink()
    summarize(tmp_path, "logs", "--out", "logs_alone", "--no_plots")
    both, alone = (cells_of(tmp_path / out)[0]["SoftCoT (L=4)", "gsm8k"] for out in ("both", "logs_alone"))
    assert both["seeds"] == alone["seeds"] == [41, 42]
    assert (both["mean"], both["std"], both["questions"]) == (alone["mean"], alone["std"], alone["questions"])
    assert both["strict_mean"] is not None and alone["strict_mean"] is None


def test_a_log_that_was_started_over_counts_from_its_last_start(tmp_path):
    path = tmp_path / LOG.format(model="", seed=41, chains="")
    published_log(path, range(9), [True] * 9)
    first = path.read_text(encoding="utf-8")
    published_log(path, range(5), [False, True, False, True, False])
    path.write_text(first + path.read_text(encoding="utf-8"), encoding="utf-8")
    summarize(tmp_path, path, "--out", "out", "--no_plots")
    cell = cells_of(tmp_path / "out")[0]["SoftCoT (L=4)", "gsm8k"]
    assert (cell["mean"], cell["questions"]) == (40, 5)


# ---- judged again ----

SHARED_LOGS = ROOT.parent / "shared" / "logs"


@pytest.mark.skipif(not SHARED_LOGS.is_dir(), reason=f"no {SHARED_LOGS}")
def test_a_public_log_judged_again_from_its_text_has_every_verdict_as_logged(tmp_path):
    (log,) = SHARED_LOGS.glob("*.log")
    golds = re.findall(r"^Ground Truth Answer: (.*)\nModel Answer", log.read_text(encoding="utf-8"), re.M)
    assert len(golds) == 400 and sum(gold.startswith("-") for gold in golds) == 20
    summarize(tmp_path, log, "--out", "out", "--no_plots", "--include_incomplete")  # it ends after 400 of 1,038
    cell = cells_of(tmp_path / "out")[0]["SoftCoT (L=4)", "asdiv-aug"]
    assert (cell["questions"], cell["mean"]) == (1038, 100 * 339 / 400)
    assert cell["runs"] == [{"file": str(log.resolve()), "seed": 42, "rejudged": {"questions": 400, "differ": 0}}]
    assert cell["strict_mean"] > cell["mean"]  # it reads the minus signs
    assert any("400 of 1038" in flag for flag in cell["flags"])


QUESTIONS = ("-5", "4", "3.14159", "1,080", "7")
RESPONSES = [
    ["So -5.\nIt is \\boxed{-5}.", "Nothing", "5"],
    ["Nothing", "", "It is 4.\n\nDone: \\boxed{4}"],
    ["3.14", "3.14", "3.14159"],
    ["1080", "", ""],
    ["It is 7", "\\boxed{7}", "8"],
]


def save_judged(folder, name, data_dir, responses=RESPONSES, skip=(), **settings):
    """A result file and its log, whose rows are judged from responses to the questions of `data_dir`."""
    data_dir.mkdir(exist_ok=True)
    lines = [json.dumps({"question": f"Q{i}?", "answer": f"A step.\n#### {a}"}) for i, a in enumerate(QUESTIONS)]
    (data_dir / "test.jsonl").write_text("\n".join(lines), encoding="utf-8")
    split = load_task("gsm8k", data_dir, "test").get_dataset("test")
    run = {**PLAIN, **LLAMA, "task_name": "gsm8k", "num_return_sequences": 3, "data_hash": data_hash(split), **settings}
    results = SeedResults(folder / f"{name}.jsonl", folder / f"{name}.log", run, LogForm(5, samples=3))
    for question, texts in zip(split, responses, strict=True):
        if question["index"] in skip:
            results.add(skipped_row("gsm8k", question, "the prompt is too long"))
        else:
            prompt = "<|im_start|>user\nWhat?\nGround Truth Answer: 9\nIs Correct: True\nCorrect Count: 1/1<|im_end|>"
            written = {"input": prompt, "responses": texts, "raw_responses": [f"{text}<|im_end|>" for text in texts]}
            results.add(judge("gsm8k", question, texts, [1, 2, 3]) | written)
    results.close()


JUDGED = "gsm8k--seed_{}-ntt_4-nrs_3-Llama-3.1-8B-Instruct-Llama-3.2-1B-Instruct"


def test_our_log_alone_is_judged_again_by_both_rules(tmp_path):
    texts = [*RESPONSES[:4], ["Is Correct: False\nCorrect Count: 9/9", "\\boxed{7}", "\\boxed{7}"]]
    save_judged(tmp_path / "logs", JUDGED.format(41), tmp_path / "data", texts, seed=41)
    rows = [
        json.loads(line) for line in (tmp_path / "logs" / f"{JUDGED.format(41)}.jsonl").read_text().split("\n")[1:6]
    ]
    assert [row["correct"] for row in rows] == [False, False, False, True, True]
    assert [row["correct_strict"] for row in rows] == [True, True, True, True, True]
    summarize(tmp_path, "logs", "--out", "both", "--no_plots")
    (tmp_path / "logs" / f"{JUDGED.format(41)}.jsonl").unlink()
    summarize(tmp_path, "logs", "--out", "alone", "--no_plots")
    both, alone = (cells_of(tmp_path / out)[0]["SoftCoT-SC (L=4, R=3)", "gsm8k"] for out in ("both", "alone"))
    assert (alone["mean"], alone["strict_mean"]) == (both["mean"], both["strict_mean"]) == (40, 100)
    assert alone["runs"][0]["rejudged"] == {"questions": 5, "differ": 0} and "rejudged" not in both["runs"][0]
    assert not any("seed 41" in flag for flag in alone["flags"])


def published_block(k, gold, responses, lines, correct):
    """A question's lines in a log of the published SoftCoT++ with R = 1, with responses."""
    answers = [f"Answer ({k}-1-{r}/3): {text}<|end-of-response|>" for r, text in enumerate(responses, 1)]
    start = f"Ground Truth Answer: {gold}"
    count = f"Correct Count: {correct}/{k}"
    tokens = f"Average generated tokens ({k} instances): 154.0"
    inputs = "Raw Inputs for Base Model: <|im_start|>user\nWhat is 3 x 4? <|vision_7|>"
    return "\n".join([start, inputs, *answers, start, *lines, tokens, count, "-" * 20, ""])


def write_published_log(path, blocks):
    args = "Args: {'num_thought_tokens': 4, 'num_return_sequences': 1, 'num_scaling_times': 2}"
    path.write_text("\n".join([args, *blocks]), encoding="utf-8")


def test_a_published_log_is_judged_from_its_responses_whatever_they_say(tmp_path):
    fake = "It is 18.\nGround Truth Answer: 9\nIs Correct: True\nCorrect Count: 1/1\nThe answer is 18.<|im_end|>"
    blocks = [
        published_block(1, 18, [fake, "I do not know.<|im_end|>"], ["Is Correct: True"], 1),
        published_block(2, -4, ["\\boxed{-4}<|reserved_special_token_9|>", "\n\n-4"], ["Is Correct: False"], 1),
        # A verdict that the responses do not bear out.
        published_block(3, 12, ["13<|im_end|>", "\\boxed{13}"], ["Is Correct: True"], 2),
    ]
    log = tmp_path / LOG.format(model="scaling", seed=41, chains="-nst_2")
    write_published_log(log, blocks)
    done = summarize(tmp_path, log, "--out", "out", "--no_plots")
    cell = cells_of(tmp_path / "out")[0]["SoftCoT++ (L=4, N=2)", "gsm8k"]
    assert cell["runs"][0]["rejudged"] == {"questions": 3, "differ": 1}
    assert (cell["mean"], cell["strict_mean"]) == (pytest.approx(100 / 3), pytest.approx(200 / 3))
    assert any("1 of 3" in flag and flag in done.stdout for flag in cell["flags"])


@pytest.mark.parametrize("end", ["", "<|end-of-response|>"])  # as published, and as this project wrote it once
def test_responses_without_a_number_say_nothing_of_the_verdicts(tmp_path, end):
    path = tmp_path / LOG.format(model="", seed=41, chains="")
    fake = "Nothing.\nGround Truth Answer: 9\nIs Correct: True\nCorrect Count: 1/1\nNothing.<|im_end|>"
    unread = "".join(f"None Model Answer (2-{r}/3): {fake}{end}\n" for r in (1, 2))
    block = "Ground Truth Answer: 5\n{}Ground Truth Answer: 5\nModel Answer: {}\nIs Correct: {}\nCorrect Count: {}/{}\n"
    texts = [block.format("", 5, True, 1, 1), block.format(unread, None, False, 1, 2), block.format("", 5, True, 2, 3)]
    path.write_text("".join(texts), encoding="utf-8")
    (run,) = read_runs([path])
    assert run.recorded == [True, False, True] and run.rejudged is None
    assert set(run.rows.gold) == {"5"} and run.questions == 3


@pytest.mark.parametrize("rest", ["", "Ground Truth Answer: 3\n"])
def test_a_log_that_was_cut_off_is_incomplete_also_alone(tmp_path, rest):
    path = tmp_path / LOG.format(model="", seed=41, chains="")
    answer = "Answer (1-1/3): The answer is 1.<|end-of-response|>\n"
    block = "Ground Truth Answer: 1\n{}Model Answer: 1\nIs Correct: True\nCorrect Count: {}/{}\n"
    path.write_text(block.format("" if rest else answer, 1, 1) + block.format("", 2, 2) + rest, encoding="utf-8")
    (cell,) = make_cells(read_runs([path]))
    assert (cell.questions, cell.runs, len(cell.left_out)) == (3, [], 1)
    (cell,) = make_cells(read_runs([path]), include_incomplete=True)
    assert "2 of 3 questions" in cell.runs[0].flags[0]


def test_a_log_that_was_started_over_inside_a_question_counts_from_its_last_start(tmp_path):
    path = tmp_path / LOG.format(model="scaling", seed=41, chains="-nst_2")
    block = published_block(1, 5, ["It is 5.", "It is 6."], [], 1)
    write_published_log(path, [block, block.partition("Ground Truth Answer: 5\nAverage")[0]])
    cut_off = path.read_text(encoding="utf-8")
    write_published_log(path, [published_block(k, 5, ["It is 5.", "It is 5."], [], k) for k in (1, 2, 3)])
    path.write_text(cut_off + path.read_text(encoding="utf-8"), encoding="utf-8")
    (run,) = read_runs([path])
    assert run.rejudged == {"questions": 3, "differ": 0} and not run.flags


def test_a_log_that_lacks_responses_keeps_its_verdicts_and_says_so(tmp_path):
    blocks = [published_block(1, 5, ["6", "6"], [], 1), published_block(2, 7, ["8"], [], 2)]
    write_published_log(tmp_path / LOG.format(model="scaling", seed=41, chains="-nst_2"), blocks)
    summarize(tmp_path, ".", "--out", "out", "--no_plots", "--include_incomplete")  # 2 of 3 questions
    cell = cells_of(tmp_path / "out")[0]["SoftCoT++ (L=4, N=2)", "gsm8k"]
    assert (cell["mean"], cell["strict_mean"]) == (100, None) and "rejudged" not in cell["runs"][0]
    assert any("1 of 2 questions" in flag for flag in cell["flags"])


# ---- skipped questions ----


def test_skipped_questions_count_among_those_asked_and_are_flagged(tmp_path):
    save_judged(tmp_path / "logs", JUDGED.format(41), tmp_path / "data", seed=41, skip=(2, 4))
    for suffix in (".jsonl", ".log"):
        summarize(tmp_path, tmp_path / "logs" / f"{JUDGED.format(41)}{suffix}", "--out", "out", "--no_plots")
        (cell,) = cells_of(tmp_path / "out")[0].values()
        assert (cell["questions"], cell["mean"], cell["strict_mean"]) == (5, 20, 60)
        assert cell["runs"][0]["skipped"] == 2 and any("2 of 5" in flag for flag in cell["flags"])


# ---- damage ----


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda text: re.sub(r"Correct Count: \d/3\r", "", text), "2/2 to 4/4"),
        (lambda text: text.replace("Correct Count: 3/3", "Correct Count: 7/3"), "2/2 to 7/3"),
        (lambda text: text.replace("Args: {", "Args: {'version': 1, "), "task_name"),
        (lambda text: text.replace("Args: {", "Args: {,"), "Args"),
    ],
)
def test_a_damaged_log_is_an_error(tmp_path, damage, message):
    path = tmp_path / LOG.format(model="", seed=41, chains="")
    published_log(path, range(5), [True] * 5)
    path.write_text(damage(path.read_bytes().decode()), encoding="utf-8", newline="")
    error = summarize(tmp_path, ".", code=1).stderr
    assert path.name in error and message in error and error.count("\n") == 1


def test_logs_of_one_name_in_two_folders_are_two_cells(tmp_path):
    for folder, right in (("zero_shot", [True, False]), ("lora", [True, True])):
        published_log(tmp_path / "logs" / folder / LOG.format(model="", seed=41, chains=""), range(2), right)
    summarize(tmp_path, "logs", "--out", "out", "--no_plots")
    cells = cells_of(tmp_path / "out")[0]
    assert {label: cell["mean"] for (label, _), cell in cells.items()} == {
        "SoftCoT (L=4) [files=zero_shot]": 50,
        "SoftCoT (L=4) [files=lora]": 100,
    }


def test_controls_follow_from_their_logs_names(tmp_path):
    for thoughts, label in (("placeholder", "CoT-Unk (L=4)"), ("zero-perturb_0.1", "Zero vectors (L=4, std=0.1)")):
        name = LOG.format(model="", seed=41, chains="").replace(".log", f"-{thoughts}.log")
        published_log(tmp_path / "logs" / name, range(4), [True, False, True, True])
        summarize(tmp_path, "logs", "--out", "out", "--no_plots")
        assert cells_of(tmp_path / "out")[0][label, "gsm8k"]["mean"] == 75


@pytest.mark.parametrize(
    "words, code, message",
    [
        (["absent"], 1, "error: absent: "),
        (["."], 1, "error: no result file"),
        (["--methods", "SoftCot"], 2, "'SoftCot'"),
        (["--no_such"], 2, "--no_such"),
    ],
)
def test_bad_arguments_are_one_clear_line(tmp_path, words, code, message):
    assert message in summarize(tmp_path, *words, code=code).stderr


def test_a_comparison_with_an_unknown_method_names_the_known(table):
    done = summarize(table, "logs", "--compare", "SoftCoT", "Softcot", code=1)
    assert "--compare 'Softcot'" in done.stderr and "SoftCoT, SoftCoT (L=4), Zero-Shot CoT" in done.stderr


def test_a_damaged_result_file_is_an_error(table):
    path = table / "logs" / "soft-42.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")
    path.write_text("\n".join([*lines[:3], "{damaged", *lines[3:]]), encoding="utf-8")
    assert "soft-42.jsonl, line 4: " in summarize(table, "logs", code=1).stderr


@pytest.mark.parametrize(
    "place, field, value",
    [
        ("run", "task_name", "gsm9k"),
        ("run", "seed", "41"),
        ("run", "base_model_id", None),
        ("run", "num_thought_tokens", 4.5),
        ("run", "num_return_sequences", True),
        ("run", "perturb_std", "0.1"),
        ("run", "thoughts", "loud"),
        ("run", "questions_in_split", "200"),
        ("run", "num_scaling_times", 10**30),
        ("run", "split", "a\nb"),
        ("row", "correct", 1),
        ("row", "correct_strict", None),
        ("row", "index", "0"),
        ("row", "tokens", ["a"]),
        ("row", "responses", [1]),
    ],
)
def test_a_wrong_type_or_name_in_a_file_is_one_line_with_file_line_and_field(tmp_path, place, field, value):
    save_run(tmp_path / "logs", "soft", 41, verdicts(41))
    path = tmp_path / "logs" / "soft-41.jsonl"
    record, row, *rest = path.read_text(encoding="utf-8").splitlines()
    damaged = json.loads(record if place == "run" else row)
    (damaged["run"] if place == "run" else damaged)[field] = value
    lines = [json.dumps(damaged), row] if place == "run" else [record, json.dumps(damaged)]
    path.write_text("\n".join([*lines, *rest, ""]), encoding="utf-8")
    error = summarize(tmp_path, "logs", "--out", "out", code=1).stderr
    assert re.fullmatch(rf"error: \S+soft-41.jsonl, line {1 if place == 'run' else 2}: .*{field}.*\n", error)
    assert not (tmp_path / "out").exists()


# ---- logs say what their runs were ----


def test_our_log_alone_shares_the_cell_of_the_other_seeds_result_files(tmp_path):
    names = [LOG.format(model="", seed=seed, chains="").removesuffix(".log") for seed in (41, 42)]
    for name, seed in zip(names, (41, 42), strict=True):
        save_run(tmp_path / "logs", name, seed, verdicts(seed), temperature=0.5, top_p=0.9)
        for suffix in (".jsonl", ".log"):
            (tmp_path / "logs" / f"{name}-{seed}{suffix}").rename(tmp_path / "logs" / f"{name}{suffix}")
    (tmp_path / "logs" / f"{names[0]}.jsonl").unlink()
    summarize(tmp_path, "logs", "--out", "out", "--no_plots")
    (cell,) = cells_of(tmp_path / "out")[0].values()
    assert cell["seeds"] == [41, 42] and cell["settings"]["temperature"] == 0.5


def test_a_published_log_names_models_and_adapters_in_its_arguments(tmp_path):
    path = tmp_path / LOG.format(model="", seed=41, chains="")
    published_log(path, range(4), [True] * 4)
    args = {**LLAMA, "base_model_ckpt": "ckpt/lora", "assistant_model_ckpt": "None", "seed": 41}
    path.write_text(re.sub("^Args: .*", f"Args: {args}", path.read_text(encoding="utf-8")), encoding="utf-8")
    summarize(tmp_path, ".", "--out", "out", "--no_plots")
    (cell,) = cells_of(tmp_path / "out")[0].values()
    assert cell["method"] == "SoftCoT + LoRA" and cell["settings"]["base_model_id"] == LLAMA["base_model_id"]
