"""Each switch changes what its row of docs/DEVIATIONS.md says and nothing else; presets, records, one-line notes."""

import copy
import dataclasses
import json
import shutil
from itertools import product
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

import ask
import evaluate_softcot
import train_softcot
from data_loader.prompts import PromptEncoder
from data_loader.tasks import get_task
from experiment.protocol import CORRECTED, PROTOCOLS, PUBLISHED, SWITCHES, protocol_name
from experiment.results import read_result_file
from experiment.run_files import ADAPTER, name_method
from experiment.setup import build_for_training, encode_split, load_backbones, load_method, make_encoder
from model.backbone import Backbone
from model.checkpoint import checkpoints, read_checkpoint
from model.frozen_lm import IGNORE
from model.generation import find_end_ids
from model.softcot import SoftCoT
from model.weights import load_projection
from tests.data_loader.test_prompts import EXAMPLES, TOKENS, text_of
from tests.experiment.test_options import ALL
from tests.experiment.test_options import parse as parse_options
from tests.tiny import TOKEN_OPTIONS, add_lora_away_from_zero, batch_of, ragged_examples, tiny_model, tiny_pair
from tests.tiny_runs import EVALUATE, RUN, TRAIN, params, read_refusal
from utils import UserError, fingerprint

OPTIONS = dict(zip(("train_softcot", "train_softcotpp", "evaluate_softcot", "evaluate_softcotpp"), ALL, strict=False))


def parse(script, words=""):
    return parse_options(OPTIONS[script], *words.split())


# ---- presets, options, records, documents ----


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("protocol", ["corrected", "published"])
def test_a_switch_overrides_the_protocol_and_no_other_switch(name, protocol):
    for script in SWITCHES[name]["scripts"]:
        preset = parse(script, f"--protocol {protocol}").switches()
        for value in SWITCHES[name]["values"]:
            switches = parse(script, f"--protocol {protocol} --{name} {value}").switches()
            assert switches == dataclasses.replace(preset, **{name: value})
        with pytest.raises(SystemExit):
            parse(script, f"--{name} neither")


def test_a_protocol_s_name_is_its_preset_s_or_what_is_not_corrected():
    for script, name in product(OPTIONS, PROTOCOLS):
        assert protocol_name(vars(parse(script, f"--protocol {name}"))) == name
    engines = [parse("evaluate_softcot", f"--protocol {name}").engine for name in ("corrected", "published")]
    assert engines == ["transformers", "reference"]
    words = "--date today --projection_dtype bfloat16"
    assert protocol_name(vars(parse("train_softcot", words))) == "projection_dtype bfloat16, date today"
    assert protocol_name({"seed": 42}) is None


# ---- too_long ----


def backbones(family, tokenizer):
    return Backbone(None, tokenizer, TOKENS[family], family)


def encoded(args, backbone, split="train"):
    """Two examples of a task, of which the second is longer."""
    example = EXAMPLES[args.task_name]
    longer = example | {"index": 6, "steps": example["steps"] * 8}
    encoder, _ = make_encoder(args, backbone, backbone)
    limit = args.max_len if args.max_len > 0 and args.switches().too_long == "skipped" else float("inf")
    return encode_split(encoder, backbone, backbone, [example, longer], split, limit=limit)


