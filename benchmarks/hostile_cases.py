"""The cases of benchmarks.hostile: area -> (command, edits before it, what is expected[, how it is run]).

A command is run in a folder with a finished training and finished evaluations. Edits are functions of this file with
their values. Expected is `error WORDS` (a regular expression for the error's line), `accepted [WORDS]` (for the
output), or `same [WORDS]`: the answers of the undisturbed run. An option's value is written as in a shell.
"""

import json
import os
import shlex
import shutil
from pathlib import Path

import torch

RUN, RUN_PP = "ckpt/soak-gsm8k-1.0-3-base-assistant", "ckpt/soak-gsm8k-1.0-3-2-base-assistant-nce"
BIN, BIN_PP = f"{RUN}/projection.bin", f"{RUN_PP}/projection.bin"
TEST, DATA_TRAIN = "../data/test.jsonl", "../data/train.jsonl"
ROWS = "logs/gsm8k--seed_41-ntt_3-nrs_1-base-assistant.jsonl"
LOG = "logs/gsm8k--seed_41-ntt_3-nrs_1-base-assistant.log"
ZERO = "logs/gsm8k--seed_41-ntt_0-nrs_1-base-assistant.jsonl"


# ---- edits ----


def write(path, content):
    """Write a file, its folder too."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))


def replace(path, old, new):
    """Replace a text in a file, which must be there."""
    text = Path(path).read_bytes().decode()
    assert old in text, (path, old)
    write(path, text.replace(old, new))


def keys(path, line=None, **values):
    """Set or (with ...) remove keys of a JSON file, or of a line of JSON lines; `a__b` is key b of a's value."""
    lines = [Path(path).read_text()] if line is None else Path(path).read_text().split("\n")
    whole = json.loads(lines[line or 0])
    for name, value in values.items():
        *parts, last = name.split("__")
        place = whole
        for part in parts:
            place = place[part]
        place[last] = value
        if value is ...:
            del place[last]
    lines[line or 0] = json.dumps(whole)
    write(path, "\n".join(lines))


def cut(path, count):
    """Keep the first `count` bytes of a file, or all but the last -count."""
    write(path, Path(path).read_bytes()[:count])


def append(path, content):
    """Append to a file."""
    write(path, Path(path).read_bytes() + content.encode())


def repeat(path, first, last):
    """Append a copy of some lines."""
    append(path, "".join(Path(path).read_text().splitlines(keepends=True)[first:last]))


def remove(*paths):
    for path in map(Path, paths):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def copy(path, other):
    Path(other).parent.mkdir(parents=True, exist_ok=True)
    (shutil.copytree if Path(path).is_dir() else shutil.copy)(path, other)


def move(path, other):
    copy(path, other)
    remove(path)


def link(path, other):
    """Move a file or folder, and put a symbolic link in its place."""
    move(path, other)
    os.symlink(os.path.relpath(other, Path(path).parent), path)


def tensors(path, change):
    """Write the projection again after `change` of its dict."""
    state = torch.load(path, weights_only=True)
    torch.save(change(state), path)


def tamper(path, offset=-100):
    """Flip a byte."""
    content = bytearray(Path(path).read_bytes())
    content[offset] ^= 255
    write(path, bytes(content))


def rights(path, mode):
    os.chmod(path, mode)


# ---- cases ----


def wrong(command, words="", **options):
    """Return a case for each wrong value of each option. The error's line must name the option."""
    return [
        (f"{command} {words} --{name} {shlex.quote(value)}", [], f"error {name}")
        for name, values in options.items()
        for value in shlex.split(values)
    ]


