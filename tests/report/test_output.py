"""summarize_results.py through its command line: the files it writes, and its refusals."""

import csv
import json
import re

import pytest

from tests.commands import shell
from tests.report.written import METHOD_SETTINGS, name_log, save_run, verdicts

SUMMARIZE = "python summarize_results.py --out out"
PICTURES = {"per_task.png", "accuracy_by_thought_tokens.png", "accuracy_by_chains.png", "differences.png"}


def test_every_file_has_the_same_table(tmp_path):
    for seed in (41, 42):
        save_run(tmp_path / "logs", "zero", seed, verdicts(seed), num_thought_tokens=0, temperature=0.5)
        save_run(tmp_path / "logs", "soft", seed, verdicts(seed, share=0.9))
    save_run(tmp_path / "logs", "aqua", 41, verdicts(41, 10), num_thought_tokens=0, task_name="aqua")
    done = shell(f"{SUMMARIZE} logs --tasks du --methods Assist-CoT SoftCoT", tmp_path)
    out = tmp_path / "out"
    text = (out / "table.md").read_text(encoding="utf-8")
    whole = json.loads((out / "table.json").read_text(encoding="utf-8"))
    with open(out / "table.csv", encoding="utf-8", newline="") as file:
        rows = {(row["label"], row["task"]): row for row in csv.DictReader(file)}
    soft = next(cell for cell in whole["cells"] if (cell["label"], cell["task"]) == ("SoftCoT (L=4)", "gsm8k"))
    accuracy = f"{soft['mean']:.2f} ± {soft['std']:.2f} †"
    assert text in done.stdout and "| method | gsm8k | aqua | du |" in text
    assert f"| SoftCoT (L=4) | {accuracy} | missing | missing |" in text and "| 41, 42 | 20 |" in text
    assert float(rows["SoftCoT (L=4)", "gsm8k"]["mean"]) == pytest.approx(soft["mean"])
    assert (rows["Zero-Shot CoT", "aqua"]["std"], rows["SoftCoT (L=4)", "du"]["published"]) == ("", "59.04")
    (pair,) = whole["comparisons"]
    assert f"| {pair['published']['difference']:+.2f} | " in text and "| temperature |\n" in text
    latex = [line for line in (out / "table.tex").read_text(encoding="utf-8").splitlines() if line.endswith(r"\\")]
    assert all(line.count("&") == 3 for line in latex)
    assert any(f"{soft['mean']:.2f} $\\pm$ {soft['std']:.2f}" in line for line in latex)
    assert any(re.search(r"\\emph\{59.04\}", line) for line in latex)


def test_pictures_are_drawn_and_those_without_points_are_removed(tmp_path):
    for number, settings in enumerate(METHOD_SETTINGS.values()):
        save_run(tmp_path / "logs", f"m{number}", 41, verdicts(number), **settings)
    shell(f"{SUMMARIZE} logs", tmp_path)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "out").glob("*.png")}
    assert sizes.keys() == PICTURES and min(sizes.values()) > 5000
    log = tmp_path / f"{name_log(41)}.log"
    log.write_text("Ground Truth Answer: 1\nIs Correct: True\nCorrect Count: 1/1\nGround Truth Answer: 2\n")
    shell(f"{SUMMARIZE} {log}", tmp_path)  # no whole run
    assert not list((tmp_path / "out").glob("*.png"))


@pytest.mark.parametrize(
    ("words", "code"),
    [("absent", 1), ("logs --compare SoftCoT Softcot", 1), ("--methods SoftCot", 2)],
)
def test_bad_input_is_one_clear_line_before_anything_is_written(tmp_path, words, code):
    save_run(tmp_path / "logs", "soft", 41, verdicts(41))
    done = shell(f"{SUMMARIZE} {words}", tmp_path, code)
    assert words.split()[-1] in done.stderr and "Traceback" not in done.stderr
    assert code == 2 or done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
