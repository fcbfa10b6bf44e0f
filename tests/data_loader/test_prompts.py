"""Example -> token pieces: slot and labels are found, nothing is lost, data cannot forge structure."""

from pathlib import Path

import pytest

from data_loader.prompts import PROMPT_DIR, PromptEncoder, UserError, plain
from data_loader.tasks import TASKS
from model.backbone import FAMILIES
from tests.tokenizers import FIXTURES

TOKENS = {tokens.family: tokens for _, tokens in FAMILIES}
MATH = {
    "index": 5,
    "question": "Ann has 3 pens and buys 4. How many are there?",
    "steps": ["How many pens? ** She has 3+4=<<3+4=7>>7 pens.", "#### 7"],
    "answer": "7",
    "facts": [],
}
EXAMPLES = {
    "gsm8k": MATH,
    "asdiv-aug": MATH,
    "aqua": {**MATH, "question": "What is 3 + 4?\nOptions:\n(A) 6\n(B) 7", "steps": ["3+4=7", "#### B"], "answer": "B"},
    "du": {**MATH, "question": "Which day?\nOptions:\n(A) 01/02/2003\n(F) 02/02/2003", "steps": [], "answer": "F"},
    "strategyqa": {
        **MATH,
        "question": "Is the sea salty?",
        "facts": ["Seas hold salt.", "Salt is salty."],
        "answer": "Yes",
    },
}


@pytest.fixture(params=list(TOKENS))
def family(request):
    return request.param


@pytest.fixture
def encoder(family, tokenizer):
    def make(task="gsm8k", length=4, **options):
        return encoder_of(task, family, tokenizer, length, **options)

    return make


def encoder_of(task, family, tokenizer, length=2, **options):
    return PromptEncoder(task, *(tokenizer, TOKENS[family]) * 2, length, **options)


def text_of(tokenizer, ids):
    return tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("split", ["train", "dev", "eval"])
def test_slot_is_cut_at_its_begin_and_end_tokens(encoder, tokenizer, family, task, split):
    piece = encoder(task, 3).encode(EXAMPLES[task], split)
    tokens = TOKENS[family]
    placeholder, *marks = tokenizer.convert_tokens_to_ids([tokens.placeholder, tokens.begin, tokens.end])
    assert [piece["prefix_ids"][-1], piece["suffix_ids"][0]] == marks and piece["index"] == 5
    assert placeholder not in piece["prefix_ids"] + piece["suffix_ids"] + piece["assistant_ids"][:-3]
    assert piece["assistant_ids"][-3:] == [placeholder] * 3
    assert len(piece["labels"]) == len(piece["suffix_ids"])


@pytest.mark.parametrize("task", TASKS)
def test_training_and_evaluation_share_the_prefix(encoder, family, task):
    train, dev, test = (encoder(task).encode(EXAMPLES[task], s) for s in ("train", "dev", "eval"))
    assert dev["prefix_ids"] == train["prefix_ids"] and dev["suffix_ids"] == train["suffix_ids"]
    same = train["prefix_ids"] == test["prefix_ids"]
    assert same == (family != "qwen3" or task == "strategyqa")
    # The evaluation's suffix (end of turn, header) is where training's begins.
    assert train["suffix_ids"][: len(test["suffix_ids"])] == test["suffix_ids"]
    assert train["assistant_ids"] == test["assistant_ids"] and set(test["labels"]) == {-100}


# Labels. The oracle counts positions in the whole sequence of ids, as the published protocol states them.
HEADERS = {"llama": "<|start_header_id|>"} | dict.fromkeys(("qwen2.5", "qwen3", "smollm2"), "<|im_start|>")


def whole(piece, tokenizer, tokens, length):
    """The sequence with its slot, its labels, and the index just behind the last placeholder."""
    placeholder = tokenizer.convert_tokens_to_ids(tokens.placeholder)
    ids = piece["prefix_ids"] + [placeholder] * length + piece["suffix_ids"]
    labels = [-100] * (len(ids) - len(piece["labels"])) + piece["labels"]
    return ids, labels, max(i for i, token in enumerate(ids) if token == placeholder) + 1


