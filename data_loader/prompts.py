"""One example -> token ids around the thought slot.

A task's prompts are one Jinja template (prompts/<task>.jinja) with four blocks: `base` (the base model's user turn),
`target` (its answer in training), `assistant` (the assistant model's user turn) and `assistant_reply` (how that model's
turn begins, before the placeholders). They see question, steps, answer, facts, split ("train" or "eval"),
soft_thoughts (the slot's text, "" without thoughts), num_thought_tokens, base_family and assistant_family. Blocks are
rendered alone: nothing outside a block is seen; surrounding white space is dropped. A template may extend another.

Knows tokenizers and nothing of models or tasks' files.
"""

import datetime
import hashlib
import re
from pathlib import Path

from jinja2 import FileSystemLoader, StrictUndefined, meta
from jinja2.sandbox import SandboxedEnvironment

from data_loader.answers import read_gold
from data_loader.tasks import get_task
from utils import UserError, naming

PROMPT_DIR = Path(__file__).resolve().parent / "prompts"
FIELDS = ("question", "steps", "answer", "facts")
# Many templates print today's date unless they are given one: a prompt that changes every day.
DATE = "26 Jul 2024"


def date_options(date_string):
    """Return what makes a chat template print this date ("26 Jul 2024"), however it asks for one; None: today's."""
    if date_string is None:
        return {}
    date = datetime.datetime.strptime(date_string, "%d %b %Y")
    return {"date_string": date_string, "strftime_now": date.strftime}  # the second replaces transformers' function


def chat_text(tokenizer, messages, **options):
    """Return the text that a tokenizer's chat template makes of messages. Raises UserError if it fails."""
    with naming(f"the chat template of {tokenizer.name_or_path!r}", Exception):  # it may raise anything
        return tokenizer.apply_chat_template(messages, tokenize=False, enable_thinking=False, **options)


def check_tokenizer(tokenizer, date):
    """Raise UserError if a tokenizer has no end-of-text token or a chat template that leaves out the user's text."""
    if tokenizer.eos_token is None:
        raise UserError(f"{tokenizer.name_or_path!r} has no end-of-text token: set its eos_token")
    text = "What is 26 + 7?"
    if text not in chat_text(tokenizer, [{"role": "user", "content": text}], add_generation_prompt=True, **date):
        raise UserError(
            f"the chat template of {tokenizer.name_or_path!r} does not print a message that is a string: give another"
        )


class _Slot(str):
    """Text written by the template, the one output that is not defused."""


def plain(step):
    """Return a solution line without calculator notes, ` ** ` and a leading `####`: a filter of the templates."""
    step = re.sub(r"<<[^<>]*>>", "", step)
    return re.sub(r"^\s*####\s*", "", re.sub(r" \*\*(?: |$)", " ", step)).strip()


class Encoder:
    """Encodes the examples of one task for one pair of models: what both encoders share.

    base_tokens, assistant_tokens: the models' thought tokens (.family, .placeholder, .begin, .end). num_thought_tokens:
    L; 0 leaves the slot out. date_string: what chat templates that print a date print; None: today's.
    """

    def __init__(
        self,
        task,
        base_tokenizer,
        base_tokens,
        assistant_tokenizer,
        assistant_tokens,
        num_thought_tokens,
        date_string=DATE,
    ):
        self.task, self.length, self.date = get_task(task), num_thought_tokens, date_options(date_string)
        self.base_tokenizer, self.assistant_tokenizer = base_tokenizer, assistant_tokenizer
        self.base_tokens, self.assistant_tokens = base_tokens, assistant_tokens
        self.base_family = base_tokens.family
        self.assistant_family = assistant_tokens.family if assistant_tokens else ""
        tokenizers = [base_tokenizer]
        if self.length:
            tokenizers.append(assistant_tokenizer)
            marks = [base_tokens.begin, base_tokens.placeholder, base_tokens.end]
            begin, placeholder, end = base_tokenizer.convert_tokens_to_ids(marks)
            self.slot_ids = [begin, *[placeholder] * self.length, end]
            self.assistant_placeholder = assistant_tokenizer.convert_tokens_to_ids(assistant_tokens.placeholder)
        for tokenizer in tokenizers:
            check_tokenizer(tokenizer, self.date)
        self._defuse = defuser(tokenizers)

    def hint_ids(self, text):
        """Return a text's ids for the slot, at most L, without special tokens."""
        return self._ids(self._defuse(text.strip()))[: self.length]

    def _ids(self, text):
        return self.base_tokenizer(text, add_special_tokens=False)["input_ids"]


