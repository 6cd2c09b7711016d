"""Teachers and students that give a text any number of labels."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import train_quietly
from safetensors.numpy import load
from stopped import WEIGHTS
from tiny import LABELS, tagged, write_csv

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError

TRUTH = np.array([[label in labels for label in LABELS] for _, labels in tagged()])


@pytest.fixture(scope="module")
def tagged_recipe(make_recipe, tmp_path_factory):
    rows = [(text, "|".join(labels)) for text, labels in tagged()]
    source = write_csv(tmp_path_factory.mktemp("tagged") / "tagged.csv", rows, ("text", "tags"))

    def make(**changes):
        data = {"source": str(source), "label": "tags", "task": "multi-label", "validation": 0.25}
        return make_recipe(data=data, training={"epochs": 2, "learning_rate": 0.02}, **changes)

    return make


@pytest.fixture(scope="module")
def plain(tagged_recipe, tmp_path_factory):
    return train_quietly(tagged_recipe(), tmp_path_factory.mktemp("plain") / "out").folder


def tensors(folder) -> dict[str, np.ndarray]:
    return {f"{name}/{key}": array for name in WEIGHTS for key, array in load((folder / name).read_bytes()).items()}


def logits_file(path, logits):
    columns = {name: logits[:, index] for index, name in enumerate(LABELS)}
    pq.write_table(pa.table({"row": np.arange(1, len(logits) + 1), **columns}), path)
    return path


def test_a_teacher_that_says_the_labels_is_plain_training(tagged_recipe, plain, tmp_path):
    file = logits_file(tmp_path / "labels.parquet", np.where(TRUTH, 200.0, -200.0))
    teachers = {"sources": [str(file)], "temperature": 1.0, "mixture": 1.0}
    student = train_quietly(tagged_recipe(teachers=teachers), tmp_path / "out").folder
    for name, expected in tensors(plain).items():
        np.testing.assert_allclose(tensors(student)[name], expected, atol=1e-4, err_msg=name)
    record = json.loads((student / "classifier.json").read_text())["environment"]["teachers"]
    assert record == [{"source": str(file), "agreement": 1.0}]


def test_a_teacher_that_denies_the_labels_is_believed(tagged_recipe, plain, tmp_path):
    file = logits_file(tmp_path / "wrong.parquet", np.where(TRUTH, -5.0, 5.0))
    teachers = {"sources": [str(file)], "temperature": 1.0, "mixture": 1.0}
    student = train_quietly(tagged_recipe(teachers=teachers), tmp_path / "out").folder
    found = [Classifier.load(folder).logits([text for text, _ in tagged()]) for folder in (plain, student)]
    right, wrong = (np.where(TRUTH, own, -own).mean() for own in found)
    assert wrong < -0.1
    assert right > 0.1


def test_a_classifier_teaches_and_without_a_share_it_changes_nothing(tagged_recipe, plain, tmp_path):
    for mixture in (0.0, 0.7):
        recipe = tagged_recipe(teachers={"sources": [str(plain)], "mixture": mixture})
        student = train_quietly(recipe, tmp_path / str(mixture)).folder
        same = [np.array_equal(tensors(student)[name], own) for name, own in tensors(plain).items()]
        assert all(same) == (mixture == 0.0)


def test_a_teacher_of_one_class_is_refused(tagged_recipe, trained, tmp_path):
    with pytest.raises(InputError, match="gives a text one class, the student several labels"):
        train_quietly(tagged_recipe(teachers={"sources": [str(trained)]}), tmp_path / "out")
