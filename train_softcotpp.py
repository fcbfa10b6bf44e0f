"""Train SoftCoT++: the projection over N chains of soft thoughts, with scaling-nce a contrastive term between them.

The same files as train_softcot.py writes; projection.bin also holds the N initial tokens.
"""

from experiment.arguments import Parser, add_training_arguments, naming, positive
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
    parser = Parser(__doc__)
    add_training_arguments(parser, "Qwen/Qwen3-8B", "Qwen/Qwen3-0.6B")
    parser.add_argument(
        "--model_name",
        choices=["scaling", "scaling-nce"],
        default="scaling",
        help="scaling-nce adds the contrastive term",
    )
    parser.add_argument("--num_scaling_times", type=positive, default=10, help="N, chains a question")
    parser.add_argument("--tune_init_tokens", action="store_true", help="train the initial tokens too")
    args = parser.parse_args()
    if not args.num_thought_tokens:
        parser.error("--num_thought_tokens 0: SoftCoT++ needs 1 or more (the LoRA baseline: train_softcot.py)")
    name = run_name(args, args.num_scaling_times, args.model_name == "scaling-nce")
    train(args, name, build_softcotpp, args.dev_k or args.k_shot)  # --k_shot cuts the dev set too, as published


if __name__ == "__main__":
    run_main(main)