HUGE = "9" * 400
OPTIONS = [
    *wrong(
        "train --output_name n",
        n_epochs="0 -1 nan inf x '' 1e309 1,5",
        batch_size="0 -1 1.5 x '' 1e3",
        learning_rate="0 -1 nan inf x '' 1e-400 1.5 3.5e38",
        k_shot="-1 1.5 x",
        dev_k="-1 x",
        num_thought_tokens="-1 x 1.0",
        max_len="0 -2 5 x",
        gradient_accumulation_steps="0 -4 0.5",
        micro_batch_size="-1 x",
        seed="x 1.5 '' 18446744073709551616 4294967296 -1",
        save_minutes="0 nan -3",
        logging_steps="0 -1 1.5",
        report_to="wandb x",
        task_name="du gsm9k GSM8K ''",
        dtype="float8 fp32 ''",
        device="cuda cuda:0 tpu mps cpu:1 ''",
        quantization="3bit",
        output_name="'' . .. a/b",
    ),
    *wrong(
        "evaluate --overwrite",
        temperature="0 nan inf -1 x",
        top_p="0 1.1 nan -0.5",
        top_k="-1 1.5",
        perturb_std="nan inf -1",
        num_return_sequences="0 -1 x",
        test_k="-1 x",
        eval_batch_size="0 -8",
        max_new_tokens="-1 1000000 x",
        engine="vllm tgi",
        seed_from="43 x 41.0",
        seed_to="40 99999999999",
        vllm_args="'{' '[1]' 1 ''",
        thoughts="none Projected",
        protocol="Published original",
        split="../test . ''",
        params_file_name="nowhere.bin logs '' None ../data/test.jsonl",
        base_model_ckpt="nowhere ../base",
        assistant_model_ckpt="nowhere",
        base_device_map="cpu",
        generation_prompt="maybe",
        qwen3_tokens="llama",
        tensor_parallel_size="0",
    ),
    *wrong("evaluate++", num_scaling_times="0 x", model_name="softcot"),
    *wrong(
        "train++ --output_name n",
        num_scaling_times="0 1000 x",
        num_thought_tokens="0",
        assistant_initial_token="-1 261 99999",
    ),
    *wrong("ask How?", top="0 -1", num_thought_tokens="0", max_new_tokens="-1", temperature="0", picture="'' a.docx"),
    *wrong("summarize", resamples="0 99 x", tasks="gsm9k", methods="Softcot", baseline="none"),
    ("evaluate --split nowhere", [], "error no nowhere.*nowhere.jsonl"),
    ("ask", [], "error question"),
    ("ask ''", [], "error question"),
    ("ask ' \n'", [], "error question"),
    ("ask How? How?", [], "error How"),
    ("ask How?", [], "accepted"),
    ("ask How? --params_file_name nowhere.bin", [], "error nowhere.bin"),
    ("ask How? --task_name gsm9k", [], "error task_name"),
    ("ask How? --show_thoughts --json logs", [], "error logs"),
    ("ask How? --num_scaling_times 2", [], "error perturb_std|chains|initial tokens"),
    ("evaluate++ --num_scaling_times 3 --overwrite", [], "error chains"),
    ("train --output_name n --base_thought_tokens a,b", [], "error base_thought_tokens"),
    ("train --output_name n --base_thought_tokens 'aa,bb,cc'", [], "error base_thought_tokens.*vocabulary"),
    ("train --output_name n --base_thought_tokens '<begin>,<begin>,<end>'", [], "error differ"),
    ("train --output_name n --assistant_thought_tokens '<|endoftext|>, ,<end>'", [], "error assistant_thought_tokens"),
    ("train --output_name n --large_model_id ''", [], "error model"),
    ("train --output_name n --large_model_id ../nowhere", [], "error ../nowhere"),
    ("train --output_name n --large_model_id ../data", [], "error ../data"),
    ("train --output_name n --large_model_id ../base/config.json", [], "error config.json"),
    ("train --output_name n --small_model_id nobody/nothing", [], "error nobody/nothing"),
    ("train --output_name n --large_model_id embedded/Llama", [], "error embedded"),
    ("train --output_name n --data_dir ''", [], "error data_dir"),
    ("train --output_name n --data_dir ../nowhere", [], "error ../nowhere"),
    ("train --output_name n --data_dir ../data/train.jsonl", [], "error train.jsonl"),
    ("train --output_name n --data_dir ../base", [], "error ../base"),
    ("train --output_name n --prompt_dir ../nowhere", [], "error ../nowhere"),
    ("train --output_name n --prompt_dir ../prompts --published_code ../clone", [], "error prompt_dir"),
    ("train --output_name n --published_code ../clone", [], "error published_code.*custom"),
    ("train --output_name n --num_thought_tokens 0", [], "error tune_base_model"),
    ("train --num_thought_tokens 5000 --output_name n", [], "error context"),
    ("train --output_name n --lr 1", [], "error --lr"),
    ("train --output_name n --learning_rat 1", [], "error learning_rat"),
    ("train --output_name n stray", [], "error stray"),
    ("train --output_name n --resume yes", [], "error yes"),
    ("train --output_name n --base_device_map auto --tune_base_model", [], "error base_device_map"),
    (f"train --output_name {'x' * 300}", [], "error name too long|output_name"),
    ("train --output_name 'a\nb'", [], "error output_name"),
    ("train --output_name 'with blank'", [], "accepted Wrote ckpt/with blank"),
    ("train --output_name Имя-名前", [], "accepted Wrote ckpt/Имя-名前"),
    ("train --output_name=--x", [], "accepted Wrote ckpt/--x"),
    ("train --output_name n --k_shot 1000", [], "accepted 12 training examples"),
    ("train --output_name n --max_len 250", [], "error fits.*865.*250"),
    ("train --output_name n --max_len 250 --too_long cut", [], "error max_len"),
    ("train --output_name n --batch_size 100 --gradient_accumulation_steps 9", [], "accepted Wrote"),
    ("train --output_name n --n_epochs 0.01", [], "accepted Wrote"),
    ("train --output_name n --seed 4294967295", [], "accepted Wrote"),
    ("train --output_name n --dtype float16", [], "accepted Wrote"),
    ("train --output_name n --tune_assistant_model", [], "accepted Wrote"),
    ("evaluate --num_thought_tokens 0 --thoughts zero", [], "error thoughts"),
    ("evaluate --num_thought_tokens 0 --perturb_std 1", [], "error perturb_std"),
    ("evaluate --tune_base_model", [], "error base_model_ckpt"),
    ("evaluate --seed_from 41 --seed_to 41 --engine reference --seed_from -1", [], "error seeds"),
    ("evaluate --no_generation_prompt --generation_prompt yes", [], "error contradict"),
    ("evaluate --num_thought_tokens 9 --overwrite", [], "accepted"),
    ("evaluate --overwrite --test_k 99", [], "accepted 8 questions"),
    ("evaluate --overwrite --perturb_std 1e39", [], "error NaN or .?inf"),
    ("evaluate --log_dir n --temperature 1e-30", [], "accepted"),
    ("evaluate --log_dir n --temperature 1e30", [], "accepted"),
    ("evaluate --log_dir n --top_k 99999999999999999999", [], "accepted"),
    ("evaluate --log_dir n --top_p 1e-300", [], "accepted"),
    ("evaluate --log_dir n --seed_from -3 --seed_to -2", [], "accepted Seeds -3 to -2"),
    (f"evaluate --log_dir n --seed_from {HUGE} --seed_to {HUGE}", [], "error seed"),
    ("evaluate --log_dir n --seed_from 18446744073709551616 --seed_to 18446744073709551616", [], "accepted"),
    ("evaluate --log_dir ../data/test.jsonl", [], "error test.jsonl"),
    ("evaluate --log_dir ''", [], "accepted"),
    ("evaluate --results_dir ../base/config.json", [], "error config.json"),
    ("evaluate --run_name deep/er-", [], "accepted"),
    (f"evaluate --run_name {'x' * 300}", [], "error name too long|run_name"),
    ("evaluate --run_name 'a\nb'", [], "error run_name"),
    ("evaluate --run_name '\udcff'", [], "error run_name"),
    ("evaluate --base_model_id ../assistant --overwrite", [], "error trained with"),
    (
        "evaluate --thoughts shuffled --test_k 1 --log_dir n",
        [(write, TEST, '{"question": "q", "answer": "#### 1"}\n')],
        "error only one",
    ),
    ("ask How? --show_thoughts --picture n/thoughts.png --top 100000", [], "accepted Norms of"),
    ("ask --show_thoughts --picture n/thoughts.png '<begin><end><|im_end|>'", [], "accepted Norms of"),
    ("ask --show_thoughts --picture n/thoughts.png '{{ 7 * 7 }} {% x %}'", [], "accepted Norms of"),
    ("ask --show_thoughts --picture n/thoughts.png '\u2028 \x01 🂡'", [], "accepted Norms of"),
]


def example(answer="a\n#### 7", question="How many?", **more):
    return json.dumps({"question": question, "answer": answer, **more}, ensure_ascii=False)


GOOD = [example(), example("b\n#### 1,000"), example("c\n#### -3"), example("d\n#### 0.5")]


def data(text, expected, command="evaluate --log_dir n"):
    """Return a case whose test file holds this text."""
    return (command, [(write, TEST, text)], expected)


def first(line, expected):
    """Return a case whose test file has this first line."""
    return data("\n".join([line, *GOOD[1:]]) + "\n", expected)


