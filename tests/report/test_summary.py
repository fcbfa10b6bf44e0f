"""Means, labels, the papers' figures and intervals against plain arithmetic."""

import math
import random
import re
import statistics
from itertools import product

import pytest

from experiment.protocol import CORRECTED, PUBLISHED
from report.runs import read_runs
from report.summary import bootstrap_interval, compare_methods, make_cells
from tests.report.written import METHOD_SETTINGS, save_run, tabulate, verdicts

SEEDS = (41, 42, 43)
SHARES = {"Zero-Shot CoT": 0.5, "SoftCoT (L=4)": 0.8}


@pytest.fixture
def logs(tmp_path):
    """Zero-shot and SoftCoT on gsm8k with three seeds."""
    for label, share in SHARES.items():
        for seed in SEEDS:
            save_run(tmp_path, label[:4], seed, verdicts(seed, share=share), **METHOD_SETTINGS[label])
    return tmp_path


def score(pairs, rule=0):
    return 100 * statistics.mean(pair[rule] for pair in pairs)


@pytest.mark.parametrize(("label", "share"), SHARES.items())
def test_means_deviations_and_tokens(logs, label, share):
    row = tabulate(logs)[label, "gsm8k"]
    for rule, name in enumerate(("", "strict_")):
        scores = [score(verdicts(seed, share=share), rule) for seed in SEEDS]
        expected = (statistics.mean(scores), statistics.stdev(scores))
        assert (row[f"{name}mean"], row[f"{name}std"]) == pytest.approx(expected)
    assert (row["seeds"], row["questions"], row["tokens"]) == ([41, 42, 43], 20, pytest.approx(171))


def test_incomplete_runs_are_left_out_and_flagged(logs):
    path = logs / "Soft-43.jsonl"
    path.write_text("\n".join(path.read_text(encoding="utf-8").split("\n")[:15])[:-30], encoding="utf-8")  # 13 rows
    path.with_suffix(".log").unlink()
    row = tabulate(logs)["SoftCoT (L=4)", "gsm8k"]
    assert row["seeds"] == [41, 42] and [run["file"] for run in row["left_out"]] == [str(path)]
    assert all(text in "; ".join(row["flags"]) for text in ("seed 43: 13 of 20", "2 of 3 seeds"))
    row = tabulate(logs, include_incomplete=True)["SoftCoT (L=4)", "gsm8k"]
    scores = [score(verdicts(seed, share=0.8)[: 13 if seed == 43 else 20]) for seed in SEEDS]
    assert row["mean"] == pytest.approx(statistics.mean(scores)) and any("13 of 20" in flag for flag in row["flags"])
    path.write_text(path.read_text(encoding="utf-8").split("\n")[0] + "\n", encoding="utf-8")  # no answer yet
    row = tabulate(logs, include_incomplete=True)["SoftCoT (L=4)", "gsm8k"]
    assert row["mean"] == pytest.approx(statistics.mean(scores[:2]))


def test_data_sets_of_a_task_are_whole_each_by_itself_and_parts_are_called_so(logs):
    save_run(logs, "mini", 41, verdicts(41, 7), num_thought_tokens=0, data_hash="mini", questions_in_split=200)
    rows = [row for (label, _), row in tabulate(logs).items() if label.startswith("Zero-Shot")]
    assert sorted((row["questions"], row["status"]) for row in rows) == [(7, "ok"), (20, "ok")]
    (flags,) = ("; ".join(row["flags"]) for row in rows if row["questions"] == 7)
    assert "7 of the split's 200" in flags and "7 questions, not 1319" in flags


# ---- labels ----


def test_methods_follow_from_their_settings(tmp_path):
    for number, settings in enumerate(METHOD_SETTINGS.values()):
        save_run(tmp_path, f"m{number}", 41, verdicts(number), **settings, projection=f"of {number}")
    rows = {label: row for (label, _), row in tabulate(tmp_path).items()}
    means = {label: pytest.approx(score(verdicts(n))) for n, label in enumerate(METHOD_SETTINGS)}
    assert {label: row["mean"] for label, row in rows.items()} == means
    assert {row["tokens"] for row in rows.values()} == {129 + 41}  # a response, whatever the number of votes


