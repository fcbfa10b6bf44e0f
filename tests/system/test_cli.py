"""The documented commands, word for word through the shell, on tiny models named as the documented ones."""

import json
import re

import pytest
import torch
from safetensors.torch import load_file

from model.slot import UNTRAINED_SEED
from tests.commands import SMALL, rows_of, shell
from tests.tiny import once

LLAMA_RUN = "out-gsm8k-2.0-32-Llama-3.1-8B-Instruct-Llama-3.2-1B-Instruct"
QWEN_RUN = "out-gsm8k-2.0-32-10-Qwen3-8B-Qwen3-0.6B-nce"

# As documented: only model ids ({m}/...) and bracketed values are filled in.
TRAIN_LLAMA = (
    "CUDA_VISIBLE_DEVICES=0 python train_softcot.py --large_model_id {m}/Llama-3.1-8B-Instruct "
    "--small_model_id {m}/Llama-3.2-1B-Instruct --output_name out --batch_size 4 --task_name gsm8k "
    "--num_thought_tokens 32 --n_epochs 10"
)
TRAIN_QWEN = (
    "CUDA_VISIBLE_DEVICES=0 python train_softcotpp.py --large_model_id {m}/Qwen3-8B --small_model_id {m}/Qwen3-0.6B "
    "--output_name out --batch_size 4 --model_name scaling-nce --task_name gsm8k --num_thought_tokens 32 "
    "--num_scaling_times 10 --n_epochs 10"
)
SWEEP_LLAMA = (
    "bash run_batch_softcot.sh --base_model_id {m}/Llama-3.1-8B-Instruct "
    "--assistant_model_id {m}/Llama-3.2-1B-Instruct --params_file_name {dir}/projectin.bin --num_thought_tokens 4 "
    "--num_return_sequences 1 --task_name gsm8k --seed_from 41 --seed_to 45 --print_input --print_response "
    "--log_dir logs --run_name name"
)
SWEEP_QWEN = (
    "bash run_batch_softcotpp.sh --base_model_id {m}/Qwen3-8B --assistant_model_id {m}/Qwen3-0.6B "
    "--params_file_name {dir}/projectin.bin --num_thought_tokens 4 --num_return_sequences 1 --num_scaling_times 10 "
    "--task_name gsm8k --seed_from 41 --seed_to 45 --print_input --print_response --log_dir logs --run_name name"
)
# What makes them small (of an option given twice the last counts), and the backslash of a copied command.
SMALL_TRAINING = "--n_epochs 2 --k_shot 5 --data_dir {data} --dtype float32 \\"
SMALL_SWEEP = "--seed_to 42 --test_k 3 --max_new_tokens 8 --data_dir {data} --dtype float32 \\"


@pytest.fixture(scope="session")
def llama_run(tmp_path_factory, models, data):
    """Working folder of the documented SoftCoT training."""

    def train(folder):
        done = shell(f"{TRAIN_LLAMA} {SMALL_TRAINING}", folder, m=models, data=data)
        (folder / "stdout").write_text(done.stdout + done.stderr, encoding="utf-8")

    return once(tmp_path_factory, "llama_run", train)


@pytest.fixture(scope="session")
def qwen_run(tmp_path_factory, models, data):
    """Working folder of the documented SoftCoT++ training."""

    def train(folder):
        shell(f"{TRAIN_QWEN} {SMALL_TRAINING}", folder, m=models, data=data)

    return once(tmp_path_factory, "qwen_run", train)


@pytest.fixture(scope="session")
def llama_sweep(tmp_path_factory, models, data, llama_run):
    """Working folder of the documented evaluation of SoftCoT."""

    def evaluate(folder):
        done = shell(f"{SWEEP_LLAMA} {SMALL_SWEEP}", folder, m=models, data=data, dir=llama_run / "ckpt" / LLAMA_RUN)
        (folder / "stdout").write_text(done.stdout, encoding="utf-8")

    return once(tmp_path_factory, "llama_sweep", evaluate)


