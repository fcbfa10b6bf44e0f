"""The options of the scripts as dataclasses, each option once: default, help, check, whether it fixes the result.

argparse is built from the fields. An option that does not fix the result may change when a run is resumed or a result
file is continued.
"""

import argparse
import dataclasses
import json
import sys
from dataclasses import dataclass, fields
from importlib.util import find_spec
from pathlib import Path

from data_loader.tasks import TASKS
from experiment.protocol import CLONE, CORRECTED, ENGINES, OF_CLONE, PROTOCOLS, SWITCHES, Protocol, switches_in
from experiment.run_files import read_training_options, short_name
from model.choices import DEVICE_MAPS, DTYPES, EMBEDDED, QUANTIZATION
from model.slot import MODES, assistant_thinks
from utils import UserError, naming

REQUIRED = dataclasses.MISSING
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
    *("gpu_memory_utilization", "max_model_len", "max_num_seqs", "enforce_eager", "distributed_executor_backend"),
    *("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size"),
)


def option(default, help, check=str, choices=None, fixes_result=True, positional=False):
    """Return a dataclass field that is one option.

    check: turns the word of the command line into a value, or raises. fixes_result: whether another value gives
    another result. positional: given without its name.
    """
    metadata = {"help": help, "check": check, "choices": choices, "fixes_result": fixes_result}
    return dataclasses.field(default=default, metadata={**metadata, "positional": positional})


def flag(help, fixes_result=True):
    """Return a field that is a flag, off by default."""
    return option(False, help, check=bool, fixes_result=fixes_result)


def with_default(options, name, default):
    """Return the field `name` of another dataclass with another default."""
    return option(default, **options.__dataclass_fields__[name].metadata)


# ---- checks of one value ----


def number(kind, least, most=sys.float_info.max):
    """Return a check for numbers of a kind from `least` to `most`."""

    def check(text):
        if not least <= (value := kind(text)) <= most:
            low = "more than 0" if least == sys.float_info.min else f"{least} or more"
            high = "finite" if most == sys.float_info.max else f"at most {most}"
            raise argparse.ArgumentTypeError(f"want {low}, {high}, got {text}")
        return value

    return check


natural, positive = number(int, 0), number(int, 1)
above_zero, share = number(float, sys.float_info.min), number(float, sys.float_info.min, 1)


def json_object(text):
    return dict(json.loads(text))


def not_empty(text):
    """Return the text. An empty one, of a shell variable that is not set, is an error."""
    if not text:
        raise argparse.ArgumentTypeError("got an empty text")
    return text


def without_slash(text):
    """Return a model's id without a slash at its end: `models/X/` and `models/X` are one model."""
    return text.rstrip("/") or text


def filler(text):
    """Return a filler's text, in which \\n is a newline."""
    return not_empty(text).replace(r"\n", "\n")


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
    dtype: str = option("bfloat16", "dtype of the frozen models", choices=DTYPES)
    base_device_map: str = option(
        None,
        "spread the base model's layers over the GPUs of one process (transformers' device_map)",
        choices=DEVICE_MAPS,
        fixes_result=False,
    )
    quantization: str = option(
        None, "of the frozen base model, by bitsandbytes: LLM.int8() or 4-bit NF4", choices=QUANTIZATION
    )
    base_thought_tokens: str = option(None, "PLACEHOLDER,BEGIN,END: thought tokens of the base model, of any family")
    assistant_thought_tokens: str = option(
        None, "PLACEHOLDER,BEGIN,END[,ID]: the same of the assistant; ID: the first of SoftCoT++'s initial tokens"
    )
    trust_remote_code: bool = flag("let a model's own code from the Hub run on this machine", fixes_result=False)
    # Values for scripts without these options.
    published_code, num_scaling_times, model_name, max_len = None, None, "", -1

    def check(self) -> None:
        """Raise UserError if options contradict each other."""
        if self.published_code and self.prompt_dir:
            raise UserError("give one of --published_code and --prompt_dir")
        for name in OF_CLONE:
            if self.published_code and vars(self).get(name, CLONE) != CLONE:
                raise UserError(f"--published_code decides what --{name} is: leave --{name} out")

    def switches(self) -> Protocol:
        """Return the script's switches. Those that it has no option for are corrected."""
        return dataclasses.replace(CORRECTED, **switches_in(vars(self)))

    @classmethod
    def implied(cls, given: dict) -> dict:
        """Return the given options with those that they imply."""
        return given

    def fixing_result(self) -> dict:
        """Return the options that fix the result, as records hold them."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.metadata["fixes_result"]}


@dataclass(kw_only=True)
class Switched:
    """The protocol of a script with switches (`make_switches`)."""

    protocol: str = option(
        "corrected",
        "corrected: the published protocol without its defects; published: the published value of every switch; "
        "a switch that is given overrides it (docs/DEVIATIONS.md lists them)",
        choices=list(PROTOCOLS),
        fixes_result=False,
    )

    def __post_init__(self):
        for name in SWITCHES.keys() & vars(self).keys():
            if getattr(self, name) is None:
                of_clone = self.published_code and name in OF_CLONE
                setattr(self, name, CLONE if of_clone else getattr(PROTOCOLS[self.protocol], name))


def make_switches(script):
    """Return a dataclass with an option for each switch of a script. The default is the protocol's value."""

    def describe(entry):
        default = f"(default: {entry['values'][0]}; with --protocol published: {entry['published']})"
        return f"{entry['published']}, as published: {entry['does']} {default}"

    options = [
        (name, str, option(None, describe(entry), choices=entry["values"]))
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
        "how the projection is trained: scaling-nce adds the contrastive term; in evaluation it only names the log, "
        "and scaling-nce is refused if the projection was trained as scaling",
        choices=("scaling", "scaling-nce"),
    )