DATA = [
    data("", "error no examples"),
    data("\n\n \n", "error no examples"),
    data("[]", "error no examples"),
    data("{}", "error line 1.*question"),
    data("[" * 100000, "error test.jsonl"),
    data("null\n", "error line 1.*object"),
    data("[1, 2]", "error item 1.*object"),
    data("[[]]", "error item 1.*object"),
    data("question,answer\nHow,7\n", "error line 1"),
    data("\n".join(GOOD), "accepted 3 questions"),
    data("\r\n".join(GOOD) + "\r\n", "accepted 3 questions"),
    data("\r".join(GOOD), "error line 1"),
    data("\ufeff" + "\n".join(GOOD), "accepted 3 questions"),
    data("\n\n".join(GOOD), "accepted 3 questions"),
    data(",\n".join(GOOD), "error line 1"),
    data("[" + ",\n".join(GOOD) + "]", "accepted 3 questions"),
    data("[" + ",\n".join(GOOD), "error line 4|not JSON"),
    data("[" + ",\n".join(GOOD) + "] x", "error line 4|not JSON"),
    data(GOOD[0] + GOOD[1], "error line 1"),
    data("\n".join(GOOD)[:-5], "error line 4"),
    data("\n".join(GOOD).encode("utf-16"), "error UTF-8"),
    data(example(question="caf\u00e9").encode("latin-1"), "error UTF-8"),
    data(b"\x1f\x8b\x08\x00" + b"\0" * 50, "error UTF-8|line 1"),
    data(b"\0" * 100, "error line 1"),
    data("\u2028\n".join(GOOD), "error line 1"),
    data("\n".join(GOOD[:2]) + "\n// a comment\n", "error line 3"),
    first(example(7), "error line 1.*answer.*string"),
    first(example("7"), "error line 1.*####"),
    first(example("#### seven"), "error line 1.*seven"),
    first(example("####"), "error line 1.*number"),
    first(example("#### 7 apples"), "error line 1.*apples"),
    first(example("#### 1e3"), "error line 1.*1e3"),
    first(example("#### nan"), "error line 1.*nan"),
    first(example("#### inf.0"), "error line 1.*inf"),
    first(example("#### 1" + "0" * 5000), "error line 1"),
    first(example("#### 1_000"), "accepted 3 questions"),
    first(example("#### ٧"), "accepted 3 questions"),
    first(example("#### 1.000.000"), "error line 1"),
    first(example("#### 7."), "accepted 3 questions"),
    first(example("#### $7"), "error line 1"),
    first(example("#### 7%"), "error line 1"),
    first(example("#### 1/2"), "error line 1"),
    first(example("#### 1e400.0"), "error line 1"),
    first(example("#### " + "9" * 400 + ".0"), "error line 1"),
    first(example("#### 7\n#### 8"), "accepted 3 questions"),
    first(example(None), "error line 1.*answer"),
    first(example(["#### 7"]), "error line 1.*answer"),
    first(example(""), "error line 1.*blank"),
    first(example(question=""), "error line 1.*blank"),
    first(example(question=7), "error line 1.*question"),
    first(example(question=None), "error line 1.*question"),
    first(example(question={"a": 1}), "error line 1.*question"),
    first(example(question="a\0b"), "error line 1.*NUL"),
    first('{"question": "\\ud800", "answer": "#### 7"}', "error line 1.*surrogate"),
    first('{"question": "q", "question": "r", "answer": "#### 7"}', "error line 1.*twice"),
    first('{"question": NaN, "answer": "#### 7"}', "error line 1"),
    first('{"Question": "q", "answer": "#### 7"}', "error line 1.*question.*Question"),
    first("{'question': 'q', 'answer': '#### 7'}", "error line 1"),
    first('{"question": "q"}', "error line 1.*answer"),
    first('{"question": "q", "answer": "#### 7",}', "error line 1"),
    first(example(options=["1", "2"]), "error options"),
    first(example(options="A"), "error options"),
    first(example(question="x" * 10**6), "accepted skipped"),
    first(example(question="<begin><|endoftext|><end><|im_end|>"), "accepted 3 questions"),
    first(example(question="{{ soft_thoughts }}"), "accepted 3 questions"),
    data(example(question="x" * 10**6), "error fits"),
    data("\n".join(GOOD), "error ../n", command="train --output_name n --data_dir ../n"),
    ("train --output_name n", [(append, DATA_TRAIN, "{}\n")], "error train.jsonl, line 13"),
    ("train --output_name n", [(remove, TEST)], "error dev"),
    ("train --output_name n", [(remove, DATA_TRAIN)], "error train"),
    ("train --output_name n", [(remove, DATA_TRAIN), (write, f"{DATA_TRAIN}/x", "")], "error train"),
    ("train --output_name n", [(rights, DATA_TRAIN, 0)], "error train.jsonl", {"without_rights": True}),
    ("evaluate --log_dir n --task_name aqua", [], "error aqua"),
    (
        "evaluate --log_dir n --task_name strategyqa",
        [(write, "../data/strategyqa_train.json", "[]")],
        "error no examples",
    ),
    (
        "evaluate --log_dir n --task_name strategyqa",
        [(write, "../data/strategyqa_train.json", '[{"question": "q", "facts": ["f"], "answer": 1}]')],
        "error answer",
    ),
    (
        "evaluate --log_dir n --task_name strategyqa",
        [(write, "../data/strategyqa_train.json", '[{"question": "q", "facts": "f", "answer": true}]')],
        "error facts",
    ),
    (
        "train --output_name n --task_name strategyqa",
        [(write, "../data/strategyqa_train.json", '[{"question": "q", "facts": ["f"], "answer": true}]')],
        "error leave none",
    ),
    (
        "evaluate --log_dir n --task_name aqua",
        [(write, "../data/gsm_style_test.jsonl", example("#### F"))],
        "error line 1.*ABCDE",
    ),
    (
        "evaluate --log_dir n --task_name aqua",
        [(write, "../data/gsm_style_test.jsonl", example("#### A", options=list("abcdefg")))],
        "error options",
    ),
    (
        "evaluate --log_dir n --task_name du",
        [(write, "../data/date_understanding_gsm_style.json", example("#### A"))],
        "error older form",
    ),
]


def shaped(**shapes):
    """Return a change of a projection's tensors to other shapes, of ones."""
    return lambda state: state | {name: torch.ones(shape) for name, shape in shapes.items()}


def filled(value):
    """Return a change of a row of the weights."""
    return lambda state: state | {"weight": state["weight"].index_fill(0, torch.tensor([0]), value)}


def projection(change, expected, command="evaluate --overwrite", path=BIN):
    """Return a case with another projection, run.json removed, which would notice it."""
    return (command, [(tensors, path, change), (remove, Path(path).with_name("run.json"))], expected)


PROJECTION = [
    projection(shaped(weight=(48, 33)), "error weight"),
    projection(shaped(weight=(32, 48)), "error weight"),
    projection(shaped(weight=(48, 32, 1)), "error weight"),
    projection(shaped(weight=()), "error weight"),
    projection(shaped(weight=(0,)), "error weight"),
    projection(shaped(bias=(1,)), "error bias"),
    projection(shaped(bias=(48, 1)), "error bias"),
    projection(shaped(embedding=(2, 32)), "error embedding"),
    projection(shaped(other=(1,)), "error other"),
    projection(shaped(embedding=()), "error embedding", "evaluate++", BIN_PP),
    projection(shaped(embedding=(0, 32)), "error embedding", "evaluate++", BIN_PP),
    projection(shaped(embedding=(2, 31)), "error embedding", "evaluate++", BIN_PP),
    projection(shaped(embedding=(1, 32)), "error embedding", "evaluate++", BIN_PP),
    projection(filled(float("nan")), "error NaN"),
    projection(filled(float("-inf")), "error NaN or inf"),
    projection(filled(1e38), "error NaN or .?inf"),
    projection(lambda state: {"weight": state["weight"]}, "error bias"),
    projection(lambda state: {k: v.tolist() for k, v in state.items()}, "error projection"),
    projection(lambda state: {k: v.long() for k, v in state.items()}, "error int64"),
    projection(lambda state: {k: v.to_sparse() for k, v in state.items()}, "error sparse"),
    projection(lambda state: {k: v.to(torch.complex64) for k, v in state.items()}, "error complex"),
    projection(lambda state: {k: v.half() for k, v in state.items()}, "accepted"),
    projection(lambda state: {k: v.double() for k, v in state.items()}, "accepted"),
    projection(lambda state: {k: v.T if v.dim() > 1 else v for k, v in state.items()}, "error weight"),
    projection(lambda state: [state], "error list"),
    projection(lambda state: {"state_dict": state}, "error state_dict"),
    projection(lambda state: state["weight"], "error Tensor"),
    projection(lambda state: {f"projection.{k}": v for k, v in state.items()}, "error projection.bias"),
    projection(lambda state: {1: state["bias"]}, "error weight"),
    ("evaluate --overwrite", [(cut, BIN, 0)], "error projection.bin"),
    ("evaluate --overwrite", [(cut, BIN, 500)], "error projection.bin"),
    ("evaluate --overwrite", [(cut, BIN, -1)], "error projection.bin"),
    ("evaluate --overwrite", [(write, BIN, "weights")], "error projection.bin"),
    ("evaluate --overwrite", [(write, BIN, "version https://git-lfs.github.com/spec/v1\n")], "error projection.bin"),
    ("evaluate --overwrite", [(tamper, BIN, 700)], "error projection.bin"),
    ("evaluate --overwrite", [(copy, BIN_PP, "n"), (remove, BIN), (move, "n", BIN)], "error projection.bin"),
    (f"evaluate --overwrite --params_file_name {BIN_PP}", [], "error evaluate_softcotpp"),
    (f"evaluate++ --overwrite --params_file_name {BIN}", [], "error perturb_std"),
    (f"evaluate --overwrite --params_file_name {RUN}", [], "error projection"),
    (f"evaluate --params_file_name {RUN}/projectin.bin", [], "same"),
    (f"evaluate --overwrite --params_file_name {RUN}/checkpoint-2.pt", [], "error checkpoint-2.pt"),
    ("evaluate --overwrite", [(link, BIN, "../elsewhere.bin")], "same"),
    ("evaluate --overwrite", [(rights, BIN, 0)], "error projection.bin|Permission", {"without_rights": True}),
    (f"ask How? --params_file_name {RUN}", [], "error projection"),
    ("ask How? --num_thought_tokens 3", [(cut, BIN, 500)], "error projection.bin"),
    (
        "evaluate --overwrite --base_model_ckpt ../adapter",
        [(write, "../adapter/adapter_model.safetensors", "x")],
        "error adapter",
    ),
    (
        "evaluate --overwrite --assistant_model_ckpt ../adapter",
        [
            (write, "../adapter/adapter_model.safetensors", "x"),
            (write, "../adapter/adapter_config.json", '{"peft_type": "LORA", "r": 8}'),
        ],
        "error adapter",
    ),
]


