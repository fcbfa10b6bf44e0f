"""Shares of energy, probes and bits are what their definitions say."""

import math
from pathlib import Path

import pytest
import torch

from benchmarks.thought_information import (
    BATCH,
    DEV_QUESTIONS,
    MINI,
    PLACES,
    RESULTS,
    collect_states,
    make_tables,
    most_frequent,
    plot_cells,
    probe,
    read_cells,
    share_between,
    shared_options,
    target_bits,
)
from experiment.options import EvaluateSoftCoT
from experiment.setup import load_instances, load_method
from model import plain
from model.weights import save_projection
from tests.tiny import tiny_model
from utils import write_json


def test_the_share_between_questions_is_one_less_what_all_have_in_common():
    states = torch.randn(1, 5, 3, 4, generator=torch.Generator().manual_seed(0)) + 2
    for place in range(3):
        rows = states[0, :, place]
        whole = sum(row.square().sum() for row in rows)
        common = 5 * rows.mean(0).square().sum()
        assert share_between(states, 1)[place].item() == pytest.approx(((whole - common) / whole).item(), rel=1e-5)


def test_a_probe_finds_what_is_there_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (200,), generator=generator)
    noise = torch.randn(200, 20, generator=generator)
    found = probe(noise + 4 * torch.nn.functional.one_hot(labels, 20), labels.tolist())
    nothing, chance = probe(noise, labels.tolist()), most_frequent(labels.tolist())
    assert found > 0.95 and 0.3 < chance < 0.45 and abs(nothing - chance) < 0.15


@torch.no_grad()
def test_states_of_all_fillers_are_those_of_each_alone():
    assistant, generator = tiny_model("llama", 16), torch.Generator().manual_seed(0)
    tokens = torch.randn(3, assistant.config.hidden_size, generator=generator)
    prompts, length = [[5, 6, 7], [8, 9]], PLACES[-1]
    found = collect_states(assistant, prompts, tokens, [1, assistant.config.num_hidden_layers])
    assert found.shape == (2, 3, 2, length, assistant.config.hidden_size)
    for place, token in enumerate(tokens):
        for question, ids in enumerate(prompts):
            wanted = plain.thought_states(assistant, torch.tensor(ids + [0] * length), token, length)
            assert torch.allclose(found[-1, place, question], wanted, atol=1e-5)


def test_the_table_compares_the_cells_of_a_seed_and_of_all(tmp_path):
    known = {"learned": ([4.0, 6.0], [True, False]), "newline": ([3.0, 4.0], [True, True])}
    for row, (bits, correct) in known.items():
        for seed in (42, 43):
            cell = {"data": "mini", "question": "hidden", "row": row, "seed": seed}
            cell |= {"learning_rate": "4e-3", "dev_bits": {"4e-3": 5.0}}
            own = [value - (seed == 43) * (row == "newline") for value in bits]
            write_json(cell | {"bits": {"own": own}, "correct": {"own": correct}}, tmp_path / f"{row}-{seed}.json")
    cells = read_cells(tmp_path)
    plot_cells(cells, tmp_path / "thoughts.png")
    assert (tmp_path / "thoughts.png").stat().st_size > 10000
    tables = make_tables(tmp_path, cells)
    assert tables["thoughts bits"].count("| +2.00 (+1.50 to +2.50) |") == 1
    for saved in ("+1.50 (+1.00 to +2.00)", "+2.50 (+2.00 to +3.00)"):
        assert tables["trainings"].count(saved) == 1
    assert tables["thoughts correct"].count("| +50.00 (+0.00 to +100.00) |") == 1
    assert tables["trainings"].count("| +50.00 (+0.00 to +100.00) |") == 2


def test_the_page_has_the_tables_of_the_files():
    page = (Path(MINI).parent.parent / "docs/EVIDENCE.md").read_text(encoding="utf-8")
    tables = make_tables(RESULTS, read_cells(RESULTS))
    assert (RESULTS / "trainings.md").read_text(encoding="utf-8") == tables.pop("trainings")
    for name, table in tables.items():
        assert f"<!-- made: {name} -->\n{table}<!-- /made -->" in page


@torch.no_grad()
def test_bits_are_the_loss_with_what_is_in_the_slot(models, tmp_path):
    pair = [str(models / name) for name in ("Llama-3.2-1B-Instruct", "Qwen3-0.6B")]
    options = {"base_model_id": pair[0], "assistant_model_id": pair[1], **shared_options(MINI, "hidden")}
    args = EvaluateSoftCoT(**options, thoughts="untrained")
    method = load_method(args)
    save_projection(method.slot.softcot.projection_state(), tmp_path / "projection.bin")
    contents = {"own": {}, "zero": {"thoughts": "zero"}}
    found = {name: target_bits(pair, MINI, "hidden", tmp_path, of, "dev") for name, of in contents.items()}
    assert {name: len(bits) for name, bits in found.items()} == dict.fromkeys(contents, DEV_QUESTIONS)
    asked = load_instances(args, "dev")
    for place in (0, BATCH, DEV_QUESTIONS - 1):
        example = method.encoder.encode(asked[place], "train")
        loss = method.slot.softcot.losses(method.collate([example]))["loss"].item()
        labels = sum(label != -100 for label in example["labels"])
        assert found["own"][place] == pytest.approx(loss * labels / math.log(2), rel=1e-4)
    assert found["own"][0] != pytest.approx(found["zero"][0], rel=1e-3)
