"""Training and evaluation through kills, signals, full disks, second runs, changed inputs and strangers' files.

Tiny models; the scripts run in this process, or in a forked one where they are to die.
"""

import errno
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

import evaluate_softcot
import evaluate_softcotpp
import train_softcot
import train_softcotpp
from experiment.results import read_result_file
from model.checkpoint import checkpoints, read_checkpoint
from model.weights import load_projection
from tests.commands import ROOT, environment, rows_of
from tests.system import soak
from tests.tiny import Attack
from tests.tiny_runs import ANSWERS, EVALUATE, RUN, RUN_PP, TRAIN, params, read_refusal
from utils import locked

STEPS = 3  # an epoch: 6 examples, 2 a batch


def stopped(script, arguments, folder, is_time, signum=signal.SIGKILL):
    """Send a signal to a run in a forked process when `is_time()`; return its exit code."""
    process = soak.start(script, arguments, folder)
    while not is_time():
        if (code := soak.end_of(process, 0.001)) is not None:
            return code
    os.kill(process, signum)
    return soak.end_of(process)


def projection(folder, name=RUN):
    return (folder / name / "projection.bin").read_bytes()


def end_limited(script, arguments, folder, size):
    """Run a script in a forked process that can write no file above `size` bytes; return its exit code."""

    def main():
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        script.main()

    return soak.end_of(soak.start(SimpleNamespace(main=main, __name__=script.__name__), arguments, folder))


# ---- training: kills, signals, full disks ----


WRITTEN = ("thoughts-train-*.bin", "projection.bin", "run.json")


@pytest.mark.slow
@pytest.mark.parametrize("name", WRITTEN)
def test_a_training_killed_before_a_file_has_its_name_resumes_to_the_same_bytes(inputs, place, run, name):
    arguments, replace = [*TRAIN, "--resume"], os.replace  # with nothing there it starts

    def die_or_replace(scratch, path):
        if fnmatch(Path(path).name, name):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(scratch, path)

    def main():
        os.replace = die_or_replace  # in the forked process alone
        train_softcot.main()

    child = SimpleNamespace(main=main, __name__="train_softcot")
    assert soak.end_of(soak.start(child, arguments, place)) == -signal.SIGKILL
    assert list((place / RUN).glob(".*.tmp"))
    code, output = run(train_softcot, arguments)
    assert code == 0, output
    assert projection(place) == projection(inputs / "whole")
    assert not list((place / RUN).glob(".*.tmp"))
    assert "damaged" not in output  # what a kill leaves has not even the name of a checkpoint


@pytest.mark.slow
def test_a_finished_training_is_neither_repeated_nor_overwritten(inputs, place, run):
    shutil.copytree(inputs / "whole" / RUN, place / RUN)
    before = {file: file.read_bytes() for file in (place / RUN).iterdir()}
    assert str(RUN) in read_refusal(run(train_softcot, TRAIN))
    code, output = run(train_softcot, [*TRAIN, "--resume"])
    assert code == 0 and "finished" in output and "Training" not in output
    assert "seed was 42, now 1" in read_refusal(run(train_softcot, [*TRAIN, "--resume", "--seed", "1"]))
    for file in (place / RUN).glob("checkpoint-*"):  # a user may remove them
        file.unlink()
    assert str(RUN) in read_refusal(run(train_softcot, TRAIN))
    (place / RUN / "run.json").unlink()  # as a projection from elsewhere
    assert str(RUN) in read_refusal(run(train_softcot, [*TRAIN, "--resume"]))
    for file in (place / RUN).iterdir():
        assert file.name == "run.lock" or file.read_bytes() == before[file]


@pytest.mark.slow
def test_a_signal_saves_a_checkpoint_that_resumes_to_the_same_bytes(inputs, place, run):
    signum = signal.SIGINT
    first = place / RUN_PP / f"checkpoint-{STEPS}.pt"
    code = stopped(train_softcotpp, [*TRAIN, *soak.CHAINS], place, first.exists, signum)
    assert code == 128 + signum
    output = (place / "output").read_text()
    assert f"stopped by {signum.name}" in output and "--resume" in output
    assert all(read_checkpoint(path) for path in checkpoints(RUN_PP))
    code, output = run(train_softcotpp, [*TRAIN, *soak.CHAINS, "--resume"])
    assert code == 0 and checkpoints(RUN_PP)[0].name == f"checkpoint-{2 * STEPS}.pt"
    assert projection(place, RUN_PP) == projection(inputs / "whole_pp", RUN_PP)


