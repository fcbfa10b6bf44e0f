"""The options of the scripts."""

import argparse
import contextlib
import json
import sys

from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from data_loader.tasks import TASKS
from model.backbone import DEVICE_MAPS, DTYPES, QUANTIZATION
from model.controls import THOUGHTS
from utils import UserError


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
    parser.add_argument(
        "--report_to",
        choices=["none", *sorted(LOGGER_TYPE_TO_CLASS)],
        default="tensorboard",
        help="where losses are logged: TensorBoard files in logs/<run>, or another tracker that Accelerate has",
    )
    parser.add_argument("--logging_steps", type=positive, default=10, help="optimizer steps between two logged losses")
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


@contextlib.contextmanager
def naming(option, kind=UserError):
    """Put the option that the user can correct before the text of an error of this kind that the block raises."""
    try:
        yield
    except kind as error:
        raise UserError(f"{option}: {error}") from error
