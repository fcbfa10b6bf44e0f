"""Each control puts into the slot what it says, from the command line to the answer, and nothing else changes."""

import hashlib
import importlib
import json
import shlex
import sys

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

from data_loader.loaders import load_task
from data_loader.prompts import PromptEncoder
from experiment.options import TrainSoftCoT
from model.backbone import FAMILIES
from model.slot import MODES, ThoughtSlot
from model.softcot import SoftCoT
from tests.commands import ROOT, rows_of
from tests.conftest import make_chatml_tokenizer
from tests.model.oracle import states_of
from tests.tiny import ragged_examples, tiny_model, tiny_pair
from utils import UserError

L, NEW = 3, 12
BASE, ASSISTANT = "base", "assistant"
IDS = f"--base_model_id {{m}}/{BASE} --assistant_model_id {{m}}/{ASSISTANT}"
SMALL = f"--prompt_dir {ROOT}/data/mini/prompts --data_dir {{data}} --dtype float32"
PLUS = "--assistant_thought_tokens '<|endoftext|>,<issue_start>,<issue_closed>,30'"
ONE_SET = {"mean": "mean_thoughts.bin", "learned": "learned.bin"}  # the same vectors for all questions
WITHOUT_FILE = ("untrained", "zero", "placeholder", "assistant_text")