def run_json(expected, command="evaluate --overwrite", **values):
    """Return a case with other values in the training's run.json."""
    return (command, [(set_keys, f"{RUN}/run.json", values)], expected)


def set_keys(path, values):
    keys(path, **values)


UNFINISHED = [(remove, f"{RUN}/run.json", BIN)]
RECORD = [
    run_json("error run.json", arguments=...),
    run_json("error run.json", arguments=7),
    run_json("error run.json", arguments=[]),
    run_json("error run.json", arguments__large_model_id=...),
    run_json("error run.json", arguments__large_model_id=7),
    run_json("error run.json", arguments__large_model_id=None),
    run_json("error trained with", arguments__large_model_id="../other"),
    run_json("error run.json", prompt_hash=...),
    run_json("accepted warning: the prompt", prompt_hash="0123"),
    run_json("accepted warning: the prompt", prompt_hash=7),
    run_json("error family|run.json", base_family="llama"),
    run_json("error run.json", base_family=...),
    run_json("error describes another", projection="1 2"),
    run_json("same", projection=...),
    run_json("error describes", projection=7),
    run_json("same", record=...),
    run_json("same", record=None),
    run_json("same", record=7),
    run_json("same", record=[]),
    run_json("same", record__base_weights=...),
    run_json("same warning: other models", record__base_weights="0"),
    run_json("same warning: other models", record__assistant_tokenizer="0"),
    run_json("same", versions=...),
    run_json("same", git_commit=None),
    run_json("same", unknown="field of a later version"),
    run_json("same another protocol", arguments__date="today"),
    run_json("same before there were protocols", arguments__protocol=...),
    run_json("error LoRA adapter", arguments__tune_base_model=True),
    run_json("error run.json|LoRA", arguments__tune_base_model="false"),
    run_json("same", arguments__task_name="aqua"),
    ("evaluate --overwrite", [(write, f"{RUN}/run.json", "")], "error run.json"),
    ("evaluate --overwrite", [(write, f"{RUN}/run.json", "[]")], "error run.json"),
    ("evaluate --overwrite", [(write, f"{RUN}/run.json", "null")], "error run.json"),
    ("evaluate --overwrite", [(cut, f"{RUN}/run.json", -20)], "error run.json"),
    ("evaluate --overwrite", [(write, f"{RUN}/run.json", b"\xff\xfe")], "error run.json"),
    ("evaluate --overwrite", [(remove, f"{RUN}/run.json"), (write, f"{RUN}/run.json/x", "")], "same"),
    ("evaluate --overwrite", [(remove, f"{RUN}/run.json")], "same"),
    (
        "evaluate --overwrite",
        [(copy, f"{RUN_PP}/run.json", "n"), (remove, f"{RUN}/run.json"), (move, "n", f"{RUN}/run.json")],
        "error describes another",
    ),
    ("train", [], "error --resume"),
    ("train --resume", [], "accepted finished"),
    ("train --resume --seed 1", [], "error seed was 42, now 1"),
    ("train --resume --num_thought_tokens 3 --max_len 4000", [], "error max_len"),
    ("train --resume --learning_rate 0.1", [], "error learning_rate"),
    ("train --resume --protocol published", [], "error date|projection_dtype"),
    ("train --resume", [(write, f"{RUN}/run.json", "{}")], "error run.json"),
    ("train --resume", [(write, f"{RUN}/run.json", "[]")], "error run.json"),
    ("train --resume", [(write, f"{RUN}/run.json", "null")], "error run.json"),
    ("train --resume", [(write, f"{RUN}/run.json", '{"record": 7}')], "error run.json"),
    ("train --resume", [(cut, f"{RUN}/run.json", 50)], "error run.json"),
    ("train --resume", [(write, f"{RUN}/run.json", b"\xff")], "error run.json"),
    ("train --resume", [(remove, BIN)], "error projection.bin"),
    ("train --resume", [(replace, DATA_TRAIN, "How many", "How much")], "error train_hash"),
    ("train --resume", [(replace, TEST, "How many", "How much")], "error dev_hash"),
    ("train --resume --k_shot 3", [], "error k_shot"),
    ("train --resume", UNFINISHED, "accepted Wrote"),
    ("train --resume --batch_size 1", UNFINISHED, "error global_batch_size|batch"),
    ("train --resume --batch_size 1 --gradient_accumulation_steps 2", UNFINISHED, "accepted Wrote"),
    ("train --resume --seed 1", UNFINISHED, "error seed was 42"),
    ("train --resume", [*UNFINISHED, (replace, DATA_TRAIN, "How many", "How much")], "error train_hash"),
    ("train --resume", [*UNFINISHED, (tamper, f"{RUN}/checkpoint-2.pt")], "accepted damaged"),
    ("train --resume", [*UNFINISHED, (cut, f"{RUN}/checkpoint-2.pt", 0)], "accepted damaged"),
    ("train --resume", [*UNFINISHED, (write, f"{RUN}/checkpoint-9.pt", "x" * 99)], "accepted damaged"),
    ("train --resume", [*UNFINISHED, (write, f"{RUN}/checkpoint-9/x", "")], "error checkpoint-9"),
    ("train --resume", [*UNFINISHED, (move, f"{RUN}/checkpoint-2.pt", f"{RUN}/checkpoint-8.pt")], "accepted Wrote"),
    (
        "train --resume",
        [
            *UNFINISHED,
            (remove, f"{RUN}/checkpoint-2.pt"),
            (copy, f"{RUN_PP}/checkpoint-2.pt", f"{RUN}/checkpoint-2.pt"),
        ],
        "error other arguments",
    ),
    (
        "train --resume",
        [*UNFINISHED, (remove, f"{RUN}/checkpoint-2.pt"), (write, f"{RUN}/.checkpoint-1.pt.77.tmp", "x")],
        "accepted Wrote",
    ),
    ("train --output_name n", [(write, "ckpt/n-gsm8k-1.0-3-base-assistant", "x")], "error output_name"),
    ("train --output_name n", [(remove, "ckpt"), (write, "ckpt", "x")], "error ckpt"),
    ("train --output_name n", [(write, "logs/n-gsm8k-1.0-3-base-assistant", "x")], "error logs"),
    ("train --output_name n", [(link, "ckpt", "../far/ckpt")], "accepted Wrote"),
    ("train --output_name n", [(rights, "ckpt", 0o555)], "error ckpt", {"without_rights": True}),
    ("train --output_name n", [(rights, "results", 0o555)], "error results", {"without_rights": True}),
    ("train --output_name n", [(rights, "logs", 0o555)], "error logs", {"without_rights": True}),
    ("train --output_name n", [], "error room", {"limit": 500}),
    ("train --output_name n", [], "error room", {"limit": 5000}),
    ("train --output_name n", [], "error room", {"limit": 20000}),
    ("train --output_name n", [], "accepted Wrote", {"without_rights": True}),
    (
        "train --output_name n",
        [(replace, "../base/config.json", '"hidden_size": 48', '"hidden_size": 64')],
        "error base",
    ),
    ("train --output_name n", [(cut, "../base/model.safetensors", -1000)], "error base"),
    ("train --output_name n", [(cut, "../base/model.safetensors", 0)], "error base"),
    ("train --output_name n", [(remove, "../base/model.safetensors")], "error base"),
    ("train --output_name n", [(cut, "../base/config.json", -20)], "error base"),
    ("train --output_name n", [(cut, "../base/tokenizer.json", -20)], "error base"),
    ("train --output_name n", [(remove, "../base/tokenizer.json")], "error base"),
    ("train --output_name n", [(write, "../base/chat_template.jinja", "{% x %}")], "error chat template"),
    ("train --output_name n", [(write, "../base/chat_template.jinja", "")], "error chat template"),
    (
        "train --output_name n",
        [(write, "../base/chat_template.jinja", "{{ raise_exception('no') }}")],
        "error chat template",
    ),
    ("train --output_name n", [(write, "../base/chat_template.jinja", "no messages")], "error chat template"),
    (
        "train --output_name n",
        [(replace, "../base/config.json", '"max_position_embeddings": 4096', '"max_position_embeddings": 50')],
        "error context",
    ),
    (
        "train --output_name n",
        [(replace, "../base/config.json", '"model_type": "llama"', '"model_type": "t5"')],
        "error base",
    ),
    (
        "train --output_name n",
        [(replace, "../base/config.json", '"model_type": "llama"', '"model_type": "nonsense"')],
        "error base",
    ),
    ("train --resume", [(copy, "../base", "n"), (tamper, "../base/model.safetensors", -40000)], "error base_weights"),
]