def test_sequences_above_max_len_are_cut_or_skipped(llama_tokenizer, capsys):
    backbone = backbones("llama", llama_tokenizer)
    backbone.model = tiny_model("llama", 32)
    short, long = encoded(parse("train_softcot"), backbone)
    assert encoded(parse("train_softcot", "--too_long cut"), backbone) == [short, long]
    size = len(short["prefix_ids"]) + 2 + len(short["suffix_ids"])
    assert encoded(parse("train_softcot", f"--max_len {size}"), backbone) == [short]
    assert "1 of 2" in capsys.readouterr().out
    same, cut = encoded(parse("train_softcot", f"--max_len {size} --too_long cut"), backbone)
    assert same == short and len(cut["prefix_ids"]) + 2 + len(cut["suffix_ids"]) == size
    for key in ("suffix_ids", "labels"):
        assert cut[key] == long[key][: len(cut[key])]
    assert all(cut[key] == long[key] for key in ("prefix_ids", "assistant_ids", "index"))
    # The dev set is cut too, before its labels are chosen. The token that last_token drops stays.
    published = parse("train_softcot", f"--max_len {size} --protocol published")
    assert encoded(published, backbone) == [short, cut]
    whole, of_dev = encoded(published, backbone, "dev")
    assert whole["suffix_ids"] == short["suffix_ids"] and of_dev["suffix_ids"] == cut["suffix_ids"]
    assert of_dev["labels"] == [IGNORE] * (len(cut["labels"]) - 5) + cut["suffix_ids"][-5:]
    with pytest.raises(UserError, match="--max_len .*example 5"):
        encoded(parse("train_softcot", "--max_len 20 --too_long cut"), backbone)
    strategyqa = "--task_name strategyqa --yes_no_dev_label third_from_end"
    labels = encoded(parse("train_softcot", strategyqa), backbone, "dev")[0]["labels"]
    assert [place - len(labels) for place, label in enumerate(labels) if label != IGNORE] == [-3]
    # The published function of strategyqa knows no longest length.
    whole = encoded(parse("train_softcot", "--task_name strategyqa"), backbone)
    assert encoded(parse("train_softcot", "--task_name strategyqa --max_len 20 --too_long cut"), backbone) == whole


# ---- generation_prompt ----


def test_by_family_is_no_but_for_qwen3(llama_tokenizer, qwen2_5_tokenizer, qwen3_tokenizer):
    rows = ("llama", llama_tokenizer, "no"), ("qwen2.5", qwen2_5_tokenizer, "no"), ("qwen3", qwen3_tokenizer, "yes")
    for family, tokenizer, same in rows:
        pair, prompts = [backbones(family, tokenizer)] * 2, []
        for value in ("by_family", same):
            encoder, _ = make_encoder(parse("evaluate_softcot", f"--generation_prompt {value}"), *pair)
            prompts.append(encoder.encode(EXAMPLES["gsm8k"], "eval"))
        assert prompts[0] == prompts[1]


# ---- losses: token_loss_pairs, projection_dtype ----


def trained_as(pairs):
    """SoftCoT++ as train_softcotpp.py builds it."""
    words = f"--num_thought_tokens 3 --num_scaling_times 2 --model_name scaling-nce --token_loss_pairs {pairs}"
    return build_for_training(parse("train_softcotpp", words), *tiny_pair()).train()


def scaling_nce(reduction, dtype=torch.float32, chains=2):
    base, assistant = tiny_pair()
    torch.manual_seed(42)
    return SoftCoT(base, assistant, 3, chains, contrastive=True, reduction=reduction, projection_dtype=dtype).train()


def losses(softcot, examples, **options):
    torch.manual_seed(11)  # of the contrastive term's dropout
    return softcot.losses(batch_of(examples), **options)


def test_pairs_halve_the_token_loss_and_nothing_else():
    examples = ragged_examples(3) + ragged_examples(3, seed=1)[:2]
    pairs, plain = losses(trained_as("yes"), examples), losses(trained_as("no"), examples)
    torch.testing.assert_close(pairs["contrastive"], plain["contrastive"])
    # The plain code: each slice of two has its own mean over labels (SoftCoT's), divided by the batch size.
    tokens = scaling_nce("tokens")
    slices = [losses(tokens, examples[start : start + 2])["token"] for start in (0, 2, 4)]
    torch.testing.assert_close(pairs["token"], sum(slices) / 5)
    assert 0.5 < pairs["token"] / plain["token"] < 0.7  # three slices, five examples
    torch.testing.assert_close(pairs["loss"], pairs["token"] + pairs["contrastive"])


@pytest.mark.parametrize(
    "name, small",
    [
        ("meta-llama/Llama-3.2-3B-Instruct", True),
        ("meta-llama/Llama-3.1-8B-Instruct", False),
        ("meta-llama/Llama-3.1-8B", True),  # "3." is read
        ("Qwen/Qwen2.5-1.5B-Instruct", True),
        ("Qwen/Qwen3-4B", False),
        ("Qwen/Qwen3-1.7B", True),
        ("embedded/SmolLM2-135M-Instruct", False),
    ],
)
def test_the_base_s_name_says_its_size(name, small):
    pair = f"--large_model_id {name} --model_name scaling-nce"
    assert parse("train_softcotpp", f"{pair} --protocol published").pairs_examples() is small
    assert parse("train_softcotpp", f"{pair} --token_loss_pairs yes").pairs_examples()
    assert not parse("train_softcotpp", pair).pairs_examples()


