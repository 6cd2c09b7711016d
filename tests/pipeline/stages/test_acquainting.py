from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import train_quietly
from stopped import Stopping, sixty_texts, weights

from pennyweight.console import Speaker
from pennyweight.errors import InputError, Interrupted
from pennyweight.pipeline.run import train_recipe
from pennyweight.pipeline.stages import acquainting, self_training, surveying
from pennyweight.training.batch import Batch

STAGE = {"contrastive_epochs": 4, "contrastive_learning_rate": 1e-2, "epochs": 1}


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Sixty texts without labels."""
    return sixty_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="module")
def recipe(make_recipe, texts):
    return make_recipe(unlabelled={"source": texts, **STAGE}, training={"epochs": 1})


@pytest.fixture(scope="module")
def acquainted(recipe, tmp_path_factory):
    return train_quietly(recipe, tmp_path_factory.mktemp("acquainted") / "out").folder


@pytest.fixture
def stages(monkeypatch):
    """The stages that runs begin with, as they are conducted."""
    seen, made = [], acquainting._stage

    def stage(bench, folder):
        seen.append(made(bench, folder))
        return seen[-1]

    monkeypatch.setattr(acquainting, "_stage", stage)
    return seen


@pytest.fixture
def benches(monkeypatch):
    """The workbenches that learn, each with its trainable tensors as they were when it began."""
    seen, train = [], self_training.train_network

    def watching(bench, folder, speaker, **options):
        seen.append({name: one.detach().clone() for name, one in bench.network.trainable().items()})
        return train(bench, folder, speaker, **options)

    monkeypatch.setattr(self_training, "train_network", watching)
    monkeypatch.setattr("pennyweight.pipeline.run.train_network", watching)
    return seen


def test_resumed_in_any_stage_it_is_the_same_classifier(recipe, acquainted, tmp_path):
    out = tmp_path / "out"
    for stage, step, total in (("comparing", 3, 12), ("comparing", 11, 12), ("round 1", 2, 5), ("training", 3, 9)):
        with pytest.raises(Interrupted, match=f"stopped after step {step} of {total}.*--resume"):
            train_recipe(recipe, out, resume=True, speaker=Stopping(stage, step), cpu=True)
    assert (out / "training" / "acquainted" / "checkpoint.safetensors").exists()
    train_quietly(recipe, out, resume=True)
    assert weights(out) == weights(acquainted)
    assert not (out / "training").exists()


def test_all_networks_begin_with_its_adapters_and_heads_of_their_own(make_recipe, texts, stages, benches, tmp_path):
    unlabelled = {"source": texts, **STAGE, "labellers": 2}
    train_quietly(make_recipe(unlabelled=unlabelled, training={"epochs": 1}), tmp_path / "with")
    first, second, final = benches
    heads = {name for name in final if name.startswith("head")}
    assert heads
    for name in set(final) - heads:
        assert torch.equal(first[name], final[name])
        assert torch.equal(second[name], final[name])
    assert not torch.equal(first["head.out.weight"], second["head.out.weight"])
    trained = {name for name in final if "lora_B" in name}
    assert trained
    assert all(final[name].any() for name in trained)
    (stage,) = stages
    assert stage.optimizers[0].param_groups[0]["peak"] == 1e-2


def test_without_it_labellers_begin_untrained(make_recipe, texts, stages, benches, tmp_path):
    train_quietly(make_recipe(unlabelled={"source": texts, "epochs": 1}, training={"epochs": 1}), tmp_path / "out")
    assert stages == []
    assert not any(one.any() for begun in benches for name, one in begun.items() if "lora_B" in name)


def test_halves_of_all_texts_are_compared_anew_in_each_epoch(make_recipe, texts, stages, tmp_path):
    objective = {"class_weights": "balanced", "contrastive_epochs": 1}
    recipe = make_recipe(
        unlabelled={"source": texts, **STAGE, "contrastive_epochs": 2, "contrastive_temperature": 0.5},
        objective=objective,
        training={"epochs": 1, "accumulation": 2, "forward_tokens": 64},
        augmentation={"copies": 1, "operations": ["swap"]},
    )
    train_quietly(recipe, tmp_path / "out")
    (stage,) = stages
    assert (stage.feeder.course.items, stage.feeder.course.total_steps) == (72 + 60, 2 * 3)
    steps = [content for _, content in stage.feeder.steps()]
    assert [len(one.batches) for one in steps] == [1] * 6
    assert [sorted(one.items for one in steps[part : part + 3]) for part in (0, 3)] == [[8, 128, 128]] * 2
    for content in steps:
        labels = content.batches[0].labels
        assert (labels[::2] == labels[1::2]).all()
        assert len(labels.unique()) == len(labels) // 2
        assert len(content.batches[0].inputs["input_ids"]) == content.items
    for part in (0, 3):
        seen = torch.cat([one.batches[0].labels for one in steps[part : part + 3]])
        assert seen.bincount().tolist() == [2] * 132
    epochs = np.split(stage.feeder.table.lengths(), 2)
    assert (epochs[0][::2] + epochs[0][1::2] == epochs[1][::2] + epochs[1][1::2]).all()
    assert (epochs[0] != epochs[1]).any()
    features = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    found = _loss(stage.objective, features, torch.tensor([0, 0, 1, 1]))
    unit = torch.nn.functional.normalize(features, dim=1)
    alike = (unit @ unit.T / 0.5).fill_diagonal_(-torch.inf)
    torch.testing.assert_close(found, -alike.log_softmax(dim=1)[range(4), [1, 0, 3, 2]])


def _loss(objective, features, labels):
    class Answering(torch.nn.Module):
        def features(self, **_inputs):
            return features

    return objective(Answering(), Batch({"input_ids": labels}, labels))


def test_neighbours_by_meaning_are_seen_by_its_adapters(make_recipe, texts, monkeypatch, tmp_path):
    seen, stage = [], self_training.acquaint

    def watched(bench, folder, speaker):
        stage(bench, folder, speaker)
        items = np.concatenate([bench.collected.unlabelled, bench.collected.learnt])
        seen.append(bench.features(items))

    def watching(features, texts, count, **options):
        seen.append(features)
        return found(features, texts, count, **options)

    found = surveying.neighbours_by_meaning
    monkeypatch.setattr(self_training, "acquaint", watched)
    monkeypatch.setattr(surveying, "neighbours_by_meaning", watching)
    unlabelled = {"source": texts, **STAGE, "neighbours": 3, "neighbours_by": ["meaning"]}
    train_quietly(make_recipe(unlabelled=unlabelled, training={"epochs": 1}), tmp_path / "out")
    np.testing.assert_array_equal(*seen)


def test_of_several_windows_the_first_is_cut_and_several_processes_are_refused(make_recipe, texts, stages, tmp_path):
    recipe = make_recipe(
        unlabelled={"source": texts, **STAGE, "contrastive_epochs": 1},
        text={"max_length": 6},
        windows={"count": 3, "overlap": 1},
        training={"epochs": 1},
    )
    train_quietly(recipe, tmp_path / "out")
    (stage,) = stages
    assert stage.feeder.table.longest <= 6
    assert stage.feeder.table.starts is None

    class Two:
        num_processes = 2

    class Untrained:
        def trainable(self):
            return {}

    class Bench:
        accelerator, network = Two(), Untrained()

    Bench.recipe = recipe
    with pytest.raises(InputError, match=r"unlabelled\.contrastive_epochs .* one process"):
        acquainting.acquaint(Bench(), tmp_path, Speaker(enabled=False))


def test_its_loss_falls(recipe, tmp_path):
    losses = []

    class Watching(Speaker):
        def bar(self, what, total):
            made = super().bar(what, total)
            if what == "comparing halves of texts":
                made.update = lambda done, note: losses.append(float(note.removeprefix("loss ")))
            return made

    longer = recipe.unlabelled.model_copy(update={"contrastive_epochs": 12})
    train_recipe(
        recipe.model_copy(update={"unlabelled": longer}), tmp_path / "out", speaker=Watching(enabled=False), cpu=True
    )
    assert len(losses) == 36
    assert np.mean(losses[-9:]) < np.mean(losses[:9]) - 0.1