def check_run(folder, name, shapes, steps):
    """The files that a training run leaves."""
    run = folder / "ckpt" / name
    state = torch.load(run / "projection.bin", weights_only=True)
    assert {key: tuple(value.shape) for key, value in state.items()} == shapes
    assert all(value.dtype == torch.float32 for value in state.values())
    names = {f"checkpoint-{steps // 2}.pt", f"checkpoint-{steps}.pt"}
    assert {path.name for path in run.glob("checkpoint-*")} == names
    assert all(path.stat().st_size < 200_000 for path in run.glob("checkpoint-*"))  # no frozen model in it
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert record["arguments"]["batch_size"] == 4 and record["arguments"]["num_thought_tokens"] == 32
    assert {"versions", "git_commit", "base_family", "assistant_family"} <= record.keys()
    assert (folder / "results" / name / "loss.png").read_bytes().startswith(b"\x89PNG")
    history = json.loads((folder / "results" / name / "loss.json").read_text(encoding="utf-8"))
    assert [entry["epoch"] for entry in history if "eval_loss" in entry] == [1, 2]
    assert list((folder / "logs" / name).glob("events.out.tfevents.*"))
    return record


# ---- training ----


@pytest.mark.slow
def test_the_documented_llama_training(llama_run):
    record = check_run(llama_run, LLAMA_RUN, {"weight": (48, 32), "bias": (48,)}, steps=4)
    assert (record["base_family"], record["assistant_family"]) == ("llama", "llama")
    assert "5 training examples, 4 dev examples, 1,584 trained parameters" in (llama_run / "stdout").read_text()
    # Four steps from where the control --thoughts untrained stays.
    torch.manual_seed(UNTRAINED_SEED)
    trained = torch.load(llama_run / "ckpt" / LLAMA_RUN / "projection.bin", weights_only=True)["weight"]
    assert 0 < (trained - torch.nn.Linear(32, 48).weight).abs().max() < 1e-4


@pytest.mark.slow
def test_the_documented_qwen_training(qwen_run):
    record = check_run(qwen_run, QWEN_RUN, {"weight": (48, 32), "bias": (48,), "embedding": (10, 32)}, steps=4)
    assert (record["base_family"], record["assistant_family"]) == ("qwen3", "qwen3")


@pytest.mark.slow
def test_models_of_different_families_and_fewer_chains_than_trained(models, data, tmp_path):
    done = shell(
        "python train_softcotpp.py --large_model_id {m}/Llama-3.1-8B-Instruct --small_model_id {m}/Qwen3-0.6B "
        "--output_name mixed --batch_size 2 --num_thought_tokens 3 --num_scaling_times 3 --n_epochs 1 --k_shot 2 "
        f"--learning_rate 1e-3 {SMALL}",
        tmp_path,
        m=models,
        data=data,
    )
    assert "2 training examples, 2 dev examples" in done.stdout  # --k_shot cuts both sets of SoftCoT++
    run = tmp_path / "ckpt" / "mixed-gsm8k-1.0-3-3-Llama-3.1-8B-Instruct-Qwen3-0.6B"
    state = torch.load(run / "projection.bin", weights_only=True)
    table = load_file(models / "Qwen3-0.6B" / "model.safetensors")["model.embed_tokens.weight"]
    assert torch.equal(state["embedding"], table[150001:150004].float())  # they never learn
    shell(  # two chains of the three that were trained
        "python evaluate_softcotpp.py --base_model_id {m}/Llama-3.1-8B-Instruct --assistant_model_id {m}/Qwen3-0.6B "
        "--params_file_name {run}/projection.bin --num_thought_tokens 4 --num_scaling_times 2 --test_k 1 "
        f"--num_return_sequences 2 --max_new_tokens 4 --print_input {SMALL}",
        tmp_path,
        m=models,
        data=data,
        run=run,
    )
    name = "gsm8k-scaling-seed_42-ntt_4-nrs_2-nst_2-Llama-3.1-8B-Instruct-Qwen3-0.6B"
    (row,) = rows_of(tmp_path / "inference_logs" / f"{name}.jsonl")
    assert len(row["answers"]) == len(row["tokens"]) == 4
    log = (tmp_path / "inference_logs" / f"{name}.log").read_text(encoding="utf-8")
    for way, placeholder in (("from", "<|endoftext|>"), ("to", "<|end_of_text|>")):
        assert f"Embeddings {way}: <|start|>{4 * placeholder}<|end|>" in log


# ---- evaluation ----

LLAMA_LOG = "namegsm8k--seed_{seed}-ntt_4-nrs_1-Llama-3.1-8B-Instruct-Llama-3.2-1B-Instruct"
QWEN_LOG = "namegsm8k-scaling-seed_{seed}-ntt_4-nrs_1-nst_10-Qwen3-8B-Qwen3-0.6B"


