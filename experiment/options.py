"""The options of the scripts as dataclasses, each option once: default, help, check, whether it fixes the result.

argparse is built from the fields. An option that does not fix the result may change when a run is resumed or a result
file is continued. Errors name options here, in record.py and in the scripts; other rooms do not know them.
"""

import argparse
import contextlib
import dataclasses
import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path

from data_loader.tasks import TASKS
from experiment.protocol import CLONE, CORRECTED, ENGINES, OF_CLONE, PROTOCOLS, SWITCHES, Protocol, corrected_but
from experiment.run_files import short_name, trained_with
from model.choices import DEVICE_MAPS, DTYPES, EMBEDDED, QUANTIZATION
from model.slot import MODES
from utils import UserError

REQUIRED = dataclasses.MISSING
MOST_SEEDS = 256  # of a sweep: a process may usually have 1,024 open files
MODEL = "Hub id, directory, or embedded/..."
HOW_TO_GET_A_PROJECTION = (
    "give the projection.bin that training wrote (train_softcot.py; `make demo` leaves one in "
    "results/demo/ckpt/<run>/projection.bin)"
)
# In the order of the published scripts.
PUBLISHED = (
    *("large_model_id", "small_model_id", "output_name", "batch_size"),
    *("base_model_id", "assistant_model_id", "params_file_name", "base_model_ckpt", "assistant_model_ckpt"),
    *("model_name", "num_thought_tokens", "num_return_sequences", "num_scaling_times", "task_name", "n_epochs"),
    *("k_shot", "max_len", "print_input", "print_response", "test_k", "seed", "seed_from", "seed_to"),
    *("tune_base_model", "tune_assistant_model", "log_dir", "run_name"),
)
# Arguments of vLLM that change speed and memory only.
FREE_OF_VLLM = (
    "gpu_memory_utilization",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "enforce_eager",
    "enable_prefix_caching",
    "kv_cache_memory_bytes",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "data_parallel_size",
    "distributed_executor_backend",
)


def option(default, help, check=str, choices=None, metavar=None, fixes_result=True, positional=False):
    """Return a dataclass field that is one option.

    check: turns the word of the command line into a value, or raises. fixes_result: whether another value gives
    another result. positional: given without its name.
    """
    more = {"help": help, "check": check, "choices": choices, "metavar": metavar, "positional": positional}
    metadata = {**more, "fixes_result": fixes_result}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def flag(help, fixes_result=True):
    """Return a field that is a flag, off by default."""
    return option(False, help, check=bool, fixes_result=fixes_result)


def with_default(options, name, default):
    """Return the field `name` of another dataclass with another default."""
    return option(default, **options.__dataclass_fields__[name].metadata)


def is_taken(option, value) -> bool:
    """Return whether the command line could give a value to an option's field."""
    try:
        return option.metadata["check"](str(value)) == value and value in (option.metadata["choices"] or [value])
    except (ValueError, argparse.ArgumentTypeError):
        return False


# ---- checks of one value ----


def at_least(least, kind):
    """Return a check for numbers of a kind, finite and not below `least`."""

    def number(text):
        value = kind(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"want {least} or more, got {text}")
        return value

    return number


def seed_of_libraries(text):
    """Return a seed that NumPy takes too."""
    if not 0 <= (seed := int(text)) < 2**32:
        raise argparse.ArgumentTypeError(f"want 0 to {2**32 - 1}, got {text}")
    return seed


def above_zero(text):
    value = at_least(0, float)(text)
    if not value:
        raise argparse.ArgumentTypeError(f"want a number above 0, got {text}")
    return value


def share(text):
    value = above_zero(text)
    if value > 1:
        raise argparse.ArgumentTypeError(f"want a number above 0, at most 1, got {text}")
    return value


positive, natural = at_least(1, int), at_least(0, int)


def limit(text):
    """Return a number of tokens, or -1 for no limit."""
    return -1 if text == "-1" else positive(text)


def json_object(text):
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"want a JSON object, got {text!r}: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"want a JSON object, got {text!r}")
    return value