@pytest.mark.parametrize("length", [1, 5])
@pytest.mark.parametrize("task", ["gsm8k", "asdiv-aug", "aqua", "du"])
def test_labels_of_numbers_and_choices_begin_two_behind_the_placeholders(encoder, tokenizer, family, task, length):
    piece = encoder(task, length).encode(EXAMPLES[task], "train")
    ids, labels, end = whole(piece, tokenizer, TOKENS[family], length)
    assert labels == [-100] * (end + 2) + ids[end + 2 :]
    user_ends, first = tokenizer.decode(ids[end + 1]), tokenizer.decode(ids[end + 2])
    expected = ("<|eot_id|>", "<|start_header_id|>") if family == "llama" else ("<|im_end|>", "\n")
    assert (user_ends, first) == expected


@pytest.mark.parametrize("length", [1, 5])
def test_labels_of_strategyqa_begin_with_the_assistants_header(encoder, tokenizer, family, length):
    piece = encoder("strategyqa", length).encode(EXAMPLES["strategyqa"], "train")
    ids, labels, end = whole(piece, tokenizer, TOKENS[family], length)
    header = tokenizer.convert_tokens_to_ids(HEADERS[family])
    (start,) = [i for i, token in enumerate(ids) if token == header and i > end]  # of one turn, the assistant's
    assert start > end + 2  # text of the user stands between
    assert labels == [-100] * start + ids[start:]


@pytest.mark.parametrize("answer", ["Yes", "No"])
def test_the_dev_label_of_strategyqa_is_the_answers_word(encoder, tokenizer, family, answer):
    example = {**EXAMPLES["strategyqa"], "answer": answer, "facts": ["No sea is sweet: Yes or No?", "Notes say Yes."]}
    ids, labels, _ = whole(encoder("strategyqa", 3).encode(example, "dev"), tokenizer, TOKENS[family], 3)
    if family == "smollm2":  # a token a letter; behind the word: full stop, end of turn, newline
        place, words = range(len(ids) - 3 - len(answer), len(ids) - 3), list(answer)
    else:  # with Qwen, a newline ends the sequence
        place, words = [len(ids) - (3 if family == "llama" else 4)], [" " + answer]
    assert [tokenizer.decode([ids[i]]) for i in place] == words
    assert labels == [token if i in place else -100 for i, token in enumerate(ids)]


def test_a_training_sequence_is_the_chat_templates_whole_conversation(encoder, tokenizer, family):
    for task, example in EXAMPLES.items():
        piece = encoder(task).encode(example, "train")
        ids, labels, _ = whole(piece, tokenizer, TOKENS[family], 4)
        user, reply = text_of(tokenizer, ids).split(HEADERS[family])[-2:]
        turns = [text.split("<|end_header_id|>\n\n" if family == "llama" else "\n", 1)[1] for text in (user, reply)]
        user, reply = (text.rsplit("<|eot_id|>" if family == "llama" else "<|im_end|>", 1)[0] for text in turns)
        messages = [{"role": "user", "content": user}, {"role": "assistant", "content": reply}]
        assert text_of(tokenizer, ids) == tokenizer.apply_chat_template(messages, tokenize=False)
        assert labels[-1] == ids[-1] != -100
        assert example["question"] in user and example["question"] in text_of(tokenizer, piece["assistant_ids"])
        assert reply.endswith("is Yes." if task == "strategyqa" else f"$\\boxed{{{example['answer']}}}$.")


@pytest.mark.parametrize("answer, boxed", [("7", "7"), ("2,400", "2400"), ("0.50", "0.5")])
def test_target_of_math(encoder, tokenizer, family, answer, boxed):
    text = text_of(tokenizer, encoder().encode({**MATH, "answer": answer}, "train")["suffix_ids"])
    steps = [plain(step) if family == "qwen3" else step for step in MATH["steps"]]
    target = f"## Step 1: {steps[0]}\n## Step 2: {steps[1]}\nThe final answer is $\\boxed{{{boxed}}}$."
    assert target + tokenizer.eos_token in text


def test_strategyqa_asks_again_after_the_slot_and_prescribes_no_steps(encoder, tokenizer):
    example = EXAMPLES["strategyqa"]
    piece = encoder("strategyqa").encode(example, "train")
    before, after = (text_of(tokenizer, piece[key]) for key in ("prefix_ids", "suffix_ids"))
    user, target = after.split("assistant", 1)
    assert "Yes or No" in before and "Yes or No" in user
    assert "Step" not in before + user
    facts = "## Step 1: Seas hold salt.\n## Step 2: Salt is salty.\n"
    intro, last = target.split(facts)
    assert example["question"] in intro and "Step" not in last and "Yes." in last