def test_the_contrastive_product_is_bfloat16_with_a_bfloat16_projection():
    softcot, thoughts = scaling_nce("examples", torch.bfloat16, chains=4), torch.randn(3, 4, 3, 48).bfloat16()
    torch.manual_seed(11)
    found = softcot.contrast(thoughts)
    torch.manual_seed(11)
    noisy = F.dropout(thoughts.float().flatten(2), 0.5)
    z, z_noisy = F.normalize(thoughts.float().flatten(2), dim=-1), F.normalize(noisy, dim=-1)
    logits = (z.bfloat16() @ z_noisy.bfloat16().transpose(1, 2) / 0.05).float()
    expected = -logits.log_softmax(-1).diagonal(dim1=1, dim2=2).mean(1) / 4
    torch.testing.assert_close(found, expected)
    assert found.dtype == torch.float32


# ---- models: qwen3_tokens, end_tokens ----


@pytest.mark.parametrize("script", ["train_softcot", "evaluate_softcot"])
def test_qwen3_gets_qwen2_5_s_tokens_rules_and_length(models, script, qwen2_5_tokenizer):
    ids = f"{models}/Qwen3-8B", f"{models}/Qwen3-0.6B"
    for value, family, begin in (("own", "qwen3", "<think>"), ("qwen2.5", "qwen2.5", "<|box_start|>")):
        args = parse(script, f"--qwen3_tokens {value} --dtype float32")
        *pair, encoder, _ = load_backbones(args, *ids)
        assert all((b.thought_tokens.family, b.thought_tokens.begin) == (family, begin) for b in pair)
    assert get_task("gsm8k").generation_length(pair[0].thought_tokens.long_responses) == 1024
    # Template and tokenizer are Qwen3's: the prompt is Qwen2.5's, but for what its chat template writes around it.
    piece = encoder.encode(EXAMPLES["gsm8k"], "train")
    own = PromptEncoder("gsm8k", *(qwen2_5_tokenizer, TOKENS["qwen2.5"]) * 2, 2).encode(EXAMPLES["gsm8k"], "train")
    texts = [text_of(b.tokenizer, piece["prefix_ids"]) for b in pair], text_of(qwen2_5_tokenizer, own["prefix_ids"])
    assert texts[0][0].split("<|im_start|>user\n")[1] == texts[1].split("<|im_start|>user\n")[1]


def test_a_response_of_qwen3_may_have_4096_tokens(models, place, run):
    shutil.copy(Path("..", "whole", RUN, "projection.bin"), ".")
    pair = ["--base_model_id", models / "Qwen3-8B", "--assistant_model_id", models / "Qwen3-0.6B", "--dtype", "float32"]
    for script, words in ((evaluate_softcot, ["--data_dir", "../data", "--test_k", 1]), (ask, ["How many?"])):
        refusal = read_refusal(run(script, [*words, *pair, "--params_file_name", "projection.bin"]))
        assert str(2048 - 4096) in refusal  # what is left of the context


def test_a_response_ends_at_all_end_tokens_or_the_tokenizer_s(models):
    args = parse("evaluate_softcot", "--dtype float32")
    llama, qwen, *_ = load_backbones(args, f"{models}/Llama-3.1-8B-Instruct", f"{models}/Qwen3-0.6B")
    assert find_end_ids(llama) == {128001, 128008, 128009} and find_end_ids(qwen) == {151645, 151643}
    assert find_end_ids(llama, of_tokenizer_only=True) == {128009}
    assert find_end_ids(qwen, of_tokenizer_only=True) == {151645}
    for own, more in ((9, {9}), (None, set())):  # the tokenizer's end of text counts too
        llama.model.generation_config.eos_token_id = own
        assert find_end_ids(llama) == {128009, *more}
    base_model = dataclasses.replace(llama, tokenizer=copy.deepcopy(llama.tokenizer))
    base_model.tokenizer.eos_token = "<|end_of_text|>"
    assert find_end_ids(base_model, of_tokenizer_only=True) == {128001, 128009}


