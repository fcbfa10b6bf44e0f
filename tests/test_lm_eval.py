"""lm_eval_softcot.py with lm-evaluation-harness itself, on the embedded pair. `make test-lm-eval` runs this."""

import json
import sys
from pathlib import Path

import pytest

import evaluate_softcot
import lm_eval_softcot
from model.backbone import resolve
from model.choices import EMBEDDED
from tests.commands import ROOT, rows_of, shell
from tests.experiment.test_harness import write_prompts
from utils import UserError

utils = pytest.importorskip("lm_eval.utils", reason="lm-eval is not installed (make test-lm-eval)")
pytestmark = pytest.mark.slow
QUESTIONS, TOKENS = 4, 20
PAIR = f"base_model_id={EMBEDDED},assistant_model_id={EMBEDDED},dtype=float32"
SLOT = "num_thought_tokens=4,thoughts=untrained"
TASK = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": str(ROOT / "data/mini/test.jsonl")}},
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer.split('####')[-1].strip()}}",
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def write_task(folder, name, more, filters=(), **kwargs):
    """Write a task file, which is JSON and so YAML."""
    steps = [{"function": "regex", "group_select": -1, "regex_pattern": "(-?[0-9]+)"}]
    steps += [{"function": name} for name in (*filters, "take_first")]
    task = TASK | {"task": name, "generation_kwargs": {"max_gen_toks": TOKENS, **kwargs}, **more}
    (folder / f"{name}.yaml").write_text(json.dumps(task | {"filter_list": [{"name": "number", "filter": steps}]}))


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """harness(task, model, arguments) -> results and samples that lm-eval wrote."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))

    def start(task, model, arguments):
        out = tmp_path / f"{task}-{model}"
        words = f"--tasks {task}.yaml --apply_chat_template --limit {QUESTIONS} --batch_size {QUESTIONS} --log_samples"
        words += f" --output_path {out} --model {model} --model_args {arguments}"
        monkeypatch.setattr(sys, "argv", ["lm_eval_softcot.py", *words.split()])
        lm_eval_softcot.main()
        (results,), (samples,) = out.glob("*/results_*.json"), out.glob(f"*/samples_{task}_*.jsonl")
        samples = [json.loads(line) for line in samples.read_text().splitlines()]
        assert len(samples) == QUESTIONS
        return json.loads(results.read_text()), samples

    return start


def test_without_a_slot_every_response_is_that_of_lm_eval_s_own_model(harness, tmp_path):
    text = {"doc_to_text": "Question: {{question}}\nAnswer:\n"}
    write_task(tmp_path, "plain", text, until=["\n\n", "<|im_end|>", " the"])
    _, ours = harness("plain", "softcot", f"{PAIR},num_thought_tokens=0")
    _, theirs = harness("plain", "hf", f"pretrained={resolve(EMBEDDED)},dtype=float32")
    assert len({sample["resps"][0][0] for sample in ours}) > 1
    for one, other in zip(ours, theirs, strict=True):
        assert one["resps"] == other["resps"] and one["prompt_hash"] == other["prompt_hash"]


def test_answers_with_a_slot_are_those_of_evaluate_softcot(harness, tmp_path, monkeypatch):
    write_task(tmp_path, "greedy", {}, until=[])
    results, samples = harness("greedy", "softcot", f"{PAIR},{SLOT}")
    options = f"{PAIR},{SLOT},data_dir={ROOT}/data/mini,test_k={QUESTIONS},max_new_tokens={TOKENS},log_dir=logs"
    options += f",prompt_dir={write_prompts(tmp_path)}"
    words = [f"--{option}" for option in (*options.split(","), "greedy", "print_input", "print_response")]
    monkeypatch.setattr(sys, "argv", ["evaluate_softcot.py", *words])
    evaluate_softcot.main()
    (found,) = tmp_path.glob("logs/*.jsonl")
    for sample, row in zip(samples, rows_of(found), strict=True):
        assert sample["arguments"]["gen_args_0"]["arg_0"] == row["input"] and sample["resps"] == [row["responses"]]

    # The evaluation's files in lm-eval's format, beside those of lm-eval.
    shell("python summarize_results.py {file} --lm_eval out", tmp_path, file=found)
    names = [str(path) for path in (tmp_path / "out").rglob("*")]
    (written,), (lines,) = utils.get_results_filenames(names), utils.get_sample_results_filenames(names)
    sample = json.loads(Path(lines).read_text().splitlines()[0])
    assert sample.keys() == samples[0].keys()
    assert sample["prompt_hash"] == samples[0]["prompt_hash"] and sample["target_hash"] == samples[0]["target_hash"]
    summary = json.loads(Path(written).read_text())
    assert summary.keys() == results.keys()
    ours, theirs = summary["results"]["gsm8k"], results["results"]["greedy"]
    assert {name.split(",")[0] for name in ours} == {name.split(",")[0] for name in theirs}


def test_the_task_s_filter_votes_over_chains_and_samples(harness, tmp_path):
    write_task(tmp_path, "vote", {"repeats": 4}, ["majority_vote"], until=[], do_sample=True, top_p=0.9)
    _, samples = harness("vote", "softcot", f"{PAIR},{SLOT},num_scaling_times=2")
    for sample in samples:
        assert len(set(sample["resps"][0])) == 4 and len(sample["filtered_resps"]) == 1


@pytest.mark.parametrize(
    "words", ["", "{} --fewshot_as_multiturn false", "{} --use_cache file --model_args num_scaling_times=2"]
)
def test_prompts_without_turns_and_one_response_of_all_chains_are_refused(words, monkeypatch):
    words = words.format("--apply_chat_template")
    monkeypatch.setattr(sys, "argv", f"lm_eval_softcot.py --model softcot --tasks gsm8k {words}".split())
    with pytest.raises(UserError):
        lm_eval_softcot.main()
