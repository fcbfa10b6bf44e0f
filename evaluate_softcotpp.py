"""Evaluate SoftCoT++: N chains x R samples a question and a majority vote, accuracy over seeds.

Logs, result files and restarts as in evaluate_softcot.py.
"""

from evaluate_softcot import evaluate
from experiment.arguments import EvaluateSoftCoTPlusPlus, Parser, naming
from model.softcot import SoftCoTPlusPlus
from utils import run_main


def build_softcotpp(args, base, assistant):
    with naming("--num_scaling_times, --assistant_initial_token"):
        return SoftCoTPlusPlus(base, assistant, args.num_thought_tokens, args.num_scaling_times)


def main():
    args = Parser(EvaluateSoftCoTPlusPlus, __doc__).parse_args()
    evaluate(args, build_softcotpp, chains=args.num_scaling_times)


if __name__ == "__main__":
    run_main(main)
