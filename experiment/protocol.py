"""The switches: each place where the published code is corrected here, or where both ways are right.

What is part of the published protocol is no switch: it is done the published way. Needs no torch.
`python -m experiment.protocol` prints the table of docs/DEVIATIONS.md.
"""

from dataclasses import dataclass, field, fields

TRAINING = ("train_softcot", "train_softcotpp")
EVALUATION = ("evaluate_softcot", "evaluate_softcotpp")


def switch(values, published, scripts, does, effect):
    """Return a field of Protocol.

    values: the corrected one first; published: the published one. scripts: those that have it as an option. does:
    what the published code does, and what a third value does; effect: what that does to the result.
    """
    metadata = {"values": values, "published": published, "scripts": scripts, "does": does, "effect": effect}
    return field(default=values[0], metadata=metadata)


@dataclass(frozen=True)
class Protocol:
    """A value for each switch. The defaults are the corrected protocol."""

    token_loss_pairs: str = switch(
        ("no", "small_base", "yes"),
        published="small_base",
        scripts=("train_softcotpp",),
        does="In scaling-nce with a base model below 4 B, a batch is cut into pairs of examples. The token loss is the "
        "sum of the pairs' means over labels, divided by the batch size. The model's name gives the size: its last but "
        "one part between dashes (Qwen3: the last) without the last character. `yes`: whatever the size",
        effect="The token loss is halved, so the contrastive term weighs twice as much. Batch size 1 is unchanged. "
        "Llama-3.1-8B reads as 3, SmolLM2-135M-Instruct as 135, Qwen2.5-7B stops the run",
    )
    yes_no_dev_label: str = switch(
        ("word", "third_from_end"),
        published="third_from_end",
        scripts=TRAINING,
        does="The one dev label of strategyqa is the sequence's third token from the end",
        effect="With Llama the token is Yes or No, with Qwen the full stop behind it. Only the dev loss changes",
    )
    last_token: str = switch(
        ("kept", "dropped"),
        published="dropped",
        scripts=TRAINING,
        does="Sequences of training and dev set lose their last token: gsm8k and asdiv-aug with Llama and Qwen2.5, "
        "aqua with Qwen3. With --max_len and --too_long cut all keep it",
        effect="With Llama the end of the response is never learned. With Qwen the token is a newline",
    )
    too_long: str = switch(
        ("skipped", "cut"),
        published="cut",
        scripts=TRAINING,
        does="--max_len cuts longer sequences of training and dev set at that many tokens, but not strategyqa's",
        effect="The end of long solutions is not learned. A sequence without a label is an error here",
    )
    projection_dtype: str = switch(
        ("float32", "bfloat16"),
        published="bfloat16",
        scripts=TRAINING + EVALUATION,
        does="The projection, its gradient, Adam's state and the saved weights are bfloat16, and so is the matrix "
        "product of the contrastive term",
        effect="At the papers' learning rate most updates are below half a unit in the last place and are lost. In "
        "evaluation the soft thoughts are rounded",
    )
    qwen3_tokens: str = switch(
        ("own", "qwen2.5"),
        published="qwen2.5",
        scripts=("train_softcot", "evaluate_softcot"),
        does="In SoftCoT's two scripts a Qwen3 model has Qwen2.5's thought tokens and template rules, and 1,024 new "
        "tokens",
        effect="Training has the long prompt and uncleaned steps, and long responses are cut off",
    )
    date: str = switch(
        ("fixed", "today"),
        published="today",
        scripts=TRAINING + EVALUATION,
        does="A chat template that prints a date prints today's. Llama 3.2's does so in the assistant's prompt",
        effect="Soft thoughts change from day to day, so a run is continued on its own day only. The fixed date is "
        "26 Jul 2024, as in Llama 3.1's template",
    )
    base_adapter: str = switch(
        ("used", "ignored"),
        published="ignored",
        scripts=EVALUATION,
        does="The adapter of --base_model_ckpt never reaches the base model",
        effect="A tuned base model is evaluated without its tuning",
    )
    generation_prompt: str = switch(
        ("yes", "by_family", "no"),
        published="by_family",
        scripts=EVALUATION,
        does="Prompts of Llama and Qwen2.5 end without a generation prompt (`no`: those of every family)",
        effect="The model writes the header of its turn itself. In a public log of Qwen2.5 no response writes it "
        "exactly, in one of Llama all begin with the rest of it",
    )
    end_tokens: str = switch(
        ("all", "tokenizer"),
        published="tokenizer",
        scripts=EVALUATION,
        does="A response ends at the tokenizer's end-of-text token and, for Llama, at `<|eot_id|>`",
        effect="Further end tokens of the generation config do not end it, so it can go on behind them",
    )
    sampling: str = switch(
        ("as_asked", "of_model"),
        published="of_model",
        scripts=EVALUATION,
        does="transformers 4.51 replaces a temperature or top_p of 1.0 by the value in the base model's "
        "generation_config.json, if 4.50 or later saved that file or it does not say what did",
        effect="The papers' Qwen3 rows were probably sampled at temperature 0.6 and top_p 0.95, which Qwen3-8B's file "
        "holds",
    )


SWITCHES = {entry.name: entry.metadata for entry in fields(Protocol)}
CORRECTED = Protocol()
PUBLISHED = Protocol(**{name: entry["published"] for name, entry in SWITCHES.items()})
PROTOCOLS = {"corrected": CORRECTED, "published": PUBLISHED}
# Decided by the functions of --published_code, if that is given; they are then recorded as CLONE.
CLONE = "clone"
OF_CLONE = ("generation_prompt", "last_token", "yes_no_dev_label")
# What generates if no engine is named.
ENGINES = {"corrected": "transformers", "published": "reference"}


def switches_in(values: dict) -> dict:
    """Return the switches among options or a record, name -> value."""
    return {name: values[name] for name in SWITCHES if name in values}


def protocol_name(values: dict) -> str | None:
    """Return `corrected`, `published`, or the switches that are not corrected; None if `values` has none."""
    own = {name: value for name, value in switches_in(values).items() if value != CLONE}
    for name, protocol in PROTOCOLS.items():
        if own and own == {switch: getattr(protocol, switch) for switch in own}:
            return name
    return ", ".join(f"{name} {value}" for name, value in own.items() if value != getattr(CORRECTED, name)) or None


def switch_table() -> str:
    """Return the switches as a table in Markdown, one row each."""
    rows = [("option", "values", "the published code", "effect"), ("---",) * 4]
    for name, entry in SWITCHES.items():
        values = ", ".join(f"`{value}`" + " (published)" * (value == entry["published"]) for value in entry["values"])
        rows.append((f"`--{name}`", values, f"{entry['does']}.", f"{entry['effect']}."))
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)


if __name__ == "__main__":
    print(switch_table())
