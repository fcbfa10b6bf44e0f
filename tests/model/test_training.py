"""The training loop: equal to transformers.Trainer, resumed to the same bytes, nothing that is not finite saved."""

import os
import signal

import pytest
import torch
from accelerate import Accelerator
from transformers import Trainer, TrainingArguments, set_seed

from data_loader.collator import Collator
from model.checkpoint import checkpoints, newest_checkpoint
from model.softcot import SoftCoT
from model.training import CLIP, Recipe, training_loop
from model.weights import add_lora
from tests.tiny import ragged_examples, tiny_pair
from utils import Stop

LENGTH = 3
KINDS = {"softcot": {}, "nce": {"chains": 3, "contrastive": True}, "lora": {"lora": True}}
KINDS |= {"learned": {"learned": True}, "standardized": {"standardized": True}}
COLLATE = Collator(0, 0)
LOGGED = "loss", "token", "grad_norm"
RECIPE = Recipe(batch_size=2, accumulation=1, epochs=2.0, learning_rate=1e-3, seed=7, keep_checkpoints=9)


def examples_of(seed):
    """Six examples of different lengths, index 0 to 5."""
    six = ragged_examples(LENGTH, seed) + ragged_examples(LENGTH, seed + 1)
    return [{**example, "index": index} for index, example in enumerate(six)]


def make(chains=None, lora=False, standardized=False, **options):
    base, assistant = tiny_pair()
    set_seed(3)
    if lora:
        add_lora(base)
    model = SoftCoT(base, assistant, LENGTH, chains, **options)
    if standardized:
        examples = examples_of(0)
        states = model.thought_states(COLLATE(examples))
        model.standardize([{"thought_states": own} for own in states])
    return model


def run(folder, model, recipe=RECIPE, collate=COLLATE, data=None, dev=None, state=None):
    data, dev = data or examples_of(0), dev or examples_of(5)
    return training_loop(model, data, dev, collate, recipe, folder, {"a": 1}, Accelerator(cpu=True), state)


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}


# ---- the recipe ----