@dataclass(kw_only=True)
class Training(Options):
    """What the training scripts share. The record has hashes of models, data and prompts instead of their names."""

    data_dir: str = option(None, "folder of the task's files; default data/<task>", check=not_empty, fixes_result=False)
    published_code: str = option(
        None,
        "your clone of the published repository, whose functions make the prompts (of llama, qwen2.5, qwen3)",
        check=not_empty,
        fixes_result=False,
    )
    large_model_id: str = option(
        "meta-llama/Llama-3.1-8B-Instruct", "base model: Hub id, directory, or embedded/...", fixes_result=False
    )
    small_model_id: str = option("meta-llama/Llama-3.2-1B-Instruct", "assistant model", fixes_result=False)
    output_name: str = option(REQUIRED, "first part of the run's name", fixes_result=False)
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
    thoughts: str = option(
        "projected",
        "what learns: the projection of thought states, or as a control L free vectors in the slot, without assistant",
        choices=("projected", "learned"),
    )
    thought_filler: str = option(
        None,
        r"token (\n: a newline), or id if it is a number, whose embedding fills the assistant's placeholders; of "
        "SoftCoT++ N of them, with commas between; default: the published ones",
        check=filler,
    )
    thought_scaling: str = option(
        "none",
        "standardized: thought states, in float32, are centred and scaled per feature before the projection, whose "
        "saved weight and bias then contain that; evaluation takes float32 from run.json, or give --dtype float32",
        choices=("none", "standardized"),
    )
    max_len: int = option(
        -1,
        "longest training example in base tokens; longer ones are left out, or by --too_long cut; 0 or less: no limit",
        check=int,
    )
    learning_rate: float = option(2e-5, "start of the linear decay, at most 1", check=share)
    gradient_accumulation_steps: int = option(1, "batches an optimizer step", check=positive, fixes_result=False)
    micro_batch_size: int = option(
        0,
        "rows (one chain of one example) in one forward and backward pass: fewer take less memory and more time; "
        "0: as many as make 400 tokens on a CPU, 2048 on a GPU; with LoRA another value draws other dropout",
        check=natural,
        fixes_result=False,
    )
    seed: int = option(42, "of initial weights, the order of examples and dropout", check=number(int, 0, 2**32 - 1))
    resume: bool = flag(
        "continue from this run's newest checkpoint; a finished run is left as it is", fixes_result=False
    )

    def fixing_result(self):
        more = ["batch_size"] if self.pairs_examples() else []  # pairs are of one forward pass
        return super().fixing_result() | {name: vars(self)[name] for name in more}

    def name_run(self) -> str:
        """Return the run's name, as published: `{output_name}-{task}-{n_epochs}-{L}[-{N}]-{large}-{small}[-nce]`."""
        chains = [self.num_scaling_times] if self.num_scaling_times else []
        models = map(short_name, (self.large_model_id, self.small_model_id))
        parts = [self.output_name, self.task_name, float(self.n_epochs), self.num_thought_tokens, *chains, *models]
        learned = "-learned" if self.thoughts == "learned" else ""
        return "-".join(map(str, parts)) + ("-nce" if self.adds_contrast() else "") + learned

    def adds_contrast(self) -> bool:
        """Return whether the loss has the contrastive term."""
        return self.model_name == "scaling-nce"

    def pairs_examples(self) -> bool:
        """Return whether the token loss is one of pairs of examples; raise UserError if the base's name cannot say."""
        if not self.adds_contrast() or self.token_loss_pairs == "no":
            return False
        return self.token_loss_pairs == "yes" or size_in_name(self.large_model_id) < 4

    def check(self):
        super().check()
        self.pairs_examples()
        alone, scales = self.tune_base_model and self.thoughts == "projected", self.thought_scaling == "standardized"
        if not self.num_thought_tokens and not alone:
            raise UserError("--num_thought_tokens 0 is for --tune_base_model alone, without --thoughts learned")
        if not self.thinks() and (self.tune_assistant_model or self.thought_filler or scales):
            raise UserError("--tune_assistant_model, --thought_filler and --thought_scaling: no assistant thinks here")
        if scales and (self.tune_assistant_model or self.projection_dtype != "float32"):
            raise UserError("--thought_scaling needs a frozen assistant and a float32 projection")

    def thinks(self) -> bool:
        """Return whether an assistant has a part."""
        return assistant_thinks(self.num_thought_tokens, self.thoughts)


