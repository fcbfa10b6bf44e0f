"""Result files are read each once."""

import random

import pytest

from report.runs import read_runs
from report.summary import make_cells, make_table
from tests.report.written import save_run, tabulate, verdicts
from utils import UserError

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


def test_every_run_is_in_a_row_of_its_own_name(tmp_path):
    draw = random.Random(0)
    for number in range(60):
        settings = {key: draw.choice(values) for key, values in ODD_SETTINGS.items()}
        save_run(tmp_path / "of.jsonl", f"run{number}", number, verdicts(number, draw.choice([5, 6])), **settings)
    table = make_table(make_cells(read_runs([tmp_path])))
    found = {run["file"] for runs in (*table.runs, *table.left_out) for run in runs}
    assert found == {str(path) for path in (tmp_path / "of.jsonl").glob("*.jsonl")}
    assert not table[["base", "task", "label"]].duplicated().any()


def test_the_same_seed_twice_with_other_answers_is_refused(tmp_path):
    for folder, right in (("logs", True), ("copy", False)):
        save_run(tmp_path / folder, "soft", 42, [(right, right)] * 3)
    with pytest.raises(UserError, match="seed 42"):
        make_cells(read_runs([tmp_path]))


def test_of_a_trial_and_the_whole_run_the_whole_run_counts(tmp_path):
    save_run(tmp_path / "logs", "soft", 42, verdicts(42))
    save_run(tmp_path / "trial", "soft", 42, verdicts(42)[:5])
    (row,) = tabulate(tmp_path).values()
    assert (row["seeds"], row["questions"]) == ([42], 20)
    assert "trial" in row["left_out"][0]["file"] and any("soft-42.jsonl" in flag for flag in row["flags"])


def test_a_log_that_an_evaluation_goes_on_writing_is_of_its_run(tmp_path):
    for seed, questions in ((41, 20), (42, 8)):
        save_run(tmp_path, "soft", seed, verdicts(seed)[:questions])
    file = tmp_path / "soft-42.jsonl"  # read before the log got its last rows
    file.write_text("".join(file.read_text(encoding="utf-8").splitlines(keepends=True)[:-3]), encoding="utf-8")
    (row,) = tabulate(tmp_path).values()
    assert (row["seeds"], row["questions"], len(row["left_out"])) == ([41], 20, 1)


def test_without_a_slot_there_is_one_chain(tmp_path):
    save_run(tmp_path, "m", 41, verdicts(41), num_scaling_times=10, num_thought_tokens=0)
    (run,) = read_runs([tmp_path])
    assert run.settings["num_thought_tokens"] == 0 and len(run.rows) == 20