# ---- through the command line ----


def train(run, name, *more):
    """Train under a name; return the run's folder."""
    code, output = run(train_softcot, [*TRAIN, "--learning_rate", "1e-2", "--output_name", name, *more])
    assert code == 0, output
    return Path(f"ckpt/{name}-gsm8k-2.0-3-base-assistant")


def evaluate(run, folder, *more):
    """Evaluate into a folder; return what it printed, the runs' records and all responses of the seeds 41 and 42."""
    code, output = run(evaluate_softcot, [*EVALUATE, "--log_dir", folder, *more])
    assert code == 0, output
    found = [read_result_file(path) for path in sorted(Path(folder).glob("*.jsonl"))]
    assert len(found) == 2
    return output, [record for record, _ in found], [[row["responses"] for row in rows] for _, rows in found]


def notes(text):
    return [line for line in text.splitlines() if line.startswith("warning: ")]


def test_training_under_both_protocols(place, run):
    words = {
        "corrected": [],
        "published": ["--protocol", "published"],
        "float": ["--protocol", "published", "--projection_dtype", "float32"],
        "kept": ["--protocol", "published", "--projection_dtype", "float32", "--last_token", "kept"],
        "bfloat16": ["--projection_dtype", "bfloat16"],
    }
    folders = {name: train(run, name, *more) for name, more in words.items()}
    weights = {name: load_projection(folder / "projection.bin")["weight"] for name, folder in folders.items()}
    assert weights["published"].dtype == weights["bfloat16"].dtype == torch.bfloat16
    assert weights["corrected"].dtype == weights["float"].dtype == torch.float32
    # Of gsm8k with this pair all but these two change nothing.
    torch.testing.assert_close(weights["kept"], weights["corrected"])
    assert (weights["float"] - weights["corrected"]).abs().max() > 1e-3
    described = json.loads((folders["published"] / "run.json").read_text())
    switches = {n: getattr(PUBLISHED, n) for n, entry in SWITCHES.items() if "train_softcot" in entry["scripts"]}
    assert switches.items() <= described["record"].items() and described["arguments"]["protocol"] == "published"
    state = read_checkpoint(checkpoints(folders["published"])[0])
    assert switches.items() <= state["record"].items()
    moments = [
        value for of_one in state["optimizer"]["state"].values() for value in (of_one["exp_avg"], of_one["exp_avg_sq"])
    ]
    assert {tensor.dtype for tensor in [*moments, *state["weights"].values()]} == {torch.bfloat16}
    # A run is not continued under another protocol.
    again = [*TRAIN, "--learning_rate", "1e-2", "--output_name", "published", "--resume"]
    refusal = read_refusal(run(train_softcot, again))
    assert all(name in refusal for name in ("projection_dtype", "last_token", "date")) and "seed" not in refusal


def test_a_training_s_seed_decides_on_projection_and_adapters():
    words = "--num_thought_tokens 3 --tune_base_model", "--num_thought_tokens 3"
    pairs = [tiny_pair() for _ in range(3)]  # all of them first: they draw from the same generator
    first, plain, again = (
        build_for_training(parse("train_softcot", words[i % 2]), *pair) for i, pair in enumerate(pairs)
    )
    assert torch.equal(first.projection.weight, plain.projection.weight)
    assert all(map(torch.equal, first.parameters(), again.parameters())) and first.tuned


def test_the_dev_set_keeps_what_is_longer_than_max_len(place, run):
    code, output = run(train_softcot, [*TRAIN, "--n_epochs", 1, "--max_len", 860])  # between two lengths of both sets
    assert code == 0 and "2 training examples, 8 dev examples" in output


def test_a_training_s_seed_decides_on_its_start_and_order(place, run):
    file = place.parent / "data" / "train.jsonl"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)

    def first_loss(name, seed):
        folder = train(run, name, "--seed", seed, "--batch_size", 1)
        return json.loads(Path("results", folder.name, "loss.json").read_text())[0]["loss"]

    whole = first_loss("whole", 7)
    file.write_text(lines[torch.randperm(6, generator=torch.Generator().manual_seed(7))[0]], encoding="utf-8")
    assert first_loss("one", 7) == pytest.approx(whole, rel=1e-5) != first_loss("other", 42)