@dataclass(kw_only=True)
class TrainSoftCoT(Training, make_switches("train_softcot")):
    """Options of train_softcot.py."""


@dataclass(kw_only=True)
class TrainSoftCoTPlusPlus(Chains, Training, make_switches("train_softcotpp")):
    """Options of train_softcotpp.py."""

    large_model_id: str = with_default(Training, "large_model_id", "Qwen/Qwen3-8B")
    small_model_id: str = with_default(Training, "small_model_id", "Qwen/Qwen3-0.6B")
    num_thought_tokens: int = option(2, "L; 32 in the papers", check=positive)


def size_in_name(model_id: str) -> float:
    """Return a base model's size in billions of parameters as the published code reads it, or raise UserError."""
    parts = short_name(model_id).split("-")
    part = parts[-1] if "qwen3" in parts[0].lower() else "".join(parts[-2:-1])
    try:
        return float(part[:-1])
    except ValueError:
        raise UserError(f"{model_id} names no size: give --token_loss_pairs yes or no") from None


@dataclass(kw_only=True)
class Trained(Options):
    """Options of the scripts that read what training wrote."""

    base_model_id: str = option(
        "meta-llama/Llama-3.1-8B-Instruct", "base model: Hub id, directory, or embedded/...", check=without_slash
    )
    assistant_model_id: str = option("meta-llama/Llama-3.2-1B-Instruct", "assistant model", check=without_slash)
    params_file_name: str = option(
        None,
        "projection.bin, or user/repo or user/repo/file.bin on the Hub, if --thoughts needs one",
        check=path_or_none,
        fixes_result=False,
    )
    base_model_ckpt: str = option(None, "LoRA adapter of the base model; None: none", check=path_or_none)
    assistant_model_ckpt: str = option(None, "LoRA adapter of the assistant; None: none", check=path_or_none)
    thought_filler: str = option(
        None, "filler of the training; default: what run.json beside the projection says", filler, fixes_result=False
    )
    num_thought_tokens: int = option(2, "L; 4 in the papers, 0: zero-shot CoT", check=natural)
    task_name: str = option("gsm8k", "task whose prompts and data are used", choices=list(TASKS))
    num_return_sequences: int = option(1, "R, samples a chain", check=positive)
    max_new_tokens: int = option(0, "longest response; 0: 1024, for Qwen3 4096 (du, strategyqa: 1024)", check=natural)
    temperature: float = option(1.0, "of sampling", check=number(float, 1e-6))  # less makes logits infinite
    top_p: float = option(1.0, "of sampling", check=share)
    top_k: int = option(None, "of sampling, 0: no limit; default: the base model's own, else 50", check=natural)
    greedy: bool = flag("take the likeliest token; no sampling")
    # Of the evaluation scripts alone; ask.py has these values.
    thoughts, perturb_std, engine = "projected", 0.0, "transformers"


