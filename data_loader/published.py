"""Prompts, ids and labels from the functions of a user's own clone of the published repository.

The clone's utils.py is read when an encoder is made. Nothing of it is copied or kept. Its names, arguments and
results are all that is known here, and the slot of each result is checked.
"""

import contextlib
import copy
import functools
import hashlib
import inspect
import types
from pathlib import Path

from data_loader.prompts import DATE, PromptError, check_tokenizer, date_options, defuser, describe, token_id
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


class PublishedEncoder:
    """Encodes the examples of one task as PromptEncoder does, by the published function of that task.

    folder: the clone. max_len: where the functions that can cut training and dev sequences; -1: nowhere. Whether a
    prompt ends in a generation prompt is up to the functions. Raises PromptError if they do not know a model's family,
    or the clone lacks the function or has it with other arguments.
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
                raise PromptError(f"the published functions know no {tokens.family}, only llama, qwen2.5 and qwen3")
        self.task = get_task(task)
        self.length, self.max_len = num_thought_tokens, max_len
        self.base_family, self.assistant_family = base_tokens.family, assistant_tokens.family
        self.base_tokenizer, date = base_tokenizer, date_options(date_string)
        for tokenizer in (base_tokenizer, assistant_tokenizer):
            check_tokenizer(tokenizer, date)
        self._defuse = defuser([base_tokenizer, assistant_tokenizer])
        marks, small_marks = ([t.placeholder, t.begin, t.end] for t in (base_tokens, assistant_tokens))
        self._slots = {
            "input_ids": [token_id(base_tokenizer, token) for token in marks],
            "assistant_input_ids": [token_id(assistant_tokenizer, assistant_tokens.placeholder)],
        }
        self._models = {
            "tokenizer": _returning_ids(base_tokenizer, date),
            "assistant_tokenizer": _returning_ids(assistant_tokenizer, date),
            "num_thought_tokens": num_thought_tokens,
            "device": None,
            "base_backbone": base_tokens.published_name,
            "base_special_token": marks,
            "assistant_backbone": assistant_tokens.published_name,
            "assistant_special_token": small_marks,
        }
        self._load(Path(folder) / "utils.py")

    def _load(self, path):
        """Run the file; set path, prompt_hash and the function. Raises PromptError if that fails."""
        name, more = FUNCTIONS[self.task.name]
        self._models |= dict.fromkeys(more, self.max_len)
        self.path, self.where = str(path), f"{path}, {name}"
        source = path.read_bytes()
        self.prompt_hash = hashlib.sha256(source).hexdigest()
        module = types.ModuleType("published_utils")  # not `utils`, which is this project's
        module.__file__ = self.path
        with _naming(self.where):
            exec(compile(source, self.path, "exec"), vars(module))  # an import would write __pycache__ into the clone
            self._function = getattr(module, name)
            inspect.signature(self._function).bind({}, add_bot_eot=True, split="train", **self._models)

    def encode(self, instance, split):
        """Return what PromptEncoder.encode returns: index, prefix_ids, suffix_ids, labels, assistant_ids.

        instance: an example of loaders.py with its raw field. With L = 0 the prompt is all prefix in evaluation; in
        training the suffix begins with the token before the first label. Raises PromptError if the function fails or
        returns no slot of exactly L placeholders.
        """
        where = f"{self.where}, {split} example {instance['index']}"
        if instance["options"]:
            raise PromptError(
                f"{where}: options beside the question are not read: run `python data/prepare.py {self.task.name}`"
            )
        with _naming(where):
            found = self._function(
                copy.deepcopy(instance[RAW]),
                add_bot_eot=split != "eval" or self.length > 0,
                split=SPLITS[split],
                **self._models,
            )
            ids, assistant_ids = (_unpadded(found[key], found[mask]) for key, mask in MASKS.items())
            labels = [-100] * len(ids) if split == "eval" else found["labels"][: len(ids)]
            begin, end, assistant_begin, assistant_end = found["thought_index"]
        if self.length:
            self._check_slot(ids, begin, end, "input_ids", where)
            self._check_slot(assistant_ids, assistant_begin, assistant_end, "assistant_input_ids", where)
            assistant_ids = assistant_ids[:assistant_end]  # what follows cannot change a causal model's slot
        else:
            first = next((i for i, label in enumerate(labels) if label != -100), len(ids) + 1)
            begin, end, assistant_ids = first - 1, first - 1, []
        if begin < 0 or set(labels[:end]) - {-100} or len(labels) != len(ids):
            raise PromptError(f"{where}: not one label for each token, or labels before the end of the thoughts")
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

    def _check_slot(self, ids, first, end, key, where):
        """Raise PromptError unless ids[first:end] is exactly L placeholders, the base's between begin and end token."""
        placeholder, *marks = self._slots[key]
        around = [ids[place] if 0 <= place < len(ids) else None for place in (first - 1, end)]
        as_expected = around == marks if marks else placeholder not in around
        if first < 0 or ids[first:end] != [placeholder] * self.length or not as_expected:
            raise PromptError(f"{where}: {key} has no slot of {self.length} at thought_index, {first} to {end}")


def _returning_ids(tokenizer, date):
    """Return a tokenizer whose chat template gives a list of ids; transformers 5 returns a mapping by default."""
    wrapped = copy.copy(tokenizer)
    wrapped.apply_chat_template = functools.partial(tokenizer.apply_chat_template, return_dict=False, **date)
    return wrapped


def _unpadded(ids, mask):
    """Return ids without padding on the right. Raises ValueError if the mask has other zeros."""
    count = mask.count(1)
    if mask != [1] * count + [0] * (len(ids) - count):
        raise ValueError(f"{mask} masks other tokens than padding on the right")
    return ids[:count]


@contextlib.contextmanager
def _naming(where):
    """Turn what the user's file raises into a PromptError that names it."""
    try:
        yield
    except Exception as error:
        raise PromptError(f"{where}: {describe(error)}: is it the published repository's last commit?") from error
