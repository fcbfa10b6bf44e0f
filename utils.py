"""What the scripts share: arguments, run names, loading, logs, result files, plots.

Knows both sides, models and data; holds no mathematics of either.
"""

import argparse
import errno
import glob
import hashlib
import importlib.metadata
import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import torch
import transformers

from data_loader.answers import ANSWER_RULE, count_votes, verdicts
from data_loader.collator import Collator
from data_loader.loaders import load_task
from data_loader.prompts import PromptEncoder
from data_loader.tasks import TASKS
from model.backbone import (
    DEVICE_MAPS,
    DTYPES,
    QUANTIZATION,
    first_line,
    load_backbone,
    load_embeddings,
    short_name,
)
from model.causal_lm import can_share_prefix, text_config
from model.controls import THOUGHTS
from model.files import (
    Stop,
    fingerprint,
    flush,
    held,
    refuse_differences,
    replaced,
    signals_raise_stop,
    take_lock,
)
from model.processes import is_main, let_main_speak_first
from model.softcot import found_projection

ROOT = Path(__file__).resolve().parent


# ---- arguments ----


class Parser(argparse.ArgumentParser):
    """Options shown with their defaults; a lone backslash (of a copied command) or blank at the end is no argument."""

    def __init__(self, description):
        super().__init__(
            description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
        )

    def parse_args(self, args=None, namespace=None):
        words = sys.argv[1:] if args is None else list(args)
        last = words[-1].strip() if words else None
        before = self._option_string_actions.get(words[-2]) if len(words) > 1 else None
        if last == "\\" or last == "" and (before is None or before.nargs == 0):  # else it is that option's value
            words = words[:-1]
        return super().parse_args(words, namespace)


def positive(text):
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"want 1 or more, got {number}")
    return number


def natural(text):
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"want 0 or more, got {number}")
    return number


def positive_float(text):
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"want a number above 0, got {text}")
    return number


def natural_float(text):
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"want 0 or more, got {text}")
    return number


def json_object(text):
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"want a JSON object, got {text!r}: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"want a JSON object, got {text!r}")
    return value


def path_or_none(text):
    """The published scripts write `None` for no path."""
    return None if text in ("", "None") else text


def add_common_arguments(parser):
    """What training and evaluation share beyond the published options."""
    parser.add_argument("--data_dir", help="folder of the task's files; default data/<task>")
    parser.add_argument("--prompt_dir", help="folder with a <task>.jinja in place of the built-in prompts")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="of the frozen models")
    parser.add_argument("--device", default="auto", help="cuda, cpu, ...; auto takes a GPU where there is one")
    parser.add_argument(
        "--base_device_map",
        choices=DEVICE_MAPS,
        help="spread the base model over the GPUs, by transformers' device map of this name",
    )
    parser.add_argument(
        "--quantization",
        choices=QUANTIZATION,
        help="of the frozen base model, by bitsandbytes: LLM.int8() or 4-bit NF4",
    )
    parser.add_argument(
        "--base_thought_tokens",
        metavar="PLACEHOLDER,BEGIN,END",
        help="thought tokens of a base model of another family",
    )
    parser.add_argument(
        "--assistant_thought_tokens", metavar="PLACEHOLDER,BEGIN,END", help="the same of the assistant model"
    )
    parser.add_argument(
        "--assistant_initial_token",
        type=natural,
        metavar="ID",
        help="first id of SoftCoT++'s initial tokens, with --assistant_thought_tokens",
    )
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="let a model's own code from the Hub run on this machine"
    )


