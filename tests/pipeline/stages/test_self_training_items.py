"""What texts without labels are learnt as: whose labels, of which copies, as frequent as which items."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import train_quietly
from stopped import sixty_texts
from tiny import LABELS, sentences, write_csv

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.pipeline import run as run_module
from pennyweight.pipeline.stages.teaching import softened

TEXTS = [text for text, _ in sentences(150)[90:]]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Sixty texts without labels."""
    return sixty_texts(tmp_path_factory.mktemp("texts"))


@pytest.fixture
def benches(monkeypatch):
    """What each run trains its last network with."""
    seen, train = [], run_module.train_network

    def watching(bench, folder, speaker, **options):
        seen.append(bench)
        return train(bench, folder, speaker, **options)

    monkeypatch.setattr(run_module, "train_network", watching)
    return seen


def test_an_altered_copy_is_learnt_with_the_label_of_the_whole_text(make_recipe, texts, benches, tmp_path):
    unlabelled = {"source": texts, "strength": 0.5, "labeller": "mixture"}
    train_quietly(make_recipe(unlabelled=unlabelled), tmp_path / "out")
    (bench,) = benches
    views, whole = bench.collected.views, bench.collected.unlabelled
    assert (bench.collected.training[72:] == views).all()
    for view, text in zip(views, TEXTS, strict=False):
        words = iter(text.split())
        assert all(word in words for word in bench.collected.cleaned[view].split())
    assert not set(views.tolist()) & set(whole.tolist())


def test_teachers_that_label_texts_are_heard_by_weight(make_recipe, texts, trained, benches, tmp_path):
    other = train_quietly(make_recipe(training={"seed": 9, "epochs": 1}), tmp_path / "other").folder
    benches.clear()
    teachers = {"sources": [str(trained), str(other)], "weights": [3.0, 1.0]}
    train_quietly(
        make_recipe(teachers=teachers, unlabelled={"source": texts, "labeller": "teachers"}), tmp_path / "out"
    )
    logits = [Classifier.load(folder, device="cpu").logits(TEXTS) for folder in (trained, other)]
    found = benches[0].feeder().extras["soft_targets"][72:]
    np.testing.assert_allclose(found, softened(logits, (3.0, 1.0)), atol=1e-5)
    assert np.abs(found - softened(logits)).max() > 1e-2


def test_a_mixture_wants_a_labelled_item_of_each_class(make_recipe, texts, tmp_path):
    recipe = make_recipe(
        data={"labels": [*LABELS, "attic"]}, unlabelled={"source": texts, "labeller": "mixture", "alignment": True}
    )
    with pytest.raises(InputError, match="needs a labelled item of each class, and attic has none"):
        train_quietly(recipe, tmp_path / "out")


def test_classes_are_as_frequent_as_among_real_items(make_recipe, texts, tmp_path):
    """Altered copies that even the classes out do not count."""
    rows = [(text, label) for text, label in sentences(90) if label == LABELS[0]][:24]
    rows += [(text, label) for text, label in sentences(90) if label != LABELS[0]][:12]
    source = write_csv(tmp_path / "uneven.csv", rows)
    outcome = train_quietly(
        make_recipe(
            data={"source": str(source), "validation": 0.0},
            augmentation={"balance": True, "operations": ["swap", "delete"]},
            unlabelled={"source": texts, "alignment": True},
        ),
        tmp_path / "out",
    )
    (found,) = json.loads((outcome.folder / "classifier.json").read_text())["environment"]["unlabelled"]["rounds"]
    assert found["classes"][LABELS[0]] > 0.55 * sum(found["classes"].values())
