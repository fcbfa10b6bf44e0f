"""Prompts, ids and labels from the functions of a user's own clone of the published repository.

The clone's utils.py is read when an encoder is made. Nothing of it is copied or kept. Its names, arguments and
results are all that is known here, and each result is checked before it is used.
"""

import copy
import functools
import hashlib
import inspect
import types
from pathlib import Path

from data_loader.prompts import DATE, PromptError, check_tokenizer, date_options, defuser, token_id
from data_loader.tasks import RAW, get_task

# Task -> the function that encodes its examples, and the arguments that only this function has.
FUNCTIONS = {
    "gsm8k": ("pre_process_gsm8k", ["max_len"]),
    "asdiv-aug": ("pre_process_gsm8k", ["max_len"]),
    "aqua": ("pre_process_aqua", ["max_len"]),
    "strategyqa": ("pre_process_strategy_qa", []),
    "du": ("pre_process_du", []),
}
SPLITS = {"train": "train", "dev": "dev", "eval": "test"}  # ours -> the functions'
MASKS = {"input_ids": "attention_mask", "assistant_input_ids": "assistant_attention_mask"}
RAISED = (Exception, SystemExit, KeyboardInterrupt)  # a signal raises none of them in the project's scripts
KEYS = ("labels", "thought_index", *MASKS, *MASKS.values())


class PublishedEncoder:
    """Encodes the examples of one task as PromptEncoder does, by the published function of that task.

    base_tokens, assistant_tokens: the models' thought tokens. folder: the clone. date_string: printed by chat
    templates that print a date; None leaves it to the template, which may print today's. max_len: where the functions
    that can cut training and dev sequences; -1: nowhere. Whether a prompt ends in a generation prompt is up to the
    functions. Raises PromptError if they do not know a model's family, or the clone lacks the function or has it with
    other arguments.
    """

    def __init__(
        self,
        task,
        base_tokenizer,
        base_tokens,
        assistant_tokenizer,
        assistant_tokens,
        num_thought_tokens,
        folder,
        date_string=DATE,
        max_len=-1,
    ):
        for tokens in (base_tokens, assistant_tokens):
            if not tokens.published_name:
                raise PromptError(
                    "the published functions know models of llama, qwen2.5 and qwen3, and this model's family is "
                    f"{tokens.family}: choose another model, or leave the published functions out"
                )
        self.task = get_task(task)
        self.length, self.max_len = num_thought_tokens, max_len
        self.base_family, self.assistant_family = base_tokens.family, assistant_tokens.family
        self.base_tokenizer, date = base_tokenizer, date_options(date_string)
        for tokenizer in (base_tokenizer, assistant_tokenizer):
            check_tokenizer(tokenizer, date)
        self._defuse = defuser([base_tokenizer, assistant_tokenizer])
        self._slots = {
            "input_ids": [token_id(base_tokenizer, token) for token in _listed(base_tokens)],
            "assistant_input_ids": [token_id(assistant_tokenizer, assistant_tokens.placeholder)],
        }
        self._sizes = {"input_ids": len(base_tokenizer), "assistant_input_ids": len(assistant_tokenizer)}
        self._models = {
            "tokenizer": _returning_ids(base_tokenizer, date),
            "assistant_tokenizer": _returning_ids(assistant_tokenizer, date),
            "num_thought_tokens": num_thought_tokens,
            "device": None,
            "base_backbone": base_tokens.published_name,
            "base_special_token": _listed(base_tokens),
            "assistant_backbone": assistant_tokens.published_name,
            "assistant_special_token": _listed(assistant_tokens),
        }
        self._load(Path(folder) / "utils.py")

    def _load(self, path):
        """Run the file; set path, prompt_hash and the function. Raise PromptError if it has no such function."""
        if self.task.name not in FUNCTIONS:
            raise PromptError(f"the published functions are for {', '.join(FUNCTIONS)}, not for {self.task.name}")
        name, more = FUNCTIONS[self.task.name]
        self._models |= dict.fromkeys(more, self.max_len)
        self.path, self.where = str(path), f"{path}, {name}"
        if not path.is_file():
            raise PromptError(f"{path}: no such file, and {name} is expected there: give the published repository")
        source = path.read_bytes()
        self.prompt_hash = hashlib.sha256(source).hexdigest()
        module = types.ModuleType("published_utils")  # not `utils`, which is this project's
        module.__file__ = self.path
        try:
            exec(compile(source, self.path, "exec"), vars(module))  # an import would write __pycache__ into the clone
        except RAISED as error:  # the file is the user's: whatever it raises
            raise PromptError(f"{self.where}: the file cannot be run: {_described(error)}") from error
        self._function = getattr(module, name, None)
        if not callable(self._function):
            raise PromptError(f"{self.where}: no such function: give the published repository's last commit")
        try:
            inspect.signature(self._function).bind({}, add_bot_eot=True, split="train", **self._models)
        except TypeError as error:
            raise PromptError(
                f"{self.where}: it has other arguments than at the last published commit ({error}): use that commit"
            ) from None

    def encode(self, instance, split):
        """Return what PromptEncoder.encode returns: index, prefix_ids, suffix_ids, labels, assistant_ids.

        instance: an example of loaders.py with its raw field. With L = 0 the prompt is all prefix in evaluation; in
        training the suffix begins with the token before the first label. Raises PromptError if the function fails or
        returns no slot of exactly L placeholders.
        """
        if split not in SPLITS:
            raise ValueError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
        where = f"{self.where}, {split} example {instance['index']}"
        found = self._call(instance, split, where)
        ids, assistant_ids = (_unpadded(found, key, self._sizes[key], where) for key in MASKS)
        labels = [-100] * len(ids) if split == "eval" else found["labels"][: len(ids)]
        if len(labels) != len(ids) or (split != "eval" and set(labels) <= {-100}):
            raise PromptError(f"{where}: {len(found['labels'])} labels for {len(ids)} tokens, or no token with a loss")
        if any(type(label) is not int or label not in (-100, token) for label, token in zip(labels, ids, strict=True)):
            raise PromptError(f"{where}: labels are expected to be -100 or the token of input_ids at their place")
        if self.length:
            begin, end, assistant_begin, assistant_end = _slots_of(found, where)
            self._check_slot(ids, begin, end, "input_ids", where)
            self._check_slot(assistant_ids, assistant_begin, assistant_end, "assistant_input_ids", where)
            assistant_ids = assistant_ids[:assistant_end]  # what follows cannot change a causal model's slot
        else:
            first = next((i for i, label in enumerate(labels) if label != -100), len(ids) + 1)
            begin, end, assistant_ids = first - 1, first - 1, []
        if begin < 0 or set(labels[:end]) - {-100}:
            raise PromptError(f"{where}: labels before the end of the thoughts, where no loss is expected")
        return {
            "index": instance["index"],
            "prefix_ids": ids[:begin],
            "suffix_ids": ids[end:],
            "labels": labels[end:],
            "assistant_ids": assistant_ids,
        }

    def hint_ids(self, text):
        """Return the ids, at most L, of a text for the slot, as PromptEncoder.hint_ids does."""
        return self.base_tokenizer(self._defuse(text.strip()), add_special_tokens=False)["input_ids"][: self.length]

    def _call(self, instance, split, where):
        """Return the function's result for an example: a dict of lists. Raise PromptError if it is something else."""
        if instance["options"]:
            raise PromptError(
                f"{where}: the options are a separate field, and the function reads the question alone: "
                f"convert the data with `python data/prepare.py {self.task.name}`"
            )
        raw = copy.deepcopy(instance[RAW])
        add_bot_eot = split != "eval" or self.length > 0
        try:
            found = self._function(raw, add_bot_eot=add_bot_eot, split=SPLITS[split], **self._models)
        except RAISED as error:  # the code is the user's: whatever it raises
            raise PromptError(f"{where}: {_described(error)}") from error
        wrong = [key for key in KEYS if not isinstance(found, dict) or not isinstance(found.get(key), list)]
        if wrong:
            raise PromptError(f"{where}: its result has no list {', '.join(wrong)}: use the last published commit")
        return found

    def _check_slot(self, ids, first, end, key, where):
        """Raise PromptError unless ids[first:end] is exactly L placeholders, the base's between begin and end token."""
        placeholder, *marks = self._slots[key]
        around = [ids[place] if 0 <= place < len(ids) else None for place in (first - 1, end)]
        as_expected = around == marks if marks else placeholder not in around
        if first < 0 or ids[first:end] != [placeholder] * self.length or not as_expected:
            raise PromptError(
                f"{where}: thought_index says that {key} has its slot at {first} to {end}; expected are exactly "
                f"{self.length} placeholders there" + (" between begin and end token" if marks else "")
            )