def add_training_arguments(parser, large, small):
    parser.add_argument("--large_model_id", default=large, help="base model: Hub id, directory, or embedded/...")
    parser.add_argument("--small_model_id", default=small, help="assistant model")
    parser.add_argument("--output_name", required=True, help="first part of the run's name")
    parser.add_argument("--batch_size", type=positive, default=1, help="examples a step")
    parser.add_argument(
        "--task_name", choices=[name for name in TASKS if name != "du"], default="gsm8k", help="what to train on"
    )
    parser.add_argument(
        "--num_thought_tokens",
        type=natural,
        default=2,
        help="L; 32 in the papers; 0 with --tune_base_model (SoftCoT only): LoRA alone",
    )
    parser.add_argument("--n_epochs", type=positive_float, default=3.0, help="passes over the data; 10 in the papers")
    parser.add_argument("--k_shot", type=natural, default=0, help="first k training examples; 0: all")
    parser.add_argument(
        "--dev_k", type=natural, default=0, help="first k dev examples; 0: all (SoftCoT++: as many as --k_shot)"
    )
    parser.add_argument("--tune_base_model", action="store_true", help="LoRA on the base model too")
    parser.add_argument("--tune_assistant_model", action="store_true", help="LoRA on the assistant too")
    parser.add_argument(
        "--max_len",
        type=int,
        default=-1,
        help="leave out training examples longer than this many base tokens; -1: no limit",
    )
    parser.add_argument("--learning_rate", type=positive_float, default=2e-5, help="start of the linear decay")
    parser.add_argument("--gradient_accumulation_steps", type=positive, default=1, help="batches a step")
    parser.add_argument(
        "--micro_batch_size",
        type=natural,
        default=0,
        help="rows (question x chain) with activations in memory at once; 0: as many as come to "
        "400 tokens on a CPU, else 2048",
    )
    parser.add_argument(
        "--projection_dtype",
        choices=DTYPES,
        default="float32",
        help="bfloat16 restores the published rounding of the projection's updates",
    )
    parser.add_argument("--seed", type=int, default=42, help="of initial weights and the order of examples")
    parser.add_argument("--resume", action="store_true", help="go on from this run's newest checkpoint")
    add_common_arguments(parser)


def add_evaluation_arguments(parser, base, assistant):
    parser.add_argument("--base_model_id", default=base, help="base model: Hub id, directory, or embedded/...")
    parser.add_argument("--assistant_model_id", default=assistant, help="assistant model")
    parser.add_argument(
        "--params_file_name", type=path_or_none, help="projection.bin; only projected and shuffled thoughts read it"
    )
    parser.add_argument("--base_model_ckpt", type=path_or_none, help="LoRA adapter of the base model; None: none")
    parser.add_argument("--assistant_model_ckpt", type=path_or_none, help="LoRA adapter of the assistant; None: none")
    parser.add_argument("--num_thought_tokens", type=natural, default=2, help="L; 4 in the papers, 0: zero-shot CoT")
    parser.add_argument(
        "--thoughts",
        choices=list(THOUGHTS),
        default="projected",
        help="what stands in the thought slot. "
        + "; ".join(f"{mode}: {meaning}" for mode, meaning in THOUGHTS.items()),
    )
    parser.add_argument(
        "--perturb_std",
        type=natural_float,
        default=0.0,
        metavar="S",
        help="standard deviation of Gaussian noise added to the vectors in the slot, a draw for each "
        "question and chain; with SoftCoT's projection and N chains: SoftCoT-P",
    )
    parser.add_argument("--num_return_sequences", type=positive, default=1, help="R, samples a chain")
    parser.add_argument("--task_name", choices=list(TASKS), default="gsm8k", help="what to evaluate on")
    parser.add_argument("--print_input", action="store_true", help="write each prompt to the log and results")
    parser.add_argument("--print_response", action="store_true", help="write each response to the log and results")
    parser.add_argument("--test_k", type=natural, default=0, help="first k questions; 0: all")
    parser.add_argument("--seed", type=int, default=42, help="the one seed, without --seed_from")
    parser.add_argument("--seed_from", type=int, help="first seed of a sweep")
    parser.add_argument("--seed_to", type=int, help="last seed of a sweep, included")
    parser.add_argument("--tune_base_model", action="store_true", help="the base was tuned: needs --base_model_ckpt")
    parser.add_argument(
        "--tune_assistant_model", action="store_true", help="the assistant was tuned: needs --assistant_model_ckpt"
    )
    parser.add_argument("--split", default="test", help="file to evaluate: test, dev, or another of --data_dir")
    parser.add_argument(
        "--eval_batch_size",
        type=positive,
        default=64,
        help="rows (question x seed x chain x sample) decoded at once; in float32 it changes no answer",
    )
    parser.add_argument(
        "--engine",
        choices=["transformers", "vllm"],
        default="transformers",
        help="what generates; vllm needs requirements-vllm.txt",
    )
    parser.add_argument("--tensor_parallel_size", type=positive, default=1, help="vLLM: GPUs that share each layer")
    parser.add_argument(
        "--pipeline_parallel_size",
        type=positive,
        default=1,
        help="vLLM: groups of GPUs that hold the layers one after another",
    )
    parser.add_argument("--data_parallel_size", type=positive, default=1, help="vLLM: replicas that share the rows")
    parser.add_argument(
        "--distributed_executor_backend",
        choices=["mp", "ray"],
        help="vLLM: what starts its processes; ray for several nodes; default: vLLM's choice",
    )
    parser.add_argument(
        "--vllm_args",
        type=json_object,
        default={},
        metavar="JSON",
        help='more of vLLM\'s engine arguments, as {"gpu_memory_utilization": 0.8}',
    )
    parser.add_argument("--max_new_tokens", type=natural, default=0, help="longest response; 0: the task's own length")
    parser.add_argument("--temperature", type=positive_float, default=1.0, help="of sampling")
    parser.add_argument("--top_p", type=positive_float, default=1.0, help="of sampling")
    parser.add_argument(
        "--top_k", type=natural, help="of sampling, 0: no limit; default: the base model's own, else 50"
    )
    parser.add_argument("--greedy", action="store_true", help="take the likeliest token in place of sampling")
    parser.add_argument(
        "--no_generation_prompt",
        action="store_true",
        help="as published: the model writes the assistant header itself (Llama, Qwen2.5)",
    )
    parser.add_argument("--log_dir", default="inference_logs", help="folder of the logs, one a seed")
    parser.add_argument("--results_dir", help="folder of the result files, one a seed; default: --log_dir")
    parser.add_argument("--run_name", default="", help="put before the log's name")
    parser.add_argument("--overwrite", action="store_true", help="start over where result files exist")
    add_common_arguments(parser)


