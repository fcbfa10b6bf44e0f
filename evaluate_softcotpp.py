"""Evaluate SoftCoT++: N chains x R samples a question and a majority vote, accuracy over seeds.

Logs, result files and restarts as in evaluate_softcot.py.
"""

from evaluate_softcot import evaluate
from experiment.arguments import Parser, add_evaluation_arguments, naming, positive
from model.softcot import SoftCoTPlusPlus
from utils import run_main


def build_softcotpp(args, base, assistant):
    with naming("--num_scaling_times, --assistant_initial_token"):
        return SoftCoTPlusPlus(base, assistant, args.num_thought_tokens, args.num_scaling_times)


def main():
    parser = Parser(__doc__)
    add_evaluation_arguments(parser, "Qwen/Qwen3-8B", "Qwen/Qwen3-0.6B")
    parser.add_argument("--num_scaling_times", type=positive, default=10, help="N, chains a question")
    parser.add_argument(
        "--model_name",
        choices=["scaling", "scaling-nce"],
        default="scaling",
        help="stands in the logs' names; how the projection was trained",
    )
    args = parser.parse_args()
    evaluate(args, build_softcotpp, chains=args.num_scaling_times)


if __name__ == "__main__":
    run_main(main)