def check_mean_line(output, method):
    seed_line = r"^Seed 4[12]: accuracy \d+\.\d\d % \(strict \d+\.\d\d %\), 3 questions, "
    assert len(re.findall(seed_line, output, re.M)) == 2
    mean_line = r"^Seeds 41 to 42: accuracy \d+\.\d\d \+- \d+\.\d\d % \(strict \d+\.\d\d \+- \d+\.\d\d %\), "
    assert re.search(mean_line + re.escape(method) + "$", output, re.M)


@pytest.mark.slow
def test_the_documented_llama_evaluation(llama_sweep):
    check_mean_line((llama_sweep / "stdout").read_text(), "SoftCoT")
    names = {LLAMA_LOG.format(seed=seed) + end for seed in (41, 42) for end in (".log", ".jsonl")}
    assert {path.name for path in (llama_sweep / "logs").iterdir()} == names
    for seed in (41, 42):
        log = (llama_sweep / "logs" / f"{LLAMA_LOG.format(seed=seed)}.log").read_text(encoding="utf-8")
        blocks = re.findall(
            r"^Ground Truth Answer: (\d+)\nRaw Inputs for Base Model: [^\r]*?\n"
            r"Instance 1/1 - Embeddings from: <\|start\|>(?:<\|end_of_text\|>){4}<\|end\|>\n"
            r"Instance 1/1 - Embeddings to: <\|start\|>(?:<\|end_of_text\|>){4}<\|end\|>\n"
            r"Answer \(\d-1/3\): .*?<\|end-of-response\|>\n"
            r"Ground Truth Answer: \1\nModel Answer: ([^\n]+)\nIs Correct: (True|False)\n"
            r"Correct Count: (\d)/(\d)\n-{20}\n",
            log,
            re.M | re.S,
        )
        assert [block[4] for block in blocks] == ["1", "2", "3"]
        assert "Average generated tokens" not in log
        rows = rows_of(llama_sweep / "logs" / f"{LLAMA_LOG.format(seed=seed)}.jsonl")
        assert [row["index"] for row in rows] == [0, 1, 2]
        for row, block in zip(rows, blocks, strict=True):
            assert str(row["gold"]) == block[0] and str(row["vote"]) == block[1] and str(row["correct"]) == block[2]
            assert {"answers", "answers_strict", "correct_strict", "input", "tokens"} <= row.keys()
            assert len(row["responses"]) == 1 and row["tokens"][0] <= 8
            slot = "<|reserved_special_token_0|>" + 4 * "<|end_of_text|>" + "<|reserved_special_token_1|>"
            assert row["input"].count(slot) == 1


@pytest.mark.slow
def test_the_documented_qwen_evaluation(qwen_run, models, data, tmp_path):
    done = shell(f"{SWEEP_QWEN} {SMALL_SWEEP}", tmp_path, m=models, data=data, dir=qwen_run / "ckpt" / QWEN_RUN)
    check_mean_line(done.stdout, "SoftCoT++, vote of 10")
    assert "No projectin.bin there; using" in done.stdout
    names = {QWEN_LOG.format(seed=seed) + end for seed in (41, 42) for end in (".log", ".jsonl")}
    assert {path.name for path in (tmp_path / "logs").iterdir()} == names
    log = (tmp_path / "logs" / f"{QWEN_LOG.format(seed=42)}.log").read_text(encoding="utf-8")
    blocks = re.findall(
        r"^Ground Truth Answer: (\d+)\nModel Answer: (\[.+\])\nModel Answer Count: (\{.+\})\nFinal Model Answer: (.+)\n"
        r"Is Correct: (True|False)\nAverage generated tokens \((\d+) instances\): ([\d.]+)\n"
        r"Correct Count: (\d)/(\d)\n-{20}\n",
        log,
        re.M,
    )
    assert [(block[5], block[8]) for block in blocks] == [("1", "1"), ("2", "2"), ("3", "3")]
    rows = rows_of(tmp_path / "logs" / f"{QWEN_LOG.format(seed=42)}.jsonl")
    assert all(len(row["answers"]) == len(row["responses"]) == 10 for row in rows)
    assert all(len(set(row["responses"])) > 1 for row in rows)