def stop_with_one_line(main):
    """Run a script's main; a foreseen error becomes one line on stderr and exit code 1, SIGINT 130, SIGTERM 143."""
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")
    try:
        with signals_raise_stop():
            main()
    except (ValueError, FloatingPointError) as error:
        let_main_speak_first()
        sys.exit(f"error: {error}")
    except OSError as error:
        let_main_speak_first()
        sys.exit(f"error: {one_line_of(error)}")
    except torch.OutOfMemoryError as error:
        sys.exit(
            f"error: {first_line(error)}; less memory: --micro_batch_size and --batch_size in training, "
            "--eval_batch_size in evaluation, --quantization"
        )
    except (Stop, KeyboardInterrupt) as stop:
        signum = getattr(stop, "signum", signal.SIGINT)
        if is_main():
            print(
                f"\nstopped by {signal.Signals(signum).name}; what is finished is kept: the same command goes on "
                "(training: with --resume)",
                file=sys.stderr,
                flush=True,
            )
        sys.exit(128 + signum)


def one_line_of(error):
    """An OSError in one line; of a full disk also what to do."""
    name = f": {error.filename}" if error.filename else ""
    text = " ".join(f"{error.strerror}{name}".split()) if error.strerror else " ".join(str(error).split())
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or text.startswith("cannot write "):
        text += "; what was finished before is kept: make room, then the same command goes on (training: with --resume)"
    return text


# ---- loading ----


def device_of(args):
    """The device asked for. Raises ValueError where there is none of that name."""
    if args.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        kind = torch.device(args.device).type
    except RuntimeError as error:
        raise ValueError(f"--device {args.device}: {first_line(error)}") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {args.device}: torch sees no GPU here")
    return args.device


