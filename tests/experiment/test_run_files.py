"""Names of runs, logs and methods; what a record holds and which mismatch is refused."""

from experiment.options import EvaluateSoftCoT, EvaluateSoftCoTPlusPlus, TrainSoftCoT, TrainSoftCoTPlusPlus
from experiment.run_files import make_record
from utils import fingerprint


def test_published_names_of_training_runs():
    pair = {"large_model_id": "meta-llama/Llama-3.1-8B-Instruct", "small_model_id": "/models/Llama-3.2-1B-Instruct/"}
    args = TrainSoftCoT(output_name="out", n_epochs=10, num_thought_tokens=32, **pair)
    assert args.name_run() == "out-gsm8k-10.0-32-Llama-3.1-8B-Instruct-Llama-3.2-1B-Instruct"
    args = TrainSoftCoTPlusPlus(output_name="out", task_name="aqua", num_scaling_times=4)
    assert args.name_run() == "out-aqua-3.0-2-4-Qwen3-8B-Qwen3-0.6B"
    args.model_name = "scaling-nce"
    assert args.name_run() == "out-aqua-3.0-2-4-Qwen3-8B-Qwen3-0.6B-nce"


def test_published_names_of_logs():
    pair = {"base_model_id": "org/base", "assistant_model_id": "assistant/"}
    args = EvaluateSoftCoT(run_name="x-", num_thought_tokens=4, **pair)
    assert args.name_log(41) == "x-gsm8k--seed_41-ntt_4-nrs_1-base-assistant"
    args.thoughts, args.perturb_std = "zero", 0.5
    assert args.name_log(41) == "x-gsm8k--seed_41-ntt_4-nrs_1-base-assistant-zero-perturb_0.5"
    args = EvaluateSoftCoTPlusPlus(num_return_sequences=3, **pair)
    assert args.name_log(42) == "gsm8k-scaling-seed_42-ntt_2-nrs_3-nst_10-base-assistant"


def test_an_evaluation_s_record_knows_adapters_by_their_content(tmp_path):
    adapter = tmp_path / "adapter_model.safetensors"
    adapter.write_bytes(b"weights")
    args = EvaluateSoftCoT(base_model_ckpt=str(tmp_path))
    record = make_record(args.fixing_result(), {"prompt_hash": "p", "projection": "q"})
    assert record["base_model_ckpt"] == fingerprint(adapter) and record["assistant_model_ckpt"] is None
    assert (record["prompt_hash"], record["projection"]) == ("p", "q")
    assert not {"seed", "log_dir", "params_file_name", "test_k"} & record.keys()
