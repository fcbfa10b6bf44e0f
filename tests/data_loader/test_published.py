"""Prompts from a clone's functions: the slot is cut where they say, what they return is checked, nothing is kept."""

import copy
import hashlib
import json
import re
from pathlib import Path

import pytest

from data_loader.loaders import load_task
from data_loader.published import PublishedEncoder
from data_loader.tasks import TASKS
from experiment.run_files import data_hash
from tests.commands import rows_of, shell
from tests.data_loader.test_prompts import TOKENS
from tests.tiny import DOCUMENTED
from utils import UserError

STAND_IN = Path(__file__).with_name("published_stand_in.py").read_text(encoding="utf-8")
FAMILIES = ("llama", "qwen2.5", "qwen3")
ROWS = {
    "gsm8k": {"question": " 3 + 4? ", "answer": "Three.\n#### 7 "},
    "asdiv-aug": {"question": "3 - 4?", "answer": "Less.\n#### -1"},
    "aqua": {"question": "Which?\nOptions:\n(A) 1\n(B) 2\n(C) 3\n(D) 4\n(E) 5", "answer": "One.\n#### A"},
    "strategyqa": {"question": "Is it?", "answer": False, "facts": ["It was.", "It ended."]},
    "du": {"question": "When?\nOptions:\n(A) 01/02/2003\n(B) 02/02/2003", "answer": "B"},
}
# What the stand-in makes of them.
USERS = {
    "gsm8k": "Solve  3 + 4? ",
    "asdiv-aug": "Solve 3 - 4?",
    "aqua": "Choose. " + ROWS["aqua"]["question"],
    "strategyqa": "Yes or no? Is it?",
    "du": "Which date? " + ROWS["du"]["question"],
}
TARGETS = {
    "gsm8k": "Three. / So it is 7 ",
    "asdiv-aug": "Less. / So it is -1",
    "aqua": "One.\nLetter A",
    "strategyqa": "It was.; It ended.. Thus No.",
    "du": "Letter B",
}


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture
def clone(tmp_path):
    return clone_of(tmp_path / "clone")


def clone_of(folder, *changes):
    """Write the stand-in, with pieces of its text changed, and return its folder."""
    text = STAND_IN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    folder.mkdir()
    (folder / "utils.py").write_text(text, encoding="utf-8")
    return folder


def encoder_of(clone, task, family, tokenizer, length=3, **options):
    return PublishedEncoder(task, *(tokenizer, TOKENS[family]) * 2, length, folder=clone, **options)


def load(folder, task, split="test", **changes):
    """Read one example of a task from a file."""
    row = ROWS[task] | changes
    names = TASKS[task].files
    path = folder / names.get(split, names["test"])[0]
    path.write_text(json.dumps([row, row]), encoding="utf-8")
    (example, *_) = load_task(task, folder, split).get_dataset(split)
    return example


def ids_of(tokenizer, user, reply=None):
    """Return the ids of a conversation, by way of its text."""
    messages = [{"role": "user", "content": user}]
    messages += [{"role": "assistant", "content": reply}] if reply is not None else []
    text = tokenizer.apply_chat_template(messages, tokenize=False, enable_thinking=False)
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def slot_text(family, length=3):
    tokens = TOKENS[family]
    return f" Hints: {tokens.begin}{tokens.placeholder * length}{tokens.end}"


@pytest.mark.parametrize("task", ROWS)
def test_an_example_keeps_what_its_file_says_and_the_data_hash_is_of_the_other_fields(tmp_path, task):
    assert load(tmp_path, task)["raw"] == ROWS[task]
    examples = list(load_task(task, tmp_path, "test").get_dataset("test"))
    digest = data_hash(examples)
    examples[0]["raw"]["question"] = "Another?"
    assert data_hash(examples) == digest
    examples[0]["question"] = "Another?"
    assert data_hash(examples) != digest


# ---- encoding ----


@pytest.mark.parametrize("split", ["train", "dev", "eval"])
@pytest.mark.parametrize("task", ROWS)
def test_ids_and_labels_are_the_functions_cut_at_the_slot(tmp_path, clone, family, tokenizer, task, split):
    encoder = encoder_of(clone, task, family, tokenizer)
    encoded = encoder.encode(load(tmp_path, task), split)
    target = None if split == "eval" else TARGETS[task]
    expected = ids_of(tokenizer, USERS[task] + slot_text(family), target)
    if split != "eval" and task in ("gsm8k", "asdiv-aug") and family == "llama":
        expected = expected[:-1]  # a rule of the stand-in
    tokens = TOKENS[family]
    placeholder, begin, end = tokenizer.convert_tokens_to_ids([tokens.placeholder, tokens.begin, tokens.end])
    prefix, suffix, labels = encoded["prefix_ids"], encoded["suffix_ids"], encoded["labels"]
    assert prefix + [placeholder] * 3 + suffix == expected
    assert (prefix[-1], suffix[0]) == (begin, end)
    first = {"train": 2, "dev": len(suffix) - 5, "eval": len(suffix)}[split]
    if split == "dev" and len(expected) < len(ids_of(tokenizer, USERS[task] + slot_text(family), target)):
        first += 1  # the lost token was one of the five
    assert labels == [-100] * first + suffix[first:]
    assert encoded["assistant_ids"][-3:] == [placeholder] * 3 != encoded["assistant_ids"][-4:-1]
    thoughts = ids_of(tokenizer, f"Think of {USERS[task]}", "Thoughts: " + TOKENS[family].placeholder * 3)
    assert encoded["assistant_ids"] == thoughts[: len(encoded["assistant_ids"])]
    assert len(thoughts) - len(encoded["assistant_ids"]) == (1 if family == "llama" else 2)  # its end of turn


