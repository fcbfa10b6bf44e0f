"""Train SoftCoT++: the projection over N chains of soft thoughts, with scaling-nce a contrastive term between them.

The same files as train_softcot.py writes; projection.bin also holds the N initial tokens.
"""

from experiment.arguments import Parser, TrainSoftCoTPlusPlus, naming
from experiment.record import run_name
from model.backbone import DTYPES
from model.softcot import SoftCoTPlusPlus
from train_softcot import train
from utils import run_main


def build_softcotpp(args, base, assistant):
    with naming("--num_scaling_times, --assistant_initial_token"):
        return SoftCoTPlusPlus(
            base,
            assistant,
            args.num_thought_tokens,
            args.num_scaling_times,
            contrastive=args.model_name == "scaling-nce",
            tune_init_tokens=args.tune_init_tokens,
            projection_dtype=DTYPES[args.projection_dtype],
            micro_batch_size=args.micro_batch_size,
        )


def main():
    args = Parser(TrainSoftCoTPlusPlus, __doc__).parse_args()
    # --k_shot cuts the dev set too, as published.
    train(args, run_name(args), build_softcotpp, args.dev_k or args.k_shot)


if __name__ == "__main__":
    run_main(main)
