"""Logs, ours and those of the published code, give the verdicts that were logged, and are judged again."""

import math
import random
import re
import statistics
from pathlib import Path

import pytest

from experiment.results import LogForm, SeedResults, judge
from report.runs import read_runs
from report.summary import make_cells
from tests.report.written import PLAIN, name_log, published_log, save_run, tabulate, verdicts
from utils import UserError

SHARED_LOGS = Path(__file__).resolve().parents[3] / "shared" / "logs"
CHAINS = name_log(41, model="scaling", chains="-nst_2") + ".log"


def write_log(path, *blocks):
    path.write_text("\n".join(["Args: {'num_thought_tokens': 4}", *blocks]), encoding="utf-8")
    return path


def published_block(k, gold, responses, correct):
    """A question's lines in a log of the published SoftCoT++ with R = 1, with responses."""
    answers = [f"Answer ({k}-1-{r}/3): {text}<|end-of-response|>" for r, text in enumerate(responses, 1)]
    start, inputs = f"Ground Truth Answer: {gold}", "Raw Inputs for Base Model: <|im_start|>user\nWhat? <|vision_7|>"
    count = f"Average generated tokens ({k} instances): 154.0\nCorrect Count: {correct}/{k}"
    return "\n".join([start, inputs, *answers, start, count, "-" * 20, ""])


@pytest.mark.parametrize(("model", "chains"), [("", None), ("scaling", 10)])
def test_published_logs_with_progress_bars_in_them(tmp_path, model, chains):
    scores = []
    for seed in (41, 42):
        right = [random.Random(f"{model}{seed}{k}").random() < 0.5 for k in range(30)]
        scores.append(100 * sum(right) / 30)
        path = tmp_path / f"{name_log(seed, model, chains=f'-nst_{chains}' if chains else '')}.log"
        published_log(path, range(30), right, chains)
    raw = path.read_bytes()
    assert raw.count(b"\r") > 60 and b"\x1b[AIs Correct: " in raw and b"it/s]Question" in raw
    row = tabulate(tmp_path)["SoftCoT++ (L=4, N=10)" if chains else "SoftCoT (L=4)", "gsm8k"]
    assert (row["base"], row["questions"]) == ("Llama-3.1-8B-Instruct", 30)
    assert (row["mean"], row["std"]) == pytest.approx((statistics.mean(scores), statistics.stdev(scores)))
    assert math.isnan(row["strict_mean"])  # no responses, so not known


def test_our_log_alone_shares_the_cell_of_the_other_seeds_result_files(tmp_path):
    for seed in (41, 42):
        save_run(tmp_path, name_log(seed), seed, verdicts(seed), temperature=0.5, top_p=0.9)
    (both,) = tabulate(tmp_path).values()
    (tmp_path / f"{name_log(41)}-41.jsonl").unlink()
    (mixed,) = tabulate(tmp_path).values()
    assert both["seeds"] == mixed["seeds"] == [41, 42]
    assert (mixed["mean"], mixed["std"]) == (both["mean"], both["std"])


def test_a_published_log_names_models_and_adapters_in_its_arguments(tmp_path):
    path = tmp_path / f"{name_log(41)}.log"
    published_log(path, range(4), [True] * 4)
    args = {"base_model_id": "local/X", "base_model_ckpt": "None", "assistant_model_ckpt": "ckpt/lora"}
    path.write_text(re.sub("^Args: .*", f"Args: {args}", path.read_text(encoding="utf-8")), encoding="utf-8")
    (row,) = tabulate(path).values()
    assert row["method"] == "SoftCoT + LoRA" and row["base"] == "X"
    args = {"base_model_ckpt": "ckpt/lora", "tune_base_model": True}  # never reaches the model
    path.write_text(re.sub("^Args: .*", f"Args: {args}", path.read_text(encoding="utf-8")), encoding="utf-8")
    (row,) = tabulate(path).values()
    assert row["method"] == "SoftCoT"


def test_a_published_log_that_ends_before_test_k_is_incomplete(tmp_path):
    path = tmp_path / f"{name_log(41)}.log"
    published_log(path, range(4), [True] * 4)
    path.write_text(
        path.read_text(encoding="utf-8").replace("tokens': 4", "tokens': 4, 'test_k': 1319"), encoding="utf-8"
    )
    (row,) = tabulate(path).values()
    assert (row["status"], row["questions"]) == ("incomplete", 1319)
    (row,) = tabulate(path, include_incomplete=True).values()
    assert row["mean"] == 100 and math.isnan(row["published"])


# ---- judged again ----


@pytest.mark.skipif(not SHARED_LOGS.is_dir(), reason=f"no {SHARED_LOGS}")
def test_a_public_log_judged_again_from_its_text_has_every_verdict_as_logged():
    (log,) = SHARED_LOGS.glob("*.log")
    golds = re.findall(r"^Ground Truth Answer: (.*)\nModel Answer", log.read_text(encoding="utf-8"), re.M)
    assert len(golds) == 400 and sum(gold.startswith("-") for gold in golds) == 20
    row = tabulate(log, include_incomplete=True)["SoftCoT (L=4)", "asdiv-aug"]  # it ends after 400 of 1,038
    assert (row["questions"], row["mean"]) == (1038, 100 * 339 / 400)
    assert row["runs"][0]["rejudged"] == {"questions": 400, "differ": 0}
    assert row["strict_mean"] > row["mean"]  # it reads the minus signs
    assert any("400 of 1038" in flag for flag in row["flags"])


