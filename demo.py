"""The whole story on the embedded default: zero-shot CoT, SoftCoT (also with a vote, as SoftCoT++ has, and with
newlines in the assistant's placeholders), its control with shuffled thoughts, and SoftCoT++, on data/mini.

SmolLM2-135M-Instruct reasons and assists, frozen. Prints the project's commands and runs each in this one process,
which imports the libraries once. All files are in results/demo (--quick: results/demo_quick). Run again, it continues;
to start over, remove that folder.
"""

import argparse
import os
import shlex
import shutil
import sys
import time
from pathlib import Path

import evaluate_softcot
import evaluate_softcotpp
import summarize_results
import train_softcot
import train_softcotpp
from experiment.setup import emulates_bfloat16
from model.choices import EMBEDDED as MODEL
from utils import run_main

ROOT = Path(__file__).resolve().parent
LENGTH, CHAINS, SAMPLES = 16, 2, 2  # thought tokens; chains of SoftCoT++ and samples a chain that vote
LEARNING_RATE = 1e-2  # 160 steps must do what the papers' tens of thousands of 2e-5 do; 4e-3 learns more slowly
TEMPERATURE = 0.5  # for every method; the papers' 1.0 suits larger models
SAMPLING = f"--temperature {TEMPERATURE} --seed_from 41 --seed_to 42"
SPLITS = ("test", "unseen")  # kinds of problems seen in training, and never seen
SOFTCOT = f"'SoftCoT (L={LENGTH})'"
PAIRS = f"""--compare {SOFTCOT} 'Zero-Shot CoT' --compare {SOFTCOT} 'Shuffled thoughts' --compare SoftCoT++ SoftCoT-SC
    --compare 'SoftCoT (L={LENGTH}, filler="\\n")' {SOFTCOT}"""
DATA = ("--data_dir", str(ROOT / "data/mini"), "--prompt_dir", str(ROOT / "data/mini/prompts"))


def run(script, options, data=DATA):
    """Print a command line of one of the project's scripts, run it here, and print its seconds."""
    sys.argv = [str(ROOT / f"{script.__name__}.py"), *shlex.split(options), *data]
    print(f"\n$ python {shlex.join(sys.argv)}", flush=True)
    start = time.monotonic()
    script.main()
    print(f"{time.monotonic() - start:.0f} s", flush=True)


def train(script, name, plan, options=""):
    """Train for one epoch; return the options that take the projection. The loss curve is copied beside the tables."""
    size = f"--k_shot {plan['train']} --dev_k {plan['dev']} --batch_size {plan['batch']} --n_epochs 1"
    models = f"--large_model_id {MODEL} --small_model_id {MODEL} --num_thought_tokens {LENGTH} --dtype {plan['dtype']}"
    run(script, f"{models} --output_name {name} {size} --learning_rate {LEARNING_RATE} --resume {options}")
    (folder,) = Path("results").glob(f"{name}-gsm8k-1.0-{LENGTH}-*")
    shutil.copy(folder / "loss.png", f"loss_{name}.png")
    return f"--num_thought_tokens {LENGTH} --params_file_name ckpt/{folder.name}/projection.bin"


def evaluate(script, name, plan, options):
    """Evaluate all seeds on both splits."""
    models = f"--base_model_id {MODEL} --assistant_model_id {MODEL} --dtype {plan['dtype']} --eval_batch_size 192"
    models += f" --max_new_tokens {plan['tokens']} {SAMPLING}"
    for split in SPLITS:
        files = f"--split {split} --test_k {plan[split]} --print_response --log_dir logs/{name}/{split}"
        run(script, f"{models} {files} {options}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps and questions: shows that everything runs")
    args = parser.parse_args()
    plan = {"train": 640, "batch": 4, "dev": 32, "test": 64, "unseen": 24, "tokens": 120}
    plan["dtype"] = "float32" if emulates_bfloat16() else "bfloat16"
    if args.quick:
        plan |= {"train": 16, "batch": 8, "dev": 8, "test": 2, "unseen": 2, "tokens": 16}

    out = ROOT / "results" / ("demo_quick" if args.quick else "demo")
    out.mkdir(parents=True, exist_ok=True)
    os.chdir(out)
    start = time.monotonic()

    # 1) The base model alone
    evaluate(evaluate_softcot, "zero_shot", plan, "--num_thought_tokens 0")

    # 2) SoftCoT: one answer, a vote of as many as SoftCoT++ has, and one answer with another question's thoughts
    trained = train(train_softcot, "softcot", plan)
    votes = f"--num_return_sequences {CHAINS * SAMPLES}"
    for name, more in (("softcot", ""), ("softcot_sc", votes), ("shuffled", "--thoughts shuffled")):
        evaluate(evaluate_softcot, name, plan, f"{trained} {more}")

    trained = train(train_softcot, "newline", plan, r"--thought_filler '\n'")
    evaluate(evaluate_softcot, "newline", plan, trained)

    # 3) SoftCoT++
    chains = f"--num_scaling_times {CHAINS} --model_name scaling-nce"
    trained = train(train_softcotpp, "softcotpp", plan, chains)
    evaluate(evaluate_softcotpp, "softcotpp", plan, f"{trained} --num_return_sequences {SAMPLES} {chains}")

    # 4) Tables and plots
    run(summarize_results, f"logs --out . {PAIRS}", data=())
    print(f"All files are in {out.relative_to(ROOT)}; {(time.monotonic() - start) / 60:.1f} minutes in all")


if __name__ == "__main__":
    run_main(main, on_stop="run it again: it continues")