@pytest.mark.slow
def test_a_damaged_checkpoint_is_skipped(inputs, place, run):
    shutil.copytree(inputs / "whole" / RUN, place / RUN)
    newest = place / RUN / f"checkpoint-{2 * STEPS}.pt"
    newest.write_bytes(newest.read_bytes()[:-10])
    (place / RUN / "projection.bin").unlink()
    (place / RUN / "run.json").unlink()
    code, output = run(train_softcot, [*TRAIN, "--resume"])
    assert code == 0
    assert f"checkpoint-{2 * STEPS}.pt is damaged" in output
    assert f"resuming from {RUN}/checkpoint-{STEPS}.pt" in output
    assert projection(place) == projection(inputs / "whole")
    assert read_checkpoint(newest)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_earlier_checkpoint_stays(inputs, place, run):
    first = place / RUN / f"checkpoint-{STEPS}.pt"
    shutil.copytree(inputs / "whole" / RUN, place / RUN)
    for name in (f"checkpoint-{2 * STEPS}.pt", "projection.bin", "run.json"):
        (place / RUN / name).unlink()
    # The next checkpoint does not fit.
    assert end_limited(train_softcot, [*TRAIN, "--resume"], place, first.stat().st_size - 1) == 1
    (last,) = re.findall("error: .*", (place / "output").read_text())  # the progress bar has no line end
    assert f"{RUN}/checkpoint-{2 * STEPS}.pt" in last and "make room" in last
    assert checkpoints(place / RUN) == [first]
    assert read_checkpoint(first) and not list((place / RUN).glob(".*.tmp"))


def test_without_room_for_the_thought_states_each_step_computes_its_own(inputs, place, run, monkeypatch):
    def full(*_):
        raise OSError(errno.EDQUOT, "no quota")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert run(train_softcot, TRAIN)[0] == 0 and not list((place / RUN).glob("thoughts-*"))
    own, whole = (load_projection(folder / RUN / "projection.bin") for folder in (place, inputs / "whole"))
    torch.testing.assert_close(own["weight"], whole["weight"], atol=1e-4, rtol=0)


def test_a_disk_too_full_for_the_thought_states_is_noticed_before_they_are_computed(place):
    assert end_limited(train_softcot, TRAIN, place, 500) == 1
    output = (place / "output").read_text()
    assert "Thought states" not in output and output.strip().splitlines()[-1].startswith("error: File too large")
    assert [path.name for path in (place / RUN).glob("*.bin")] == []


# ---- evaluation ----


@pytest.mark.slow
def test_a_full_disk_in_an_evaluation_loses_no_finished_row(inputs, place, run):
    whole = {seed: rows_of(inputs / "answers/logs" / ANSWERS.format(seed)) for seed in (41, 42)}
    arguments = [*EVALUATE, *params()]

    too_small = (inputs / "answers/logs" / ANSWERS.format(42)).stat().st_size - 1
    assert end_limited(evaluate_softcot, arguments, place, too_small) == 1
    (last,) = re.findall("error: .*", (place / "output").read_text())
    assert "File too large: logs/" in last and "make room" in last
    files = [place / "logs" / ANSWERS.format(seed) for seed in (41, 42)]
    before = {file: file.read_bytes() for file in files}
    assert all(content.endswith(b"\n") for content in before.values())
    with open(files[0], "ab") as file:
        file.write(b'{"index": 3, "gold": 1' + b"\0" * 50)  # a row cut by a crash of the machine
    assert run(evaluate_softcot, arguments)[0] == 0
    for seed, file in zip((41, 42), files, strict=True):
        lines = set(file.read_bytes().splitlines())
        assert set(before[file].splitlines()) <= lines  # finished rows keep their bytes
        assert rows_of(file) == whole[seed]