def file_name(text):
    """Return a text that can begin the name of a folder."""
    if not text.strip() or text in (".", "..") or set(text) & {"/", "\\"}:
        raise argparse.ArgumentTypeError(f"want a name without / and \\, not empty, . or .., got {text!r}")
    return printable(text)


def printable(text):
    """Return a text that is part of names, and of lines of a log."""
    if not text.isprintable():
        raise argparse.ArgumentTypeError(f"want a text without line breaks and control characters, got {text!r}")
    return text


def not_empty(text):
    if not text.strip():
        raise argparse.ArgumentTypeError("want a path, got an empty text")
    return text


def png(text):
    if not text.lower().endswith(".png"):
        raise argparse.ArgumentTypeError(f"want a file that ends in .png, got {text!r}")
    return text


def path_or_none(text):
    """Return the path, or None for `None`, which the published scripts write for no path."""
    return None if text in ("", "None") else text


# ---- the options ----


@dataclass(kw_only=True)
class Options:
    """What all scripts share."""

    prompt_dir: str = option(
        None, "folder with a <task>.jinja that replaces the built-in prompts", check=not_empty, fixes_result=False
    )
    published_code: str = option(
        None,
        "the user's own clone of the published repository, whose functions make prompts, ids and labels "
        "(models of llama, qwen2.5, qwen3)",
        check=not_empty,
        metavar="DIR",
        fixes_result=False,
    )
    dtype: str = option("bfloat16", "of the frozen models", choices=DTYPES)
    base_device_map: str = option(
        None,
        "spread the base model's layers over the GPUs of one process, by transformers' device map of this name",
        choices=DEVICE_MAPS,
        fixes_result=False,
    )
    quantization: str = option(
        None,
        "of the frozen base model, by bitsandbytes (pip install bitsandbytes): LLM.int8() or 4-bit NF4",
        choices=QUANTIZATION,
    )
    base_thought_tokens: str = option(
        None, "thought tokens of a base model of another family", metavar="PLACEHOLDER,BEGIN,END"
    )
    assistant_thought_tokens: str = option(
        None,
        "the same of the assistant; ID: the first of SoftCoT++'s initial tokens",
        metavar="PLACEHOLDER,BEGIN,END[,ID]",
    )
    trust_remote_code: bool = flag("let a model's own code from the Hub run on this machine", fixes_result=False)

    def check(self):
        """Raise UserError if options contradict each other, or one has no value that any model takes."""
        if self.published_code and self.prompt_dir:
            raise UserError("--published_code and --prompt_dir both replace the built-in prompts: give one of them")
        for name in OF_CLONE if self.published_code else ():
            if (value := getattr(self, name, CLONE)) != CLONE:
                raise UserError(
                    f"--{name} {value} has no effect with --published_code, whose functions decide it: leave it out"
                )

    def chains(self) -> int | None:
        """Return N, or None for SoftCoT."""
        return None

    def cuts_at_max_len(self) -> bool:
        """Return whether training and dev sequences are cut at --max_len."""
        return False

    def switches(self) -> Protocol:
        """Return the script's switches. Those that it has no option for are corrected."""
        return corrected_but(vars(self))

    @classmethod
    def implied(cls, given: dict) -> dict:
        """Return the given options with those that they imply."""
        return given

    def fixing_result(self) -> dict:
        """Return the options that fix the result, as records hold them."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.metadata["fixes_result"]}


@dataclass(kw_only=True)
class Switched:
    """The protocol of a script with switches (`switches_of`)."""

    # The record has the switches themselves.
    protocol: str = option(
        "corrected",
        "corrected: the published protocol without its defects; published: to the letter; "
        "a switch that is given overrides it (docs/DEVIATIONS.md lists them)",
        choices=list(PROTOCOLS),
        fixes_result=False,
    )

    def __post_init__(self):
        for name in SWITCHES.keys() & vars(self).keys():
            if getattr(self, name) is None:
                of_clone = self.published_code and name in OF_CLONE
                setattr(self, name, CLONE if of_clone else getattr(PROTOCOLS[self.protocol], name))


def switches_of(script):
    """Return a dataclass with an option for each switch of a script. The default is the protocol's value."""

    def help_of(entry):
        corrected, published = entry["values"][0], entry["published"]
        text = f"{published}, as published: {entry['does']}"
        return f"{text} (default: {corrected}; with --protocol published: {published})"

    options = [
        (name, str, option(None, help_of(entry), choices=entry["values"]))
        for name, entry in SWITCHES.items()
        if script in entry["scripts"]
    ]
    return dataclasses.make_dataclass("Switches", options, bases=(Switched,), kw_only=True)


