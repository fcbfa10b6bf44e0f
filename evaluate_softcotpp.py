"""Evaluate SoftCoT++: N chains x R samples a question and a majority vote, accuracy over seeds.

Logs, result files and restarts as in evaluate_softcot.py.
"""

from experiment.options import EvaluateSoftCoTPlusPlus, Parser

if __name__ == "__main__":  # help and wrong arguments end before the imports that take seconds
    Parser(EvaluateSoftCoTPlusPlus, __doc__).parse_args()

from evaluate_softcot import ADVICE, evaluate
from utils import run_main


def main():
    evaluate(Parser(EvaluateSoftCoTPlusPlus, __doc__).parse_args())


if __name__ == "__main__":
    run_main(main, **ADVICE)
