"""The model for lm-evaluation-harness without it: prompts, chains, settings, refusals; its files from result files."""

import importlib.util
import json
import shutil
from pathlib import Path
from statistics import mean, stdev
from types import SimpleNamespace

import pytest

import evaluate_softcotpp
from data_loader.prompts import PROMPT_DIR
from experiment.harness import HarnessModel, read_options
from report.harness import make_results, make_sample, write_harness_files
from tests.commands import rows_of, shell
from tests.report.written import PLAIN, verdicts
from tests.tiny import EVALUATED, TOKEN_OPTIONS
from tests.tiny_runs import RUN_PP
from utils import UserError

CHAINS, SAMPLES, LENGTH, TOKENS_LONG = 2, 2, 3, 12
TURNS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 1 + 1?"},
    {"role": "assistant", "content": "2"},
    {"role": "user", "content": "What is 2 + 5?\n"},
]


def write_prompts(folder):
    """Make the harness's prompt that of gsm8k, in a folder for --prompt_dir."""
    (folder / "ours.jinja").write_text((PROMPT_DIR / "gsm8k.jinja").read_text())
    (folder / "gsm8k.jinja").write_text((PROMPT_DIR / "harness.jinja").read_text().replace("gsm8k.jinja", "ours.jinja"))
    return folder


@pytest.fixture(scope="module")
def model(inputs):
    args = {"base_model_id": f"{inputs}/base", "assistant_model_id": f"{inputs}/assistant", "dtype": "float32"}
    args |= dict(zip(("base_thought_tokens", "assistant_thought_tokens"), TOKEN_OPTIONS.split()[1::2], strict=True))
    file = f"{inputs}/whole_pp/{RUN_PP}/projection.bin"
    args |= {"params_file_name": file, "num_thought_tokens": LENGTH, "num_scaling_times": CHAINS, "seed": 41}
    model = HarnessModel("auto", **args)
    model.cache_hook = SimpleNamespace(add_partial=lambda *_: None)
    return model


def ask(model, text, doc_id=0, task="task", repeats=CHAINS, **kwargs):
    """Return the clones of a request, as lm-eval makes them."""
    prompt = model.apply_chat_template([{"role": "user", "content": text}])
    return [SimpleNamespace(args=(prompt, kwargs), doc_id=doc_id, task_name=task, idx=0)] * repeats


def test_the_slot_ends_the_last_user_turn_which_the_assistant_reads(model):
    prompt = model.apply_chat_template(TURNS)
    example, tokenizer = model.examples[prompt], model.tokenizer
    slot = "<begin>" + "<|endoftext|>" * LENGTH + "<end>"
    plain = tokenizer.apply_chat_template(TURNS, tokenize=False, add_generation_prompt=True)
    before, after = plain.split("\n<|im_end|>\n<|im_start|>assistant\n")
    assert prompt.startswith(before) and prompt.endswith(f" {slot}<|im_end|>\n<|im_start|>assistant\n") and not after
    placeholders = tokenizer.encode("<|endoftext|>" * LENGTH)
    assert example["prefix_ids"] + placeholders + example["suffix_ids"] == tokenizer.encode(prompt)
    read = model.method.assistant.tokenizer.decode(example["assistant_ids"])
    assert "What is 2 + 5?" in read and "1 + 1" not in read and "Be brief" not in read


def test_a_turn_can_neither_open_a_slot_nor_a_turn(model):
    turns = [{"role": role, "content": "<begin><|im_start|>"} for role in ("system", "user")]
    prompt = model.apply_chat_template(turns)
    assert prompt.count("<begin>") == 1 and prompt.count("<|im_start|>") == 3


def test_clone_i_is_chain_i_mod_n_of_the_evaluation(inputs, model, run, tmp_path):
    options = f"{EVALUATED} --test_k 3 --max_new_tokens {TOKENS_LONG} --print_input --print_response --top_p 0.9"
    options += f" --num_scaling_times {CHAINS} --num_return_sequences {SAMPLES} --prompt_dir {write_prompts(tmp_path)}"
    options += f" --params_file_name ../whole_pp/{RUN_PP}/projection.bin --log_dir logs"
    code, output = run(evaluate_softcotpp, options.split())
    assert not code, output
    (file,) = (tmp_path / "work/logs").glob("*seed_41*.jsonl")
    rows = rows_of(file)
    kwargs = {"do_sample": True, "top_p": 0.9, "max_gen_toks": TOKENS_LONG}
    questions = [json.loads(line)["question"] for line in (inputs / "data/test.jsonl").read_text().splitlines()[:3]]
    asked = [ask(model, text, index, repeats=CHAINS * SAMPLES, **kwargs) for index, text in enumerate(questions)]
    texts = model.generate_until(sum(asked, []))
    for index, row in enumerate(rows):
        (c0s0, c0s1, c1s0, c1s1) = row["responses"]
        assert texts[4 * index : 4 * index + 4] == [c0s0, c1s0, c0s1, c1s1]
        assert asked[index][0].args[0] == row["input"]
    assert len(set(texts)) == len(texts)

    # Its files in lm-eval's format; one of the same name in another folder, and one without rows.
    other, empty = file.parent / "other" / file.name, file.parent / "empty.jsonl"
    other.parent.mkdir()
    shutil.copy(file, other)
    empty.write_text(file.read_text().splitlines(keepends=True)[0])
    write_harness_files([file, other, empty], tmp_path / "out")
    folders = {path.parent.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("samples_*")}
    assert folders == {Path(file.stem), Path("other", file.stem)}
    (samples,) = (tmp_path / "out" / file.stem).glob("samples_gsm8k_*.jsonl")
    samples = [json.loads(line) for line in samples.read_text().splitlines()]
    for sample, row in zip(samples, rows * 2, strict=True):
        assert sample["resps"] == [row["responses"]] and sample["arguments"]["gen_args_0"]["arg_0"] == row["input"]


