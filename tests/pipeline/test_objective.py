"""The section [objective] in whole runs on a tiny backbone."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import train_quietly
from tiny import sentences, write_csv

from pennyweight.errors import InputError
from pennyweight.pipeline.unpacking import forward_tokens_of, objective_of
from pennyweight.training.batch import Batch

WEIGHTS = ("adapter_model.safetensors", "head.safetensors")


def weights_of(folder: Path) -> list[bytes]:
    return [(folder / name).read_bytes() for name in WEIGHTS]


def losses_of(folder: Path) -> list[float]:
    lines = (folder / "report" / "log.jsonl").read_text().splitlines()
    return [record["loss"] for record in map(json.loads, lines) if record["event"] == "step"]


@pytest.fixture(scope="module")
def short(make_recipe):
    """A function from changes to a recipe of one epoch."""

    def make(**changes):
        return make_recipe(**{**changes, "training": {"epochs": 1, **changes.get("training", {})}})

    return make


@pytest.fixture(scope="module")
def plain(short, tmp_path_factory):
    return train_quietly(short(), tmp_path_factory.mktemp("plain") / "out").folder


def test_what_comes_to_nothing_changes_nothing(short, plain, tmp_path):
    """Weights of 1, a LoRA+ ratio of 1 and the constant of a stage that is not chosen, bit by bit."""
    changes = {"class_weights": [1, 1, 1], "r_drop": 0, "contrastive_temperature": 0.5}
    same = train_quietly(short(objective=changes, training={"lora_plus": 1}), tmp_path / "out").folder
    assert weights_of(same) == weights_of(plain)
    assert losses_of(same) == losses_of(plain)


def test_focal_of_exponent_zero_is_plain_within_rounding(short, plain, tmp_path):
    focal = train_quietly(short(objective={"loss": "focal", "gamma": 0}), tmp_path / "out").folder
    assert losses_of(focal) == pytest.approx(losses_of(plain), rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective": {"loss": "focal", "class_weights": [1, 2, 4]}},
        {"objective": {"loss": "gce"}, "training": {"lora_plus": 8}},
        {"objective": {"r_drop": 1}, "adapters": {"dropout": 0.2}},
    ],
    ids=["focal", "gce", "r-drop"],
)
def test_each_choice_reaches_the_weights_and_learns(changes, short, plain, tmp_path):
    changes = {**changes, "training": {"epochs": 3, **changes.get("training", {})}}
    folder = train_quietly(short(**changes), tmp_path / "out").folder
    assert weights_of(folder) != weights_of(plain)
    losses = losses_of(folder)
    assert np.mean(losses[-4:]) < 0.93 * np.mean(losses[:4])


def test_validation_is_by_plain_log_loss(short, plain, tmp_path):
    """A rate of nearly nothing leaves the initial network: validated alike, whatever is minimised."""
    found = []
    for loss in ("cross-entropy", "gce"):
        recipe = short(objective={"loss": loss, "class_weights": [5, 5, 5]}, training={"learning_rate": 1e-12})
        folder = train_quietly(recipe, tmp_path / loss).folder
        lines = [json.loads(line) for line in (folder / "report" / "log.jsonl").read_text().splitlines()]
        found.append([line["loss"] for line in lines if line["event"] == "validation"])
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_balanced_weights_are_of_the_training_items(make_recipe):
    recipe = make_recipe(objective={"class_weights": "balanced"})
    feeder = SimpleNamespace(labels=np.repeat([0, 1, 2], [1, 2, 3]), extras={})
    batch = Batch({"input": torch.zeros(3, 3)}, torch.tensor([0, 1, 2]))
    expected = np.log(3) * np.array([2.0, 1.0, 2 / 3])
    losses = objective_of(recipe, feeder, classes=3)(torch.nn.Identity(), batch)
    assert losses.tolist() == pytest.approx(expected.tolist())


@pytest.mark.parametrize(("loss", "power"), [("cross-entropy", 0), ("focal", 2)])
def test_the_loss_of_several_labels_is_the_one_named(loss, power, make_recipe):
    recipe = make_recipe(data={"task": "multi-label"}, objective={"loss": loss, "gamma": 2})
    feeder = SimpleNamespace(labels=np.eye(3, dtype=bool), extras={})
    batch = Batch({"input": torch.zeros(3, 3)}, torch.eye(3, dtype=torch.bool))
    losses = objective_of(recipe, feeder, classes=3)(torch.nn.Identity(), batch)
    assert losses.tolist() == pytest.approx([np.log(2) / 2**power] * 3)


def test_r_drop_of_several_labels_compares_each_by_itself(make_recipe):
    class Halves(torch.nn.Module):
        def forward(self, **_inputs):
            return torch.cat([torch.zeros(3, 3), torch.full((3, 3), 2.0)])

    recipe = make_recipe(data={"task": "multi-label"}, objective={"r_drop": 4.0}, adapters={"dropout": 0.1})
    plain = make_recipe(data={"task": "multi-label"})
    feeder = SimpleNamespace(labels=np.ones((3, 3), dtype=bool), extras={})
    batch = Batch({"input": torch.zeros(3, 3)}, torch.ones(3, 3, dtype=torch.bool))
    losses = objective_of(recipe, feeder, classes=3)(Halves(), batch)
    expected = (np.log(2) + np.log1p(np.exp(-2))) / 2 + 4 * (1 / (1 + np.exp(-2)) - 0.5) * 2 / 2
    assert losses.tolist() == pytest.approx([expected] * 3)
    assert objective_of(plain, feeder, classes=3)(torch.nn.Identity(), batch).tolist() == pytest.approx([np.log(2)] * 3)


def test_r_drop_is_fed_half_as_many_tokens(make_recipe):
    recipe = make_recipe(training={"forward_tokens": 1001}, adapters={"dropout": 0.1})
    assert forward_tokens_of(recipe) == 1001
    doubled = recipe.model_copy(update={"objective": recipe.objective.model_copy(update={"r_drop": 1.0})})
    assert forward_tokens_of(doubled) == 500


def test_weights_for_another_number_of_classes_are_refused_before_anything_is_loaded(
    make_recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr("pennyweight.pipeline.run.collect_all", pytest.fail)
    with pytest.raises(InputError, match=r"objective\.class_weights names 2 numbers and there are 3 classes"):
        train_quietly(make_recipe(objective={"class_weights": [1, 2]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_class_of_one_item_can_be_balanced(short, tmp_path):
    rows = [(text, label) for text, label in sentences(60) if label != "workshop"]
    source = write_csv(tmp_path / "skewed.csv", [*rows, ("A lathe and a vice.", "workshop")])
    changes = {"data": {"source": str(source), "validation": 0}, "objective": {"class_weights": "balanced"}}
    losses = losses_of(train_quietly(short(**changes), tmp_path / "out").folder)
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(
    "changes", [{"training": {"lora_plus": 8}}, {"backbone": {"dropout": True}}, {"training": {"sampler": "balanced"}}]
)
def test_what_else_alters_training_does_so(changes, short, plain, tmp_path):
    assert weights_of(train_quietly(short(**changes), tmp_path / "out").folder) != weights_of(plain)