def rows(expected, line=1, command="evaluate", path=ROWS, **values):
    """Return a case with other values in a line (from 0) of the result file, which an evaluation continues."""
    return (command, [(set_row, path, line, values)], expected)


def set_row(path, line, values):
    keys(path, line, **values)


CONTINUED = [
    ("evaluate", [], "same"),
    ("evaluate", [(remove, ROWS, LOG)], "same"),
    ("evaluate", [(remove, ROWS)], "error log without"),
    ("evaluate", [(remove, LOG)], "same"),
    ("evaluate --overwrite", [(write, ROWS, "x")], "same"),
    ("evaluate", [(write, ROWS, "")], "same"),
    ("evaluate", [(write, ROWS, "x")], "error line 1"),
    ("evaluate", [(write, ROWS, "x\n")], "error line 1"),
    ("evaluate", [(write, ROWS, "{}\n")], "error line 1"),
    ("evaluate", [(write, ROWS, '{"run": 7}\n')], "error line 1"),
    ("evaluate", [(write, ROWS, '{"run": {}}\n')], "error answer rule"),
    ("evaluate", [(cut, ROWS, 5)], "same"),
    ("evaluate", [(cut, ROWS, -1)], "same"),
    ("evaluate", [(cut, ROWS, -30)], "same"),
    ("evaluate", [(append, ROWS, '{"index": 3')], "same"),
    ("evaluate", [(append, ROWS, "\0\0\0\0")], "same"),
    ("evaluate", [(append, ROWS, "\n")], "error line 5"),
    ("evaluate", [(repeat, ROWS, 1, 2)], "error twice"),
    ("evaluate", [(repeat, ROWS, 0, 1)], "error line 5"),
    ("evaluate", [(replace, ROWS, "\n", "\r\n")], "same"),
    ("evaluate", [(write, ROWS, b"\xff\xfe\n")], "error line 1"),
    rows("error index", index=...),
    rows("error index", index="0"),
    rows("error index", index=0.0),
    rows("error index", index=-1),
    rows("error index", index=99),
    rows("error index", index=True),
    rows("error twice", index=1),
    rows("error gold", gold=...),
    rows("error gold", gold=None),
    rows("error gold", gold=[7]),
    rows("error vote", vote=[1]),
    rows("error vote", vote=...),
    rows("error correct", correct="true"),
    rows("error correct", correct=1),
    rows("error correct", correct=None),
    rows("error correct_strict", correct_strict=...),
    rows("error answers", answers=7),
    rows("error answers", answers=[]),
    rows("error answers", answers=[1, 2, 3]),
    rows("error answers", answers=[[1]]),
    rows("error answers", answers=[{"a": 1}]),
    rows("error answers_strict", answers_strict=[]),
    rows("error tokens", tokens=["4"]),
    rows("error tokens", tokens=[4.0]),
    rows("error tokens", tokens=[True]),
    rows("error tokens", tokens=[-4]),
    rows("error tokens", tokens=[]),
    rows("error tokens", tokens=None),
    rows("error responses", responses="text"),
    rows("error responses", responses=[7]),
    rows("error responses", responses=[]),
    rows("error raw_responses", raw_responses=[]),
    rows("error input", input=7),
    rows("error skipped", skipped=True),
    rows("accepted", unknown="field of a later version"),
    rows("error correct", correct=True, vote=None),
    rows("error correct", correct=True, vote=123456),
    rows("error other arguments", line=0, run__temperature=0.5),
    rows("error other arguments", line=0, run__seed=99),
    rows("error other arguments", line=0, run__seed="41"),
    rows("error other arguments", line=0, run__unknown=1),
    rows("error other arguments", line=0, run__data_hash=...),
    rows("error answer rule", line=0, run__answer_rule=1),
    rows("error answer rule", line=0, run__answer_rule=...),
    rows("error questions_in_split", line=0, run__questions_in_split="8"),
    rows("error index|questions_in_split|other arguments", line=0, run__questions_in_split=2),
    rows("same", line=0, other=1),
    ("evaluate --temperature 0.5", [], "error temperature was 1.0"),
    ("evaluate --greedy", [], "error greedy"),
    ("evaluate --top_k 5", [], "error top_k"),
    ("evaluate --max_new_tokens 5", [], "error max_new_tokens"),
    ("evaluate --protocol published --engine transformers", [], "error date|end_tokens"),
    ("evaluate --engine reference", [], "error engine"),
    ("evaluate --split train", [], "error split"),
    ("evaluate --eval_batch_size 1", [(cut, ROWS, -1)], "same"),
    ("evaluate --test_k 2", [], "accepted 2 questions"),
    ("evaluate --test_k 5", [], "accepted 5 questions"),
    ("evaluate --seed_to 43", [], "accepted Seed 43"),
    ("evaluate --base_model_id ../base/", [], "same"),
    ("evaluate --dtype bfloat16", [], "error dtype"),
    ("evaluate", [(replace, TEST, "How many", "How much")], "error data_hash"),
    ("evaluate", [(tamper, "../base/model.safetensors", -40000)], "error base_weights"),
    ("evaluate", [(copy, "../prompts/gsm8k.jinja", "n/gsm8k.jinja")], "same"),
    ("evaluate --prompt_dir ../prompts", [], "same"),
    (
        "evaluate --prompt_dir ../prompts",
        [(replace, "../prompts/gsm8k.jinja", "problem", "riddle")],
        "error prompt_hash",
    ),
    ("evaluate", [(link, ROWS, "../far/rows.jsonl")], "same"),
    ("evaluate", [(link, ROWS, "../far/rows.jsonl"), (cut, ROWS, -1)], "same"),
    ("evaluate", [(link, "logs", "../far/logs"), (cut, ROWS, -1)], "same"),
    ("evaluate", [(rights, ROWS, 0o444)], "error Permission", {"without_rights": True}),
    ("evaluate --log_dir n/n", [(write, "n/x", ""), (rights, "n", 0o555)], "error n/n", {"without_rights": True}),
    ("evaluate --log_dir n", [], "error room", {"limit": 300}),
    ("evaluate --log_dir n", [], "error room", {"limit": 1700}),
    ("evaluate --overwrite", [], "error room", {"limit": 1700}),
    ("evaluate", [(remove, ROWS), (write, f"{ROWS}/x", "")], "error directory"),
    ("evaluate", [(remove, LOG), (write, f"{LOG}/x", "")], "error directory"),
    ("evaluate", [(cut, ROWS, -400), (write, f"{ROWS}.part-1", "x\n")], "error part-1"),
    ("evaluate", [(cut, ROWS, -1), (copy, ROWS, f"{ROWS}.part-1")], "same"),
    ("evaluate", [(cut, ROWS, -1), (copy, ZERO, f"{ROWS}.part-1")], "error part-1"),
]


