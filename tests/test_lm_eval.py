"""lm_eval_softcot.py with lm-evaluation-harness itself, on the embedded pair. `make test-lm-eval` runs this."""

import json
import sys
from pathlib import Path

import pytest
import torch

import evaluate_softcot
import evaluate_softcotpp
import lm_eval_softcot
from model.backbone import load_backbone, resolve
from model.choices import EMBEDDED
from model.softcot import SoftCoT
from model.weights import save_projection
from tests.commands import ROOT, rows_of, shell
from tests.experiment.test_harness import write_prompts
from utils import UserError

pytest.importorskip("lm_eval", reason="lm-eval is not installed (make test-lm-eval)")
pytestmark = pytest.mark.slow
QUESTIONS, LENGTH, TOKENS = 4, 4, 20
PAIR = f"base_model_id={EMBEDDED},assistant_model_id={EMBEDDED},dtype=float32"
TASK = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": str(ROOT / "data/mini/test.jsonl")}},
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{question}}",
    "doc_to_target": "{{answer.split('####')[-1].strip()}}",
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
NUMBER = [{"function": "regex", "group_select": -1, "regex_pattern": "(-?[0-9]+)"}]


def write_task(folder, name, more, filters=(), **kwargs):
    """Write a task file, which is JSON and so YAML."""
    steps = [*NUMBER, *({"function": name} for name in (*filters, "take_first"))]
    task = TASK | {"task": name, "generation_kwargs": {"max_gen_toks": TOKENS, **kwargs}, **more}
    (folder / f"{name}.yaml").write_text(json.dumps(task | {"filter_list": [{"name": "number", "filter": steps}]}))


@pytest.fixture
def harness(tmp_path, monkeypatch):
    """harness(task, model, arguments) -> results and samples that lm-eval wrote."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))

    def start(task, model, arguments):
        out = tmp_path / f"{task}-{model}"
        words = f"--tasks {task}.yaml --apply_chat_template --limit {QUESTIONS} --batch_size {QUESTIONS} --log_samples"
        words += f" --output_path {out} --model {model} --model_args {arguments}"
        monkeypatch.setattr(sys, "argv", ["lm_eval_softcot.py", *words.split()])
        lm_eval_softcot.main()
        (results,), (samples,) = out.glob("*/results_*.json"), out.glob(f"*/samples_{task}_*.jsonl")
        return json.loads(results.read_text()), [json.loads(line) for line in samples.read_text().splitlines()]

    return start


def evaluate(script, options, folder, monkeypatch):
    """Return the rows of an evaluation of the same questions with the harness's prompts, and their file."""
    words = f"--base_model_id {EMBEDDED} --assistant_model_id {EMBEDDED} --dtype float32 --data_dir {ROOT}/data/mini"
    words += f" --num_thought_tokens {LENGTH} --test_k {QUESTIONS} --max_new_tokens {TOKENS} --seed 41 --log_dir logs"
    words += f" --print_input --print_response --prompt_dir {write_prompts(folder / 'prompts')} {options}"
    monkeypatch.setattr(sys, "argv", [script.__name__, *words.split()])
    script.main()
    (file,) = folder.glob("logs/*.jsonl")
    return file, rows_of(file)


def save_untrained(path, chains=None):
    torch.manual_seed(0)
    base, assistant = (load_backbone(EMBEDDED, dtype="float32") for _ in range(2))
    save_projection(SoftCoT(base, assistant, LENGTH, chains).projection_state(), path)
    return path


def test_without_a_slot_every_response_is_that_of_lm_eval_s_own_model(harness, tmp_path):
    text = {"doc_to_text": "Question: {{question}}\nAnswer:\n"}
    write_task(tmp_path, "plain", text, until=["\n\n", "<|im_end|>", " the"])
    _, ours = harness("plain", "softcot", f"{PAIR},num_thought_tokens=0")
    _, theirs = harness("plain", "hf", f"pretrained={resolve(EMBEDDED)},dtype=float32")
    assert len(ours) == QUESTIONS and len({sample["resps"][0][0] for sample in ours}) > 1
    for one, other in zip(ours, theirs, strict=True):
        assert one["resps"] == other["resps"] and one["prompt_hash"] == other["prompt_hash"]


def test_answers_with_a_slot_are_those_of_evaluate_softcot(harness, tmp_path, monkeypatch):
    file = save_untrained(tmp_path / "projection.bin")
    write_task(tmp_path, "greedy", {}, until=[])
    results, samples = harness("greedy", "softcot", f"{PAIR},num_thought_tokens={LENGTH},params_file_name={file}")
    assert results["config"]["softcot"]["projection"].startswith(str(file.stat().st_size))
    found, rows = evaluate(evaluate_softcot, f"--greedy --params_file_name {file}", tmp_path, monkeypatch)
    assert len(rows) == len(samples) == QUESTIONS
    for sample, row in zip(samples, rows, strict=True):
        assert sample["arguments"]["gen_args_0"]["arg_0"] == row["input"] and sample["resps"] == [row["responses"]]

    # The evaluation's files in lm-eval's format, beside those of lm-eval.
    from lm_eval.utils import get_results_filenames, get_sample_results_filenames

    shell("python summarize_results.py {file} --no_plots --lm_eval out", tmp_path, file=found)
    names = [str(path) for path in (tmp_path / "out").rglob("*")]
    (written,), (lines,) = get_results_filenames(names), get_sample_results_filenames(names)
    sample = json.loads(Path(lines).read_text().splitlines()[0])
    assert sample.keys() == samples[0].keys()
    assert sample["prompt_hash"] == samples[0]["prompt_hash"] and sample["target_hash"] == samples[0]["target_hash"]
    summary = json.loads(Path(written).read_text())
    assert summary.keys() == results.keys()
    for field in ("n-samples", "n-shot", "higher_is_better"):
        assert list(summary[field].values()) == list(results[field].values())
    assert {name.split(",")[0] for name in summary["results"]["gsm8k"]} == {
        name.split(",")[0] for name in results["results"]["greedy"]
    }


def test_the_task_s_filter_votes_over_chains_and_samples(harness, tmp_path, monkeypatch):
    file = save_untrained(tmp_path / "projection.bin", chains=2)
    write_task(tmp_path, "vote", {"repeats": 4}, ["majority_vote"], until=[], do_sample=True, top_p=0.9)
    args = f"{PAIR},num_thought_tokens={LENGTH},params_file_name={file},num_scaling_times=2,seed=41"
    _, samples = harness("vote", "softcot", args)
    options = f"--num_scaling_times 2 --num_return_sequences 2 --top_p 0.9 --params_file_name {file}"
    _, rows = evaluate(evaluate_softcotpp, options, tmp_path, monkeypatch)
    for sample, row in zip(samples, rows, strict=True):
        (c0s0, c0s1, c1s0, c1s1) = row["responses"]
        assert sample["resps"] == [[c0s0, c1s0, c0s1, c1s1]] and len(sample["filtered_resps"]) == 1


@pytest.mark.parametrize("words", ["", "--apply_chat_template --fewshot_as_multiturn false"])
def test_prompts_without_turns_are_refused(words, monkeypatch):
    monkeypatch.setattr(sys, "argv", f"lm_eval_softcot.py --model softcot --tasks gsm8k {words}".split())
    with pytest.raises(UserError):
        lm_eval_softcot.main()