GOLDS = ("-5", "4", "3.14159", "1,080", "7")
RESPONSES = [
    ["So -5.\nIt is \\boxed{-5}.", "Nothing", "5"],
    ["Nothing", "", "It is 4.\n\nDone: \\boxed{4}"],
    ["3.14", "3.14", "3.14159"],
    ["1080", "", ""],
    ["Is Correct: False\nCorrect Count: 9/9", "\\boxed{7}", "\\boxed{7}"],
]


def save_judged(folder, skip=()):
    """A result file and its log, whose rows are judged from RESPONSES; the result file's path."""
    path = folder / f"{name_log(41, samples=3)}.jsonl"
    run = PLAIN | {"seed": 41, "num_return_sequences": 3}
    results = SeedResults(path, path.with_suffix(".log"), run, LogForm(len(GOLDS), samples=3))
    prompt = "<|im_start|>user\nWhat?\nGround Truth Answer: 9\nIs Correct: True\nCorrect Count: 1/1<|im_end|>"
    for index, (gold, texts) in enumerate(zip(GOLDS, RESPONSES, strict=True)):
        question = {"index": index, "answer": gold}
        written = {"input": prompt, "responses": texts, "raw_responses": [f"{text}<|im_end|>" for text in texts]}
        skipped = index in skip and judge("gsm8k", question, [], []) | {"skipped": "the prompt is too long"}
        results.add(skipped or judge("gsm8k", question, texts, [1, 2, 3]) | written)
    return path


def test_our_log_alone_is_judged_again_by_both_rules(tmp_path):
    path = save_judged(tmp_path)
    both = tabulate(path, path.with_suffix(".log"))["SoftCoT-SC (L=4, R=3)", "gsm8k"]
    alone = tabulate(path.with_suffix(".log"))["SoftCoT-SC (L=4, R=3)", "gsm8k"]
    assert (alone["mean"], alone["strict_mean"]) == (both["mean"], both["strict_mean"]) == (40, 100)
    assert alone["runs"][0]["rejudged"] == {"questions": 5, "differ": 0} and "rejudged" not in both["runs"][0]


@pytest.mark.parametrize("suffix", [".jsonl", ".log"])
def test_skipped_questions_count_as_not_correct_and_are_flagged(tmp_path, suffix):
    (row,) = tabulate(save_judged(tmp_path, skip=(2, 4)).with_suffix(suffix)).values()
    assert (row["questions"], row["mean"], row["strict_mean"]) == (5, 20, 60)
    assert any("2 of 5" in flag for flag in row["flags"])


def test_a_published_log_is_judged_from_its_responses_whatever_they_say(tmp_path):
    fake = "It is 18.\nGround Truth Answer: 9\nIs Correct: True\nCorrect Count: 1/1\nThe answer is 18.<|im_end|>"
    log = write_log(
        tmp_path / CHAINS,
        published_block(1, 18, [fake, "I do not know.<|im_end|>"], 1),
        published_block(2, -4, ["\\boxed{-4}<|reserved_special_token_9|>", "\n\n-4"], 1),
        published_block(3, 12, ["13<|im_end|>", "\\boxed{13}"], 2),  # a verdict that the responses do not bear out
    )
    row = tabulate(log)["SoftCoT++ (L=4, N=2)", "gsm8k"]
    assert row["runs"][0]["rejudged"] == {"questions": 3, "differ": 1}
    assert (row["mean"], row["strict_mean"]) == pytest.approx((100 / 3, 200 / 3))
    assert any("1 of 3" in flag for flag in row["flags"])


def test_a_log_that_lacks_responses_keeps_its_verdicts_and_says_so(tmp_path):
    log = write_log(tmp_path / CHAINS, published_block(1, 5, ["6", "6"], 1), published_block(2, 7, ["8"], 2))
    (run,) = read_runs([log])
    assert run.scores.correct == 100 and run.rejudged is None and "1 of 2 questions" in run.flags[0]


BLOCK = "Ground Truth Answer: 5\n{}Ground Truth Answer: 5\nModel Answer: 5\nIs Correct: {}\nCorrect Count: {}/{}\n"


def test_responses_without_a_number_say_nothing_of_the_verdicts(tmp_path):
    fake = "Nothing.\nGround Truth Answer: 9\nIs Correct: True\nCorrect Count: 1/1\nNothing.<|im_end|>"
    unread = "".join(f"None Model Answer (2-{r}/3): {fake}\n" for r in (1, 2))
    blocks = [BLOCK.format("", True, 1, 1), BLOCK.format(unread, False, 1, 2), BLOCK.format("", True, 2, 3)]
    (run,) = read_runs([write_log(tmp_path / f"{name_log(41)}.log", "".join(blocks))])
    assert run.recorded == [True, False, True] and run.rejudged is None
    assert set(run.rows.gold) == {"5"} and run.questions == 3