@dataclass(kw_only=True)
class Evaluation(Trained):
    """What the evaluation scripts share."""

    data_dir: str = with_default(Training, "data_dir", None)
    published_code: str = with_default(Training, "published_code", None)
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
        check=number(float, 0),
    )
    print_input: bool = flag("write each prompt to the log and results", fixes_result=False)
    print_response: bool = flag("write each response to the log and results", fixes_result=False)
    test_k: int = option(0, "first k questions; 0: all", check=natural, fixes_result=False)
    seed: int = option(42, "seed of sampling, without --seed_from", check=int, fixes_result=False)
    seed_from: int = option(None, "first seed of a sweep", check=int, fixes_result=False)
    seed_to: int = option(None, "last seed of a sweep, included", check=int, fixes_result=False)
    tune_base_model: bool = flag("the base was tuned: needs --base_model_ckpt")
    tune_assistant_model: bool = flag("the assistant was tuned: needs --assistant_model_ckpt")
    eval_batch_size: int = option(
        64,
        "responses (question x seed x chain x sample) decoded at once; in float32 it changes no answer",
        check=positive,
        fixes_result=False,
    )
    engine: str = option(
        None,
        f"what generates, by default {ENGINES['corrected']} (--protocol published: {ENGINES['published']}); "
        "reference: the published calls of transformers' generate, with the published noise",
        choices=("transformers", "vllm", "reference"),
    )
    vllm_args: dict = option(None, 'vLLM\'s engine arguments, as {"tensor_parallel_size": 2}', check=json_object)
    log_dir: str = option(
        "inference_logs", "folder of the logs and result files, of each seed", check=not_empty, fixes_result=False
    )
    run_name: str = option("", "put before the log's name", fixes_result=False)
    overwrite: bool = flag("start over if result files exist", fixes_result=False)

    def __post_init__(self):
        self.engine = self.engine or ENGINES[self.protocol]
        super().__post_init__()

    def check(self):
        super().check()
        ends, mode = (self.seed_from, self.seed_to), MODES[self.thoughts]
        if ends != (None, None) and (None in ends or ends[0] > ends[1]):
            raise UserError(f"a sweep needs --seed_from and --seed_to, the second not below the first; got {ends}")
        for part in ("base_model", "assistant_model"):
            if getattr(self, f"tune_{part}") and not getattr(self, f"{part}_ckpt"):
                raise UserError(f"--tune_{part} needs the adapter that training wrote: --{part}_ckpt FOLDER")
        if not self.num_thought_tokens and (self.thoughts != "projected" or self.perturb_std):
            raise UserError("--num_thought_tokens 0 leaves no slot for --thoughts and --perturb_std")
        if self.num_thought_tokens and mode.reads and not self.params_file_name:
            raise UserError("--params_file_name FILE is missing, the projection.bin that training wrote")
        if self.engine == "vllm" and self.quantization:
            raise UserError("--quantization is for --engine transformers; vLLM has its own, in --vllm_args")
        if self.engine == "vllm" and find_spec("vllm") is None:
            raise UserError("--engine vllm: not installed here; it needs its own environment (docs/REPRODUCING.md)")

    def name_log(self, seed: int) -> str:
        """Return the name of a seed's log and result file, without its ending.

        As published `{run_name}{task}-{model_name}-seed_{s}-ntt_{L}-nrs_{R}[-nst_{N}]-{base}-{assistant}`; a control
        adds `[-{thoughts}][-perturb_{S}]`.
        """
        chains = [f"nst_{self.num_scaling_times}"] if self.num_scaling_times else []
        models = [short_name(self.base_model_id), short_name(self.assistant_model_id)]
        control = [self.thoughts] if self.thoughts != "projected" else []
        control += [f"perturb_{self.perturb_std:g}"] if self.perturb_std else []
        parts = [f"{self.run_name}{self.task_name}", self.model_name, f"seed_{seed}", f"ntt_{self.num_thought_tokens}"]
        return "-".join([*parts, f"nrs_{self.num_return_sequences}", *chains, *models, *control])

    def result_paths(self) -> dict[int, Path]:
        """Return seed -> result file, for all seeds of a sweep or the one seed."""
        seeds = [self.seed] if self.seed_from is None else range(self.seed_from, self.seed_to + 1)
        return {seed: Path(self.log_dir, f"{self.name_log(seed)}.jsonl") for seed in seeds}

    def fixing_result(self):
        vllm_args = {key: value for key, value in (self.vllm_args or {}).items() if key not in FREE_OF_VLLM}
        return super().fixing_result() | {"vllm_args": vllm_args}


