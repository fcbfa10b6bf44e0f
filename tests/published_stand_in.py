"""A module with the names, arguments and results of the published functions; words and rules are this test's.

The tests write it, as utils.py, into a folder that they give as the clone. Like the published one it imports nothing
but random, torch and re, and calls nothing of a tokenizer but its chat template.
"""

import random  # noqa: F401
import re

import torch  # noqa: F401


def pre_process_gsm8k(
    instance,
    tokenizer,
    assistant_tokenizer,
    num_thought_tokens,
    device=None,
    add_bot_eot=True,
    split="train",
    base_backbone="llama",
    base_special_token=None,
    assistant_backbone="llama",
    assistant_special_token=None,
    max_len=-1,
):
    models = (
        (tokenizer, base_backbone, base_special_token),
        (
            assistant_tokenizer,
            assistant_backbone,
            assistant_special_token,
        ),
    )
    *steps, last = instance["answer"].splitlines()
    target = " / ".join([*steps, "So " + re.sub("####", "it is", last)])
    found = encode("Solve " + instance["question"], target, models, num_thought_tokens, add_bot_eot, split)
    if split != "test" and base_backbone == "llama":
        found = shorter(found, len(found["input_ids"]) - 1)
    return shorter(found, max_len) if max_len > 0 else found


def pre_process_aqua(
    instance,
    tokenizer,
    assistant_tokenizer,
    num_thought_tokens,
    device=None,
    add_bot_eot=True,
    split="train",
    base_backbone="llama",
    base_special_token=None,
    assistant_backbone="llama",
    assistant_special_token=None,
    max_len=-1,
):
    models = (
        (tokenizer, base_backbone, base_special_token),
        (
            assistant_tokenizer,
            assistant_backbone,
            assistant_special_token,
        ),
    )
    target = instance["answer"].replace("####", "Letter")
    found = encode("Choose. " + instance["question"], target, models, num_thought_tokens, add_bot_eot, split)
    return shorter(found, max_len) if max_len > 0 else found


def pre_process_strategy_qa(
    instance,
    tokenizer,
    assistant_tokenizer,
    num_thought_tokens,
    device=None,
    add_bot_eot=True,
    split="train",
    base_backbone="llama",
    base_special_token=None,
    assistant_backbone="llama",
    assistant_special_token=None,
):
    models = (
        (tokenizer, base_backbone, base_special_token),
        (
            assistant_tokenizer,
            assistant_backbone,
            assistant_special_token,
        ),
    )
    assert instance["answer"] in (True, False)
    target = "; ".join(instance["facts"]) + ". Thus " + {True: "Yes", False: "No"}[instance["answer"]] + "."
    return encode("Yes or no? " + instance["question"], target, models, num_thought_tokens, add_bot_eot, split)


def pre_process_du(
    instance,
    tokenizer,
    assistant_tokenizer,
    num_thought_tokens,
    device=None,
    add_bot_eot=True,
    split="train",
    base_backbone="llama",
    base_special_token=None,
    assistant_backbone="llama",
    assistant_special_token=None,
):
    models = (
        (tokenizer, base_backbone, base_special_token),
        (
            assistant_tokenizer,
            assistant_backbone,
            assistant_special_token,
        ),
    )
    target = "Letter " + instance["answer"]
    return encode("Which date? " + instance["question"], target, models, num_thought_tokens, add_bot_eot, split)


def encode(user, target, models, length, add_bot_eot, split):
    """Return the ids of both prompts, the labels and the two slots."""
    (tokenizer, backbone, (placeholder, begin, end)), (assistant_tokenizer, assistant_backbone, tokens) = models
    if add_bot_eot:
        user += " Hints: " + begin + placeholder * length + end
    ids = chat(tokenizer, backbone, user)
    last = len(ids) - behind_turn(tokenizer, backbone) - 1  # the end token's place
    labels = [-100] * len(ids)
    if split != "test":
        labels = [-100] * (last + 2)
        ids = chat(tokenizer, backbone, user, target)
        labels += ids[len(labels) :]
        if split == "dev":
            labels = [-100] * (len(ids) - 5) + ids[-5:]
    thoughts = "Thoughts: " + tokens[0] * length
    assistant_ids = chat(assistant_tokenizer, assistant_backbone, "Think of " + user.split(" Hints: ")[0], thoughts)
    stop = len(assistant_ids) - behind_turn(assistant_tokenizer, assistant_backbone)
    return {
        "input_ids": ids,
        "attention_mask": [1] * len(ids),
        "assistant_input_ids": assistant_ids,
        "assistant_attention_mask": [1] * len(assistant_ids),
        "labels": labels,
        "thought_index": [last - length, last, stop - length, stop],
    }


def chat(tokenizer, backbone, user, reply=None):
    messages = [{"role": "user", "content": user}]
    if reply is not None:
        messages.append({"role": "assistant", "content": reply})
    more = {"enable_thinking": False} if backbone == "qwen3" else {}
    return tokenizer.apply_chat_template(messages, add_generation_prompt=False, **more)


def behind_turn(tokenizer, backbone):
    """Return how many tokens end a turn: counted by the number that all turns end in alike."""
    one, two = (chat(tokenizer, backbone, text)[::-1] for text in ("one", "two"))
    return next(i for i, (a, b) in enumerate(zip(one, two)) if a != b)  # noqa: B905


def shorter(found, count):
    """Cut ids, mask and labels at that many tokens."""
    return found | {key: found[key][:count] for key in ("input_ids", "attention_mask", "labels")}
