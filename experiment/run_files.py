"""What a run writes about itself: its record, what fixes its result, and run.json; comparing them. Needs no torch."""

import hashlib
import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

from data_loader.tasks import RAW
from experiment.protocol import SWITCHES, protocol_name, switches_in
from model.slot import MODES, assistant_thinks
from utils import UserError, fingerprint

ROOT = Path(__file__).resolve().parent.parent
VERSION = 1  # of records and rows; other versions are not read
ADAPTER = "adapter_model.safetensors"  # of LoRA, in its folder

# What fills the slot -> the method's name; of "projected" it depends on more (`name_method`).
OF_THOUGHTS = {name: mode.row for name, mode in MODES.items() if name != "projected"}
# Arguments of the published evaluation that do not fix the result: the first line of a log has them too.
ONLY_IN_LOGS = ("params_file_name", "print_input", "print_response", "test_k")
# In the tables' order.
WITH_SLOT = (*OF_THOUGHTS.values(), "SoftCoT", "SoftCoT-SC", "SoftCoT-P", "SoftCoT++", "SoftCoT++-P")
METHODS = ("Zero-Shot CoT", "LoRA", *(name + more for name in WITH_SLOT for more in ("", " + LoRA")))

LEVERS = ("thought_filler", "thought_scaling")  # options of a training that evaluation records, if they are in use
# Options of a training that ask.py takes over. What would run code is left out: a projection may be another person's.
AS_IN_TRAINING = (
    *("task_name", "num_thought_tokens", "num_scaling_times", "dtype", "prompt_dir"),
    *("base_thought_tokens", "assistant_thought_tokens", "protocol", *SWITCHES),
)
# Options of a training that evaluation takes anew: another value is a warning.
AS_LOADED = ("dtype", "quantization", "base_thought_tokens", "assistant_thought_tokens")


def find_levers(options: dict) -> dict:
    """Return the levers that a training's options use."""
    return {name: options[name] for name in LEVERS if options.get(name) not in (None, "none")}


def name_method(settings: dict) -> str:
    """Return one of METHODS. settings: the `run` record of a result file."""
    parts = [] if settings.get("base_adapter") == "ignored" else ["base"]
    parts += ["assistant"] if assistant_thinks(settings["num_thought_tokens"], settings["thoughts"]) else []
    tuned = any(settings.get(f"tune_{part}_model") or settings.get(f"{part}_model_ckpt") for part in parts)
    if not settings["num_thought_tokens"]:
        return "LoRA" if tuned else "Zero-Shot CoT"
    if settings["thoughts"] != "projected":
        name = OF_THOUGHTS[settings["thoughts"]]
    elif settings["perturb_std"]:
        name = "SoftCoT++-P" if settings.get("own_chains") else "SoftCoT-P"
    elif settings.get("num_scaling_times") and settings.get("own_chains", True):  # logs do not say it
        name = "SoftCoT++"
    else:
        name = "SoftCoT-SC" if settings["num_return_sequences"] > 1 else "SoftCoT"
    return name + (" + LoRA" if tuned else "")


def short_name(model_id: str) -> str:
    """Return the last path part of a model id."""
    return Path(str(model_id)).name


def git_commit() -> str | None:
    """Return the commit of the code, with + if files differ from it; None outside a repository."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def describe_run(options: dict, encoder, base, assistant, record):
    """Return what run.json holds: enough to know what a projection was trained with."""
    packages = ("torch", "transformers", "fastNLP", "accelerate", "peft")
    return {
        "arguments": options,
        "record": record,
        "prompt_file": str(encoder.path),
        "base_family": base.thought_tokens.family,
        "assistant_family": assistant.thought_tokens.family if assistant else None,
        "versions": {name: importlib.metadata.version(name) for name in packages},
        "python": sys.version.split()[0],
        "git_commit": git_commit(),
    }


def make_record(options: dict, hashes: dict) -> dict:
    """Return the record in JSON's types: all that fixes a result, but for the seed of an evaluation.

    options: those that fix it; hashes: of prompts, data and weights, and what else fixes it. An adapter is known by its
    content.
    """
    record = {"version": VERSION, **options, **hashes}
    for part in ("base_model_ckpt", "assistant_model_ckpt"):
        if record.get(part):
            record[part] = fingerprint(Path(record[part], ADAPTER))
    return json.loads(json.dumps(record, default=str))


def data_hash(instances):
    """Return a hash of examples as they were read: a changed file is other data. Their raw field has no part in it."""
    digest = hashlib.sha256()
    for instance in instances:
        fields = {name: value for name, value in instance.items() if name != RAW}
        digest.update(json.dumps(fields, sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()[:16]


def rendered_prompt(encoder, instances, split):
    """Return a hash of the first example's ids: a chat template may print another date than on the day before."""
    example = encoder.encode(instances[0], split)
    ids = [example[key] for key in ("prefix_ids", "suffix_ids", "assistant_ids")]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()[:16]


def refuse_differences(found: dict, wanted: dict, what: str, remedy: str) -> None:
    """Raise UserError that lists the keys in which two records differ."""
    other = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    if other:
        changes = ", ".join(f"{key} was {found.get(key)!r}, now {wanted.get(key)!r}" for key in other)
        raise UserError(f"{what} other arguments: {changes}; {remedy}")


