"""The model card beside a projection, so that `hf upload user/repo ckpt/<run>` publishes the folder as it is."""

from experiment.protocol import protocol_name
from experiment.run_files import find_levers, short_name
from model.weights import find_repo
from utils import replaced

CARD = "README.md"
# What an upload leaves out: a resume needs it, a reader does not.
IGNORED = "checkpoint-*\nthoughts-*\n*.lock\n.*.tmp\n"
TEMPLATE = """\
---
{header}library_name: softcot
license: mit
tags: [softcot, soft-thoughts, latent-reasoning]
---

# {method} projection for {base}, task {task_name}

A linear map from the last hidden states of {assistant}, the assistant, to input embeddings of {base}, the base model
(SoftCoT, arXiv 2502.12134; SoftCoT++, arXiv 2505.11484). {tuned}. L = {num_thought_tokens}, N = {chains}{levers},
{n_epochs:g} epochs, {dtype}, protocol {switches}, last dev loss {loss:.4f}. `run.json` holds options, hashes, versions.

In a clone of the SoftCoT reproduction, with `user/repo` replaced by this repository:

    python ask.py "How many legs have 3 cats?" --params_file_name user/repo{prompts}

MIT holds for the projection. The two models and the data have their own licences.
"""


def write_model_card(folder, options: dict, history: list[dict]) -> None:
    """Write the card, and a .gitignore, which `hf upload` obeys, into a run's folder. options: of the training."""
    for name, text in ((CARD, model_card(options, history)), (".gitignore", IGNORED)):
        with replaced(folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")


def model_card(options: dict, history: list[dict]) -> str:
    """Return the card's text. It names no folder of this machine."""
    models, chains = (options["large_model_id"], options["small_model_id"]), options.get("num_scaling_times")
    tuned = [f"`{part}`" for part in ("base_model", "assistant_model") if options[f"tune_{part}"]]
    hub_ids = list(dict.fromkeys(filter(None, map(find_repo, models))))
    return TEMPLATE.format(
        **options,
        header=f"base_model: [{', '.join(hub_ids)}]\n" if hub_ids else "",
        method="SoftCoT++" if chains else "SoftCoT",
        base=short_name(models[0]),
        assistant=short_name(models[1]),
        chains=chains or 1,
        levers="".join(f", {name} {value!r}" for name, value in find_levers(options).items()),
        tuned=f"LoRA adapters beside it: {', '.join(tuned)}" if tuned else "Both models are frozen",
        switches=protocol_name(options),
        prompts=" --prompt_dir [Prompts]" if options["prompt_dir"] else "",
        loss=[entry["eval_loss"] for entry in history if "eval_loss" in entry][-1],
    )