@pytest.mark.parametrize(
    ("key", "values", "names"),
    [
        ("top_k", (5, 9), ("5", "9")),
        ("assistant_model_id", ("a/S", "b/S"), ("a/S", "b/S")),
        ("projection", (f"7 {64 * 'a'}", f"7 {64 * 'b'}"), (6 * "a", 6 * "b")),
    ],
)
def test_labels_name_the_settings_that_differ(tmp_path, key, values, names):
    for number, value in enumerate(values):
        save_run(tmp_path, f"m{number}", 41, [(bool(number), True)] * 4, **{key: value})
    means = {label: row["mean"] for (label, _), row in tabulate(tmp_path).items()}
    assert means == {f"SoftCoT (L=4) [{key}={name}]": 100 * number for number, name in enumerate(names)}


def test_levers_are_named_and_have_no_figure_of_the_papers(tmp_path):
    levers = {"newline": {"thought_filler": "\n"}, "scaled": {"thought_scaling": "standardized"}, "published": {}}
    for name, lever in levers.items():
        save_run(tmp_path, name, 41, verdicts(41, 1319), greedy=False, top_p=1.0, **lever)
    rows = {label: row for (label, task), row in tabulate(tmp_path).items() if task == "gsm8k"}
    labels = ['SoftCoT (L=4, filler="\\n")', 'SoftCoT (L=4, scaling="standardized")', "SoftCoT (L=4)"]
    assert set(rows) == {*labels}
    assert [rows[label]["published"] > 0 for label in labels] == [False, False, True]
    found, _ = compare_methods(make_cells(read_runs([tmp_path])), [])
    assert {(pair["a"], pair["b"]) for pair in found} == {(label, labels[2]) for label in labels[:2]}


ANOTHER = {"training": "another"}


def save_trained(folder, training_seed, seeds, share=0.6, evaluated=CORRECTED, **training):
    """Runs of the projection of one training."""
    known = {"training_seed": training_seed, "training": "recipe", "trained_with": "corrected"} | training
    known |= {"projection": f"of {training_seed} {known}", "own_chains": False}
    for seed in seeds:
        name = f"{training_seed}-{'-'.join(map(str, training.values()))}"
        save_run(folder, name, seed, verdicts(seed, share=share), **vars(evaluated), **known)


def test_trainings_that_differ_in_their_seed_alone_share_a_cell_and_protocols_are_compared(tmp_path):
    switches = "projection_dtype bfloat16, last_token dropped, too_long cut, date today"
    for seed in SEEDS:
        save_trained(tmp_path, seed, [seed], 0.8)
        save_trained(tmp_path, seed, [seed], 0.2, trained_with=switches)
        save_trained(tmp_path, seed, [seed], 0.4, PUBLISHED, trained_with="published", rendered_prompt="other")
    label = "SoftCoT (L=4) [evaluated_with={}, trained_with={}]"
    corrected = label.format("corrected", "corrected")
    others = {label.format("corrected", switches), label.format("published", "published")}
    rows = tabulate(tmp_path)
    assert {name for name, _ in rows} == {corrected, *others}
    assert all(row["seeds"] == [*SEEDS] for row in rows.values())
    found, _ = compare_methods(make_cells(read_runs([tmp_path])), [])
    assert {(pair["a"], pair["b"]) for pair in found} == {(other, corrected) for other in others}
    assert all(pair["published"]["high"] < 0 for pair in found)


@pytest.mark.parametrize(("seeds", "others", "more"), [([42], [42], {}), ([41, 42], [43], {}), ([42], [43], ANOTHER)])
def test_other_trainings_are_other_cells(tmp_path, seeds, others, more):
    save_trained(tmp_path, 42, seeds)
    save_trained(tmp_path, 43, others, **more)
    assert len(tabulate(tmp_path)) == 2