def load_backbones(args, base_id, assistant_id, with_assistant=True, embeddings_only=False):
    """Base (with `embeddings_only` no more of it than those) and assistant as Backbones (None without it)."""
    if args.base_device_map and int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ValueError("--base_device_map spreads the base over the GPUs of one process; without torchrun, please")
    if args.base_device_map and args.tune_base_model and not hasattr(args, "base_model_ckpt"):
        raise ValueError(
            "--base_device_map is for a frozen base: train a LoRA adapter without it (several GPUs: torchrun)"
        )
    common = {"dtype": args.dtype, "device": device_of(args), "trust_remote_code": args.trust_remote_code}
    if embeddings_only:
        base = load_embeddings(base_id, custom_tokens=args.base_thought_tokens, **common)
    else:
        base = load_backbone(
            base_id,
            custom_tokens=args.base_thought_tokens,
            device_map=args.base_device_map,
            quantization=args.quantization,
            **common,
        )
    assistant = (
        load_backbone(
            assistant_id,
            custom_tokens=args.assistant_thought_tokens,
            option="--assistant_thought_tokens",
            initial_id=args.assistant_initial_token,
            **common,
        )
        if with_assistant
        else None
    )
    for backbone in (base, assistant):
        if backbone and not embeddings_only and not can_share_prefix(backbone.model):
            print(
                f"{backbone.name}: layers whose keys and values cannot be shared (a sliding window, say): each chain "
                "runs its whole prompt, the same numbers but slower",
                flush=True,
            )
    return base, assistant


def pad_id(tokenizer):
    """Any id does: padding is masked."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0


def make_encoder(args, base, assistant, **options):
    """Prompt encoder and collator of a pair of backbones."""
    small = assistant or base
    encoder = PromptEncoder(
        args.task_name,
        base.tokenizer,
        base.thought_tokens,
        small.tokenizer,
        small.thought_tokens,
        args.num_thought_tokens,
        args.prompt_dir,
        **options,
    )
    return encoder, Collator(pad_id(base.tokenizer), pad_id(small.tokenizer))


def context_of(backbone):
    return getattr(text_config(backbone.model), "max_position_embeddings", None) or float("inf")


def encode_split(args, encoder, base, instances, split, new_tokens=0, limit=float("inf"), assistant=None):
    """Encoded examples of a split, without those over `limit` or a model's context; says how many."""
    limit = min(limit, context_of(base) - new_tokens)
    assistant_limit = context_of(assistant) if assistant else float("inf")
    encoded = [encoder.encode(instance, split) for instance in instances]
    kept = [
        e
        for e in encoded
        if len(e["prefix_ids"]) + encoder.length + len(e["suffix_ids"]) <= limit
        and len(e["assistant_ids"]) <= assistant_limit
    ]
    if len(kept) < len(encoded):
        print(
            f"{split}: {len(encoded) - len(kept)} of {len(encoded)} examples are longer than {limit} tokens"
            + (f" (or {assistant_limit} of the assistant)" if assistant_limit < limit else "")
            + " and left out",
            flush=True,
        )
    if not kept:
        raise ValueError(f"no {split} example of {args.task_name} is at most {limit} tokens long")
    return kept


# ---- names and records ----


def run_name(args, chains=None, contrastive=False):
    """`{output_name}-{task}-{n_epochs}-{L}[-{N}]-{large}-{small}[-nce]`, the published form."""
    parts = [args.output_name, args.task_name, float(args.n_epochs), args.num_thought_tokens]
    parts += [chains] if chains else []
    parts += [short_name(args.large_model_id), short_name(args.small_model_id)]
    return "-".join(map(str, parts)) + ("-nce" if contrastive else "")


def log_name(args, seed, chains=None):
    """`{run_name}{task}-{model_name}-seed_{s}-ntt_{L}-nrs_{R}[-nst_{N}]-{base}-{assistant}`, as published; then
    `[-{thoughts}][-perturb_{S}]` of a control."""
    scaling = f"-nst_{chains}" if chains else ""
    control = "" if args.thoughts == "projected" else f"-{args.thoughts}"
    control += f"-perturb_{args.perturb_std:g}" if args.perturb_std else ""
    return (
        f"{args.run_name}{args.task_name}-{getattr(args, 'model_name', '')}-seed_{seed}"
        f"-ntt_{args.num_thought_tokens}-nrs_{args.num_return_sequences}{scaling}-{short_name(args.base_model_id)}"
        f"-{short_name(args.assistant_model_id)}{control}"
    )