@dataclass(kw_only=True)
class EvaluateSoftCoT(Evaluation, make_switches("evaluate_softcot")):
    """Options of evaluate_softcot.py."""


@dataclass(kw_only=True)
class EvaluateSoftCoTPlusPlus(Chains, Evaluation, make_switches("evaluate_softcotpp")):
    """Options of evaluate_softcotpp.py."""

    base_model_id: str = with_default(Trained, "base_model_id", "Qwen/Qwen3-8B")
    assistant_model_id: str = with_default(Trained, "assistant_model_id", "Qwen/Qwen3-0.6B")


@dataclass(kw_only=True)
class Ask(Trained, make_switches("evaluate_softcot")):
    """Options of ask.py. What is not given is as in the training, by the run.json beside the projection."""

    question: str = option("", "the question's text, with its options if it has any", positional=True)
    base_model_id: str = with_default(Trained, "base_model_id", EMBEDDED)
    assistant_model_id: str = with_default(Trained, "assistant_model_id", EMBEDDED)
    params_file_name: str = option(
        REQUIRED, "projection.bin that training wrote (`make demo`: in results/demo/ckpt), or user/repo on the Hub"
    )
    num_scaling_times: int = option(None, "N; default: as many chains as the projection has", check=positive)
    num_thought_tokens: int = option(4, "L, if no run.json says that of training", check=positive)
    seed: int = option(42, "of sampling", check=int)
    show_thoughts: str = option(
        None, "PNG to draw the soft thoughts into: nearest tokens, norms, similarity of chains, printed too"
    )

    @classmethod
    def implied(cls, given):
        from model.weights import local_projection  # huggingface_hub takes a second

        with naming("--params_file_name"):
            path = local_projection(given["params_file_name"])
        trained = {
            name: value for name, value in read_training_options(path).items() if name in cls.__dataclass_fields__
        }
        if "protocol" in given:  # it decides on the switches, not the training
            trained = {name: value for name, value in trained.items() if name not in SWITCHES}
        return trained | given | {"params_file_name": str(path)}


# ---- the command line ----


class Parser(argparse.ArgumentParser):
    """The command line of an options dataclass. Help shows defaults; options are not abbreviated.

    A backslash at the end, as of a copied command, alone or before a blank, is no argument.
    """

    def __init__(self, options, description):
        super().__init__(
            description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        self.options = options
        known = {field.name: field for field in fields(options)}
        groups = {
            "options with the published names": [name for name in PUBLISHED if name in known],
            "options of this project": [name for name in known if name not in PUBLISHED and name not in SWITCHES],
            "switches of the protocol": [name for name in SWITCHES if name in known],
        }
        for title, names in groups.items():
            group = self.add_argument_group(title)
            for name in names:
                self.add_option(group, known[name])

    def add_option(self, group, field):
        is_flag = field.metadata["check"] is bool
        default = "" if is_flag or field.default in (None, "", REQUIRED) else f" (default: {field.default})"
        more = {"help": field.metadata["help"] + default, "default": argparse.SUPPRESS}
        if is_flag:
            more["action"] = "store_true"
        else:
            more |= {"type": field.metadata["check"], "choices": field.metadata["choices"]}
        if field.default is REQUIRED:
            more["required"] = True
        group.add_argument(field.name if field.metadata["positional"] else f"--{field.name}", **more)

    def parse_args(self, words=None):
        """Return the options dataclass. Wrong arguments end the process with exit code 2."""
        words = sys.argv[1:] if words is None else list(words)
        given = vars(super().parse_args(words[:-1] if words[-1:] in (["\\"], [" "]) else words))
        args = self.options(**self.options.implied(given))
        try:
            args.check()
        except UserError as error:
            self.error(str(error))
        return args