def test_each_task_s_own_settings_say_whether_the_papers_figure_compares(tmp_path):
    save_run(tmp_path, "gsm8k", 41, verdicts(41, 1319), num_thought_tokens=0)
    save_run(tmp_path, "aqua", 41, verdicts(41, 254), num_thought_tokens=0, task_name="aqua", temperature=0.3)
    rows = {task: row for (_, task), row in tabulate(tmp_path).items()}
    assert rows["gsm8k"]["published"] > 0 and math.isnan(rows["aqua"]["published"])
    assert any("temperature=0.3" in flag for flag in rows["aqua"]["flags"])
    for task in IN_PAPERS.keys() - rows.keys():
        save_run(tmp_path, task, 41, verdicts(41), num_thought_tokens=0, task_name=task)
    (average,) = (row for (_, task), row in tabulate(tmp_path).items() if task == "overall average")
    assert any("differ in temperature" in flag for flag in average["flags"])


def test_mean_thoughts_of_several_trainings_share_a_cell(tmp_path):
    for seed in SEEDS:
        save_trained(tmp_path, seed, [seed], thoughts="mean", mean_thoughts=f"of {seed}")
    assert len(tabulate(tmp_path)) == 1


def test_two_trainings_evaluated_with_the_same_seeds_are_compared_by_protocol_and_averaged_over_tasks(tmp_path):
    trainings = product(IN_PAPERS, (42, 43), ("corrected", "last_token dropped"), (41, 42))
    for task, training_seed, trained_with, seed in trainings:
        known = {"task_name": task, "training_seed": training_seed, "trained_with": trained_with, "training": "recipe"}
        known |= {"projection": f"of {task} {training_seed} {trained_with}", **vars(CORRECTED)}
        save_run(tmp_path, f"{task}-{training_seed}-{trained_with}", seed, verdicts(seed), **known)
    rows = tabulate(tmp_path)
    assert len({label for label, _ in rows}) == 4
    assert all(rows[label, "overall average"]["status"] == "ok" for label, _ in rows)
    found, _ = compare_methods(make_cells(read_runs([tmp_path])), [])
    assert len(found) == 2 * len(IN_PAPERS)
    for pair in found:
        seeds = [re.search("training_seed=(..)", pair[side])[1] for side in "ab"]
        assert seeds[0] == seeds[1] and "dropped" in pair["a"] and "dropped" not in pair["b"]


def test_a_lever_is_compared_with_the_same_recipe_alone(tmp_path):
    save_trained(tmp_path, 42, [41])
    for name, training in (("same", "recipe"), ("other", "another")):
        save_trained(tmp_path, 42, [41], training=training, thought_filler=name)
    found, _ = compare_methods(make_cells(read_runs([tmp_path])), [])
    assert ["same" in pair["a"] for pair in found] == [True]
    for seed in SEEDS:  # several trainings are one cell: it is the only one without a lever
        save_trained(tmp_path / "joined", seed, [seed])
    save_trained(tmp_path / "joined", 42, [41, 42], thought_filler="one")
    (pair,), _ = compare_methods(make_cells(read_runs([tmp_path / "joined"])), [])
    assert "one" in pair["a"] and "one" not in pair["b"]


def test_a_projection_of_unknown_training_is_compared_by_protocol(tmp_path):
    for name, more in (("corrected", {}), ("other", {"generation_prompt": PUBLISHED.generation_prompt})):
        save_run(tmp_path, name, 41, verdicts(41), **vars(CORRECTED) | more)
    found, _ = compare_methods(make_cells(read_runs([tmp_path])), [])
    (pair,) = found
    assert PUBLISHED.generation_prompt in pair["a"] and pair["b"] != pair["a"]


@pytest.mark.parametrize(("tuned", "cells"), [(True, 1), (False, 3)])
def test_a_tuned_model_s_adapter_is_its_training_s(tmp_path, tuned, cells):
    for seed in SEEDS:
        save_trained(tmp_path, seed, [seed], tune_base_model=tuned, base_model_ckpt=f"of {seed}")
    assert len(tabulate(tmp_path)) == cells


def test_an_assistant_without_a_part_splits_no_cell(tmp_path):
    for seed in SEEDS:
        known = {"thoughts": "zero", "tune_base_model": True, "assistant_model_id": f"of {seed}"}
        save_run(tmp_path, "zero", seed, verdicts(seed), **known)
    assert [label for label, _ in tabulate(tmp_path)] == ["Zero vectors + LoRA (L=4)"]


# ---- the papers' figures ----

IN_PAPERS = {"gsm8k": 1319, "asdiv-aug": 1038, "aqua": 254, "strategyqa": 458, "du": 250}