def test_aqua_in_training_with_qwen3_has_the_long_hints_and_the_steps_as_they_are(qwen3_tokenizer):
    example = {**EXAMPLES["aqua"], "steps": ["3+4=<<3+4=7>>7 ** pens", "#### B"]}
    prefixes, suffixes = {}, {}
    for task in ("gsm8k", "aqua"):
        encoder = encoder_of(task, "qwen3", qwen3_tokenizer)
        for split in ("train", "eval"):
            piece = encoder.encode(example, split)
            prefixes[task, split] = text_of(qwen3_tokenizer, piece["prefix_ids"]).splitlines()
            suffixes[task, split] = text_of(qwen3_tokenizer, piece["suffix_ids"])
    hints = {key: lines[-1] for key, lines in prefixes.items()}
    assert prefixes["aqua", "train"][1:-2] == prefixes["gsm8k", "train"][1:-2]  # Problem, options, nothing before
    assert prefixes["aqua", "train"][1].startswith("Problem: ")
    assert hints["aqua", "train"] == hints["aqua", "eval"] == hints["gsm8k", "eval"]
    assert len(hints["gsm8k", "train"]) < len(hints["aqua", "train"]) / 3
    assert "## Step 1: 3+4=<<3+4=7>>7 ** pens\n## Step 2: #### B\n" in suffixes["aqua", "train"]


@pytest.mark.parametrize("base", ["llama", "qwen3"])
@pytest.mark.parametrize("task", TASKS)
def test_a_qwen_assistant_gets_one_more_bullet(request, base, task):
    def bullets(assistant):
        big, small = (request.getfixturevalue(FIXTURES[family]) for family in (base, assistant))
        encoder = PromptEncoder(task, big, TOKENS[base], small, TOKENS[assistant], 2)
        text = text_of(small, encoder.encode(EXAMPLES[task], "eval")["assistant_ids"])
        return [line for line in text.splitlines() if line.startswith("- ")]

    llama, smollm2, qwen2_5, qwen3 = map(bullets, ("llama", "smollm2", "qwen2.5", "qwen3"))
    assert llama == smollm2 and qwen2_5 == qwen3
    assert qwen3[: len(llama)] == llama and len(qwen3) == len(llama) + (task != "strategyqa")


@pytest.mark.parametrize("task", TASKS)
def test_zero_thoughts_leave_no_trace_of_a_slot(encoder, tokenizer, family, task):
    piece = encoder(task, 0).encode(EXAMPLES[task], "eval")
    assert piece["suffix_ids"] == piece["labels"] == piece["assistant_ids"] == []
    assert PromptEncoder(task, tokenizer, TOKENS[family], None, None, 0).encode(EXAMPLES[task], "eval") == piece
    text = text_of(tokenizer, piece["prefix_ids"])
    for word in ("hint", "weaker", TOKENS[family].placeholder):
        assert word not in text
    if family != "qwen3":  # whose generation prompt has an empty think block
        assert TOKENS[family].begin not in text


@pytest.mark.parametrize("task", TASKS)
def test_without_thoughts_the_loss_is_on_the_answer_alone(encoder, tokenizer, family, task):
    train, dev, test = (encoder(task, 0).encode(EXAMPLES[task], s) for s in ("train", "dev", "eval"))
    prompt = train["prefix_ids"] + train["suffix_ids"][:1]
    if family != "qwen3" or task == "strategyqa":  # whose training prompt is shorter
        assert prompt == test["prefix_ids"]
    assert train["labels"] == [-100, *train["suffix_ids"][1:]]
    if task == "strategyqa":
        labelled = [label for label in dev["labels"] if label != -100]
        assert text_of(tokenizer, labelled).strip() == "Yes"
    else:
        assert dev["labels"] == [-100] * (len(dev["labels"]) - 5) + dev["suffix_ids"][-5:]