# ---- cut off, started over, damaged ----


@pytest.mark.parametrize(
    ("answer", "rest"), [("Answer (1-1/3): 5<|end-of-response|>\n", ""), ("", "Ground Truth Answer: 3\n")]
)
def test_a_log_that_was_cut_off_is_incomplete_also_alone(tmp_path, answer, rest):
    text = BLOCK.format(answer, True, 1, 1) + BLOCK.format("", True, 2, 2) + rest
    (cell,) = make_cells(read_runs([write_log(tmp_path / f"{name_log(41)}.log", text)]))
    assert (cell.questions, cell.runs, len(cell.left_out)) == (3, [], 1)


@pytest.mark.parametrize("suffix", ["*", "*.log"])
def test_a_run_of_ours_that_was_stopped_is_incomplete_by_its_log(tmp_path, suffix):
    for name, split, left_out in (("stopped", 30, 1), ("whole", 20, 0)):
        save_run(tmp_path / name, name_log(41), 41, verdicts(41), questions_in_split=split)
        (cell,) = make_cells(read_runs((tmp_path / name).glob(suffix)))
        assert (cell.questions, len(cell.left_out)) == (split, left_out)


def test_a_log_that_was_started_over_counts_from_its_last_start(tmp_path):
    block = published_block(1, 5, ["It is 5.", "It is 6."], 1)
    cut = block.partition("Ground Truth Answer: 5\nAverage")[0]  # inside a question
    again = [published_block(k, 5, ["It is 5.", "It is 5."], k) for k in (1, 2, 3)]
    log = write_log(tmp_path / CHAINS, block, published_block(2, 5, ["5", "5"], 2), cut, "Args: {'seed': 41}", *again)
    (run,) = read_runs([log])
    assert run.rejudged == {"questions": 3, "differ": 0} and not run.flags


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace("Correct Count: 3/3", ""),
        lambda text: text.replace("Correct Count: 3/3", "Correct Count: 7/3"),
        lambda text: text.replace("Args: {", "Args: {'version': 9, "),
        lambda text: text.replace("Args: {", "Args: {,"),
    ],
)
def test_a_damaged_log_is_refused_by_name(tmp_path, damage):
    path = tmp_path / f"{name_log(41)}.log"
    published_log(path, range(5), [True] * 5)
    path.write_text(damage(path.read_bytes().decode()), encoding="utf-8", newline="")
    with pytest.raises(UserError, match=re.escape(path.name)):
        read_runs([tmp_path])


def test_logs_of_one_name_in_two_folders_are_two_cells(tmp_path):
    for folder, right in (("zero_shot", [True, False]), ("lora", [True, True])):
        published_log(tmp_path / folder / f"{name_log(41)}.log", range(2), right)
    means = {label: row["mean"] for (label, _), row in tabulate(tmp_path).items()}
    assert means == {"SoftCoT (L=4) [files=zero_shot]": 50, "SoftCoT (L=4) [files=lora]": 100}


def test_published_logs_of_two_projections_are_two_cells_and_each_names_its_folder(tmp_path):
    for seed, name in ((41, "released"), (42, "own")):
        path = tmp_path / name / f"{name_log(seed)}.log"
        published_log(path, range(2), [True, False])
        args = f"Args: {{'params_file_name': './ckpt/{name}.bin'}}"
        path.write_text(re.sub("^Args: .*", args, path.read_text(encoding="utf-8")), encoding="utf-8")
    found = {label: "; ".join(row["flags"]) for (label, _), row in tabulate(tmp_path).items()}
    assert found.keys() == {f"SoftCoT (L=4) [params_file_name={name}.bin]" for name in ("released", "own")}
    assert all(str(tmp_path / label.split("=")[-1].removesuffix(".bin]")) in flags for label, flags in found.items())


def test_a_log_of_other_settings_than_the_result_file_of_its_name_is_a_run_of_its_own(tmp_path):
    for folder, value in (("one", "kept"), ("other", "by_family")):
        save_run(tmp_path / folder, name_log(41), 41, verdicts(41), generation_prompt=value)
    next((tmp_path / "other").glob("*.jsonl")).unlink()
    assert len(tabulate(tmp_path)) == 2


def test_a_log_with_other_verdicts_than_its_result_file_is_a_run_beside_it(tmp_path):
    for right, suffix in (([True, False, False], ".log"), ([False, False, True], ".jsonl")):
        save_run(tmp_path / suffix, name_log(41), 41, [(verdict, False) for verdict in right])
    rows = tabulate(*(tmp_path / name / f"{name_log(41)}-41{name}" for name in (".log", ".jsonl"))).values()
    assert {Path(run["file"]).suffix for row in rows for run in row["runs"]} == {".log", ".jsonl"}
    assert len(rows) == 2 and all(row["mean"] == pytest.approx(100 / 3) for row in rows)
