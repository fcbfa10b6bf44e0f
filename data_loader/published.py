"""Prompts, ids and labels from the functions of a user's own clone of the published repository.

The clone's utils.py is read when an encoder is made. Nothing of it is copied or kept. Its names, arguments and
results are all that is known here, and the slot of each result is checked.
"""

import copy
import functools
import hashlib
import types
from pathlib import Path

from data_loader.prompts import DATE, Encoder
from data_loader.tasks import RAW
from utils import UserError, naming

FUNCTIONS = {  # task -> what encodes its examples
    "gsm8k": "pre_process_gsm8k",
    "asdiv-aug": "pre_process_gsm8k",
    "aqua": "pre_process_aqua",
    "strategyqa": "pre_process_strategy_qa",
    "du": "pre_process_du",
}
SPLITS = {"train": "train", "dev": "dev", "eval": "test"}  # ours -> the functions'
MASKS = {"input_ids": "attention_mask", "assistant_input_ids": "assistant_attention_mask"}


class PublishedEncoder(Encoder):
    """Encodes by the published function of a task.

    pair: as for `Encoder`, from task to num_thought_tokens. folder: the clone. max_len: at how many tokens the
    functions cut training and dev sequences, if they can; -1: nowhere. Whether a prompt ends in a generation prompt is
    up to the functions. Raises UserError if they do not know a model's family, or the clone lacks the function.
    """

    def __init__(self, *pair, folder, date_string=DATE, max_len=-1):
        super().__init__(*pair, date_string=date_string)
        self._models = {"num_thought_tokens": self.length, "device": None}
        for prefix, part, tokenizer, tokens in (
            ("", "base", self.base_tokenizer, self.base_tokens),
            ("assistant_", "assistant", self.assistant_tokenizer, self.assistant_tokens),
        ):
            if not tokens.published_name:
                raise UserError(f"the published functions know no {tokens.family}, only llama, qwen2.5 and qwen3")
            own = copy.copy(tokenizer)  # transformers 5's template returns a mapping by default
            own.apply_chat_template = functools.partial(tokenizer.apply_chat_template, return_dict=False, **self.date)
            self._models[f"{prefix}tokenizer"] = own
            self._models[f"{part}_backbone"] = tokens.published_name
            self._models[f"{part}_special_token"] = [tokens.placeholder, tokens.begin, tokens.end]
        self._models |= {"max_len": max_len} if self.task.is_cut else {}
        self._load(Path(folder) / "utils.py", FUNCTIONS[self.task.name])

    def _load(self, path, name):
        """Run the file; set path, prompt_hash and the function. Raises UserError if that fails."""
        self.path, self.where = str(path), f"{path}, {name}"
        source = path.read_bytes()
        self.prompt_hash = hashlib.sha256(source).hexdigest()
        module = types.ModuleType("published_utils")  # not `utils`, which is this project's
        module.__file__ = self.path
        with naming(f"{self.where}, of the published repository's last commit", Exception):
            exec(compile(source, self.path, "exec"), vars(module))  # an import would write __pycache__ into the clone
            self._function = getattr(module, name)

    def encode(self, instance, split):
        """Return what PromptEncoder.encode returns: index, prefix_ids, suffix_ids, labels, assistant_ids.

        instance: an example of loaders.py with its raw field. With L = 0 the prompt is all prefix in evaluation; in
        training the suffix begins with the token before the first label. Raises UserError if the function fails or
        returns no slot of exactly L placeholders.
        """
        where = f"{self.where}, {split} example {instance['index']}"
        with naming(where, Exception):
            found = self._function(
                copy.deepcopy(instance[RAW]),
                add_bot_eot=split != "eval" or self.length > 0,
                split=SPLITS[split],
                **self._models,
            )
            ids, assistant_ids = (_unpadded(found[key], found[mask]) for key, mask in MASKS.items())
            labels = [-100] * len(ids) if split == "eval" else found["labels"][: len(ids)]
            begin, end, first, stop = found["thought_index"]
        if self.length:
            own = [self.assistant_placeholder] * self.length
            around = assistant_ids[max(0, first - 1) : first] + assistant_ids[stop : stop + 1]
            has_slot = {
                "input_ids": begin > 0 and ids[begin - 1 : end + 1] == self.slot_ids,
                "assistant_input_ids": first >= 0 and assistant_ids[first:stop] == own and own[0] not in around,
            }
            for key in (key for key, good in has_slot.items() if not good):
                raise UserError(f"{where}: {key} has no slot of {self.length} at thought_index")
            assistant_ids = assistant_ids[:stop]  # what follows cannot change a causal model's slot
        else:
            begin = next((i for i, label in enumerate(labels) if label != -100), len(ids) + 1) - 1
            end, assistant_ids = begin, []
        if begin < 0 or set(labels[:end]) - {-100} or len(labels) != len(ids):
            raise UserError(f"{where}: not one label for each token, or labels before the end of the thoughts")
        return {
            "index": instance["index"],
            "prefix_ids": ids[:begin],
            "suffix_ids": ids[end:],
            "labels": labels[end:],
            "assistant_ids": assistant_ids,
        }


def _unpadded(ids, mask):
    """Return ids without padding on the right. Raises ValueError if the mask has other zeros."""
    count = mask.count(1)
    if mask != [1] * count + [0] * (len(ids) - count):
        raise ValueError(f"{mask} masks other tokens than padding on the right")
    return ids[:count]