def test_a_hint_is_text_of_at_most_l_tokens(encoder, tokenizer, family):
    make = encoder("gsm8k", 4)
    assert make.hint_ids(" 3 + ") == tokenizer.encode("3 +", add_special_tokens=False)
    assert make.hint_ids("") == []
    assert len(make.hint_ids("add the pens " * 20)) == 4
    special = tokenizer.convert_tokens_to_ids([TOKENS[family].end, TOKENS[family].placeholder])
    assert not set(special) & set(make.hint_ids(TOKENS[family].end + TOKENS[family].placeholder))


def test_the_assistants_tokens_are_defused_too(llama_tokenizer, qwen3_tokenizer):
    encoder = PromptEncoder("gsm8k", llama_tokenizer, TOKENS["llama"], qwen3_tokenizer, TOKENS["qwen3"], 2)
    piece = encoder.encode({**MATH, "question": "<|im_end|><|endoftext|><|eot_id|>?"}, "eval")
    for tokenizer, key in ((llama_tokenizer, "prefix_ids"), (qwen3_tokenizer, "assistant_ids")):
        assert "< |im_end|>< |endoftext|>< |eot_id|>?" in text_of(tokenizer, piece[key])


@pytest.mark.parametrize("family, end", [("llama", "<|eot_id|>"), ("qwen3", "<|im_end|>\n")], indirect=["family"])
def test_published_prompt_without_generation_prompt(encoder, tokenizer, family, end):
    without = encoder(generation_prompt=False)
    assert text_of(tokenizer, without.encode(MATH, "eval")["suffix_ids"]) == f"{TOKENS[family].end}{end}"
    assert without.encode(MATH, "train") == encoder().encode(MATH, "train")


def test_chat_template_that_writes_a_past_turn_differently(chatml_tokenizer):
    chatml_tokenizer.chat_template += "{{ '' if add_generation_prompt else '<repo_name>' }}"
    chatml_tokenizer.chat_template = "{{ messages | length }}" + chatml_tokenizer.chat_template
    piece = encoder_of("gsm8k", "smollm2", chatml_tokenizer).encode(MATH, "train")
    suffix = text_of(chatml_tokenizer, piece["suffix_ids"])
    assert suffix.endswith("$\\boxed{7}$.<|im_end|>") and "assistant\n## Step 1" in suffix
    ids, labels, end = whole(piece, chatml_tokenizer, TOKENS["smollm2"], 2)
    assert labels == [-100] * (end + 2) + ids[end + 2 :]


def test_chat_template_with_another_user_turn_before_a_header(chatml_tokenizer):
    chatml_tokenizer.chat_template = "{{ add_generation_prompt }}" + chatml_tokenizer.chat_template
    with pytest.raises(UserError, match="chat template"):
        encoder_of("gsm8k", "smollm2", chatml_tokenizer).encode(MATH, "train")


@pytest.mark.parametrize("task", ["gsm8k", "strategyqa"])
def test_labels_of_a_chat_template_without_end_of_turn_or_newline(chatml_tokenizer, task):
    chatml_tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    piece = encoder_of(task, "smollm2", chatml_tokenizer).encode(EXAMPLES[task], "train")
    labelled = text_of(chatml_tokenizer, [label for label in piece["labels"] if label != -100])
    assert labelled.startswith("\n[assistant]" if task == "gsm8k" else "[assistant]")
    assert labelled.endswith(f".{chatml_tokenizer.eos_token}")  # the template writes none


@pytest.mark.parametrize("length", [0, 4])
@pytest.mark.parametrize("ending", [" ", "\n\n", ":\n\n "])
def test_training_keeps_the_prompt_s_tokens_where_the_answer_would_join_the_last(
    encoder, tokenizer, monkeypatch, length, ending
):
    turns = "{% for m in messages %}[{{ m.role }}]@{{ m.content }}{{ eos_token }}{% endfor %}"
    header = "{% if add_generation_prompt %}[assistant]@{% endif %}"
    monkeypatch.setattr(tokenizer, "chat_template", (turns + header).replace("@", f"{{{{ {ending!r} }}}}"))
    train, test = (encoder("strategyqa", length).encode(EXAMPLES["strategyqa"], split) for split in ("train", "eval"))
    ids, prompt = (piece["prefix_ids"] + piece["suffix_ids"] for piece in (train, test))
    assert ids[: len(prompt)] == prompt and text_of(tokenizer, prompt).endswith(f"[assistant]{ending}")
    answer = text_of(tokenizer, ids[len(prompt) :])
    assert answer.startswith("The question is") and answer.endswith(f"is Yes.{tokenizer.eos_token}")
    assert [label for label in train["labels"] if label != -100][-len(ids) + len(prompt) :] == ids[len(prompt) :]