def summary(expected, *edits, command="summarize logs"):
    return (command, list(edits), expected)


def summary_row(expected, line=1, **values):
    """Return a case with other values in a line of a result file that is summarized; its log is removed."""
    return ("summarize logs", [(set_row, ROWS, line, values), (remove, LOG)], expected)


SUMMARY = [
    summary("accepted 41-42"),
    summary("error nowhere", command="summarize nowhere"),
    summary("error ckpt", command="summarize ckpt"),
    summary("error inference_logs", command="summarize"),
    summary("error table.md", command="summarize logs/table.md"),
    summary("error no such method", command="summarize logs --compare SoftCoT Softcot"),
    summary("error 2", command="summarize logs --compare SoftCoT"),
    summary("accepted missing", command="summarize logs --tasks aqua --methods LoRA"),
    summary("error out", (write, "out", ""), command="summarize logs --out out"),
    (
        "summarize logs --out out/deep",
        [(write, "out/x", ""), (rights, "out", 0o555)],
        "error out",
        {"without_rights": True},
    ),
    summary("accepted 41-42", command="summarize logs logs ./logs/../logs"),
    summary("accepted 41-42", (link, "logs", "../far/logs")),
    summary("accepted 41-42", (copy, "logs", "copies/logs"), command="summarize logs copies"),
    summary("accepted 41-42", (move, "logs", "with blank [1] ü"), command="summarize 'with blank [1] ü'"),
    summary("accepted 41-42", (remove, LOG)),
    summary("accepted 41", (remove, ROWS)),
    summary("accepted 42", (remove, ROWS, LOG)),
    summary("accepted 2 of 3 questions", (cut, ROWS, -1), (remove, LOG)),
    summary("accepted 2 of 3 questions", (cut, ROWS, -1)),
    summary("accepted", (write, "logs/x.jsonl", "")),
    summary("accepted", (write, "logs/x.jsonl", "not json\n")),
    summary("accepted", (write, "logs/x.log", b"\xff\xfe\0\0")),
    summary("accepted", (write, "logs/notes.jsonl/x", "")),
    summary("error line 1", (write, "logs/x.jsonl", '{"run": 7}\n')),
    summary("error line 1", (write, "logs/x.jsonl", '{"run": {}}\n')),
    summary("error twice", (repeat, ROWS, 1, 2)),
    summary("error line 5", (repeat, ROWS, 0, 1)),
    summary("accepted 41-42", (replace, ROWS, "\n", "\r\n")),
    summary("accepted 41-42", (replace, ROWS, '{"run"', '\ufeff{"run"')),
    summary_row("error index", index="0"),
    summary_row("error index", index=10**30),
    summary_row("error index", index=8),
    summary_row("error correct", correct=1),
    summary_row("error correct", correct=None),
    summary_row("error tokens", tokens=[10**400]),
    summary_row("error tokens", tokens=[-1]),
    summary_row("error gold", gold=None),
    summary_row("error gold", gold={"a": 1}),
    summary_row("error line 2", gold=float("nan")),
    summary_row("error answers", answers=[[1]]),
    summary_row("error gold", gold=987654),
    summary_row("error correct", correct=True, vote=123456),
    summary_row("error answers", answers=[]),
    summary_row("accepted", unknown=[1]),
    summary_row("error task_name", 0, run__task_name="gsm9k"),
    summary_row("error task_name", 0, run__task_name=["gsm8k"]),
    summary_row("error task_name", 0, run__task_name=...),
    summary_row("error seed", 0, run__seed="41"),
    summary_row("error seed", 0, run__seed=41.5),
    summary_row("error seed", 0, run__seed=True),
    summary_row("error seed", 0, run__seed=10**30),
    summary_row("accepted not counted", 0, run__seed=42),
    summary_row("error num_thought_tokens", 0, run__num_thought_tokens=-1),
    summary_row("error num_thought_tokens", 0, run__num_thought_tokens=None),
    summary_row("error num_thought_tokens", 0, run__num_thought_tokens=float("nan")),
    summary_row("error num_return_sequences", 0, run__num_return_sequences=0),
    summary_row("error num_return_sequences|answers", 0, run__num_return_sequences=5),
    summary_row("error perturb_std", 0, run__perturb_std="0.1"),
    summary_row("error perturb_std", 0, run__perturb_std=float("inf")),
    summary_row("error thoughts", 0, run__thoughts="none"),
    summary_row("error base_model_id", 0, run__base_model_id=""),
    summary_row("error base_model_id", 0, run__base_model_id=7),
    summary_row("error base_model_id", 0, run__base_model_id="a\nb"),
    summary_row("accepted b.a\\*_", 0, run__base_model_id="../b|a*_$&%"),
    summary_row("error split", 0, run__split="a\nb"),
    summary_row("error split", 0, run__split=["test"]),
    summary_row("error data_hash", 0, run__data_hash=7),
    summary_row("error answer_rule", 0, run__answer_rule="2"),
    summary_row("accepted older answer rule", 0, run__answer_rule=1),
    summary_row("error answer_rule", 0, run__answer_rule=9),
    summary_row("accepted date today", 0, run__date="today"),
    summary_row("accepted base_weights=", 0, run__base_weights="0"),
    summary_row("error surrogate", 0, run__run_name="\ud800"),
    summary("accepted 2 of 3 questions", (remove, ROWS), (cut, LOG, -60)),
    summary(
        "accepted incomplete|1 of 2 questions",
        (remove, "logs"),
        (
            write,
            "one/gsm8k--seed_41-ntt_3-nrs_1-base-assistant.log",
            "Ground Truth Answer: 1\nModel Answer: 2\nIs Correct: False\nCorrect Count: 0/1\nGround Truth Answer: 1\n",
        ),
        command="summarize one",
    ),
    summary("error Correct Count", (remove, ROWS), (replace, LOG, "/2\n", "/3\n")),
    summary("accepted 0 of 3 questions", (remove, ROWS), (replace, LOG, "Correct Count", "Count")),
    summary("error Args", (remove, ROWS), (replace, LOG, "Args: {", "Args: {{")),
    summary("error Args", (remove, ROWS), (replace, LOG, "Args: {", "Args: [")),
    summary("accepted 41-42", (remove, ROWS), (replace, LOG, "\n", "\r\n")),
    summary(
        "error both seed",
        (copy, ROWS, "two/" + ROWS),
        (set_row, "two/" + ROWS, 1, {"correct": True, "vote": 1, "gold": 1, "answers": [1]}),
        command="summarize logs two",
    ),
    ("summarize logs", [], "error room", {"limit": 100}),
    ("summarize logs --out n", [(rights, "logs", 0)], "error logs", {"without_rights": True}),
    ("summarize logs", [(rights, ROWS, 0)], "error Permission", {"without_rights": True}),
    ("summarize logs --data_dir nowhere", [], "error nowhere"),
]