def git_commit():
    """Commit of the code, with + where files differ from it; None outside a repository."""

    def git(*words):
        command = ["git", "-C", str(ROOT), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def describe_run(args, encoder, base, assistant):
    """What stands in run.json: enough to know what a projection was trained with."""
    packages = {"torch": torch.__version__, "transformers": transformers.__version__}
    for package in ("fastNLP", "accelerate", "peft"):
        packages[package] = importlib.metadata.version(package)
    return {
        "arguments": vars(args),
        "prompt_hash": encoder.prompt_hash,
        "prompt_file": str(encoder.path),
        "base_family": base.thought_tokens.family,
        "assistant_family": assistant.thought_tokens.family if assistant else None,
        "versions": packages,
        "python": sys.version.split()[0],
        "git_commit": git_commit(),
    }


def write_json(value, path):
    """Write JSON whole or not at all."""
    with replaced(path) as scratch:
        scratch.write_text(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


def quiet_libraries():
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", message=".*pin_memory.*")


def check_against_training(args, encoder, params_file):
    """Compare the arguments with the run.json beside what training wrote: other models are an error, another prompt a
    warning."""
    params_file = found_projection(params_file)
    record = params_file.with_name("run.json")
    if not record.is_file():
        return
    try:
        trained = json.loads(record.read_text(encoding="utf-8"))
        arguments, written = trained["arguments"], trained.get("projection")
        names = [short_name(arguments[key]) for key in ("large_model_id", "small_model_id")]
        families = [trained["base_family"], trained["assistant_family"]]
        task, prompt = arguments["task_name"], (trained["prompt_hash"], trained["prompt_file"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{record} is not what training writes ({type(error).__name__}: {first_line(error)}): mend or remove it"
        ) from None
    if written and params_file.is_file() and written != fingerprint(params_file):  # an adapter is a folder
        raise ValueError(
            f"{record} describes another {params_file.name} than the one beside it: "
            "put the two of one run together, or remove run.json"
        )
    ours = ("base", "assistant") if args.num_thought_tokens else ("base",)
    for part, wanted in zip(ours, names, strict=False):
        mine = short_name(getattr(args, f"{part}_model_id"))
        if mine != wanted:
            raise ValueError(f"--{part}_model_id is {mine}, but {params_file} was trained with {wanted} ({record})")
        if arguments.get(f"tune_{part}_model") and not getattr(args, f"{part}_model_ckpt"):
            raise ValueError(
                f"{params_file} was trained together with a LoRA adapter of the {part} model ({record}): "
                f"give its folder with --{part}_model_ckpt"
            )
    fixed = (encoder.base_family, encoder.assistant_family)
    for part, mine, wanted in zip(ours, fixed, families, strict=False):
        if mine != wanted:
            raise ValueError(
                f"the {part} model's thought tokens are of the family {mine}, but {params_file} was "
                f"trained with {wanted} ({record})"
            )
    method, trained_as = getattr(args, "model_name", None), arguments.get("model_name")
    if method and trained_as and method != trained_as:
        text = f"--model_name is {method}, but {params_file} was trained as {trained_as} ({record})"
        if method != "scaling":  # which the documented commands leave to the default, whatever was trained
            raise ValueError(text)
        print(f"note: {text}; it stands in the log's name only", file=sys.stderr, flush=True)
    if task == args.task_name and prompt[0] != encoder.prompt_hash:
        print(
            f"warning: the prompt is {encoder.prompt_hash} ({encoder.path}), {params_file} was trained with "
            f"{prompt[0]} ({prompt[1]})",
            file=sys.stderr,
            flush=True,
        )


# ---- judging and result files ----


def judge(task_name, question, responses, tokens):
    """Return the result row of one question: published rule and strict rule side by side.

    question: Instance; responses: N x R texts, chain by chain; tokens: how many each took.
    """
    return {"index": question["index"], **verdicts(task_name, responses, question["answer"]), "tokens": tokens}


class SeedResults:
    """One seed's result file (JSON lines after a line that names the run) and its log.

    A row is flushed to disk before the next is computed. On a restart, finished rows are read back,
    a line cut off by a kill is dropped, and the log is written again from the rows, so both files
    always agree. The run's record holds the answer rule of its rows. Rows of part files (`{name}.part-*`, written by
    the further processes of a run of several) are taken over, and rows stand in the data's order. Raises ValueError if
    the file belongs to a run with other arguments or another answer rule, is damaged otherwise or is being written by
    another process. log_path None: no log.
    """

    def __init__(self, results_path, log_path, run, votes, overwrite=False, echo=False):
        self.votes, self.echo = votes, echo
        self.rows, self.correct, self.tokens = {}, 0, []
        path = Path(results_path)
        new = not path.exists()
        self.file, self.log = self.open(path), self.open(Path(log_path)) if log_path else None
        if self.log and new and not overwrite and Path(log_path).stat().st_size:
            path.unlink()
            raise ValueError(
                f"{log_path} is a log without its result file {path}: use another --run_name or "
                "--log_dir, or --overwrite"
            )
        run = json.loads(json.dumps({**run, "answer_rule": ANSWER_RULE}))
        parts = sorted(path.parent.glob(f"{glob.escape(path.name)}.part-*"))
        kept, end = ([], 0) if overwrite else self.read(path, run)
        if not overwrite:
            taken = {row["index"]: row for file in parts for row in self.read(file, run)[0]}
            taken |= {row["index"]: row for row in kept}
            if list(taken) != [row["index"] for row in kept] or list(taken) != sorted(taken):
                kept = [taken[index] for index in sorted(taken)]
                end = self.rewrite(path, run, kept)
        self.file.truncate(end)
        flush(path.parent)
        if not end:
            self.write({"run": run})
        for part in parts:
            part.unlink()
        if self.log:
            self.log.truncate(0)
            write_all(self.log, f"Args: {run}\n")
        for row in kept:
            self.note(row)

    def close(self):
        for file in (self.file, self.log):
            if file:
                file.close()

    def rewrite(self, path, run, rows):
        """Replace the file, open it and return its size (bytes)."""
        with replaced(path) as scratch:
            scratch.write_text(
                "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in [{"run": run}, *rows]), encoding="utf-8"
            )
        self.file = self.open(path)
        return path.stat().st_size

    @staticmethod
    def open(path):
        """Open for appending, unbuffered, and lock as long as it is open."""
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "ab", buffering=0)  # noqa: SIM115 - open as long as the run
        take_lock(
            file,
            busy=f"{path} is being written by another process: wait for it, or use another --run_name or --log_dir",
        )
        return file

    @staticmethod
    def read(path, run):
        """Finished rows of an earlier start of the same run, and where they end in the file (bytes)."""
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]  # a kill or a full disk cuts off the last line
        if not whole and content.strip(b"\0") and not b'{"run": '.startswith(content[:8]):
            raise ValueError(f"{path} is no result file: move it away, or use another --run_name or --log_dir")
        lines = []
        for number, text in enumerate(whole.split(b"\n")[:-1], 1):
            try:
                line = json.loads(text)
                fits = (
                    isinstance(line["run"], dict)
                    if number == 1
                    else isinstance(line["index"], int)
                    and isinstance(line["tokens"], list)
                    and "correct_strict" in line
                )
            except (ValueError, KeyError, TypeError, RecursionError):
                fits = False
            if not fits:
                raise ValueError(
                    f"{path}, line {number}: not what an evaluation writes: mend or move the file, or "
                    "start over with --overwrite"
                )
            lines.append(line)
        if not lines:
            return [], 0
        if lines[0]["run"].get("answer_rule") != ANSWER_RULE:
            raise ValueError(
                f"{path} is judged by another answer rule (answer_rule {lines[0]['run'].get('answer_rule')}, now "
                f"{ANSWER_RULE}): summarize_results.py judges finished rows again; to evaluate anew, use another "
                "--run_name or --log_dir, or --overwrite"
            )
        refuse_differences(
            lines[0]["run"], run, f"{path} holds results of", "use another --run_name or --log_dir, or --overwrite"
        )
        return lines[1:], len(whole)

    def add(self, row):
        with held():
            self.write(row)
            self.note(row)

    def write(self, line):
        """Append a line and bring it to the disk; after an error the file is as it was."""
        end = os.fstat(self.file.fileno()).st_size
        try:
            write_all(self.file, json.dumps(line, ensure_ascii=False) + "\n")
            os.fsync(self.file.fileno())
        except OSError:
            self.file.truncate(end)
            raise

    def note(self, row):
        """Take a row into the counts and write its log lines, worded as published."""
        self.rows[row["index"]] = row
        self.correct += row["correct"]
        self.tokens += row["tokens"]
        lines = [f"Input: {row['input']}"] if "input" in row else []
        lines += [f"Response: {response}" for response in row.get("responses", [])]
        lines.append(f"Ground Truth Answer: {row['gold']}")
        if self.votes:
            lines += [
                f"Model Answer: {row['answers']}",
                f"Model Answer Count: {count_votes(row['answers'])}",
                f"Final Model Answer: {row['vote']}",
            ]
        else:
            lines.append(f"Model Answer: {row['vote']}")
        lines.append(f"Is Correct: {row['correct']}")
        if self.votes:
            average = sum(self.tokens) / len(self.tokens)
            lines.append(f"Average generated tokens ({len(self.tokens)} instances): {average}")
        lines += [f"Correct Count: {self.correct}/{len(self.rows)}", "-" * 20]
        text = "\n".join(lines)
        if self.log:
            write_all(self.log, text + "\n")
        if self.echo:
            print(text, flush=True)

    def scores(self, asked):
        """Accuracy by both rules and average tokens a response, over the question indices `asked`."""
        rows = [row for index, row in self.rows.items() if index in asked]
        tokens = [count for row in rows for count in row["tokens"]]
        return {
            "accuracy": sum(row["correct"] for row in rows) / len(rows),
            "accuracy_strict": sum(row["correct_strict"] for row in rows) / len(rows),
            "tokens": sum(tokens) / len(tokens),
            "questions": len(rows),
        }


def write_all(file, text):
    """Write text to an unbuffered file, whatever part of it one call takes."""
    left = memoryview(text.encode("utf-8", errors="replace"))
    try:
        while left:
            left = left[file.write(left) :]
    except OSError as error:
        error.filename = file.name
        raise


def mean_and_std(values):
    """Mean and sample standard deviation (0 for one value)."""
    values = torch.tensor(values, dtype=torch.float64)
    return values.mean().item(), values.std().item() if len(values) > 1 else 0.0


# ---- data and plots ----


def load_instances(args, split, k=0):
    """Instances of one split, the first k of them (0: all)."""
    instances = list(load_task(args.task_name, args.data_dir, split).get_dataset(split))
    return instances[:k] if k else instances


def data_hash(instances):
    """Hash of examples as they were read: a changed file is other data."""
    digest = hashlib.sha256()
    for instance in instances:
        digest.update(json.dumps(dict(instance.items()), sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()[:16]


def plot_loss(history, path, title):
    """Training and dev loss against epochs, from a Trainer's log history."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for key, label, marker in (("loss", "training", ""), ("eval_loss", "dev (last five tokens)", "o")):
        points = [(entry["epoch"], entry[key]) for entry in history if key in entry]
        if points:
            axes.plot(*zip(*points, strict=True), marker=marker, label=label)
    axes.set(xlabel="epoch", ylabel="loss", title=title)
    axes.set_yscale("log")
    axes.legend()
    with replaced(path) as scratch:
        figure.savefig(scratch, dpi=120, format="png")
    plt.close(figure)