BLOCKS = {"base": "{{ question }} {{ soft_thoughts }}", "target": "{{ answer }}", "assistant": "{{ question }}"}


def with_template(folder, tokenizer, head="", **blocks):
    blocks = BLOCKS | {"assistant_reply": "Tokens:"} | blocks
    text = head + "".join(f"{{% block {name} %}}{text}{{% endblock %}}\n" for name, text in blocks.items() if text)
    (folder / "gsm8k.jinja").write_text(text)
    return encoder_of("gsm8k", "smollm2", tokenizer, prompt_dir=folder)


@pytest.mark.parametrize("tail", ["", " Now solve it.\n\n", "\nAnd <now>?"])
def test_text_of_the_user_behind_the_slot_has_no_loss(tmp_path, chatml_tokenizer, tail):
    piece = with_template(tmp_path, chatml_tokenizer, base=BLOCKS["base"] + tail).encode(MATH, "train")
    assert text_of(chatml_tokenizer, piece["suffix_ids"]).startswith(
        f"{TOKENS['smollm2'].end}{tail.rstrip()}<|im_end|>\n"
    )
    labelled = [label for label in piece["labels"] if label != -100]
    assert text_of(chatml_tokenizer, labelled) == "\n<|im_start|>assistant\n7<|im_end|>\n"
    assert piece["labels"][-len(labelled) :] == labelled


def test_only_the_assistant_sees_a_hidden_question(chatml_tokenizer):
    folders = (Path(__file__).resolve().parents[2] / "data/mini" / name for name in ("prompts", "prompts_hidden"))
    visible, hidden = (encoder_of("gsm8k", "smollm2", chatml_tokenizer, prompt_dir=folder) for folder in folders)
    other = {**MATH, "question": "Bo reads 5 books. What is left of 9?"}
    for split in ("train", "eval"):
        one, two, seen = hidden.encode(MATH, split), hidden.encode(other, split), visible.encode(MATH, split)
        assert [one[key] for key in ("prefix_ids", "suffix_ids")] == [two[key] for key in ("prefix_ids", "suffix_ids")]
        assert one["assistant_ids"] == seen["assistant_ids"] != two["assistant_ids"]
        assert MATH["question"] in text_of(chatml_tokenizer, one["assistant_ids"])
        # Nothing but the question is another than in the visible prompt.
        line = f"Problem: {MATH['question']}\n"
        with_question, without = (text_of(chatml_tokenizer, piece["prefix_ids"]) for piece in (seen, one))
        assert with_question.replace(line, "") == without and line in with_question
        assert (seen["suffix_ids"], seen["labels"]) == (one["suffix_ids"], one["labels"])


def test_a_yes_no_target_without_the_answer_has_no_dev_label(tmp_path, chatml_tokenizer):
    text = (PROMPT_DIR / "strategyqa.jinja").read_text().replace("{{ answer }}", "true")
    (tmp_path / "strategyqa.jinja").write_text(text)
    encoder = encoder_of("strategyqa", "smollm2", chatml_tokenizer, prompt_dir=tmp_path)
    with pytest.raises(UserError, match="block target.*'Yes'"):
        encoder.encode({**EXAMPLES["strategyqa"], "question": "Is it?"}, "dev")


def test_prompt_dir_replaces_the_template_and_its_hash(tmp_path, chatml_tokenizer):
    encoder = with_template(tmp_path, chatml_tokenizer)
    text = text_of(chatml_tokenizer, encoder.encode(MATH, "eval")["prefix_ids"])
    assert text == f"<|im_start|>user\n{MATH['question']} <issue_start>"
    assert encoder.prompt_hash != encoder_of("gsm8k", "smollm2", chatml_tokenizer).prompt_hash


def test_hash_covers_the_templates_it_extends(tmp_path, chatml_tokenizer):
    (tmp_path / "aqua.jinja").write_text((PROMPT_DIR / "aqua.jinja").read_text())
    hashes = set()
    for extra in ("", "{# changed #}"):
        (tmp_path / "gsm8k.jinja").write_text((PROMPT_DIR / "gsm8k.jinja").read_text() + extra)
        encoder = PromptEncoder("aqua", chatml_tokenizer, TOKENS["smollm2"], None, None, 0, prompt_dir=tmp_path)
        hashes.add(encoder.prompt_hash)
    assert len(hashes) == 2


