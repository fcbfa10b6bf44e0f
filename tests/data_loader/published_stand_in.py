"""A module with the names, arguments and results of the published functions; words and rules are this test's.

The tests write it, as utils.py, into a folder that they give as the clone. Like the published one it imports nothing
but random, torch and re, and calls nothing of a tokenizer but its chat template.
"""

import random  # noqa: F401
import re

import torch  # noqa: F401


def pre_process_gsm8k(instance, max_len=-1, **models):
    *steps, last = instance["answer"].splitlines()
    target = " / ".join([*steps, "So " + re.sub("####", "it is", last)])
    found = encode("Solve " + instance["question"], target, **models)
    if models["split"] != "test" and models["base_backbone"] == "llama":
        found = shorter(found, len(found["input_ids"]) - 1)
    return shorter(found, max_len) if max_len > 0 else found


def pre_process_aqua(instance, max_len=-1, **models):
    found = encode("Choose. " + instance["question"], instance["answer"].replace("####", "Letter"), **models)
    return shorter(found, max_len) if max_len > 0 else found


def pre_process_strategy_qa(instance, **models):
    assert instance["answer"] in (True, False)
    target = "; ".join(instance["facts"]) + ". Thus " + {True: "Yes", False: "No"}[instance["answer"]] + "."
    return encode("Yes or no? " + instance["question"], target, **models)


def pre_process_du(instance, **models):
    return encode("Which date? " + instance["question"], "Letter " + instance["answer"], **models)


def encode(user, target, tokenizer, assistant_tokenizer, num_thought_tokens, device, add_bot_eot, split, **names):
    """Return the ids of both prompts, the labels and the two slots."""
    length, backbone, assistant_backbone = num_thought_tokens, names["base_backbone"], names["assistant_backbone"]
    (placeholder, begin, end), tokens = names["base_special_token"], names["assistant_special_token"]
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
