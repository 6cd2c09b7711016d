from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import train_quietly
from stopped import Stopping, weights

from pennyweight.classifier import Classifier
from pennyweight.console import Speaker
from pennyweight.errors import InputError, Interrupted
from pennyweight.pipeline.run import train_recipe
from pennyweight.pipeline.stages import contrasting
from pennyweight.training.batch import Batch
from pennyweight.training.contrastive import contrastive

STAGE = {"contrastive_epochs": 3, "contrastive_learning_rate": 1e-2}


@pytest.fixture(scope="module")
def recipe(make_recipe):
    return make_recipe(objective=STAGE, training={"epochs": 1}, adapters={"dropout": 0.1})


@pytest.fixture(scope="module")
def contrasted(recipe, tmp_path_factory):
    return train_quietly(recipe, tmp_path_factory.mktemp("contrasted") / "out").folder


def test_resumed_in_either_stage_it_is_the_same_classifier(recipe, contrasted, tmp_path):
    out = tmp_path / "out"
    for stage, step, total in (("contrasting", 2, 15), ("contrasting", 14, 15), ("training", 3, 5)):
        with pytest.raises(Interrupted, match=f"stopped after step {step} of {total}.*--resume"):
            train_recipe(recipe, out, resume=True, speaker=Stopping(stage, step), cpu=True)
    assert (out / "training" / "contrastive" / "checkpoint.safetensors").exists()
    train_quietly(recipe, out, resume=True)
    assert weights(out) == weights(contrasted)
    assert not (out / "training").exists()


def test_it_makes_a_difference_and_leaves_nothing_behind(recipe, contrasted, make_recipe, tmp_path):
    without = recipe.model_copy(update={"objective": make_recipe().objective})
    plain = train_quietly(without, tmp_path / "plain").folder
    assert all(one != other for one, other in zip(weights(contrasted), weights(plain), strict=True))
    assert not (contrasted / "training").exists()


def test_the_stage_draws_classes_together_and_leaves_the_head_alone(make_recipe, tmp_path, monkeypatch):
    """Looked at where the stage ends: before and after it, how alike texts are within classes and between them."""
    seen = []

    def look(bench):
        network, items = bench.network.eval(), bench.collected.training
        with torch.no_grad():
            pooled = [
                network.features(ids[None].ne(-1).long(), ids[None])
                for ids in (
                    torch.from_numpy(bench.table.ids[bench.table.offsets[i] : bench.table.offsets[i + 1]]).long()
                    for i in items
                )
            ]
        unit = torch.nn.functional.normalize(torch.cat(pooled), dim=1)
        labels = bench.collected.labels[items]
        same = labels[:, None] == labels[None, :]
        alike = (unit @ unit.T).numpy()
        off = ~np.eye(len(items), dtype=bool)
        seen.append((alike[same & off].mean() - alike[~same].mean(), network.head.out.weight.detach().clone()))

    stage = contrasting.contrast

    def watched(bench, folder, speaker):
        look(bench)
        stage(bench, folder, speaker)
        look(bench)

    monkeypatch.setattr("pennyweight.pipeline.stages.fitting.contrast", watched)
    train_quietly(make_recipe(objective={**STAGE, "contrastive_epochs": 10}, training={"epochs": 1}), tmp_path / "out")
    (before, head_before), (after, head_after) = seen
    assert after > before + 0.2
    assert torch.equal(head_before, head_after)


def test_several_processes_are_refused(make_recipe, tmp_path):
    class Two:
        num_processes = 2

    class Bench:
        recipe = make_recipe(objective=STAGE)
        accelerator = Two()

    with pytest.raises(InputError, match=r"objective\.contrastive_epochs .* one process"):
        contrasting.contrast(Bench(), tmp_path, Speaker(enabled=False))


def test_it_can_be_judged(contrasted):
    assert set(Classifier.load(contrasted, device="cpu").predict(["A ship at the quay."])) <= {
        "orchard",
        "harbour",
        "workshop",
    }


def stages_of(monkeypatch):
    """The trainings that runs begin with, as they are conducted."""
    seen, made = [], contrasting._stage

    def stage(bench, folder):
        seen.append(made(bench, folder))
        return seen[-1]

    monkeypatch.setattr(contrasting, "_stage", stage)
    return seen


def test_the_stage_has_a_rate_and_a_temperature_of_its_own(make_recipe, monkeypatch, tmp_path):
    stages = stages_of(monkeypatch)
    for number, temperature in enumerate((0.05, 2.0)):
        objective = {**STAGE, "contrastive_epochs": 1, "contrastive_temperature": temperature}
        train_quietly(make_recipe(objective=objective, training={"epochs": 1}), tmp_path / str(number))
    groups = [group for one in stages for optimizer in one.optimizers for group in optimizer.param_groups]
    assert {group["peak"] for group in groups} == {1e-2}
    features = torch.nn.functional.normalize(torch.randn(8, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    found = [_loss(one.objective, features, torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])) for one in stages]
    expected = [
        _loss(contrastive(temperature=temperature), features, torch.tensor([0, 0, 1, 1, 2, 2, 0, 1]))
        for temperature in (0.05, 2.0)
    ]
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(*found)


def _loss(objective, features, labels):
    class Answering(torch.nn.Module):
        def features(self, **_inputs):
            return features

        def forward(self, **_inputs):
            return features

    return objective(Answering(), Batch({"input_ids": labels}, labels))


def test_the_stage_prunes_none_of_adalora_s_ranks(make_recipe, monkeypatch, tmp_path):
    seen, stage = [], contrasting.contrast

    def watched(bench, folder, speaker):
        stage(bench, folder, speaker)
        seen.extend(int((one != 0).sum()) for name, one in bench.network.named_parameters() if "lora_E" in name)

    monkeypatch.setattr("pennyweight.pipeline.stages.fitting.contrast", watched)
    adapters = {"kind": "adalora", "rank": 4, "final_rank": 1}
    train_quietly(make_recipe(objective=STAGE, adapters=adapters, training={"epochs": 1}), tmp_path / "out")
    assert seen
    assert set(seen) == {4}


def test_the_stage_sees_real_items_alone_and_each_batch_at_once(make_recipe, monkeypatch, tmp_path):
    """In parts there would be no pairs between the parts."""
    stages = stages_of(monkeypatch)
    recipe = make_recipe(
        objective=STAGE,
        augmentation={"copies": 1, "operations": ["swap"]},
        training={"epochs": 1, "forward_tokens": 64},
    )
    train_quietly(recipe, tmp_path / "out")
    (stage,) = stages
    assert stage.feeder.course.items == 72
    assert {len(content.batches) for _, content in stage.feeder.steps()} == {1}
