"""What evaluations of this project and of the published code write, and the table made of it."""

import random

from tqdm import tqdm

from experiment.results import LogForm, SeedResults
from experiment.run_files import ONLY_IN_LOGS, VERSION
from report.runs import read_runs
from report.summary import make_cells, make_table

PLAIN = {
    "base_model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "assistant_model_id": "meta-llama/Llama-3.2-1B-Instruct",
    "version": VERSION,
    "task_name": "gsm8k",
    "num_thought_tokens": 4,
    "num_return_sequences": 1,
    "split": "test",
    "temperature": 1.0,
    "base_model_ckpt": None,
    "thoughts": "projected",
    "perturb_std": 0.0,
}
METHOD_SETTINGS = {
    "Zero-Shot CoT": {"num_thought_tokens": 0},
    "LoRA": {"num_thought_tokens": 0, "tune_base_model": True, "base_model_ckpt": "ckpt/x/base_model"},
    "CoT-Unk (L=4)": {"thoughts": "placeholder", "perturb_std": 0.0},
    "Assist-CoT (L=4)": {"thoughts": "assistant_text"},
    "Zero vectors (L=4)": {"thoughts": "zero", "tune_assistant_model": True},  # which has no part
    "Shuffled thoughts (L=4)": {"thoughts": "shuffled"},
    "Untrained projection (L=4)": {"thoughts": "untrained"},
    "SoftCoT (L=4)": {"thoughts": "projected"},
    "SoftCoT (L=8)": {"num_thought_tokens": 8},
    "SoftCoT-SC (L=4, R=10)": {"num_return_sequences": 10},
    "SoftCoT-P (L=4, N=2, std=0.1)": {"perturb_std": 0.1, "num_scaling_times": 2, "own_chains": False},
    "SoftCoT++-P (L=4, N=2, std=0.1)": {"perturb_std": 0.1, "num_scaling_times": 2, "own_chains": True},
    "SoftCoT++ (L=4, N=2)": {"num_scaling_times": 2, "own_chains": True},
    "SoftCoT++ (L=4, N=10)": {"num_scaling_times": 10, "own_chains": True},
}


def verdicts(seed, count=20, share=0.6):
    """(correct, correct strict) a question."""
    draw = random.Random(f"{seed} {share}")
    return [(draw.random() < share, draw.random() < share - 0.1) for _ in range(count)]


def save_run(folder, name, seed, pairs, **settings):
    """A result file and its log as an evaluation writes them."""
    run = {**PLAIN, "seed": seed, **settings}
    form = LogForm(settings.get("questions_in_split", len(pairs)), arguments=tuple((key, None) for key in ONLY_IN_LOGS))
    results = SeedResults(folder / f"{name}-{seed}.jsonl", folder / f"{name}-{seed}.log", run, form)
    votes = (run["num_thought_tokens"] and run.get("num_scaling_times") or 1) * run["num_return_sequences"]
    rows = []
    for index, (right, strict) in enumerate(pairs):
        gold = 9.5 if index == 9 else index
        answer = gold if right else -1
        row = {"index": index, "gold": gold, "answers": [answer] * votes, "vote": answer, "correct": right}
        row |= {"answers_strict": [None] * votes, "vote_strict": None, "correct_strict": strict}
        rows.append(row | {"tokens": [129 + seed] * votes})
    results.write_rows(rows)


def name_log(seed, model="", samples=1, chains=""):
    """The published name of a seed's log and result file, without ending."""
    models = "Llama-3.1-8B-Instruct-Llama-3.2-1B-Instruct"
    return f"mygsm8k-{model}-seed_{seed}-ntt_4-nrs_{samples}{chains}-{models}"


def published_log(path, golds, right, chains=None):
    """A log in the published form, written while real progress bars write into the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        print("Args: {'num_thought_tokens': 4}", file=file)
        print("Loading checkpoint shards: 100%|██████████| 4/4 [00:03<00:00,  1.21it/s]", file=file)
        tokens = []
        for k, (gold, verdict) in enumerate(tqdm(list(zip(golds, right, strict=True)), file=file, mininterval=0), 1):
            print(f"Question {k}: what is the Correct answer? 1/2", file=file)
            print(f"Ground Truth Answer: {gold}\nModel Answer: {gold if verdict else None}", file=file)
            for _ in tqdm(range(3), desc="inner", file=file, mininterval=0, leave=False):
                pass
            print(f"Is Correct: {verdict}", file=file)
            if chains:
                tokens.append(100 + k)
                print(f"Average generated tokens ({chains * k} instances): {sum(tokens) / k}", file=file)
            print(f"Correct Count: {sum(right[:k])}/{k}\r", file=file)
            print("-" * 20, file=file)


def tabulate(*paths, include_incomplete=False, tasks=()):
    """The table's rows of one base model: (label, task) -> row."""
    table = make_table(make_cells(read_runs(paths), include_incomplete), tasks)
    return {(row["label"], row["task"]): row for row in table.to_dict("records")}