@dataclass(kw_only=True)
class Chains:
    """What SoftCoT++'s scripts share."""

    num_scaling_times: int = option(
        10,
        "N, chains a question, in evaluation at most those of training; Qwen and SmolLM2 have 10 initial tokens",
        check=positive,
    )
    model_name: str = option(
        "scaling",
        "how the projection is trained: scaling-nce adds the contrastive term; in evaluation part of the log's name, "
        "scaling-nce only for a projection trained so",
        choices=("scaling", "scaling-nce"),
    )

    def chains(self) -> int:
        return self.num_scaling_times


@dataclass(kw_only=True)
class ReadsData:
    """What the scripts that read a task's files share."""

    data_dir: str = option(None, "folder of the task's files; default data/<task>", check=not_empty, fixes_result=False)


@dataclass(kw_only=True)
class Training(ReadsData, Options):
    """What the training scripts share. The record has hashes of models, data and prompts instead of their names."""

    large_model_id: str = option("meta-llama/Llama-3.1-8B-Instruct", f"base model: {MODEL}", fixes_result=False)
    small_model_id: str = option("meta-llama/Llama-3.2-1B-Instruct", "assistant model", fixes_result=False)
    output_name: str = option(REQUIRED, "first part of the run's name", check=file_name, fixes_result=False)
    # Of the batch the record holds the whole, over all processes and accumulated batches.
    batch_size: int = option(1, "examples a batch and process; 4 in the papers", check=positive, fixes_result=False)
    task_name: str = option("gsm8k", "what to train on", choices=[name for name in TASKS if name != "du"])
    num_thought_tokens: int = option(
        2, "L; 32 in the papers; 0 with --tune_base_model (SoftCoT only): LoRA alone", check=natural
    )
    n_epochs: float = option(3.0, "passes over the data; 10 in the papers", check=above_zero)
    k_shot: int = option(0, "first k training examples; 0: all", check=natural)
    dev_k: int = option(0, "first k dev examples; 0: all (SoftCoT++: as many as --k_shot)", check=natural)
    tune_base_model: bool = flag("LoRA on the base model too: r 16, alpha 32, dropout 0.1, on q_proj and v_proj")
    tune_assistant_model: bool = flag("the same on the assistant too")
    max_len: int = option(
        -1,
        "longest example in base tokens: longer training examples are left out, or, with --too_long cut, those of "
        "training and dev set are cut; -1: no limit but the model's context",
        check=limit,
    )
    learning_rate: float = option(2e-5, "start of the linear decay, at most 1", check=share)
    gradient_accumulation_steps: int = option(1, "batches an optimizer step", check=positive, fixes_result=False)
    micro_batch_size: int = option(
        0,
        "rows (question x chain) with activations in memory at once; 0: as many as come to 400 tokens on a CPU, "
        "else 2048; sets memory and speed, and the loss only by rounding; saves no memory with --tune_base_model",
        check=natural,
        fixes_result=False,
    )
    seed: int = option(42, "of initial weights and the order of examples", check=seed_of_libraries)
    resume: bool = flag(
        "continue from this run's newest checkpoint; a finished run of the same options is left as it is",
        fixes_result=False,
    )

    def name_run(self) -> str:
        """Return the run's name, as published: `{output_name}-{task}-{n_epochs}-{L}[-{N}]-{large}-{small}[-nce]`."""
        chains = [self.chains()] if self.chains() else []
        models = map(short_name, (self.large_model_id, self.small_model_id))
        parts = [self.output_name, self.task_name, float(self.n_epochs), self.num_thought_tokens, *chains, *models]
        return "-".join(map(str, parts)) + ("-nce" if self.adds_contrast() else "")

    def cuts_at_max_len(self):
        return self.max_len > 0 and self.too_long == "cut"

    def adds_contrast(self) -> bool:
        """Return whether the loss has the contrastive term."""
        return False

    def pairs_examples(self) -> bool:
        """Return whether the token loss is one of pairs of examples."""
        return False

    def check(self):
        super().check()
        if not self.num_thought_tokens and (self.tune_assistant_model or not self.tune_base_model):
            raise UserError(
                "--num_thought_tokens 0 leaves only the base model's LoRA adapter to train: give it with "
                "--tune_base_model and without --tune_assistant_model"
            )
        if self.base_device_map and self.tune_base_model:
            raise UserError(
                "--base_device_map is for a frozen base: train a LoRA adapter without it (several GPUs: torchrun)"
            )


