"""Train SoftCoT++: the projection over N chains of soft thoughts, with scaling-nce a contrastive term between them.

The same files as train_softcot.py writes; projection.bin also holds the N initial tokens.
"""

from experiment.options import Parser, TrainSoftCoTPlusPlus

if __name__ == "__main__":  # help and wrong arguments end before the imports that take seconds
    Parser(TrainSoftCoTPlusPlus, __doc__).parse_args()

from train_softcot import ADVICE, train
from utils import run_main


def main():
    args = Parser(TrainSoftCoTPlusPlus, __doc__).parse_args()
    train(args, args.dev_k or args.k_shot)  # --k_shot cuts the dev set too, as published


if __name__ == "__main__":
    run_main(main, **ADVICE)