def noise_of(index, chain, shape):
    """The noise's definition, written out once more."""
    digest = hashlib.sha256(repr((index, chain)).encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return torch.randn(shape, generator=generator)


def embedded(model, ids):
    """Return the embeddings `[T, d]` of ids, as the model itself makes them."""
    return model.get_input_embeddings()(torch.tensor(ids, dtype=torch.long))


# ---- the slot alone ----


def slot_of(mode, base="llama"):
    base, assistant = tiny_pair(base)
    torch.manual_seed(3)
    return ThoughtSlot(mode, base, SoftCoT(base, assistant, L).eval(), L, 2), base


def test_the_placeholder_is_embedded_as_a_model_that_scales_embeddings_does():
    slot, base = slot_of("placeholder", "gemma3_text")
    for filled in slot.fill(ragged_examples(L), None):
        assert torch.equal(filled, embedded(base.model, [3] * L).expand(2, -1, -1))


def test_text_is_embedded_as_text_also_if_nothing_was_written():
    slot, base = slot_of("assistant_text")
    examples = [
        example | {"hint_ids": ids} for example, ids in zip(ragged_examples(L), ([7, 8], [], [11]), strict=True)
    ]
    for example, filled in zip(examples, slot.fill(examples, None), strict=True):
        assert torch.equal(filled, embedded(base.model, example["hint_ids"]).expand(2, -1, -1))


# ---- through the command line ----


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two tiny models with a byte-level tokenizer: a small vocabulary keeps the plain loops fast."""
    folder = tmp_path_factory.mktemp("models")
    for seed, (name, width) in enumerate(((BASE, 48), (ASSISTANT, 32))):
        tiny_model("llama", width, 273, seed, pad_token_id=1).save_pretrained(folder / name)
        make_chatml_tokenizer().save_pretrained(folder / name)
    return folder


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder with a projection of SoftCoT and two sets of vectors."""
    folder = tmp_path_factory.mktemp("controls")
    torch.manual_seed(5)
    state = {key: 4 * value for key, value in nn.Linear(32, 48).state_dict().items()}  # so that they matter
    torch.save(state, folder / "projection.bin")
    for file in ONE_SET.values():
        torch.save({"soft_thoughts": torch.randn(1, L + 1, 48)}, folder / file)  # L may be smaller than in training
    return folder


@pytest.fixture
def evaluate(work, models, data, monkeypatch, capsys):
    """Evaluate with --thoughts MODE and more options: the result rows of the one new file, and the output."""

    def run(mode, options="", script="evaluate_softcot", log_dir="logs"):
        file = "learned.bin" if mode == "learned" else "projection.bin"  # the mean lies beside the projection
        file = "" if mode in WITHOUT_FILE else f"--params_file_name {file}"
        command = (
            f"{IDS} {file} --num_thought_tokens {L} --thoughts {mode} --max_new_tokens {NEW} "
            f"--print_response --log_dir {log_dir} {SMALL} {options}"
        )
        monkeypatch.chdir(work)
        monkeypatch.setattr(sys, "argv", [script, *shlex.split(command.format(m=models, data=data))])
        importlib.import_module(script).main()
        (file,) = (work / log_dir).glob("*.jsonl")
        return rows_of(file), capsys.readouterr().out

    return run


class Plain:
    """Slots and greedy answers by whole forward passes."""

    def __init__(self, models, data, work):
        tokens = FAMILIES[-1][1]
        self.tokenizer = AutoTokenizer.from_pretrained(models / BASE)
        self.base, self.assistant = (
            AutoModelForCausalLM.from_pretrained(models / name).eval() for name in (BASE, ASSISTANT)
        )
        encoder = PromptEncoder(
            "gsm8k", self.tokenizer, tokens, self.tokenizer, tokens, L, prompt_dir=ROOT / "data" / "mini" / "prompts"
        )
        self.examples = [
            encoder.encode(instance, "eval") for instance in load_task("gsm8k", str(data), "test").get_dataset("test")
        ]
        self.placeholder = self.tokenizer.convert_tokens_to_ids(tokens.placeholder)
        self.trained = torch.load(work / "projection.bin")
        self.fixed = {mode: torch.load(work / file)["soft_thoughts"][0, :L] for mode, file in ONE_SET.items()}

    def greedy(self, model, embeds, steps):
        """Return text and number of tokens of greedy decoding, the whole sequence again for every token."""
        ids = []
        while len(ids) < steps and (not ids or ids[-1] != self.tokenizer.eos_token_id):
            ids.append(model(inputs_embeds=embeds[None], use_cache=False).logits[0, -1].argmax().item())
            embeds = torch.cat([embeds, embedded(model, ids[-1:])])
        return self.tokenizer.decode(ids, skip_special_tokens=True), len(ids)

    @torch.no_grad()
    def soft(self, example, state, fill=None):
        fill = embedded(self.assistant, [self.placeholder])[0] if fill is None else fill
        return states_of(self.assistant, example["assistant_ids"], L, fill) @ state["weight"].T + state["bias"]

    @torch.no_grad()
    def slot(self, mode, index):
        example = self.examples[index]
        if mode == "projected":
            return self.soft(example, self.trained)
        if mode == "shuffled":
            return self.soft(self.examples[(index + 1) % len(self.examples)], self.trained)
        if mode == "untrained":
            set_seed(TrainSoftCoT.__dataclass_fields__["seed"].default)
            return self.soft(example, nn.Linear(32, 48).state_dict())
        if mode in self.fixed:
            return self.fixed[mode]
        if mode == "zero":
            return torch.zeros(L, 48)
        if mode == "placeholder":
            return embedded(self.base, [self.placeholder] * L)
        text, _ = self.greedy(self.assistant, embedded(self.assistant, example["assistant_ids"][:-L]), L)
        return embedded(self.base, self.tokenizer.encode(text.strip(), add_special_tokens=False)[:L])

    @torch.no_grad()
    def response(self, index, slot):
        before, after = (embedded(self.base, self.examples[index][key]) for key in ("prefix_ids", "suffix_ids"))
        return self.greedy(self.base, torch.cat([before, slot, after]), NEW)


@pytest.fixture(scope="module")
def plain(models, data, work):
    return Plain(models, data, work)


@pytest.mark.parametrize(
    "mode, engine",
    [*((mode, "transformers") for mode in MODES), ("projected", "reference"), ("assistant_text", "reference")],
)
def test_every_mode_answers_as_whole_forward_passes_with_that_slot(evaluate, plain, work, mode, engine):
    rows, _ = evaluate(mode, f"--greedy --print_input --engine {engine}", log_dir=f"{engine}_{mode}")
    assert len(rows) == len(plain.examples) == 4
    for row in rows:
        slot = plain.slot(mode, row["index"])
        assert [(*row["responses"], *row["tokens"])] == [plain.response(row["index"], slot)]
        assert row["input"].count("<issue_start>") == 1
        assert ("<|endoftext|>" * L in row["input"]) is (mode != "assistant_text")
    (file,) = (work / f"{engine}_{mode}").glob("*.jsonl")
    record = json.loads(file.read_text(encoding="utf-8").splitlines()[0])["run"]
    assert record["thoughts"] == mode and record["perturb_std"] == 0
    assert ("projection" in record) is (mode not in WITHOUT_FILE)
    assert file.stem == f"gsm8k--seed_42-ntt_{L}-nrs_1-{BASE}-{ASSISTANT}" + ("" if mode == "projected" else f"-{mode}")


@pytest.mark.parametrize("mode", ["shuffled", "assistant_text"])
def test_answers_depend_on_no_batch_and_no_restart(evaluate, mode):
    noise = "" if mode == "assistant_text" else "--perturb_std 0.1"
    options = f"--num_return_sequences 2 {noise}"
    whole, _ = evaluate(mode, options, log_dir=f"whole_{mode}")
    for part in ("--test_k 3", ""):
        parts, _ = evaluate(mode, f"{options} --eval_batch_size 1 {part}", log_dir=f"parts_{mode}")
    assert parts == whole and len(whole) == 4


def test_softcot_p_perturbs_softcot_s_thoughts_chain_by_chain(evaluate, plain, work):
    options = f"--greedy --perturb_std 3 --num_scaling_times 2 {PLUS}"
    rows, out = evaluate("projected", options, "evaluate_softcotpp", "p")
    for row in rows:
        own = plain.slot("projected", row["index"])
        slots = [own + 3 * noise_of(row["index"], chain, (L, 48)) for chain in range(2)]
        assert row["responses"] == [plain.response(row["index"], slot)[0] for slot in slots]
    assert any(row["responses"][0] != row["responses"][1] for row in rows)
    assert list((work / "p").glob(f"*-{ASSISTANT}-perturb_3.jsonl"))
    assert out.strip().endswith("%), SoftCoT-P, noise 3, vote of 2")


def test_softcotpp_fills_each_chain_s_placeholders_with_its_own_initial_token(evaluate, plain, work):
    state = plain.trained | {"embedding": torch.randn(2, 32, generator=torch.Generator().manual_seed(0))}
    torch.save(state, work / "two.bin")
    options = f"--greedy --num_scaling_times 2 --params_file_name two.bin {PLUS}"
    for row in evaluate("projected", options, "evaluate_softcotpp", "two")[0]:
        slots = [plain.soft(plain.examples[row["index"]], state, token) for token in state["embedding"]]
        assert row["responses"] == [plain.response(row["index"], slot)[0] for slot in slots]


@pytest.mark.parametrize("options", ["--top_k 1", "--temperature 1e-5", "--top_p 1e-6"])
def test_sampling_that_leaves_one_token_answers_as_greedy(evaluate, plain, options):
    for row in evaluate("zero", options, log_dir=options[2:7])[0]:
        assert row["responses"] == [plain.response(row["index"], plain.slot("zero", row["index"]))[0]]


def test_shuffled_thoughts_need_a_second_question(evaluate, work, data, tmp_path):
    first = (data / "test.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[0]
    (tmp_path / "one.jsonl").write_text(first, encoding="utf-8")
    with pytest.raises(UserError):
        evaluate("shuffled", f"--data_dir {tmp_path} --split one", log_dir="bad")
    assert not (work / "bad").exists()
