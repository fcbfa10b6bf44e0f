"""What a record holds."""

from experiment.options import EvaluateSoftCoT
from experiment.run_files import make_record
from utils import fingerprint


def test_an_evaluation_s_record_knows_adapters_by_their_content(tmp_path):
    adapter = tmp_path / "adapter_model.safetensors"
    adapter.write_bytes(b"weights")
    args = EvaluateSoftCoT(base_model_ckpt=str(tmp_path))
    record = make_record(args.fixing_result(), {"prompt_hash": "p", "projection": "q"})
    assert record["base_model_ckpt"] == fingerprint(adapter) and record["assistant_model_ckpt"] is None
    assert (record["prompt_hash"], record["projection"]) == ("p", "q")
    assert not {"seed", "log_dir", "params_file_name", "test_k"} & record.keys()