def test_scores_and_answers_of_lm_eval_s_files_are_each_rule_s_own():
    settings = {"top_p": 1.0, "sampling": "given", "greedy": False, "max_new_tokens": 9, "questions_in_split": 20}
    record, pairs = PLAIN | settings, verdicts(41)
    rows = [{"index": 0, "gold": 2, "vote": 0, "vote_strict": 1, "correct": a, "correct_strict": b} for a, b in pairs]
    scores = make_results(record, rows)["results"]["gsm8k"]
    for place, rule in enumerate(("published", "strict")):
        values = [float(pair[place]) for pair in pairs]
        samples = [make_sample(record, row, rule) for row in rows]
        assert [(sample["exact_match"], *sample["filtered_resps"]) for sample in samples] == [
            (value, str(place)) for value in values
        ]
        found = scores[f"exact_match,{rule}"], scores[f"exact_match_stderr,{rule}"]
        assert found == pytest.approx((mean(values), stdev(values) / 20**0.5))


SAMPLED = {"temperature": 1.0, "top_p": 1.0}


@pytest.mark.parametrize(
    "asked, sampling",
    [({}, {"greedy": True}), ({"do_sample": True}, SAMPLED), ({"temperature": 0.7}, SAMPLED | {"temperature": 0.7})],
)
def test_a_task_samples_if_it_says_so_up_to_256_tokens(asked, sampling):
    request = SimpleNamespace(args=("", asked), task_name="task")
    assert dict(read_options(request, 6, 2)) == {"max_new_tokens": 256, "num_return_sequences": 3} | sampling


def test_tasks_with_equal_places_and_other_settings_do_not_mix(model):
    greedy = ask(model, "What is 2 + 5?", 0, "a", max_gen_toks=5) + ask(model, "And 7?", 0, "b", max_gen_toks=5)
    longer = ask(model, "And 7?", 0, "c", do_sample=True, temperature=0.7, max_gen_toks=9)
    apart = [model.generate_until(list(clones)) for clones in (greedy[:2], greedy[2:], longer)]
    assert model.generate_until([*longer, *greedy]) == apart[2] + apart[0] + apart[1]


def test_a_response_ends_before_the_first_of_until(model):
    assert model.decode_response(model.tokenizer.encode("one two three"), ["", "three", "w", "four"]) == "one t"
    assert model.decode_response(model.tokenizer.encode("a<end>b"), "<end>") == "a"  # a special token has no text


def test_a_prompt_too_long_for_the_model_has_an_empty_response(model):
    long = ask(model, "a" * 5000, 1, max_gen_toks=5)
    assert model.generate_until(long + ask(model, "What is 2 + 5?", max_gen_toks=5))[:2] == ["", ""]


def test_the_record_has_projection_protocol_and_slot(model):
    record = json.loads(json.dumps(model.get_model_info()))["softcot"]
    assert record["projection"] == model.method.hashes["projection"] and record["protocol"] == "corrected"
    assert record["slot"] == "<begin>" + "<|endoftext|>" * LENGTH + "<end>" and record["num_thought_tokens"] == LENGTH


@pytest.mark.parametrize(
    "asked",
    [
        lambda model: model.generate_until(ask(model, "a", repeats=3)),
        lambda model: model.generate_until(ask(model, "a", top_k=5)),
        lambda model: model.loglikelihood(ask(model, "a")),
        lambda model: model.apply_chat_template(TURNS, add_generation_prompt=False),
        lambda model: HarnessModel(thoughts="shuffled"),
        lambda model: HarnessModel(num_thought_tokens=0, greedy=True),
    ],
)
def test_what_would_give_other_numbers_is_refused(model, asked):
    with pytest.raises(UserError):
        asked(model)


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is not None, reason="lm-eval is installed")
def test_without_lm_eval_one_line_names_the_extra(tmp_path):
    done = shell("python lm_eval_softcot.py --model softcot --tasks gsm8k", tmp_path, code=1)
    assert "requirements-lm-eval.txt" in done.stderr and "Traceback" not in done.stderr
