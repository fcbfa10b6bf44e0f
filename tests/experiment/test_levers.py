"""Levers and controls of equal budget through the command line: what run.json says, what evaluation takes from it."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import evaluate_softcot
import evaluate_softcotpp
import train_softcot
import train_softcotpp
from experiment.options import EvaluateSoftCoT, Parser
from experiment.results import read_result_file
from experiment.run_files import ADAPTER
from experiment.setup import load_method
from model.checkpoint import checkpoints, read_checkpoint
from model.weights import load_projection
from tests.tiny_runs import EVALUATE, RUN, RUN_PP, TRAIN, read_refusal
from utils import fingerprint

LEVERS = ["--thought_filler", "40", "--thought_scaling", "standardized", "--learning_rate", "1e-2"]


def record_of(log_dir):
    return read_result_file(min(Path(log_dir).glob("*.jsonl")))[0]


def test_the_filler_is_recorded_read_again_and_compared(place, run):
    assert run(train_softcot, [*TRAIN, *LEVERS])[0] == 0
    described = json.loads((RUN / "run.json").read_text(encoding="utf-8"))
    assert described["record"]["thought_filler"] == "40" and described["record"]["thought_scaling"] == "standardized"
    file = ["--params_file_name", RUN / "projection.bin"]
    assert run(evaluate_softcot, [*EVALUATE, *file, "--log_dir", "own"])[0] == 0
    assert record_of("own")["thought_filler"] == "40"
    assert "training had '40'" in read_refusal(run(evaluate_softcot, [*EVALUATE, *file, "--thought_filler", "41"]))
    rounded = [*EVALUATE, *file, "--projection_dtype", "bfloat16"]
    assert "were standardized" in read_refusal(run(evaluate_softcot, rounded))
    for more, count in ((["--dtype", "float32"], 0), (["--dtype", "float16"], 1)):
        code, output = run(evaluate_softcot, [*EVALUATE, *file, *more, "--log_dir", f"dtype{count}"])
        assert code == 0 and output.count("warning: ") == count
    # Without run.json the option says it, and the answers are the same.
    Path("alone").mkdir()
    shutil.copy(RUN / "projection.bin", "alone")
    other = ["--params_file_name", "alone/projection.bin", "--log_dir", "other"]
    assert run(evaluate_softcot, [*EVALUATE, *other])[0] == 0
    file = ["--params_file_name", "alone/projection.bin", "--log_dir", "again", "--thought_filler", "40"]
    assert run(evaluate_softcot, [*EVALUATE, *file])[0] == 0
    own, again, other = (
        [read_result_file(path)[1] for path in sorted(Path(d).glob("*.jsonl"))] for d in ("own", "again", "other")
    )
    assert own == again != other
    assert record_of("again")["thought_filler"] == "40"
    zero = [*EVALUATE, "--thoughts", "zero", "--thought_filler", "40", "--log_dir", "zero"]
    assert run(evaluate_softcot, zero)[0] == 0 and "thought_filler" not in record_of("zero")  # it has no effect
    assert [record_of(d).get("thought_scaling") for d in ("own", "again")] == ["standardized", None]


def test_fewer_chains_than_trained_need_no_other_filler(place, run):
    # The family has no initial token here: the projection's own are enough.
    known = ["--assistant_thought_tokens", "<|endoftext|>,<begin>,<end>"]
    training = [*TRAIN, *known, "--num_scaling_times", 2, "--model_name", "scaling-nce", "--thought_filler", "40,50"]
    assert run(train_softcotpp, training)[0] == 0
    for number in (1, 2):
        for thoughts in ("projected", "mean"):
            options = ["--num_scaling_times", number, "--thoughts", thoughts, "--log_dir", f"{thoughts}{number}"]
            options += [*known, "--params_file_name", RUN_PP / "projection.bin"]
            code, output = run(evaluate_softcotpp, [*EVALUATE, *options])
            assert code == 0, output
    assert "2 chains need" in read_refusal(run(train_softcotpp, [*training[:-1], "40", "--output_name", "one"]))


@pytest.mark.slow
def test_adapters_of_both_models_are_saved_and_loaded(place, run):
    code, output = run(train_softcot, [*TRAIN, "--tune_base_model", "--tune_assistant_model", "--dev_k", 3])
    assert code == 0 and "6 training examples, 3 dev examples" in output
    described = json.loads((RUN / "run.json").read_text(encoding="utf-8"))
    options = ["--params_file_name", RUN / "projection.bin", "--greedy"]
    for part in ("base_model", "assistant_model"):
        settings = json.loads((RUN / part / "adapter_config.json").read_text())
        assert (settings["r"], settings["lora_alpha"], settings["lora_dropout"]) == (16, 32, 0.1)
        weights = load_file(RUN / part / ADAPTER)
        assert all(value.any() for name, value in weights.items() if "lora_B" in name)  # zero at first: it has learned
        assert described[part] == fingerprint(RUN / part / ADAPTER)
        options += [f"--tune_{part}", f"--{part}_ckpt", RUN / part]
    rows = {}
    for engine in ("transformers", "reference"):
        code, output = run(evaluate_softcot, [*EVALUATE, *options, "--engine", engine, "--log_dir", engine])
        assert code == 0 and "warning" not in output
        rows[engine] = [read_result_file(path)[1] for path in sorted(Path(engine).glob("*.jsonl"))]
    assert rows["transformers"] == rows["reference"] != []


@pytest.mark.slow
def test_lora_alone_is_trained_without_thoughts_and_evaluated(inputs, place, run):
    shutil.move("../assistant", "../gone")  # not missed
    none = ["--num_thought_tokens", 0]
    assert run(train_softcot, [*TRAIN, *none, "--tune_base_model", "--learning_rate", "1e-2"])[0] == 0
    folder = Path("ckpt/soak-gsm8k-2.0-0-base-assistant")
    assert not (folder / "projection.bin").exists()
    adapter = ["--tune_base_model", "--base_model_ckpt", folder / "base_model"]
    found = []
    for more, method in (([], "Zero-Shot CoT"), (adapter, "LoRA")):
        options = [*EVALUATE, *none, "--greedy", "--print_input", "--seed_to", 41, "--log_dir", method[:4], *more]
        code, output = run(evaluate_softcot, options)
        assert code == 0 and f"%), {method}\n" in output
        assert "Number of thought tokens is zero," in output and "Correct Count: " in output  # of one seed the log too
        (file,) = Path(method[:4]).glob("*.jsonl")
        found.append(read_result_file(file)[1])
        assert not any(word in row["input"] for row in found[-1] for word in ("<begin>", "hint"))
    assert found[0] != found[1]
    other = [*EVALUATE, *none, *adapter, "--base_model_id", inputs / "window", "--log_dir", "other"]
    assert "was trained with base" in read_refusal(run(evaluate_softcot, other))


def test_learned_vectors_are_trained_and_evaluated_without_an_assistant(place, run):
    shutil.move("../assistant", "../gone")
    assert run(train_softcot, [*TRAIN, "--thoughts", "learned"])[0] == 0
    (folder,) = Path("ckpt").glob("*-learned")
    file = ["--params_file_name", folder / "projection.bin"]
    code, output = run(evaluate_softcot, [*EVALUATE, *file, "--thoughts", "learned"])
    assert code == 0 and "Learned vectors" in output
    more = ["--thoughts", "learned", "--num_thought_tokens", 4, "--log_dir", "more"]
    assert "holds [1, 3]" in read_refusal(run(evaluate_softcot, [*EVALUATE, *file, *more]))
    assert "holds soft_thoughts" in read_refusal(run(evaluate_softcot, [*EVALUATE, *file]))
    whole = ["--params_file_name", Path("../whole", RUN, "projection.bin"), "--thoughts", "learned"]
    assert "holds weight, bias" in read_refusal(run(evaluate_softcot, [*EVALUATE, *whole]))


def test_the_mean_belongs_to_its_projection(place, run):
    shutil.copytree(Path("../whole", RUN), "run")
    options = [*EVALUATE, "--params_file_name", "run/projection.bin", "--thoughts", "mean"]
    assert run(evaluate_softcot, [*options, "--test_k", 2])[0] == 0
    torch.save({"soft_thoughts": torch.zeros(1, 3, 48)}, "run/mean_thoughts.bin")
    assert "mean_thoughts.bin" in read_refusal(run(evaluate_softcot, options))
    Path("run/mean_thoughts.bin").unlink()
    assert "no mean_thoughts.bin" in read_refusal(run(evaluate_softcot, options))


def test_thought_states_are_of_the_training_set_and_float32_if_standardized(place, run):
    bfloat16 = ["--dtype", "bfloat16"]
    for options, wanted in (([], torch.bfloat16), (LEVERS, torch.float32)):
        assert run(train_softcot, [*TRAIN, *options, *bfloat16, "--output_name", "soak"])[0] == 0
        given = [*EVALUATE, "--params_file_name", RUN / "projection.bin", *bfloat16]
        method = load_method(Parser(EvaluateSoftCoT, None).parse_args(list(map(str, given))))
        assert (method.base.model.dtype, method.assistant.model.dtype) == (torch.bfloat16, wanted)
        (file,) = RUN.glob("thoughts-train-*.bin")
        states = torch.frombuffer(bytearray(file.read_bytes()), dtype=wanted).view(6, 3, -1).float()
        assert states.shape[-1] == method.slot.softcot.width_assistant
        weight, bias = load_projection(RUN / "projection.bin").values()
        trained = read_checkpoint(checkpoints(RUN)[0])["weights"]["projection.weight"]
        folded = trained / states.flatten(0, 1).std(0, correction=0) if options else trained
        assert torch.allclose(weight, folded, atol=1e-6)
        mean = torch.load(RUN / "mean_thoughts.bin", weights_only=True)["soft_thoughts"]
        assert torch.allclose(mean[0], (states @ weight.T + bias).mean(0), atol=1e-5)
        shutil.rmtree(RUN)
