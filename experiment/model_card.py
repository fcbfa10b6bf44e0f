"""The model card beside a projection, so that `hf upload user/repo ckpt/<run>` publishes the folder as it is."""

import os
import shlex

from huggingface_hub import ModelCardData

from data_loader.tasks import get_task
from experiment.arguments import EvaluateSoftCoT, EvaluateSoftCoTPlusPlus
from experiment.method import chains_of
from experiment.protocol import PROTOCOLS, differing
from experiment.record import ROOT, as_evaluation_names, short_name
from model.choices import EMBEDDED
from model.weights import repo_of
from utils import replaced

CARD = "README.md"
# What an upload leaves out: a resume needs it, a reader does not.
IGNORED = "checkpoint-*\nthoughts-*\n*.lock\n.*.tmp\n"


def write_model_card(folder, args, history: list[dict]) -> None:
    """Write the card, and a .gitignore, which `hf upload` obeys, into a run's folder. args: of the training."""
    for name, text in ((CARD, model_card(args, history)), (".gitignore", IGNORED)):
        with replaced(folder / name) as scratch:
            scratch.write_text(text, encoding="utf-8")


def model_card(args, history) -> str:
    """Return the card: the Hub's header, what was trained and how, the dev loss, how to use it."""
    task, models = get_task(args.task_name), (args.large_model_id, args.small_model_id)
    # The files of another --data_dir may be anything.
    data = task.hub_id if args.data_dir is None else None
    header = ModelCardData(
        base_model=list(dict.fromkeys(filter(None, map(repo_of, models)))) or None,
        datasets=[data] if data else None,
        library_name="softcot",
        license="mit",
        metrics=["accuracy"],
        tags=["softcot", "soft-thoughts", "latent-reasoning"],
        protocol=args.protocol,
    )
    method, chains = "SoftCoT", chains_of(args)
    if chains:
        method = "SoftCoT++" + (", with the contrastive term" if args.model_name == "scaling-nce" else "")
    rows = {
        "method": method,
        "base model": public_id(models[0]),
        "assistant model": public_id(models[1]),
        "task": args.task_name + (f" (data: {data})" if data else " (own files)"),
        "thought tokens L": args.num_thought_tokens,
        **({"chains N": chains} if chains else {}),
        "epochs": args.n_epochs,
        "learning rate": args.learning_rate,
        "dtype of the frozen models": args.dtype,
        "protocol": ", ".join([args.protocol, *other_switches(args)]),
    }
    losses = [f"| {entry['epoch']:g} | {entry['eval_loss']:.4f} |" for entry in history if "eval_loss" in entry]
    lines = [
        f"---\n{header.to_yaml()}\n---\n",
        f"# {method.partition(',')[0]} projection for {short_name(models[0])}, task {args.task_name}\n",
        "A linear map from the last hidden states of the frozen assistant model to input embeddings of the frozen base",
        "model (SoftCoT, arXiv 2502.12134; SoftCoT++, arXiv 2505.11484). `run.json` holds all options, hashes and",
        "versions of the training.\n",
        "| | |\n| --- | --- |",
        *(f"| {name} | {value} |" for name, value in rows.items()),
        "\n## Dev loss\n\n| epoch | dev loss |\n| --- | --- |",
        *losses,
        "\nIt is the mean loss on the last tokens of the reference answers. evaluate_softcot.py measures accuracy.\n",
        "## Use\n\nIn a clone of the SoftCoT reproduction, with `user/repo` replaced by this repository:\n",
        *(f"    {command}" for command in commands(args)),
        "\n## Licence\n\nMIT holds for the projection. The two models and the data have their own licences.",
    ]
    return "\n".join(lines) + "\n"


def public_id(model_id: str) -> str:
    """Return a model id without the folder of a model on this machine."""
    return model_id if model_id == EMBEDDED or repo_of(model_id) else short_name(model_id)


def other_switches(args) -> list[str]:
    """Return the switches of a training that differ from its protocol."""
    mine, preset = vars(args), vars(PROTOCOLS[args.protocol])
    return [f"{name} {mine[name]}" for name in differing(mine, preset)]


def commands(args) -> list[str]:
    """Return the command lines that ask and evaluate the projection."""
    name, script = ("evaluate_softcot.py", EvaluateSoftCoT)
    if chains_of(args):
        name, script = ("evaluate_softcotpp.py", EvaluateSoftCoTPlusPlus)
    options, known = as_evaluation_names(vars(args)), script.__dataclass_fields__
    options |= {key: public_id(options[key]) for key in ("base_model_id", "assistant_model_id")}
    # A path of this machine helps only inside a clone.
    if args.prompt_dir and (inside := os.path.relpath(args.prompt_dir, ROOT)).split(os.sep)[0] != os.pardir:
        options["prompt_dir"] = inside
    usual = {key: field.default for key, field in known.items()} | vars(PROTOCOLS[args.protocol])
    tuned = [part for part in ("base_model", "assistant_model") if getattr(args, f"tune_{part}")]
    options |= {f"{part}_ckpt": f"projection/{part}" for part in tuned}  # evaluation reads an adapter from the disk
    words = [word for key in options if key in known and options[key] != usual[key] for word in (key, options[key])]
    words = [f"--{word}" if place % 2 == 0 else str(word) for place, word in enumerate(words)]
    file = "projection/projection.bin" if tuned else "user/repo"
    prompts = ["--prompt_dir", options["prompt_dir"]] if "prompt_dir" in options else []
    return [
        *(["hf download user/repo --local-dir projection"] if tuned else []),
        shlex.join(["python", "ask.py", "How many legs have 3 cats?", "--params_file_name", "user/repo", *prompts]),
        shlex.join(["python", name, "--params_file_name", file, *words]),
    ]