def read_training(params_file: Path) -> dict | None:
    """Return the run.json beside what training wrote (a projection, or an adapter's folder); None if there is none.

    Raises UserError if it is not what training writes.
    """
    file = params_file.absolute().with_name("run.json")
    if not file.is_file():
        return None
    try:
        trained = json.loads(file.read_text(encoding="utf-8"))
        is_ours = trained["record"]["version"] == VERSION and "task_name" in trained["arguments"]
    except (ValueError, KeyError, TypeError):
        is_ours = False
    if not is_ours:
        raise UserError(f"{file} is not what training writes (version {VERSION}): correct or remove it")
    return trained


def read_training_options(params_file: Path) -> dict:
    """Return the options of the training of a projection, as evaluation names them; {} without run.json."""
    arguments, folder = (read_training(params_file) or {}).get("arguments", {}), params_file.absolute().parent
    names = {"base_model_id": "large_model_id", "assistant_model_id": "small_model_id"}
    names |= {name: name for name in AS_IN_TRAINING}
    options = {new: arguments[old] for new, old in names.items() if arguments.get(old) is not None}
    for part in ("base_model", "assistant_model"):
        if arguments.get(f"tune_{part}") and (folder / part).is_dir():
            options[f"{part}_ckpt"] = str(folder / part)
    return options


def compare_with_training(options: dict, encoder, hashes: dict, params_file: Path, trained: dict) -> dict:
    """Compare an evaluation with the training of its projection or adapter; return what its record says of that.

    hashes: of its prompt, models and projection; trained: the run.json beside params_file. Returns the training's
    protocol (trained_with), training_seed, a hash of all else that fixes its result (training) and its LEVERS.
    Raises UserError if a model is another by name and weights, or by family; other weights, adapters, prompts or
    switches are a line on stderr.
    """
    run = params_file.absolute().with_name("run.json")
    arguments, record = trained["arguments"], trained["record"]
    for name in ("projection", "mean_thoughts"):
        if name in hashes and trained.get(name) != hashes[name]:
            raise UserError(f"{run} describes another {name}.bin: put the files of one run together, or remove it")
    levers = find_levers(arguments)
    filler = levers.get("thought_filler")
    if options["thought_filler"] not in (None, filler):
        raise UserError(f"--thought_filler is {options['thought_filler']!r}, but the training had {filler!r} ({run})")
    lines = []
    parts = [("base", "large_model_id", encoder.base_family), ("assistant", "small_model_id", encoder.assistant_family)]
    for part, name, family in parts if hashes["assistant_weights"] else parts[:1]:
        mine = f"{short_name(options[f'{part}_model_id'])} (family {family})"
        wanted = f"{short_name(arguments[name])} (family {trained[f'{part}_family']})"
        same_weights = hashes[f"{part}_weights"] == record.get(f"{part}_weights")  # in a folder of another name
        if mine != wanted and not (same_weights and family == trained[f"{part}_family"]):
            raise UserError(f"--{part}_model_id is {mine}, but {params_file} was trained with {wanted} ({run})")
        adapter, own = options[f"{part}_model_ckpt"], trained.get(f"{part}_model")
        if own and own != (adapter and fingerprint(Path(adapter, ADAPTER))):
            raise UserError(
                f"--{part}_model_ckpt is {adapter}, but {params_file} was trained together with another LoRA adapter "
                f"({run}): give {run.parent / f'{part}_model'}"
            )
        if adapter and not own and (part, options.get("base_adapter")) != ("base", "ignored"):
            lines.append(f"{part}_model_ckpt was None, now {adapter}")
    # The documented commands leave scaling, the default, for every kind of projection.
    if (options.get("model_name"), arguments.get("model_name")) == ("scaling-nce", "scaling"):
        raise UserError(f"--model_name is scaling-nce, but {params_file} was trained as scaling ({run})")
    compared = [f"{part}_{what}" for part in ("base", "assistant") for what in ("weights", "config", "tokenizer")]
    compared += ["prompt_hash"] if arguments["task_name"] == options["task_name"] else []
    changes = [(name, arguments.get(name), value) for name, value in switches_in(options).items()]
    changes += [(name, record.get(name), hashes.get(name)) for name in compared]
    lines += [f"{name} was {old}, now {new}" for name, old, new in changes if None not in (old, new) and old != new]
    loaded = [(name, arguments.get(name), options[name]) for name in AS_LOADED]  # None is a value of these
    lines += [f"{name} was {old}, now {new}" for name, old, new in loaded if old != new]
    if lines:
        print(f"warning: {params_file} was trained otherwise ({run.name}): {', '.join(lines)}", file=sys.stderr)
    own = {"seed", "rendered_prompt", "batch_size", *SWITCHES, *LEVERS}  # recorded by name, or changed by a switch
    rest = json.dumps({key: value for key, value in record.items() if key not in own}, sort_keys=True)
    digest = hashlib.sha256(rest.encode()).hexdigest()[:16]
    return {"trained_with": protocol_name(record), "training_seed": record["seed"], "training": digest, **levers}


def without_training(settings: dict) -> dict:
    """Return settings without its training's seed and weights: the projection, and the adapter of a tuned model."""
    tuned = [part for part in ("base", "assistant") if settings.get(f"tune_{part}_model")]
    own = {"projection", "mean_thoughts", "training_seed", *(f"{part}_model_ckpt" for part in tuned)}
    return {key: value for key, value in settings.items() if key not in own}