def _listed(tokens):
    return [tokens.placeholder, tokens.begin, tokens.end]


def _returning_ids(tokenizer, date):
    """Return a tokenizer whose chat template gives a list of ids; transformers 5 returns a mapping by default."""
    wrapped = copy.copy(tokenizer)
    wrapped.apply_chat_template = functools.partial(tokenizer.apply_chat_template, return_dict=False, **date)
    return wrapped


def _unpadded(found, key, size, where):
    """Return the ids under `key` without padding on the right.

    size: of the vocabulary. Raise PromptError if there is something else than its ids, or if the mask has other zeros.
    """
    ids, mask = found[key], found[MASKS[key]]
    if other := [token for token in ids if type(token) is not int or not 0 <= token < size]:
        raise PromptError(f"{where}: {key} holds {str(other[0])[:40]}, which is no id of the tokenizer's {size}")
    count = mask.count(1)
    if len(mask) != len(ids) or mask != [1] * count + [0] * (len(ids) - count):
        raise PromptError(f"{where}: {MASKS[key]} is not one 1 for each token of {key}, then zeros")
    return ids[:count]


def _slots_of(found, where):
    """Return thought_index as four numbers."""
    index = found["thought_index"]
    if len(index) != 4 or not all(isinstance(number, int) for number in index):
        raise PromptError(f"{where}: thought_index is {index}, expected are four numbers, first and end of two slots")
    return index


def _described(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