PROTOCOL = [
    *wrong(
        "train --output_name n",
        last_token="drop yes ''",
        too_long="truncate",
        date="2024 ''",
        projection_dtype="float8 double",
        yes_no_dev_label="x",
        qwen3_tokens="qwen3",
        protocol="'' corrected,published",
    ),
    *wrong("evaluate", base_adapter="yes", end_tokens="none", generation_prompt="true ''", sampling="file"),
    *wrong("train++", token_loss_pairs="1"),
    ("train --base_adapter used", [], "error base_adapter"),
    ("evaluate --last_token kept", [], "error last_token"),
    ("train++ --qwen3_tokens own", [], "error qwen3_tokens"),
    ("train --output_name n --protocol published", [], "accepted Wrote"),
    ("train++ --output_name n --protocol published", [], "error token_loss_pairs"),
    ("train++ --output_name n --protocol published --token_loss_pairs no", [], "accepted Wrote"),
    ("evaluate --log_dir n --protocol published", [], "accepted another protocol"),
    ("evaluate --log_dir n --protocol published --date fixed", [], "accepted"),
    ("evaluate --log_dir n --protocol published --seed_from -1 --seed_to -1", [], "error seeds"),
    ("evaluate --log_dir n --engine reference --num_return_sequences 2 --greedy", [], "error greedy"),
    ("evaluate --log_dir n --engine reference --greedy --perturb_std 0.1", [], "accepted"),
    ("evaluate --log_dir n --greedy --temperature 0.5", [], "error greedy"),
    ("evaluate --log_dir n --greedy --num_return_sequences 2", [], "error greedy"),
    ("evaluate --log_dir n --num_thought_tokens 0 --params_file_name nowhere.bin", [], "accepted"),
    ("evaluate --log_dir n --base_adapter ignored --base_model_ckpt nowhere", [], "error nowhere"),
    ("evaluate --no_generation_prompt --generation_prompt by_family", [], "error contradict"),
]


def clone(old, new, expected, command="evaluate-published"):
    """Return a case with another text in the clone's functions."""
    return (command, [(replace, "../clone/utils.py", old, new)], expected)


PUBLISHED_RUNS = ("evaluate-published", "train-published")
PUBLISHED = [
    ("evaluate-published", [], "accepted 2 questions"),
    ("train-published", [], "accepted Wrote"),
    ("evaluate-published --published_code ../nowhere", [], "error nowhere"),
    ("evaluate-published --published_code ../clone/utils.py", [], "error utils.py"),
    ("evaluate-published --published_code ''", [], "error published_code"),
    ("evaluate-published", [(write, "../clone/utils.py", "")], "error pre_process_gsm8k"),
    ("evaluate-published", [(write, "../clone/utils.py", b"\xff\xfe")], "error utils.py"),
    ("evaluate-published", [(write, "../clone/utils.py", b"x = 1\0")], "error utils.py"),
    ("evaluate-published", [(write, "../clone/utils.py", "import sys; sys.exit(0)")], "error utils.py"),
    ("evaluate-published", [(write, "../clone/utils.py", "raise KeyboardInterrupt")], "error utils.py"),
    ("evaluate-published", [(write, "../clone/utils.py", "pre_process_gsm8k = 7")], "error pre_process_gsm8k"),
    ("evaluate-published", [(write, "../clone/utils.py", "pre_process_gsm8k = print")], "error pre_process_gsm8k"),
    ("evaluate-published", [(write, "../clone/utils.py", "def pre_process_gsm8k(*a, **k): pass")], "error input_ids"),
    (
        "evaluate-published",
        [(write, "../clone/utils.py", "def pre_process_gsm8k(*a, **k): yield 1")],
        "error input_ids",
    ),
    ("evaluate-published", [(write, "../clone/utils.py", "def f(x): return f(x)\nf(1)")], "error utils.py"),
    *(
        case
        for command in PUBLISHED_RUNS
        for case in (
            clone("def pre_process_gsm8k", "def preprocess_gsm8k", "error pre_process_gsm8k", command),
            clone("max_len=-1", "max_length=-1", "error arguments", command),
            clone('split="train"', "split", "error utils.py", command),
            clone("import random", "import nowhere_to_be_found", "error nowhere_to_be_found", command),
            clone("def encode(", "def encode((", "error SyntaxError", command),
            clone("[1] * len(ids)", "[1.0] * len(ids)", "accepted", command),
            clone('"input_ids": ids', '"input_ids": [float(i) for i in ids]', "error input_ids", command),
            clone('"input_ids": ids', '"input_ids": [str(i) for i in ids]', "error input_ids", command),
            clone('"input_ids": ids', '"input_ids": [ids]', "error input_ids|attention_mask|labels", command),
            clone('"input_ids": ids', '"input_ids": torch.tensor(ids)', "error input_ids", command),
            clone('"input_ids": ids', '"input_ids": [-1, *ids[1:]]', "error input_ids", command),
            clone('"input_ids": ids', '"input_ids": [10**6, *ids[1:]]', "error input_ids", command),
            clone('"input_ids": ids', '"input_ids": [None, *ids[1:]]', "error input_ids", command),
            clone('"input_ids": ids', '"input_ids": [True, *ids[1:]]', "error input_ids", command),
            clone(
                '"assistant_input_ids": assistant_ids',
                '"assistant_input_ids": [10**6, *assistant_ids[1:]]',
                "error assistant_input_ids",
                command,
            ),
            clone(
                '"assistant_input_ids": assistant_ids',
                '"assistant_input_ids": [1.5, *assistant_ids[1:]]',
                "error assistant_input_ids",
                command,
            ),
            clone(
                "[last - length, last, stop - length, stop]",
                "[last - length, last, stop]",
                "error thought_index",
                command,
            ),
            clone(
                "[last - length, last, stop - length, stop]",
                "[0, length, stop - length, stop]",
                "error input_ids",
                command,
            ),
            clone(
                "[last - length, last, stop - length, stop]",
                "[[last - length, last], [stop - length, stop]]",
                "error thought_index",
                command,
            ),
            clone(
                "[last - length, last, stop - length, stop]",
                "[float(last - length), last, stop - length, stop]",
                "error thought_index",
                command,
            ),
            clone(
                "[last - length, last, stop - length, stop]",
                "[last - length, last, -length, None]",
                "error thought_index",
                command,
            ),
            clone("placeholder * length + end", "placeholder * (length - 1) + end", "error input_ids", command),
            clone("return {", "return None and {", "error input_ids|NoneType", command),
            clone("return {", "raise SystemExit(0)\n    return {", "error example", command),
            clone("return {", "raise KeyboardInterrupt\n    return {", "error example|SIGINT", command),
            clone("return {", "1 / 0\n    return {", "error ZeroDivisionError", command),
            clone("return {", "print('noise')\n    return {", "accepted noise", command),
            clone("return {", "random.seed(0); torch.manual_seed(0)\n    return {", "accepted", command),
            clone("return {", "tokenizer.chat_template = None\n    return {", "accepted", command),
        )
    ),
    clone('"labels": labels', '"labels": []', "error label", "train-published"),
    clone('"labels": labels', '"labels": [-100] * len(ids)', "error label|loss", "train-published"),
    clone('"labels": labels', '"labels": [float(x) for x in labels]', "error label", "train-published"),
    clone('"labels": labels', '"labels": [str(x) for x in labels]', "error label", "train-published"),
    clone(
        '"labels": labels', '"labels": [10**6 if x != -100 else x for x in labels]', "error label", "train-published"
    ),
    clone('"labels": labels', '"labels": [-1 if x != -100 else x for x in labels]', "error label", "train-published"),
    clone('"labels": labels', '"labels": ids', "error label", "train-published"),
    clone('"labels": labels', '"labels": labels[1:] + labels[-1:]', "error label", "train-published"),
    clone('"labels": labels', '"labels": [5 if x != -100 else x for x in labels]', "error label", "train-published"),
    ("train-published --last_token dropped", [], "error last_token"),
    ("train-published --protocol published --last_token kept", [], "error last_token"),
    ("train-published --yes_no_dev_label third_from_end", [], "error yes_no_dev_label"),
    ("evaluate-published --generation_prompt no", [], "error generation_prompt"),
    ("evaluate-published --no_generation_prompt", [], "error generation_prompt"),
    ("evaluate-published --published_code ../clone --prompt_dir ../prompts", [], "error prompt_dir"),
    (
        "evaluate-published --task_name aqua",
        [(write, "../data/gsm_style_test.jsonl", example("#### A", options=list("abcde")))],
        "error options",
    ),
    ("evaluate-published", [(link, "../clone", "../far/clone")], "accepted 2 questions"),
]