@dataclass(kw_only=True)
class TrainSoftCoT(Training, switches_of("train_softcot")):
    """Options of train_softcot.py."""


@dataclass(kw_only=True)
class TrainSoftCoTPlusPlus(Chains, Training, switches_of("train_softcotpp")):
    """Options of train_softcotpp.py."""

    large_model_id: str = with_default(Training, "large_model_id", "Qwen/Qwen3-8B")
    small_model_id: str = with_default(Training, "small_model_id", "Qwen/Qwen3-0.6B")

    def check(self):
        if not self.num_thought_tokens:
            raise UserError("--num_thought_tokens 0: SoftCoT++ needs 1 or more (the LoRA baseline: train_softcot.py)")
        super().check()
        self.pairs_examples()

    def adds_contrast(self):
        return self.model_name == "scaling-nce"

    def pairs_examples(self):
        """Return the same; raise UserError if the base's name decides and cannot."""
        if not self.adds_contrast() or self.token_loss_pairs == "no":
            return False
        return self.token_loss_pairs == "yes" or size_in_name(self.large_model_id) < 4


def size_in_name(model_id: str) -> float:
    """Return a base model's size in billions of parameters as the published code reads it, or raise UserError."""
    parts = short_name(model_id).split("-")
    part = parts[-1] if "qwen3" in parts[0].lower() else "".join(parts[-2:-1])
    try:
        return float(part[:-1])
    except ValueError:
        raise UserError(
            f"--token_loss_pairs small_base: the published code reads the size of {model_id} from {part!r}, "
            "which is no number and a letter, and stops: give --token_loss_pairs yes or no"
        ) from None


@dataclass(kw_only=True)
class Trained(Options):
    """Options of the scripts that read what training wrote."""

    base_model_id: str = option("meta-llama/Llama-3.1-8B-Instruct", f"base model: {MODEL}")
    assistant_model_id: str = option("meta-llama/Llama-3.2-1B-Instruct", "assistant model")
    params_file_name: str = option(
        None,
        "projection.bin, or user/repo or user/repo/file.bin on the Hub; only projected and shuffled thoughts read it",
        check=path_or_none,
        fixes_result=False,
    )
    base_model_ckpt: str = option(None, "LoRA adapter of the base model; None: none", check=path_or_none)
    assistant_model_ckpt: str = option(None, "LoRA adapter of the assistant; None: none", check=path_or_none)
    num_thought_tokens: int = option(2, "L; 4 in the papers, 0: zero-shot CoT", check=natural)
    task_name: str = option("gsm8k", "whose prompt and data", choices=list(TASKS))
    # Of the evaluation scripts alone; ask.py has these values.
    thoughts, perturb_std, engine, model_name = "projected", 0.0, "transformers", ""


@dataclass(kw_only=True)
class Sampling:
    """What the scripts that generate share."""

    num_return_sequences: int = option(1, "R, samples a chain", check=positive)
    max_new_tokens: int = option(0, "longest response; 0: 1024, for Qwen3 4096 (du, strategyqa: 1024)", check=natural)
    temperature: float = option(1.0, "of sampling", check=above_zero)
    top_p: float = option(1.0, "of sampling", check=share)
    top_k: int = option(None, "of sampling, 0: no limit; default: the base model's own, else 50", check=natural)
    greedy: bool = flag("take the likeliest token; no sampling")

    def check(self):
        super().check()
        defaults = {"temperature": 1.0, "top_p": 1.0, "top_k": None}
        given = [name for name, default in defaults.items() if getattr(self, name) != default]
        given += ["num_return_sequences"] if self.num_return_sequences > 1 else []
        if self.greedy and given:
            raise UserError(
                f"--greedy does not sample, as --{given[0]} {getattr(self, given[0])} wants: give one of them"
            )


