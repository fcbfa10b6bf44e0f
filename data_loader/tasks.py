"""The five tasks, one entry each: files, template, labels, answer rule, lengths.

Knows names and numbers only; reading files is in loaders.py, text in prompts.py.
"""

from dataclasses import dataclass

# The field of an example that holds what its file says, unchanged. Hashes of data leave it out.
RAW = "raw"


@dataclass(frozen=True)
class Task:
    """One task, with the template prompts/<name>.jinja. `files` maps a split to the names it may have, the first that
    exists wins; the names under None (with `{split}`) serve any further split."""

    name: str
    files: dict[str | None, tuple[str, ...]]
    answer_kind: str  # "number", "choice" or "yes_no"
    choices: str = ""
    # What an example's fields hold. "gsm_style": answer is the solution's lines, then "#### <answer>"; "letter":
    # answer is a letter alone; "facts": a list of facts, and answer is true or false.
    form: str = "gsm_style"
    papers_form: str = ""  # in the names of the papers' files; another file is read with a note
    # Whether the loss begins at the assistant's header, not at the token behind the user's end of turn: a newline, in
    # some chat templates.
    loss_from_header: bool = False
    dev_labels: int = 5  # the dev loss is on the sequence's last tokens; 0: on the answer's word
    is_cut: bool = True  # whether the published code can cut its training sequences at a longest length
    max_new_tokens: int = 1024
    long_max_new_tokens: int = 4096
    keep_checkpoints: int = 2

    def generation_length(self, long_responses: bool) -> int:
        """Return the most new tokens at evaluation. long_responses: of the base model's family."""
        return self.long_max_new_tokens if long_responses else self.max_new_tokens


def _named(patterns):
    """Return the files of a task that has one a split; the papers' dev set is the test set."""
    train, dev, test = (tuple(p.format(split=split) for p in patterns) for split in ("train", "dev", "test"))
    return {"train": train, "dev": dev + test, "test": test, None: patterns}


TASKS = {
    task.name: task
    for task in (
        Task(
            "gsm8k",
            _named(("{split}_socratic.jsonl", "{split}.jsonl")),
            "number",
            papers_form="socratic",
            keep_checkpoints=10,
        ),
        Task(
            "asdiv-aug",
            # The publishers' dev file is the papers' test set.
            {"test": ("aug-dev.jsonl",), None: ("aug-{split}.jsonl",)},
            "number",
        ),
        Task(
            "aqua",
            _named(("gsm_style_{split}.jsonl", "gsm_style_{split}.json")),
            "choice",
            choices="ABCDE",
            keep_checkpoints=10,
        ),
        Task(
            "strategyqa",
            # One file: loaders.py cuts it at 80 %.
            dict.fromkeys(("train", "dev", "test"), ("strategyqa_train.json",))
            | {None: ("strategyqa_{split}.json", "strategyqa_{split}.jsonl")},
            "yes_no",
            form="facts",
            loss_from_header=True,
            dev_labels=0,
            is_cut=False,
            long_max_new_tokens=1024,
        ),
        Task(
            "du",
            {
                "test": ("date_understanding_gsm_style.json",),
                None: ("date_understanding_{split}.json", "date_understanding_{split}.jsonl"),
            },
            "choice",
            choices="ABCDEF",
            form="letter",
            is_cut=False,
            long_max_new_tokens=1024,
        ),
    )
}


def get_task(name):
    """Return the task of this name; a `Task` is returned as it is."""
    return name if isinstance(name, Task) else TASKS[name]