class PromptEncoder(Encoder):
    """Encodes by templates.

    pair: as for `Encoder`, from task to num_thought_tokens. prompt_dir: folder with the task's template, used instead
    of the built-in one. generation_prompt=False leaves the assistant's header out of evaluation prompts. max_len cuts
    training and dev sequences; without it, keep_last_token=False drops their last token. Both act for the tasks for
    which the published code does it. word_dev_label=False takes the third token from the end as the dev label of tasks
    whose dev loss is on the answer's word.
    """

    def __init__(
        self,
        *pair,
        prompt_dir=None,
        generation_prompt=True,
        max_len=None,
        keep_last_token=True,
        word_dev_label=True,
        date_string=DATE,
    ):
        super().__init__(*pair, date_string=date_string)
        self.generation_prompt, self.word_dev_label = generation_prompt, word_dev_label
        self.max_len = max_len if self.task.is_cut else None
        loses = self.task.name in self.base_tokens.loses_last_token
        self.loses_last_token = loses and not keep_last_token and not max_len
        tokens = self.base_tokens
        self.slot = tokens.begin + tokens.placeholder * self.length + tokens.end if self.length else ""
        self._fixed = {
            "soft_thoughts": _Slot(self.slot),
            "num_thought_tokens": self.length,
            "base_family": self.base_family,
            "assistant_family": self.assistant_family,
        }
        self._load_template(prompt_dir)

    def encode(self, instance, split):
        """Return one example (a mapping with the fields of loaders.py) as a dict of Python ints:

        prefix_ids: up to and including the begin token; suffix_ids: from the end token on; labels: like suffix_ids,
        -100 for tokens without a loss; assistant_ids: the assistant's prompt, which ends in L placeholders; index.
        split "train": the whole conversation, loss on what follows the user's turn; "dev": the same, loss on the last
        tokens or on the answer's word (tasks.py has both); "eval": the prompt alone, no loss. With L = 0 the prompt is
        all prefix in evaluation; in training its last token begins the suffix, as the end token does, and the loss is
        on the answer. Raises UserError unless slot, user's turn and answer are found.
        """
        context = self._context(instance, {"train": "train", "dev": "train", "eval": "eval"}[split])
        user = self._render("base", context)
        if split == "eval":
            prefix, suffix = self._cut(self._chat(self.base_tokenizer, user, self.generation_prompt))
            labelled = range(0)
        else:
            prompt, answer = self._conversation(user, self._render("target", context))
            prefix, suffix = self._cut(prompt, answer)
            first = self._first_label(user, prefix, suffix)
            if self.max_len:
                suffix = suffix[: max(0, self.max_len - len(prefix) - self.length)]
            elif self.loses_last_token:
                suffix = suffix[:-1]
            labelled = range(first, len(suffix))
            if split == "dev":
                labelled = self._dev_labels(instance["answer"], suffix, labelled)
        return {
            "index": instance["index"],
            "prefix_ids": prefix,
            "suffix_ids": suffix,
            "labels": [token if i in labelled else -100 for i, token in enumerate(suffix)],
            "assistant_ids": self._assistant_ids(context) if self.length else [],
        }

    def encode_turns(self, turns):
        """Return a chat up to a user turn as an evaluation example with its text. The slot is in that last turn."""
        context = self._context(dict.fromkeys(FIELDS, ()) | {"question": turns[-1]["content"]}, "eval")
        messages = [{"role": turn["role"], "content": self._defuse(turn["content"])} for turn in turns]
        if self.length:
            messages[-1]["content"] = self._render("base", context)
        text = chat_text(self.base_tokenizer, messages, add_generation_prompt=self.generation_prompt, **self.date)
        prefix, suffix = self._cut(text)
        example = {"prefix_ids": prefix, "suffix_ids": suffix, "labels": [-100] * len(suffix), "text": text}
        return example | {"assistant_ids": self._assistant_ids(context) if self.length else []}

    def _context(self, instance, split):
        """Return what the template's blocks see of an example."""
        fields = {field: instance[field] for field in FIELDS}
        if split == "train" and self.task.answer_kind == "number":
            fields["answer"] = str(read_gold(self.task, fields["answer"]))  # as published: 2400 for 2,400
        context = self._template.new_context({**fields, **self._fixed, "split": split})
        context.blocks = self._blocks
        return context

    def _chat(self, tokenizer, user, generation_prompt, *reply):
        """Return the chat template's text of a user turn (and a reply)."""
        roles = zip(("user", "assistant"), (user, *reply), strict=False)
        messages = [{"role": role, "content": text} for role, text in roles]
        return chat_text(tokenizer, messages, add_generation_prompt=generation_prompt, **self.date)

    def _conversation(self, user, target):
        """Return the base model's text in training as two parts: the prompt, and all that follows it."""
        prompt = self._chat(self.base_tokenizer, user, True)
        text = self._chat(self.base_tokenizer, user, False, target)
        # Some templates write a past turn differently from the one that they open (or leave its end out); the model
        # must see in training what it sees in evaluation.
        if not text.startswith(prompt) or text.rstrip().endswith(target):
            text = prompt + target + self.base_tokenizer.eos_token
        return prompt, text[len(prompt) :]

    def _cut(self, prompt, answer=""):
        """Return the text's ids before and after the thoughts (see `encode`). The prompt's are those of evaluation."""
        before, ids = self._ids(prompt), self._ids(prompt + answer)
        # The answer is encoded apart only if the two would share a token: SentencePiece puts a space before a text.
        if ids[: len(before)] != before:
            ids = before + self._ids(answer)
        if self.length:
            begin = self._find_slot(ids, prompt + answer)
            return ids[: begin + 1], ids[begin + 1 + self.length :]
        cut = len(before) - 1 if answer else len(before)
        return ids[:cut], ids[cut:]

    def _first_label(self, user, prefix, suffix):
        """Return the index in `suffix` of the first token with a loss. Raise UserError if it is not found."""
        if not self.length:
            return 1
        turn = self._ids(self._chat(self.base_tokenizer, user, False))
        after = turn[len(prefix) + self.length :]  # the user's turn behind the thoughts; then the assistant's header
        first = next((i for i, (a, b) in enumerate(zip(after, suffix, strict=False)) if a != b), len(after))
        if not self.task.loss_from_header:  # back to the end of turn, over the newline that may follow it
            while first and self.base_tokenizer.decode([suffix[first - 1]]).isspace():
                first -= 1
        if not first:
            raise UserError(
                f"the chat template of {self.base_tokenizer.name_or_path!r} writes the user's turn differently with a "
                "generation prompt, so that its end cannot be found: use another chat template"
            )
        return first

    def _dev_labels(self, answer, suffix, labelled):
        """Return which of the `labelled` places in `suffix` the dev loss is on."""
        if self.task.dev_labels:
            return labelled[-self.task.dev_labels :]
        return self._word_tokens(answer, suffix, labelled.start) if self.word_dev_label else labelled[-3:-2]

    def _word_tokens(self, word, suffix, first):
        """Return the range of the last tokens of `suffix` that hold `word`. Raise UserError if there are none."""
        word_in, decode = re.compile(rf"\b{re.escape(word)}\b").search, self.base_tokenizer.decode
        for start in reversed(range(first, len(suffix))):
            if word_in(decode(suffix[start:])):
                stops = range(start + 1, len(suffix) + 1)
                return range(start, next(stop for stop in stops if word_in(decode(suffix[start:stop]))))
        raise UserError(f"{self.path}, block target: no {word!r} in it, which the dev loss is on: print answer there")

    def _assistant_ids(self, context):
        text = self._chat(self.assistant_tokenizer, self._render("assistant", context), True)
        text += self._render("assistant_reply", context)
        ids = self.assistant_tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids + [self.assistant_placeholder] * self.length

    def _find_slot(self, ids, text):
        """Return the index of the begin token of the only slot in `ids`."""
        slot, width = self.slot_ids, len(self.slot_ids)
        found = [i for i, token in enumerate(ids) if token == slot[0] and ids[i : i + width] == slot]
        if len(found) != 1:
            raise UserError(
                f"{self.path}: the slot of {self.length} thought tokens is there {len(found)} times: block base must "
                f"print soft_thoughts once, alone and without a filter, and thought tokens be special tokens: {text!r}"
            )
        return found[0]

    def _load_template(self, prompt_dir):
        """Load the template and those it extends; set path and prompt_hash."""
        folders = [PROMPT_DIR] if prompt_dir is None else [Path(prompt_dir), PROMPT_DIR]
        template = f"{self.task.name}.jinja"
        self.path = str(folders[0] / template)
        if not Path(self.path).is_file():
            raise UserError(f"{self.path}: no such template: copy {PROMPT_DIR / template} there and edit it")
        env = SandboxedEnvironment(
            loader=FileSystemLoader(folders),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            # After all filters, so that none of them can put a token together again.
            finalize=lambda value: value if isinstance(value, _Slot) else self._defuse(str(value)),
        )
        env.filters["plain"] = plain
        names, sources, self._blocks = [template], [], {}
        with naming(self.path, Exception):
            for name in names:  # grows while it is walked: all files that the prompt is made of
                sources.append(env.loader.get_source(env, name)[0])
                names += [used for used in meta.find_referenced_templates(env.parse(sources[-1])) if used not in names]
                # As Jinja's `extends` does: each block's versions, the most special first.
                for block, render in env.get_template(name).blocks.items():
                    self._blocks.setdefault(block, []).append(render)
        self._template = env.get_template(template)
        self.prompt_hash = hashlib.sha256("\0".join(sources).encode()).hexdigest()[:12]

    def _render(self, block, context):
        with naming(f"{self.path}, block {block}", Exception):  # a template is code and may raise anything
            return "".join(self._blocks[block][0](context)).strip()


def defuser(tokenizers):
    """Return a function text -> text without added tokens of the tokenizers: a space after the token's
    first character makes it ordinary text, so that data can open neither a slot nor a turn."""
    tokens = {t for tokenizer in tokenizers for t in tokenizer.get_added_vocab()}
    # Runs of white space and single characters are text, also if a tokenizer has added them.
    tokens = sorted((t for t in tokens if len(t.strip()) > 1), key=len, reverse=True)
    if not tokens:
        return lambda text: text
    pattern = re.compile("|".join(map(re.escape, tokens)))
    return lambda text: pattern.sub(lambda match: match[0][0] + " " + match[0][1:], text)