@dataclass(kw_only=True)
class Evaluation(Sampling, ReadsData, Trained):
    """What the evaluation scripts share."""

    split: str = option("test", "file to read: test, dev, or another of --data_dir (unseen: unseen.jsonl)")
    thoughts: str = option(
        "projected",
        "what fills the thought slot. " + "; ".join(f"{name}: {mode.help}" for name, mode in MODES.items()),
        choices=list(MODES),
    )
    perturb_std: float = option(
        0.0,
        "standard deviation of Gaussian noise added to the vectors in the slot, a draw for each question and chain; "
        "with SoftCoT's projection and N chains: SoftCoT-P",
        check=at_least(0, float),
        metavar="S",
    )
    print_input: bool = flag("write each prompt to the log and results", fixes_result=False)
    print_response: bool = flag("write each response to the log and results", fixes_result=False)
    test_k: int = option(0, "first k questions; 0: all", check=natural, fixes_result=False)
    # Each seed has its own files.
    seed: int = option(42, "the one seed, without --seed_from", check=int, fixes_result=False)
    seed_from: int = option(None, "first seed of a sweep", check=int, fixes_result=False)
    seed_to: int = option(None, "last seed of a sweep, included", check=int, fixes_result=False)
    tune_base_model: bool = flag("the base was tuned: needs --base_model_ckpt")
    tune_assistant_model: bool = flag("the assistant was tuned: needs --assistant_model_ckpt")
    eval_batch_size: int = option(
        64,
        "rows (question x seed x chain x sample) decoded at once; in float32 it changes no answer",
        check=positive,
        fixes_result=False,
    )
    engine: str = option(
        None,
        f"what generates, by default {ENGINES['corrected']} (--protocol published: {ENGINES['published']}); vllm needs "
        "requirements-vllm.txt; reference: the published calls of transformers' generate, one question at a time, with "
        "the published noise",
        choices=("transformers", "vllm", "reference"),
    )
    vllm_args: dict = option(
        {},
        'vLLM\'s engine arguments, as {"tensor_parallel_size": 2, "gpu_memory_utilization": 0.8}',
        check=json_object,
        metavar="JSON",
    )
    log_dir: str = option(
        "inference_logs", "folder of the logs and result files, one of each a seed", fixes_result=False
    )
    run_name: str = option("", "put before the log's name", check=printable, fixes_result=False)
    overwrite: bool = flag("start over if result files exist", fixes_result=False)

    def __post_init__(self):
        self.engine = self.engine or ENGINES[self.protocol]
        super().__post_init__()

    def check(self):
        super().check()
        sweep = (self.seed_from, self.seed_to)
        if sweep != (None, None) and (None in sweep or self.seed_to < self.seed_from):
            raise UserError(
                "a sweep needs --seed_from and --seed_to, the second not below the first; "
                f"got {sweep[0]} and {sweep[1]}"
            )
        if sweep != (None, None) and self.seed_to - self.seed_from >= MOST_SEEDS:
            raise UserError(
                f"--seed_from {self.seed_from} --seed_to {self.seed_to}: a sweep keeps two files a seed open, and at "
                f"most {MOST_SEEDS} seeds can be one: run it in parts"
            )
        for part in ("base", "assistant"):
            if getattr(self, f"tune_{part}_model") and not getattr(self, f"{part}_model_ckpt"):
                raise UserError(
                    f"--tune_{part}_model needs the adapter that training wrote: --{part}_model_ckpt FOLDER"
                )
        if self.engine == "reference" and not 0 <= min(self.seeds()) <= max(self.seeds()) < 2**32:
            raise UserError("--engine reference seeds NumPy too: it needs seeds from 0 to 4294967295")
        self.check_slot()
        for name, instead in (
            ("quantization", "--vllm_args '{\"quantization\": ...}'"),
            ("base_device_map", "tensor_parallel_size and pipeline_parallel_size in --vllm_args"),
        ):
            if self.engine == "vllm" and getattr(self, name):
                raise UserError(f"--{name} is for --engine transformers; vLLM has {instead}")

    def check_slot(self):
        """Raise UserError if the options on the thought slot contradict each other."""
        if not self.num_thought_tokens:
            if self.thoughts != "projected" or self.perturb_std:
                raise UserError(
                    f"--num_thought_tokens 0 leaves no slot for --thoughts {self.thoughts} "
                    f"--perturb_std {self.perturb_std:g}: give 1 or more"
                )
        elif MODES[self.thoughts].reads_file and not self.params_file_name:
            raise UserError(
                "--params_file_name is missing: soft thoughts need the projection.bin that training wrote "
                "(zero-shot CoT: --num_thought_tokens 0; controls without it: --thoughts)"
            )
        elif MODES[self.thoughts].writes_text and self.perturb_std:
            raise UserError(
                "--perturb_std moves vectors, and --thoughts assistant_text puts text into the slot: give one of them"
            )

    def name_log(self, seed: int) -> str:
        """Return the name of a seed's log and result file, without its ending.

        As published `{run_name}{task}-{model_name}-seed_{s}-ntt_{L}-nrs_{R}[-nst_{N}]-{base}-{assistant}`; a control
        adds `[-{thoughts}][-perturb_{S}]`.
        """
        scaling = f"-nst_{self.chains()}" if self.chains() else ""
        control = "" if self.thoughts == "projected" else f"-{self.thoughts}"
        control += f"-perturb_{self.perturb_std:g}" if self.perturb_std else ""
        return (
            f"{self.run_name}{self.task_name}-{self.model_name}-seed_{seed}-ntt_{self.num_thought_tokens}"
            f"-nrs_{self.num_return_sequences}{scaling}-{short_name(self.base_model_id)}"
            f"-{short_name(self.assistant_model_id)}{control}"
        )

    def result_paths(self) -> dict[int, Path]:
        """Return seed -> result file."""
        return {seed: Path(self.log_dir, f"{self.name_log(seed)}.jsonl") for seed in self.seeds()}

    def seeds(self) -> list[int]:
        """Return all seeds of a sweep, or the one seed."""
        return [self.seed] if self.seed_from is None else list(range(self.seed_from, self.seed_to + 1))

    def fixing_result(self):
        vllm_args = {key: value for key, value in self.vllm_args.items() if key not in FREE_OF_VLLM}
        return super().fixing_result() | {"vllm_args": vllm_args}

    def engine_arguments(self) -> dict:
        """Return vLLM's engine arguments."""
        return {"trust_remote_code": self.trust_remote_code, **self.vllm_args}