@pytest.mark.slow
@pytest.mark.parametrize("signum, code", [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_signal_ends_an_evaluation_and_loses_no_row(inputs, place, run, signum, code):
    arguments = [*EVALUATE, *params(), "--eval_batch_size", "1"]
    files = [place / "logs" / ANSWERS.format(seed) for seed in (41, 42)]

    def a_row_is_there():
        return any(file.exists() and file.read_bytes().count(b"\n") > 1 for file in files)

    def main():
        fsync = os.fsync
        os.fsync = lambda file: (fsync(file), time.sleep(0.05))  # in the forked process alone: time for the signal
        evaluate_softcot.main()

    script = SimpleNamespace(main=main, __name__="evaluate_softcot")
    assert stopped(script, arguments, place, a_row_is_there, signum) == code
    assert (f"stopped by {signum.name}" in (place / "output").read_text()) == (code > 0)
    rows = {file: file.read_bytes().count(b"\n") - 1 for file in files}
    assert 1 <= sum(rows.values()) < 8
    assert run(evaluate_softcot, arguments)[0] == 0
    for seed, file in zip((41, 42), files, strict=True):
        assert rows_of(file) == rows_of(inputs / "answers/logs" / ANSWERS.format(seed))


@pytest.mark.slow
def test_a_base_with_a_window_answers_as_its_own_generate(inputs, place, run):
    rows = {}
    for engine in ("transformers", "reference"):
        more = ["--base_model_id", inputs / "window", "--thoughts", "zero", "--greedy", "--engine", engine]
        code, output = run(evaluate_softcot, [*EVALUATE, *more, "--log_dir", engine])
        assert code == 0, output
        rows[engine] = [rows_of(path) for path in sorted(Path(engine).glob("*.jsonl"))]
    assert rows["transformers"] == rows["reference"] != []


@pytest.mark.parametrize("top, whole", [("ckpt", True), ("results", False), ("logs", False)])
def test_a_file_where_a_folder_of_the_run_should_be_is_noticed_before_training(place, run, top, whole):
    path = Path(top) if whole else Path(top, RUN.name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    outcome = run(train_softcot, TRAIN)
    assert path.name in read_refusal(outcome)
    assert "Thought states" not in outcome[1] and path.read_text() == "mine"


# ---- two at once ----


def test_a_second_training_of_the_same_name_is_refused_with_the_reason(place, run):
    with locked(place / RUN / "run"):
        line = read_refusal(run(train_softcot, TRAIN))
    assert f"another process is training in {RUN}" in line and f"process {os.getpid()} on" in line
    assert [path.name for path in (place / RUN).iterdir()] == ["run.lock"]


# ---- mismatches, before the first token ----


def test_resuming_with_other_arguments_is_refused(inputs, place, run):
    shutil.copytree(inputs / "whole" / RUN, place / RUN)
    (place / RUN / "run.json").unlink()
    line = read_refusal(run(train_softcot, [*TRAIN, "--resume", "--batch_size", "3", "--k_shot", "5"]))
    assert "batch_size was 2, now 3" in line and "k_shot was 6, now 5" in line and "checkpoint-6.pt" in line


@pytest.mark.parametrize("split, key", [("train", "train_hash"), ("test", "dev_hash")])
def test_resuming_with_changed_data_is_refused(inputs, place, run, split, key):
    shutil.copytree(inputs / "whole" / RUN, place / RUN)
    change_data(place, split)
    assert f"{key} was '" in read_refusal(run(train_softcot, [*TRAIN, "--resume"]))


def change_data(place, split="test"):
    file = place.parent / "data" / f"{split}.jsonl"
    file.write_text(file.read_text().replace("?", " ?", 1))


@pytest.mark.slow
def test_result_files_refuse_other_arguments_data_and_projections(place, run):
    arguments = [*EVALUATE, *params()]
    assert run(evaluate_softcot, arguments)[0] == 0
    before = {file: file.read_bytes() for file in Path("logs").iterdir()}
    assert "max_new_tokens was 8, now 9" in read_refusal(run(evaluate_softcot, [*arguments, "--max_new_tokens", "9"]))
    shutil.copytree(Path("..", "whole", RUN), "other")
    state = torch.load("other/projection.bin", weights_only=True)
    torch.save({**state, "weight": -state["weight"]}, "other/projection.bin")
    Path("other/run.json").unlink()
    assert "projection was" in read_refusal(
        run(evaluate_softcot, [*EVALUATE, "--params_file_name", "other/projection.bin"])
    )
    change_data(place)
    assert "data_hash was" in read_refusal(run(evaluate_softcot, arguments))
    assert before == {file: file.read_bytes() for file in Path("logs").iterdir()}
    assert run(evaluate_softcot, [*arguments, "--max_new_tokens", "9", "--overwrite"])[0] == 0
    assert all(read_result_file(path)[0]["max_new_tokens"] == 9 for path in Path("logs").glob("*.jsonl"))


def change_base(tokenizer=lambda tokenizer: None, config=None):
    """Copy the base model to x/base; change its tokenizer and its config."""
    shutil.copytree("../base", "x/base")
    changed = AutoTokenizer.from_pretrained("x/base")
    tokenizer(changed)
    changed.save_pretrained("x/base")
    if config:
        config.save_pretrained("x/base")
    return Path("x/base")


@pytest.mark.slow
def test_a_run_whose_prompts_show_another_date_is_not_continued(place, run):
    def show_the_microsecond(tokenizer):
        tokenizer.chat_template = "{{ strftime_now('%f') }}" + tokenizer.chat_template

    change_base(show_the_microsecond)
    training = [*TRAIN, "--large_model_id", "x/base", "--resume"]
    evaluation = [*EVALUATE, "--base_model_id", "x/base", "--thoughts", "zero"]
    for script, arguments, name in (
        (train_softcot, training, "--output_name"),
        (evaluate_softcot, evaluation, "--log_dir"),
    ):
        for date in ("fixed", "today"):
            first, second = (run(script, [*arguments, name, date, "--date", date]) for _ in range(2))
            assert first[0] == 0
            assert second[0] == 0 if date == "fixed" else "rendered_prompt was" in read_refusal(second)


# What is wrong with the base model's folder or options, and words of the message.
WRONG_BASES = {
    "no end of text": (lambda: change_base(lambda t: setattr(t, "eos_token", None)), [], "end-of-text"),
    "prints no string": (
        lambda: change_base(lambda t: setattr(t, "chat_template", t.chat_template.replace("['content']", "['none']"))),
        [],
        "does not print a message",
    ),
    "beyond the table": (
        lambda: change_base(lambda t: t.add_tokens(["<far>"])),
        ["--base_thought_tokens", "<|endoftext|>,<begin>,<far>"],
        "'<far>'.* id 261.* 261 embeddings",
    ),
}


@pytest.mark.parametrize("name", WRONG_BASES)
def test_a_base_model_that_cannot_be_used_is_refused_before_its_weights_are_read(place, run, name):
    change, options, message = WRONG_BASES[name]
    change()
    Path("x/base/model.safetensors").unlink()
    assert re.search(message, read_refusal(run(train_softcot, [*TRAIN, "--large_model_id", "x/base", *options])))


def test_an_adapter_of_another_kind_is_refused_before_the_models_are_read(place, run):
    shutil.copytree("../base", "prompt")
    Path("prompt/adapter_config.json").write_text('{"peft_type": "PROMPT_TUNING"}')
    Path("prompt/adapter_model.safetensors").touch()
    options = ["--base_model_id", "nowhere/at/all", "--base_model_ckpt", "prompt", "--tune_base_model"]
    assert "PROMPT_TUNING" in read_refusal(run(evaluate_softcot, [*EVALUATE, *params(), *options]))


def change_json(file, **values):
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def change_model(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({name: value * 1.01 for name, value in weights.items()}, folder / "model.safetensors", {"format": "pt"})
    change_json(folder / "config.json", rms_norm_eps=1e-4)
    change_json(folder / "generation_config.json", top_k=7)


def change_tokenizer(folder):
    change_json(folder / "tokenizer_config.json", model_max_length=77777)


@pytest.mark.parametrize(
    "part, change, keys",
    [
        ("base", change_model, ["config", "weights", "generation_config"]),
        ("assistant", change_tokenizer, ["tokenizer"]),
    ],
)
def test_another_model_at_the_same_path_is_refused(inputs, place, run, part, change, keys):
    (place.parent / part).unlink()  # a link
    shutil.copytree(inputs / part, place.parent / part)
    arguments = [*EVALUATE, *params(), "--test_k", "1"]
    code, output = run(evaluate_softcot, arguments)
    assert code == 0 and "warning: " not in output
    before = {file: file.read_bytes() for file in Path("logs").iterdir()}
    shutil.copytree(inputs / "whole" / RUN, place / RUN)
    (place / RUN / "run.json").unlink()
    change(place.parent / part)
    line, training = read_refusal(run(evaluate_softcot, [*arguments, "--test_k", "2"])), keys[:2]
    assert all(f"{part}_{key} was '" in line for key in keys)
    assert before == {file: file.read_bytes() for file in Path("logs").iterdir()}
    line = read_refusal(run(train_softcot, [*TRAIN, "--resume"]))
    assert all(f"{part}_{key} was '" in line for key in training)
    # Into another folder it may, with a warning that it is not the training's model.
    code, output = run(evaluate_softcot, [*arguments, "--log_dir", "other"])
    (line,) = re.findall("warning: .*", output)
    assert code == 0 and all(f"{part}_{key} was " in line for key in training)
    assert ("assistant_" if part == "base" else "base_") not in line


def test_other_prompts_than_those_trained_with_are_one_warning(place, run):
    prompts = ["--prompt_dir", ROOT / "data/mini/prompts_hidden"]
    code, output = run(evaluate_softcot, [*EVALUATE, *params(), *prompts, "--test_k", "1"])
    (line,) = re.findall("warning: .*", output)
    assert code == 0 and "prompt_hash was" in line


def rename(described, name, **weights):
    described["arguments"][name] = "x/other"
    described["record"].update(weights)


def write_other(change):
    """Copy the whole run to other/, with another run.json."""
    shutil.copytree(Path("..", "whole", RUN), "other")
    described = json.loads(Path("other/run.json").read_text())
    change(described)
    Path("other/run.json").write_text(json.dumps(described))


def test_the_same_weights_in_a_folder_of_another_name_are_the_model_of_the_training(place, run):
    write_other(lambda described: rename(described, "large_model_id"))
    code, output = run(evaluate_softcot, [*EVALUATE, "--params_file_name", "other/projection.bin", "--test_k", "1"])
    assert code == 0 and "warning" not in output


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda run: rename(run, "large_model_id", base_weights="1"), "--base_model_id is base .* with other"),
        (lambda run: rename(run, "small_model_id", assistant_weights="1"), "--assistant_model_id is assistant .*other"),
        (lambda run: run.update(assistant_family="llama"), "--assistant_model_id is .*custom.* llama"),
        (lambda run: run.update(assistant_model="of its training"), "--assistant_model_ckpt"),
        (lambda run: run.update(projection="1 abc"), "run.json describes another projection.bin"),
        (lambda run: run.clear(), "run.json is not what training writes"),
        (lambda run: run.update(arguments=[]), "run.json is not what training writes"),
    ],
)
def test_a_projection_of_another_run_is_refused(place, run, change, message):
    write_other(change)
    line = read_refusal(run(evaluate_softcot, [*EVALUATE, "--params_file_name", "other/projectin.bin"]))
    assert re.search(message, line)
    assert not Path("logs").exists()


def test_scaling_nce_of_a_projection_trained_without_it_is_refused(place, run):
    shutil.copytree(Path("..", "whole_pp", RUN_PP), "other")
    record = json.loads(Path("other/run.json").read_text())
    record["arguments"]["model_name"] = "scaling"
    Path("other/run.json").write_text(json.dumps(record))
    arguments = [*EVALUATE, *soak.CHAINS, "--params_file_name", "other/projection.bin"]
    assert "--model_name is scaling-nce, but" in read_refusal(run(evaluate_softcotpp, arguments))


# ---- strangers' files ----


@pytest.mark.parametrize("with_safetensors", [False, True])
def test_code_in_an_adapter_does_not_run(place, run, with_safetensors):
    adapter = place / "base_model"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": 16, "target_modules": ["q_proj", "v_proj"]})
    )
    torch.save({"x": Attack(place / "ran")}, adapter / "adapter_model.bin")
    if with_safetensors:
        (adapter / "adapter_model.safetensors").write_bytes(b"not safetensors")
    line = read_refusal(
        run(evaluate_softcot, [*EVALUATE, *params(), "--tune_base_model", "--base_model_ckpt", adapter])
    )
    assert ("is not a readable LoRA adapter" if with_safetensors else "no LoRA adapter in") in line
    assert not (place / "ran").exists()