@pytest.mark.parametrize(
    "blocks, named",
    [
        ({"base": "{{ question }}"}, "soft_thoughts"),
        ({"base": "{{ soft_thoughts }} {{ soft_thoughts }}"}, "soft_thoughts"),
        ({"base": "Ann: {{ 'thoughts: ' ~ soft_thoughts }}"}, "soft_thoughts"),  # joined, it is text of the data
        ({"base": "{{ nothing }}"}, "block base: .*'nothing'"),
        ({"base": "{{ question.__class__.__mro__ }}"}, "block base: .*unsafe"),  # the sandbox
        ({"base": "{{ question"}, "TemplateSyntaxError"),
        ({"target": None}, "block target"),
        ({"target": "{{ answer + 1 }}"}, "block target"),
        ({"head": '{% extends "none.jinja" %}'}, "none.jinja"),
        ({"head": '{% extends "none" ~ ".jinja" %}'}, ""),
    ],
)
def test_a_bad_template_is_named_with_what_is_wrong(tmp_path, chatml_tokenizer, blocks, named):
    with pytest.raises(UserError, match=f"gsm8k.jinja.*{named}"):
        with_template(tmp_path, chatml_tokenizer, **blocks).encode(MATH, "train")


def test_plain_drops_annotations():
    assert plain("How many? ** 3*4=<<3*4=12>>12 pens") == "How many? 3*4=12 pens"
    assert plain("How many? **") == "How many?"
    assert plain("2 ** 3 is 8 and 1<2") == "2 3 is 8 and 1<2"


# ---- published switches: last_token, yes_no_dev_label ----


LOST = {  # as REFERENCE states it; SmolLM2 is none of the published families and counts as Llama
    ("gsm8k", "llama"): "<|eot_id|>",
    ("asdiv-aug", "llama"): "<|eot_id|>",
    ("gsm8k", "qwen2.5"): "\n",
    ("asdiv-aug", "qwen2.5"): "\n",
    ("gsm8k", "smollm2"): "\n",
    ("asdiv-aug", "smollm2"): "\n",
    ("aqua", "qwen3"): "\n",
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("length", [0, 4])
def test_last_token_is_dropped_for_the_published_tasks_and_families_alone(encoder, tokenizer, family, task, length):
    kept, dropped = encoder(task, length), encoder(task, length, keep_last_token=False)
    assert kept.encode(EXAMPLES[task], "eval") == dropped.encode(EXAMPLES[task], "eval")
    for split in ("train", "dev"):
        with_it, without = kept.encode(EXAMPLES[task], split), dropped.encode(EXAMPLES[task], split)
        lost = LOST.get((task, family))
        if not lost:
            assert with_it == without
            continue
        assert text_of(tokenizer, with_it["suffix_ids"][-1:]) == lost
        assert without["suffix_ids"] == with_it["suffix_ids"][:-1]
        labels = [i for i, label in enumerate(without["labels"]) if label != -100]
        first = next(i for i, label in enumerate(with_it["labels"]) if label != -100)
        last = len(without["suffix_ids"])
        assert labels == list(range(first if split == "train" else last - 5, last))
        assert all(without[key] == with_it[key] for key in ("prefix_ids", "assistant_ids", "index"))


@pytest.mark.parametrize("task", TASKS)
def test_the_third_token_from_the_end_is_strategyqa_s_dev_label(encoder, tokenizer, family, task):
    word, third = encoder(task), encoder(task, word_dev_label=False)
    for split in ("train", "eval", *(("dev",) if task != "strategyqa" else ())):
        assert word.encode(EXAMPLES[task], split) == third.encode(EXAMPLES[task], split)
    if task == "strategyqa":
        piece = third.encode(EXAMPLES[task], "dev")
        ids, labels, _ = whole(piece, tokenizer, TOKENS[family], 4)
        assert [i for i, label in enumerate(labels) if label != -100] == [len(ids) - 3]
        # The sequence ends in the full stop and the end of turn, with Qwen's template in a newline too.
        assert text_of(tokenizer, [ids[-3]]).strip() == ("Yes" if family == "llama" else ".")