@dataclass(kw_only=True)
class EvaluateSoftCoT(Evaluation, switches_of("evaluate_softcot")):
    """Options of evaluate_softcot.py."""


@dataclass(kw_only=True)
class EvaluateSoftCoTPlusPlus(Chains, Evaluation, switches_of("evaluate_softcotpp")):
    """Options of evaluate_softcotpp.py."""

    base_model_id: str = with_default(Trained, "base_model_id", "Qwen/Qwen3-8B")
    assistant_model_id: str = with_default(Trained, "assistant_model_id", "Qwen/Qwen3-0.6B")


@dataclass(kw_only=True)
class Ask(Sampling, Trained, switches_of("evaluate_softcot")):
    """Options of ask.py. What is not given is as in the training, by the run.json beside the projection."""

    question: str = option("", "the question's text, with its options if it has any", positional=True)
    base_model_id: str = with_default(Trained, "base_model_id", EMBEDDED)
    assistant_model_id: str = with_default(Trained, "assistant_model_id", EMBEDDED)
    num_scaling_times: int = option(
        None, "N, chains a question; default: as many as the projection has (SoftCoT's: one)", check=positive
    )
    num_thought_tokens: int = option(4, "L", check=positive)
    seed: int = option(42, "of sampling", check=int)
    show_thoughts: str = option(
        None,
        "show the soft thoughts: nearest tokens, norms, similarity of chains, and draw them",
        check=png,
        metavar="PNG",
    )

    @classmethod
    def implied(cls, given):
        if not given.get("params_file_name"):
            raise UserError(f"--params_file_name is missing: {HOW_TO_GET_A_PROJECTION}")
        try:
            from model.weights import found_projection, local_projection  # huggingface_hub takes a second

            path = found_projection(local_projection(given["params_file_name"]))
            if not path.is_file():
                raise UserError(f"no projection at {path}")
        except UserError as error:
            raise UserError(f"--params_file_name: {error}; {HOW_TO_GET_A_PROJECTION}") from error
        trained = {name: value for name, value in trained_with(path).items() if name in cls.__dataclass_fields__}
        if "protocol" in given:  # it decides on the switches, not the training
            trained = {name: value for name, value in trained.items() if name not in SWITCHES}
        if (trained | given).get("num_scaling_times"):  # SoftCoT++'s scripts have fewer switches
            theirs = EvaluateSoftCoTPlusPlus.__dataclass_fields__
            own = [name for name in SWITCHES if name in cls.__dataclass_fields__ and name not in theirs]
            trained |= {name: getattr(CORRECTED, name) for name in own}
        for name in trained.keys() - given.keys():
            if not is_taken(cls.__dataclass_fields__[name], trained[name]):
                raise UserError(
                    f"{path.with_name('run.json')}: {name} is {trained[name]!r}, which --{name} does not take: correct "
                    f"it, or give --{name}"
                )
        return trained | given | {"params_file_name": str(path)}

    def chains(self):
        return self.num_scaling_times

    def check(self):
        super().check()
        if self.published_code:
            raise UserError("the functions of --published_code need a question with its answer: leave it out")