@pytest.mark.parametrize("task", ["gsm8k", "aqua", "strategyqa"])
def test_the_functions_that_can_cut_at_max_len(tmp_path, clone, family, tokenizer, task):
    example = load(tmp_path, task)
    whole = encoder_of(clone, task, family, tokenizer).encode(example, "train")
    size = len(whole["prefix_ids"]) + 3 + len(whole["suffix_ids"]) - 4
    cut = encoder_of(clone, task, family, tokenizer, max_len=size).encode(example, "train")
    end = None if task == "strategyqa" else -4
    assert cut == whole | {key: whole[key][:end] for key in ("suffix_ids", "labels")}


@pytest.mark.parametrize("split", ["train", "dev"])
def test_without_thoughts_the_suffix_begins_before_the_first_label(tmp_path, clone, family, tokenizer, split):
    encoded = encoder_of(clone, "aqua", family, tokenizer, length=0).encode(load(tmp_path, "aqua"), split)
    expected = ids_of(tokenizer, USERS["aqua"] + slot_text(family, 0), TARGETS["aqua"])
    assert encoded["prefix_ids"] + encoded["suffix_ids"] == expected
    assert encoded["labels"] == [-100, *encoded["suffix_ids"][1:]]
    end = expected.index(tokenizer.convert_tokens_to_ids(TOKENS[family].end))
    assert len(encoded["labels"]) == (6 if split == "dev" else len(expected) - end - 1)
    encoded = encoder_of(clone, "aqua", family, tokenizer, length=0).encode(load(tmp_path, "aqua"), "eval")
    assert encoded["prefix_ids"] == ids_of(tokenizer, USERS["aqua"])
    assert encoded["suffix_ids"] == encoded["labels"] == encoded["assistant_ids"] == []


def test_padding_on_the_right_is_dropped(tmp_path, family, tokenizer):
    example = load(tmp_path, "du")
    whole = encoder_of(clone_of(tmp_path / "whole"), "du", family, tokenizer)
    padded = clone_of(
        tmp_path / "padded",
        ('"input_ids": ids,', '"input_ids": ids + [0, 0],'),
        ("[1] * len(ids)", "[1] * len(ids) + [0, 0]"),
        ('"labels": labels,', '"labels": labels + [-100, -100],'),
        ('"assistant_input_ids": assistant_ids,', '"assistant_input_ids": assistant_ids + [0],'),
        ("[1] * len(assistant_ids)", "[1] * len(assistant_ids) + [0]"),
    )
    for split in ("train", "eval"):
        assert encoder_of(padded, "du", family, tokenizer).encode(example, split) == whole.encode(example, split)


def test_nothing_is_written_into_the_clone(tmp_path, clone, family, tokenizer):
    encoder_of(clone, "gsm8k", family, tokenizer).encode(load(tmp_path, "gsm8k"), "train")
    assert list(clone.iterdir()) == [clone / "utils.py"]
    assert "apply_chat_template" not in vars(tokenizer)


@pytest.mark.parametrize("date, shown", [("01 Feb 2003", "01 Feb 2003, in 2003"), (None, "none given")])
def test_the_date_of_a_chat_template(tmp_path, clone, llama_tokenizer, date, shown):
    dated = copy.copy(llama_tokenizer)
    asks = "date_string + strftime_now(', in %Y') if date_string is defined else 'none given'"
    dated.chat_template = f"{{{{ 'Today: ' + ({asks}) }}}}" + llama_tokenizer.chat_template
    tokens = TOKENS["llama"]
    encoder = PublishedEncoder("gsm8k", dated, tokens, dated, tokens, 3, folder=clone, date_string=date)
    encoded = encoder.encode(load(tmp_path, "gsm8k"), "eval")
    for key in ("prefix_ids", "assistant_ids"):
        assert f"Today: {shown}" in dated.decode(encoded[key])


# ---- what is wrong ----


