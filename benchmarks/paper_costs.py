"""Time, memory and disk of the papers' runs, derived by arithmetic: nothing is run or measured here.

    python -m benchmarks.paper_costs

Hours are lower bounds on an A100 of 80 GB: training at 40 % of its 312 TFLOP/s in bfloat16, decoding at the speed at
which its 2.0 TB/s read the weights once a token step. Prints the tables of docs/REPRODUCING.md.
"""

PEAK, SHARE, BANDWIDTH = 312e12, 0.4, 2.0e12
# Parameters, width, and of the base model layers and key/value heads (of 128 numbers), from the models' cards.
PAIRS = {
    "Llama-3.1-8B + 3.2-1B": {"base": 8.03e9, "assistant": 1.24e9, "d_b": 4096, "d_a": 2048, "layers": 32, "heads": 8},
    "Qwen2.5-7B + 1.5B": {"base": 7.62e9, "assistant": 1.54e9, "d_b": 3584, "d_a": 1536, "layers": 28, "heads": 4},
    "Qwen3-8B + 0.6B": {"base": 8.19e9, "assistant": 0.60e9, "d_b": 4096, "d_a": 1024, "layers": 36, "heads": 8},
}
# Training examples, test questions; average tokens of prefix and suffix in training, and of the prompt in evaluation,
# counted with the Llama 3.1 tokenizer (also for the Qwen pairs) and this project's prompts on the official files.
# The training texts of AQuA and ASDiv-Aug were not counted: as GSM8K's.
TASKS = {
    "gsm8k": (7473, 1319, 213, 141, 220),
    "asdiv-aug": (4183, 1038, 213, 141, 220),
    "aqua": (97467, 254, 213, 141, 268),
    "strategyqa": (1832, 458, 33, 106, 55),
    "du": (0, 250, 0, 0, 284),
}
LENGTH, EPOCHS, BATCH, SEEDS, ANSWER, ROWS = 32, 10, 4, 5, 200, 64  # ANSWER: assumed average tokens of a response


def training_hours(pair, task, chains):
    """The prefix forward once an example; thoughts and suffix forward and backward (no weight gradients) a chain."""
    examples, _, prefix, suffix, _ = TASKS[task]
    flops = 2 * pair["base"] * (prefix + 2 * chains * (LENGTH + suffix)) * examples * EPOCHS
    return flops / (PEAK * SHARE) / 3600


def decoding_hours(pair, task, answers):
    """ROWS responses at once; each step reads all weights once."""
    steps = TASKS[task][1] * SEEDS * answers * ANSWER / ROWS
    return steps * 2 * pair["base"] / BANDWIDTH / 3600


def thoughts_gigabytes(pair, task, chains):
    """The file of thought states: bfloat16, training and dev set."""
    examples, dev = TASKS[task][:2]
    return (examples + dev) * chains * LENGTH * pair["d_a"] * 2 / 1e9


def cache_gigabytes(pair, new_tokens, prompt=300):
    return ROWS * (prompt + new_tokens) * pair["layers"] * pair["heads"] * 128 * 2 * 2 / 1e9


def main():
    print(
        "| pair | task | optimizer steps | training, N = 1 | training, N = 10 | thought states on disk, N = 1 / 10 "
        "| 5 seeds, 1 answer | 10 answers | 100 answers |\n" + "| --- " * 9 + "|"
    )
    for name, pair in PAIRS.items():
        for task, (examples, *_) in TASKS.items():
            train = [
                f"{-(-examples // BATCH) * EPOCHS:,}",
                *(f"{training_hours(pair, task, n):.1f} h" for n in (1, 10)),
                " / ".join(f"{thoughts_gigabytes(pair, task, n):.1f}" for n in (1, 10)) + " GB",
            ]
            test = [f"{decoding_hours(pair, task, n):.2f} h" for n in (1, 10, 100)]
            print(f"| {name} | {task} | {' | '.join((train if examples else ['-'] * 4) + test)} |")
    print(
        "\n| pair | weights in bfloat16 | projection, float32, with Adam's state "
        "| keys and values of 64 responses |\n" + "| --- " * 4 + "|"
    )
    for name, pair in PAIRS.items():
        weights = 2 * (pair["base"] + pair["assistant"]) / 1e9
        learned = pair["d_a"] * pair["d_b"] + pair["d_b"]
        longest = 4096 if "Qwen3" in name else 1024
        print(
            f"| {name} | {weights:.1f} GB | {learned / 1e6:.1f} M parameters, {16 * learned / 1e9:.2f} GB "
            f"| {cache_gigabytes(pair, longest):.0f} GB at {longest:,} new tokens |"
        )


if __name__ == "__main__":
    main()