class PublishedTrainer(Trainer):
    """transformers.Trainer over a model whose losses come with their gradient."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        return model.train().losses(inputs, backward=True)["loss"]

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        return model.eval().losses(inputs)["loss"], None, None


@pytest.mark.parametrize("kind", KINDS)
def test_weights_equal_those_of_the_published_trainer(tmp_path, kind):
    ours, theirs, before = (make(**KINDS[kind]) for _ in range(3))
    run(tmp_path / "ours", ours)
    arguments = TrainingArguments(
        str(tmp_path / "theirs"),
        learning_rate=1e-3,
        per_device_train_batch_size=2,
        num_train_epochs=2.0,
        seed=7,
        use_cpu=True,
        report_to=[],
        remove_unused_columns=False,
        save_strategy="no",
        eval_strategy="epoch",
        prediction_loss_only=True,
    )
    data = {"train_dataset": examples_of(0), "eval_dataset": examples_of(5)}
    PublishedTrainer(theirs, arguments, data_collator=COLLATE, **data).train()
    ours, before = weights(ours), weights(before)
    for name, value in weights(theirs).items():
        assert (value - ours[name]).abs().max() < 1e-5, name
        assert (value - before[name]).abs().max() > 1e-4, name  # it moved


@pytest.mark.parametrize("chains", [None, 3])
def test_accumulation_takes_the_steps_of_the_whole_batch(tmp_path, chains):
    found = []
    for batch_size, accumulation in ((4, 1), (1, 4)):
        model = make(chains)
        more = {"batch_size": batch_size, "accumulation": accumulation}
        history = run(tmp_path / str(batch_size), model, Recipe(**{**vars(RECIPE), **more}))
        found.append((weights(model), [entry[key] for entry in history if "loss" in entry for key in LOGGED]))
    (whole, losses), (parts, sums) = found
    assert sums == pytest.approx(losses, rel=1e-4)
    for name in whole:
        assert (parts[name] - whole[name]).abs().max() < 1e-5


@pytest.mark.parametrize("epochs, steps, saved", [(0.5, [1, 2], [2]), (1.5, [1, 5], [5, 3])])
def test_parts_of_epochs_end_in_a_dev_loss_and_a_checkpoint(tmp_path, epochs, steps, saved):
    recipe = Recipe(**{**vars(RECIPE), "epochs": epochs})
    history = run(tmp_path, make(), recipe)
    assert [entry["step"] for entry in history if "loss" in entry] == steps
    assert [entry["step"] for entry in history if "eval_loss" in entry] == saved[::-1]
    assert [path.stem for path in checkpoints(tmp_path)] == [f"checkpoint-{step}" for step in saved]
    assert run(tmp_path, make(), recipe, state=newest_checkpoint(tmp_path)[1]) == history  # killed at its end


def test_history_has_each_term_of_the_loss(tmp_path):
    history = run(tmp_path, make(3, contrastive=True))
    logged = [entry for entry in history if "loss" in entry]
    for entry in logged:
        assert entry["loss"] == pytest.approx(entry["token"] + entry["contrastive"], rel=1e-5)
    assert max(entry["grad_norm"] for entry in logged) > CLIP  # it matters in these tests
    assert [entry["learning_rate"] for entry in logged] == pytest.approx([1e-3, 1e-3 / 6])
    model = make(3, contrastive=True)
    set_seed(RECIPE.seed)
    examples = examples_of(0)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(RECIPE.seed)).tolist()
    first = model.train().losses(COLLATE([examples[i] for i in order[:2]]))
    assert logged[0]["token"] == pytest.approx(first["token"].item(), rel=1e-5)


def test_a_logged_loss_is_the_mean_since_the_last(tmp_path):
    model, recipe = make(), Recipe(**{**vars(RECIPE), "batch_size": 1, "learning_rate": 0.0})
    logged = [entry for entry in run(tmp_path, model, recipe) if "loss" in entry]
    assert [entry["step"] for entry in logged] == [1, 10, 12]
    order = torch.randperm(6, generator=torch.Generator().manual_seed(RECIPE.seed + 1)).tolist()
    last = [model.train().losses(COLLATE([examples_of(0)[i]]))["loss"].item() for i in order[-2:]]
    assert logged[-1]["loss"] == pytest.approx(sum(last) / 2, rel=1e-5)


def test_dev_loss_weighs_batches_by_their_examples(tmp_path):
    model = make(**KINDS["nce"])
    history = run(tmp_path, model, Recipe(**{**vars(RECIPE), "batch_size": 4}))
    dev = examples_of(5)
    with torch.no_grad():
        losses = [model.eval().losses(COLLATE(part))["loss"].item() for part in (dev[:4], dev[4:])]
    assert history[-1]["eval_loss"] == pytest.approx((4 * losses[0] + 2 * losses[1]) / 6, rel=1e-5)


# ---- signals and resuming ----


class SignalAt:
    """A collator that sends this process a signal at its call of that number (from 1)."""

    def __init__(self, call):
        self.call = call

    def __call__(self, examples):
        self.call -= 1
        if not self.call:
            os.kill(os.getpid(), signal.SIGTERM)
        return COLLATE(examples)


# Of an epoch: three training steps, then three dev batches.
CALLS = {3: 3, 6: 3, 8: 5, 12: 6}


@pytest.mark.parametrize("kind, call", [*((kind, 8) for kind in KINDS), ("nce", 3), ("softcot", 6), ("softcot", 12)])
def test_a_signal_stops_after_the_step_or_dev_batch_and_resumes_to_the_same_bytes(tmp_path, call, kind):
    options = KINDS[kind]
    whole, stopped, resumed = make(**options), make(**options), make(**options)
    history = run(tmp_path / "whole", whole)
    with pytest.raises(Stop):
        run(tmp_path / "run", stopped, collate=SignalAt(call))
    path, state = newest_checkpoint(tmp_path / "run")
    assert path.name == f"checkpoint-{CALLS[call]}.pt" and state["record"] == {"a": 1}
    assert run(tmp_path / "run", resumed, state=state) == history
    wanted = weights(whole)
    assert all(torch.equal(value, wanted[name]) for name, value in weights(resumed).items())  # to the bit


def test_checkpoints_inside_an_epoch_give_way_to_the_next(tmp_path):
    model = make()
    whole = run(tmp_path / "whole", model)
    seen = []

    def collate(examples):
        seen.append([path.stem for path in checkpoints(tmp_path / "run")])
        return COLLATE(examples)

    often = Recipe(**{**vars(RECIPE), "save_minutes": 1e-9})
    assert run(tmp_path / "run", make(), often, collate=collate) == whole
    assert seen[1:3] == [["checkpoint-1"], ["checkpoint-2"]]
    assert [path.stem for path in checkpoints(tmp_path / "run")] == ["checkpoint-6", "checkpoint-3"]


# ---- numbers that are not finite ----


@pytest.mark.parametrize("split", ["data", "dev"])
def test_a_loss_that_is_not_finite_names_its_step(tmp_path, split):
    data = examples_of(0)
    model = make()
    for example in data:
        batch = COLLATE([example])
        with torch.no_grad():
            example["thought_states"] = model.thought_states(batch)[0]
    data[4]["thought_states"][0, 1, 2] = float("nan")
    order = torch.randperm(6, generator=torch.Generator().manual_seed(RECIPE.seed)).tolist()
    named = f"step {order.index(4) // 2 + 1} " if split == "data" else "dev loss"
    with pytest.raises(FloatingPointError, match=named):
        run(tmp_path, model, **{split: data})
    assert not checkpoints(tmp_path)


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    model = make()

    def collate(examples):  # the loss of the second step is still finite
        if len(examples) == 2 and examples[0]["index"] == second:
            model.projection.bias.grad = torch.full_like(model.projection.bias, float("inf"))
        return COLLATE(examples)

    second = torch.randperm(6, generator=torch.Generator().manual_seed(RECIPE.seed)).tolist()[2]
    with pytest.raises(FloatingPointError):
        run(tmp_path, model, Recipe(**{**vars(RECIPE), "save_minutes": 1e-9}), collate=collate)
    assert [path.stem for path in checkpoints(tmp_path)] == ["checkpoint-1"]