@pytest.mark.parametrize(
    "old, new",
    [
        ("def pre_process_aqua", "def pre_process_aqua_rat"),
        ("import random", "import a_package_that_is_not_there"),
    ],
)
def test_another_file_or_function_is_named(tmp_path, llama_tokenizer, old, new):
    with pytest.raises(UserError, match=r"utils\.py.*pre_process_aqua") as raised:
        encoder_of(clone_of(tmp_path / "clone", (old, new)), "aqua", "llama", llama_tokenizer)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "old, new, named",
    [
        ("[last - length, last, stop - length, stop]", "[last - length, last]", ""),
        ('"thought_index"', '"index"', "KeyError.*thought_index"),
        ("[last - length, last, stop", "[last - length - 1, last - 1, stop", "input_ids"),
        ("[last - length, last, stop", "[last - length + 1, last, stop", "input_ids"),
        ("[last - length, last, stop", "[-length, 0, stop", "input_ids"),
        ("stop - length, stop]", "stop - length + 1, stop + 1]", "assistant_input_ids"),
        ("begin + placeholder * length + end", "begin + placeholder * length + placeholder", "input_ids"),
        ('"Thoughts: " + tokens[0] * length', '"Thoughts: " + tokens[0] * (length + 1)', "assistant_input_ids"),
        ("[1] * len(ids)", "[0] + [1] * (len(ids) - 1)", "mask"),
        ("[1] * len(assistant_ids)", "[1]", "mask"),
    ],
)
@pytest.mark.parametrize("split", ["train", "eval"])
def test_another_slot_than_the_one_returned_is_refused(tmp_path, qwen3_tokenizer, split, old, new, named):
    encoder = encoder_of(clone_of(tmp_path / "clone", (old, new)), "du", "qwen3", qwen3_tokenizer)
    with pytest.raises(UserError, match=f"pre_process_du, {split} example 0: .*{named}"):
        encoder.encode(load(tmp_path, "du"), split)


@pytest.mark.parametrize("new", ["labels[:5] + ids[5:],", "labels[1:],"])  # in the prefix; too few
def test_labels_that_cannot_be_are_refused(tmp_path, llama_tokenizer, new):
    clone = clone_of(tmp_path / "clone", ('"labels": labels,', f'"labels": {new}'))
    encoder = encoder_of(clone, "du", "llama", llama_tokenizer)
    with pytest.raises(UserError, match="pre_process_du.*label"):
        encoder.encode(load(tmp_path, "du"), "train")
    assert encoder.encode(load(tmp_path, "du"), "eval")  # where labels are not used


def test_another_family_is_refused(clone, chatml_tokenizer):
    with pytest.raises(UserError, match="smollm2"):
        encoder_of(clone, "gsm8k", "smollm2", chatml_tokenizer)


# ---- through the command line ----


@pytest.mark.slow
@pytest.mark.parametrize("family, method", [("qwen3", "softcot"), ("llama", "softcotpp")])
def test_training_and_sweep(tmp_path, clone, models, data, family, method):
    large, small = [name for name, (of, *_) in DOCUMENTED.items() if of == family]
    common = "--protocol published --published_code {clone} --task_name gsm8k --data_dir {data}"
    values = {"m": models, "data": data, "clone": clone}
    chains = "--num_scaling_times 2 --model_name scaling-nce" if method == "softcotpp" else ""
    shell(
        f"python train_{method}.py --large_model_id {{m}}/{large} --small_model_id {{m}}/{small} --output_name out "
        f"--batch_size 2 --num_thought_tokens 3 --n_epochs 1 --k_shot 2 {chains} {common}",
        tmp_path,
        **values,
    )
    (run,) = (tmp_path / "ckpt").iterdir()
    described = json.loads((run / "run.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256((clone / "utils.py").read_bytes()).hexdigest()
    assert described["record"]["prompt_hash"] == digest
    assert described["prompt_file"] == str(clone / "utils.py")
    done = shell(
        f"bash run_batch_{method}.sh --base_model_id {{m}}/{large} --assistant_model_id {{m}}/{small} "
        f"--params_file_name {run}/projection.bin --num_thought_tokens 2 {chains} --seed_from 41 --seed_to 42 "
        f"--test_k 2 --max_new_tokens 4 --print_input --log_dir logs {common}",
        tmp_path,
        **values,
    )
    assert not re.search("^(warning|note): ", done.stderr, re.MULTILINE)  # of another prompt or protocol
    files = sorted((tmp_path / "logs").glob("*.jsonl"))
    assert len(files) == 2
    # As published, SoftCoT's own scripts give a Qwen3 model Qwen2.5's thought tokens.
    begin = TOKENS["qwen2.5" if (family, method) == ("qwen3", "softcot") else family].begin
    for path in files:
        for row in rows_of(path):
            assert "Solve " in row["input"] and "Hints: " + begin in row["input"]
    (head, *_) = files[0].read_text(encoding="utf-8").splitlines()
    assert json.loads(head)["run"]["prompt_hash"] == digest