def test_the_hash_of_a_training_leaves_out_its_seed_and_switches(place, run):
    found = {}
    own = ("seed", 42), ("seed", 7), ("date", "today"), ("rendered_prompt", "another"), ("batch_size", 9)
    for key, value in (*own, ("learning_rate", 0.5)):
        folder = Path(shutil.copytree(Path("..", "whole", RUN), f"{key}{value}"))
        trained = json.loads((folder / "run.json").read_text())
        trained["record"][key] = value
        (folder / "run.json").write_text(json.dumps(trained))
        file = ["--params_file_name", folder / "projection.bin", "--test_k", 1]
        found[key, value] = evaluate(run, f"of_{folder}", *file)[1][0]["training"]
    other = found.pop(("learning_rate", 0.5))
    assert len(set(found.values())) == 1 and other not in found.values()


def test_evaluation_under_both_protocols(place, run):
    file = ["--params_file_name", train(run, "trained") / "projection.bin", "--engine", "transformers"]
    output, records, answers = evaluate(run, "corrected", *file)
    assert not notes(output)
    before = {path.name: path.read_bytes() for path in Path("corrected").iterdir()}
    assert {(record["trained_with"], record["training_seed"]) for record in records} == {("corrected", 42)}
    own = [name for name, entry in SWITCHES.items() if "evaluate_softcot" in entry["scripts"]]
    assert all(record[name] == getattr(CORRECTED, name) for record in records for name in own)

    # Another protocol is another run, and the line names the switches.
    published = [*file, "--protocol", "published"]
    refusal = read_refusal(run(evaluate_softcot, [*EVALUATE, "--log_dir", "corrected", *published]))
    assert all(name in refusal for name in own) and "data_hash" not in refusal
    # With every switch put back it is the same run, continued.
    evaluate(run, "corrected", *published, *(word for n in own for word in (f"--{n}", getattr(CORRECTED, n))))
    assert {path.name: path.read_bytes() for path in Path("corrected").iterdir()} == before

    # Of this pair, a published evaluation differs in the projection's dtype alone, which moves some samples: its family
    # is unknown, it has one end token and no date.
    output, _, same = evaluate(run, "published", *published, "--projection_dtype", "float32")
    (note,) = notes(output)
    assert all(name in note for name in ("date", "qwen3_tokens", "run.json")) and "end_tokens" not in note
    assert same == answers
    args = parse("evaluate_softcot", " ".join(map(str, [*EVALUATE, *published])))
    assert load_method(args).slot.softcot.projection.weight.dtype == torch.bfloat16
    assert evaluate(run, "without", *file, "--generation_prompt", "no")[2] != answers


@pytest.mark.parametrize("part", ["base", "assistant"])
def test_an_adapter_is_used_and_the_base_s_may_be_ignored(place, run, part):
    backbone = load_backbones(parse("evaluate_softcot", f"--dtype float32 {TOKEN_OPTIONS}"), f"../{part}", None)[0]
    torch.manual_seed(0)
    add_lora_away_from_zero(backbone, std=1.0)
    backbone.model.save_pretrained("adapter")
    words, adapter = params(), [f"--{part}_model_ckpt", "adapter"]
    plain, used, ignored = (
        evaluate(run, folder, *words, *more)
        for folder, more in (("plain", []), ("used", adapter), ("ignored", [*adapter, "--base_adapter", "ignored"]))
    )
    assert used[2] != plain[2] and ignored[2] == (plain if part == "base" else used)[2]
    assert used[1][0][f"{part}_model_ckpt"] == fingerprint(Path("adapter", ADAPTER))
    assert f"{part}_model_ckpt was None" in notes(used[0])[0]  # the training had none
    assert len(notes(ignored[0])) == (part == "assistant")


@pytest.mark.parametrize("part, ignored", [("base", "SoftCoT"), ("assistant", "SoftCoT + LoRA")])
def test_an_ignored_adapter_is_not_in_the_method_s_name(part, ignored):
    settings = vars(parse("evaluate_softcot", f"--tune_{part}_model --{part}_model_ckpt X"))
    assert name_method(settings) == "SoftCoT + LoRA"
    assert name_method(settings | {"base_adapter": "ignored"}) == ignored