def template(old, new, expected):
    """Return a case with another text in a copy of the built-in template."""
    return ("evaluate --log_dir n --prompt_dir ../prompts", [(replace, "../prompts/gsm8k.jinja", old, new)], expected)


def whole_template(text, expected):
    return ("evaluate --log_dir n --prompt_dir ../prompts", [(write, "../prompts/gsm8k.jinja", text)], expected)


BLOCKS = (
    "{% block base %}B %s{% endblock %}{% block target %}t{% endblock %}"
    "{% block assistant %}a{% endblock %}{% block assistant_reply %}r{% endblock %}"
)
PROMPTS = [
    whole_template("", "error block"),
    whole_template("hello", "error block"),
    whole_template(b"\xff", "error gsm8k.jinja"),
    whole_template("{% block base %}", "error gsm8k.jinja"),
    whole_template(BLOCKS.replace("%s", ""), "error slot.*0 times"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}"), "accepted warning: the prompt"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}{{ soft_thoughts }}"), "error slot.*2 times"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts | upper }}"), "error soft_thoughts|slot"),
    whole_template(BLOCKS.replace("%s", "{{ 'x' ~ soft_thoughts }}"), "error soft_thoughts"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts[3:] }}"), "error slot|soft_thoughts"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}{{ nothing }}"), "error nothing"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}{{ 1 / 0 }}"), "error zero"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}{{ question.__class__ }}"), "error unsafe|__class__"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}{{ range(10**9) | list }}"), "error range|gsm8k"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}{% include 'nowhere.jinja' %}"), "error nowhere"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}{% include '../data/test.jsonl' %}"), "error test.jsonl"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}{% include '/etc/passwd' %}"), "error passwd"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}<|im_end|>"), "accepted"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}<begin>"), "accepted"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}{{ '<begin>' }}"), "accepted"),
    whole_template("{% extends 'gsm8k.jinja' %}", "error extends"),
    whole_template("{% extends question %}", "error extends"),
    whole_template("{% extends 'nowhere.jinja' %}", "error nowhere"),
    whole_template("{% extends 'aqua.jinja' %}", "error extends"),
    whole_template("{% extends 'strategyqa.jinja' %}", "accepted warning: the prompt"),
    whole_template(
        BLOCKS.replace("%s", "{{ soft_thoughts }}").replace("%}r{%", "%}<|endoftext|>{%"), "error placeholder|slot"
    ),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}").replace("block target", "block other"), "error target"),
    whole_template(BLOCKS.replace("%s", "{{ soft_thoughts }}") * 2, "error gsm8k.jinja.*twice"),
    ("evaluate --log_dir n --prompt_dir ../prompts/gsm8k.jinja", [], "error gsm8k.jinja"),
    ("evaluate --log_dir n --prompt_dir ''", [], "error prompt_dir"),
    ("evaluate --log_dir n --prompt_dir ../prompts", [(remove, "../prompts/gsm8k.jinja")], "error gsm8k.jinja"),
    (
        "evaluate --log_dir n --prompt_dir ../prompts",
        [(rights, "../prompts/gsm8k.jinja", 0)],
        "error Permission|gsm8k",
        {"without_rights": True},
    ),
    ("evaluate --log_dir n --prompt_dir ../prompts", [(replace, "../prompts/gsm8k.jinja", "\n", "\r\n")], "accepted"),
    (
        "train --output_name n --prompt_dir ../prompts",
        [(write, "../prompts/gsm8k.jinja", BLOCKS.replace("%s", "{{ soft_thoughts }}").replace("%}t{%", "%}{%"))],
        "error target",
    ),
]

TABLE, BATCH = "bash $ROOT/tables", "bash $ROOT/run_batch_softcot"
SCRIPTS = [
    (f"bash DRY_RUN=1 {TABLE}/softcot.sh", [], "accepted train_softcot.py"),
    (f"bash DRY_RUN=1 {TABLE}/softcotpp.sh a/b c/d", [], "accepted b-d"),
    (f"bash DRY_RUN=1 {TABLE}/controls.sh", [], "accepted --thoughts zero"),
    (f"bash DRY_RUN=1 {TABLE}/sweep_thought_tokens.sh", [], "accepted num_thought_tokens 32"),
    (f"bash DRY_RUN=1 {TABLE}/mini.sh", [], "accepted embedded"),
    (f"bash DRY_RUN=1 {TABLE}/softcot.sh a", [], "error pairs"),
    (f"bash DRY_RUN=1 {TABLE}/softcot.sh --help", [], "accepted DRY_RUN"),
    (f"bash DRY_RUN=1 {TABLE}/softcot.sh -x", [], "error -x"),
    (f"bash DRY_RUN=1 {TABLE}/softcot.sh '' ''", [], "error empty"),
    (f"bash DRY_RUN=1 {TABLE}/mini.sh a b", [], "error mini.sh"),
    (f"bash DRY_RUN=1 {TABLE}/softcot.sh 'a b' c", [], "accepted a\\\\ b"),
    *(
        (f"bash DRY_RUN=1 {name}={shlex.quote(value)} {TABLE}/softcot.sh", [], f"error {name}")
        for name, values in (
            ("N_EPOCHS", "0 -1 1.5 x 08 ' '"),
            ("L_TRAIN", "0 -1 x 3.0"),
            ("TASKS", "gsm9k 'gsm8k gsm9k' ' ' gsm8k,aqua 'gsm8k gsm8k'"),
            ("NAME", "a/b 'a b' ' '"),
            ("TRAIN_OPTIONS", "'--n_epochs 3' --output_name=x '--task_name aqua' --tune_base_model"),
            ("TRAIN_OPTIONS", "'--resume --num_thought_tokens 3'"),
            ("EVAL_OPTIONS", "'--num_thought_tokens 3' '--log_dir x' '--task_name aqua' '--thoughts zero'"),
            ("EVAL_OPTIONS", "'--params_file_name x' '--base_model_id x'"),
        )
        for value in shlex.split(values)
    ),
    (f"bash PYTHON=nowhere {TABLE}/softcot.sh", [], "error nowhere"),
    (f"{BATCH}.sh", [], "error params_file_name"),
    (f"{BATCH}.sh --seed_from 45 --seed_to 41 --params_file_name x", [], "error sweep"),
    (f"{BATCH}pp.sh --nonsense 1", [], "error nonsense"),
    (f"bash PYTHON=nowhere {BATCH.removeprefix('bash ')}.sh", [], "error nowhere"),
]

AREAS = {
    "options": OPTIONS,
    "data": DATA,
    "projection": PROJECTION,
    "record": RECORD,
    "results": CONTINUED,
    "summary": SUMMARY,
    "protocols": PROTOCOL,
    "published": PUBLISHED,
    "prompts": PROMPTS,
    "scripts": SCRIPTS,
}