# ---- the command line ----


class Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows defaults but None, and a script's docstring as it is."""

    def _get_help_string(self, action):
        return action.help if action.default is None else super()._get_help_string(action)


class Parser(argparse.ArgumentParser):
    """The command line of an options dataclass. Help shows defaults; options are not abbreviated.

    A lone backslash (of a copied command) or a blank at the end is no argument.
    """

    def __init__(self, options, description):
        super().__init__(description=description, formatter_class=Help, allow_abbrev=False)
        self.options = options
        known = {field.name: field for field in fields(options)}
        published = [name for name in PUBLISHED if name in known]
        own = [name for name in known if name not in PUBLISHED and name not in SWITCHES]
        switches = [name for name in SWITCHES if name in known]
        for title, names in (
            ("published options", published),
            ("options of this project", own),
            ("switches of the protocol", switches),
        ):
            group = self.add_argument_group(title)
            for name in names:
                self.add_option(group, known[name])

    def add_option(self, group, field):
        default = field.default if field.default_factory is REQUIRED else field.default_factory()
        known = {"help": field.metadata["help"], "default": default, "required": default is REQUIRED}
        if field.metadata["check"] is bool:
            known["action"] = "store_true"
        else:
            known |= {"type": field.metadata["check"]}
            known |= {key: field.metadata[key] for key in ("choices", "metavar")}
        if known["required"]:
            del known["default"]
        if field.metadata["positional"]:
            group.add_argument(field.name, help=known["help"], type=known["type"])
        else:
            group.add_argument(f"--{field.name}", **known)

    def parse_args(self, words=None):
        """Return the options dataclass. Wrong arguments end the process with exit code 2."""
        words = sys.argv[1:] if words is None else list(words)
        last = words[-1].strip() if words else None
        before = self._option_string_actions.get(words[-2]) if len(words) > 1 else None
        if last == "\\" or last == "" and (before is None or before.nargs == 0):  # else it is that option's value
            words = words[:-1]
        absent = argparse.Namespace(**{field.name: REQUIRED for field in fields(self.options)})
        values = vars(super().parse_args(words, absent))
        args = self.options(
            **self.options.implied({name: value for name, value in values.items() if value is not REQUIRED})
        )
        try:
            args.check()
        except UserError as error:
            self.error(str(error))
        return args


@contextlib.contextmanager
def naming(option, kind=UserError):
    """Put the option that the user can correct before the text of an error of this kind that the block raises."""
    try:
        yield
    except kind as error:
        raise UserError(f"{option}: {error}") from error