def test_a_published_figure_is_shown_beside_an_evaluation_as_in_the_papers(tmp_path):
    save_run(tmp_path, "soft", 41, verdicts(41, 1319), greedy=False, top_p=1.0)
    rows = {task: row for (_, task), row in tabulate(tmp_path, tasks=["gsm8k", "du"]).items()}
    assert (rows["gsm8k"]["published"], rows["gsm8k"]["published_std"]) == (81.03, 0.42)
    assert rows["gsm8k"]["difference"] == pytest.approx(rows["gsm8k"]["mean"] - 81.03)
    assert (rows["du"]["status"], rows["du"]["published"]) == ("missing", 59.04)


@pytest.mark.parametrize(
    "other", [{"num_thought_tokens": 32}, {"greedy": True}, {"temperature": 0.5}, {"top_p": 0.9}, {"top_k": 20}, {}]
)
def test_another_evaluation_has_no_published_figure_but_a_flag(tmp_path, other):
    save_run(tmp_path, "soft", 41, verdicts(41, 1319 if other else 20), **other)
    (row,) = tabulate(tmp_path).values()
    assert math.isnan(row["published"]) and any("81.03" in flag for flag in row["flags"])


@pytest.mark.parametrize(("chains", "questions", "same"), [(10, 250, True), (10, 20, False), (5, 250, False)])
def test_the_averages_figure_needs_all_their_tasks_as_in_the_papers(tmp_path, chains, questions, same):
    pairs = {task: verdicts(task, count) for task, count in (IN_PAPERS | {"du": questions}).items()}
    votes = {"num_scaling_times": chains, "num_return_sequences": 10 // chains, "own_chains": True}
    for task in pairs:
        save_run(tmp_path, task, 41, pairs[task], task_name=task, **votes)
    (row,) = (row for (_, task), row in tabulate(tmp_path).items() if task == "overall average")
    assert row["mean"] == pytest.approx(statistics.mean(map(score, pairs.values())))
    assert row["published"] == pytest.approx(77.57 if same else math.nan, nan_ok=True)
    assert same or any("77.57" in flag for flag in row["flags"])


# ---- paired differences ----


def test_bootstrap_interval_equals_a_plain_one():
    draw = random.Random(0)
    differences = [draw.choice([-100, -50, 0, 0, 0, 50, 100, 100]) for _ in range(200)]
    means = sorted(statistics.fmean(draw.choices(differences, k=200)) for _ in range(10000))
    assert bootstrap_interval(differences) == pytest.approx((means[250], means[9749]), abs=0.6)


@pytest.mark.parametrize("pairs", [[], [("SoftCoT", "Zero-Shot CoT")]])
def test_methods_are_compared_question_by_question(logs, pairs):
    (found,), refused = compare_methods(make_cells(read_runs([logs])), pairs)
    assert (found["a"], found["b"], refused) == ("SoftCoT (L=4)", "Zero-Shot CoT", [])
    for rule, name in enumerate(("published", "strict")):
        soft, zero = ([[pair[rule] for pair in verdicts(seed, share=share)] for seed in SEEDS] for share in (0.8, 0.5))
        means = [[100 * statistics.mean(question) for question in zip(*runs, strict=True)] for runs in (soft, zero)]
        differences = [a - b for a, b in zip(*means, strict=True)]
        assert found[name]["difference"] == pytest.approx(statistics.mean(differences))
        assert (found[name]["low"], found[name]["high"]) == pytest.approx(bootstrap_interval(differences))


def test_a_pair_of_two_base_models_is_not_compared(logs):
    save_run(logs, "moved", 41, verdicts(41), base_model_id="/models/Llama-3.1-8B-Instruct", top_k=5, thoughts="zero")
    found, refused = compare_methods(make_cells(read_runs([logs])), [("Zero vectors", "Zero-Shot CoT")])
    assert not found and len(refused) == 1


def test_other_questions_are_not_compared(logs):
    for seed in SEEDS:
        save_run(logs, "few", seed, verdicts(seed)[:10], num_thought_tokens=0, data_hash="other")
    for path in logs.glob("Zero-*"):
        path.unlink()
    found, refused = compare_methods(make_cells(read_runs([logs])), [])
    assert not found and len(refused) == 1