def test_code_in_a_model_s_pickle_does_not_run(place, run):
    shutil.copytree("../base", "x/base")
    Path("x/base/model.safetensors").unlink()
    torch.save(
        {"model.embed_tokens.weight": torch.zeros(261, 48), "x": Attack(place / "ran")}, "x/base/pytorch_model.bin"
    )
    line = read_refusal(run(evaluate_softcot, [*EVALUATE, *params(), "--base_model_id", "x/base"]))
    assert "cannot load the model 'x/base': " in line
    assert not (place / "ran").exists()


def test_a_model_s_own_code_runs_only_when_asked_for(place, run):
    shutil.copytree("../base", "x/base")
    config = json.loads(Path("x/base/config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    Path("x/base/config.json").write_text(json.dumps(config))
    Path("x/base/own.py").write_text(f"open({str(place / 'ran')!r}, 'w').close()\n")
    words = [*EVALUATE, *params(), "--base_model_id", place / "x/base"]
    assert "trust_remote_code" in read_refusal(run(evaluate_softcot, words)) and not (place / "ran").exists()
    run(evaluate_softcot, [*words, "--trust_remote_code"])
    assert (place / "ran").exists()  # the file was armed


@pytest.mark.parametrize("template", ["{{ cycler.__init__.__globals__.os }}", "{{ 1 / 0 }}", "{% for x in %}"])
def test_a_chat_template_that_misbehaves_is_refused(place, run, template):
    shutil.copytree("../base", "x/base")
    Path("x/base/chat_template.jinja").write_text(template)
    line = read_refusal(run(evaluate_softcot, [*EVALUATE, *params(), "--base_model_id", "x/base"]))
    assert "the chat template of 'x/base': " in line


def test_paths_with_spaces_and_other_letters(place, run):
    shutil.copytree("../base", "größe 模型")
    shutil.copytree("../data", "donn ées")
    name = "a b 'é' $(touch ran)"
    common = ["--data_dir", "donn ées", "--output_name", name, "--large_model_id", "größe 模型"]
    assert run(train_softcot, [*TRAIN, *common])[0] == 0
    folder = Path(f"ckpt/{name}-gsm8k-2.0-3-größe 模型-assistant")
    assert (folder / "projection.bin").is_file()
    code, output = run(
        evaluate_softcot,
        [
            *EVALUATE,
            "--params_file_name",
            folder / "projectin.bin",
            "--base_model_id",
            "größe 模型",
            "--log_dir",
            "lögs x",
            "--run_name",
            name,
            "--data_dir",
            "donn ées",
        ],
    )
    assert code == 0, output
    assert len(list(Path("lögs x").iterdir())) == 4 and not Path("ran").exists()


# ---- numbers that are none ----


def test_a_projection_or_soft_thoughts_that_are_no_numbers_are_refused(place, run):
    shutil.copy(Path("..", "whole", RUN, "projection.bin"), "projection.bin")
    state = torch.load("projection.bin", weights_only=True)
    state["weight"][0, 0] = float("nan")
    torch.save(state, "projection.bin")
    arguments = [*EVALUATE, "--params_file_name", "projection.bin"]
    assert "projection.bin: weight" in read_refusal(run(evaluate_softcot, arguments))
    state["weight"][0] = 3e38  # finite, but what it makes is not
    torch.save(state, "projection.bin")
    assert "the soft thoughts hold NaN or inf" in read_refusal(run(evaluate_softcot, arguments))


@pytest.mark.parametrize("capability", ["avx2", "default"])
def test_a_cpu_that_emulates_bfloat16_is_known(capability):
    code = "from experiment.setup import emulates_bfloat16; print(emulates_bfloat16())"
    variables = {"CUDA_VISIBLE_DEVICES": "", "ATEN_CPU_CAPABILITY": capability}  # torch's view
    output = subprocess.check_output([sys.executable, "-c", code], env=environment() | variables, cwd=ROOT, text=True)
    assert output.split() == [str(capability == "avx2")]
