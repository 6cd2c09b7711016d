from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import train_quietly
from stopped import WEIGHTS, Stopping, weights
from tiny import LABELS

from pennyweight.cache import default_cache
from pennyweight.classifier import Classifier
from pennyweight.errors import InputError, Interrupted
from pennyweight.evaluation.decisions import Decision
from pennyweight.manifest import read_manifest
from pennyweight.pipeline import run as run_module
from pennyweight.pipeline.predicting import parse_columns, predict_source
from pennyweight.pipeline.preparation import collect
from pennyweight.pipeline.run import train_recipe
from pennyweight.pipeline.stages import teachers as teachers_module
from pennyweight.pipeline.stages.teaching import softened


def tensors(folder) -> dict[str, np.ndarray]:
    from safetensors.numpy import load

    return {f"{name}/{key}": array for name in WEIGHTS for key, array in load((folder / name).read_bytes()).items()}


@pytest.fixture(scope="module")
def other_order(make_recipe, tmp_path_factory):
    """A teacher of another size that knows the labels in another order."""
    recipe = make_recipe(data={"labels": LABELS[::-1]}, adapters={"rank": 2, "targets": ["query"]})
    return train_quietly(recipe, tmp_path_factory.mktemp("teachers") / "reversed").folder


@pytest.fixture(scope="module")
def logits_file(other_order, small_csv, tmp_path_factory):
    path = tmp_path_factory.mktemp("logits") / "logits.parquet"
    columns = parse_columns("row,logits")
    predict_source(Classifier.load(other_order, device="cpu"), str(small_csv), path, columns=columns)
    return path


@pytest.fixture(scope="module")
def taught(make_recipe, other_order, tmp_path_factory):
    recipe = make_recipe(teachers={"sources": [str(other_order)]})
    return train_quietly(recipe, tmp_path_factory.mktemp("taught") / "student").folder


def test_without_a_share_teachers_change_nothing_bit_for_bit(make_recipe, trained, other_order, taught, tmp_path):
    recipe = make_recipe(teachers={"sources": [str(other_order)], "mixture": 0.0})
    assert weights(train_quietly(recipe, tmp_path / "out").folder) == weights(trained)
    assert weights(taught) != weights(trained)


def test_a_teacher_that_says_the_labels_is_plain_training(make_recipe, trained, small_csv, tmp_path):
    """One-hot to fp32: a logit of 200 above the others."""
    labels = collect(make_recipe()).labels
    logits = {name: np.where(labels == index, 200.0, 0.0) for index, name in enumerate(LABELS)}
    pq.write_table(pa.table({"row": np.arange(1, 91), **logits}), tmp_path / "labels.parquet")
    teachers = {"sources": str(tmp_path / "labels.parquet"), "temperature": 1.0, "mixture": 1.0}
    student = tensors(train_quietly(make_recipe(teachers=teachers), tmp_path / "out").folder)
    for name, expected in tensors(trained).items():
        np.testing.assert_allclose(student[name], expected, atol=1e-4, err_msg=name)


def test_a_file_of_logits_is_the_folder_that_made_it(make_recipe, taught, logits_file, tmp_path):
    columns = pq.read_table(logits_file).column_names
    assert columns == ["row", *LABELS[::-1]]
    from_file = train_quietly(make_recipe(teachers={"sources": [str(logits_file)]}), tmp_path / "out").folder
    for name, expected in tensors(taught).items():
        np.testing.assert_allclose(tensors(from_file)[name], expected, atol=1e-5, err_msg=name)


def test_teachers_are_averaged_by_their_weights():
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(2, 5, 3))

    def share(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits / 2)
        return powers / powers.sum(axis=1, keepdims=True)

    np.testing.assert_allclose(
        softened([one, other], decision=Decision(temperature=2.0)), (share(one) + share(other)) / 2
    )
    expected = (3 * share(one) + share(other)) / 4
    np.testing.assert_allclose(softened([one, other], (3.0, 1.0), Decision(temperature=2.0)), expected)


def test_the_run_says_what_its_teachers_know(make_recipe, taught, other_order):
    recipe = make_recipe()
    collected = collect(recipe)
    texts = [collected.texts[item] for item in collected.training]
    truth = [LABELS[label] for label in collected.labels[collected.training]]
    said = Classifier.load(other_order, device="cpu").predict(texts)
    record = json.loads((taught / "classifier.json").read_text())["environment"]["teachers"]
    assert record == [
        {"source": str(other_order), "agreement": np.mean([a == b for a, b in zip(said, truth, strict=True)])}
    ]
    assert not (taught / "training").exists()


def test_what_teachers_said_is_in_the_cache(make_recipe, taught, other_order, tmp_path, monkeypatch):
    assert default_cache().usage()["logits"].entries >= 1
    monkeypatch.setattr(Classifier, "logits", None)
    recipe = make_recipe(teachers={"sources": [str(other_order)]})
    assert weights(train_quietly(recipe, tmp_path / "again").folder) == weights(taught)


def test_a_run_that_was_stopped_goes_on_with_what_its_teachers_said(make_recipe, taught, other_order, tmp_path):
    recipe, out = make_recipe(teachers={"sources": [str(other_order)]}), tmp_path / "out"
    with pytest.raises(Interrupted, match="stopped while asking the teachers; the same command with --resume"):
        train_recipe(recipe, out, speaker=Stopping("asking", 1), cpu=True)
    with pytest.raises(Interrupted, match="after step 3 of 10"):
        train_recipe(recipe, out, resume=True, speaker=Stopping("training", 3), cpu=True)
    assert (out / "training" / "teachers.safetensors").exists()
    train_quietly(recipe, out, resume=True)
    assert weights(out) == weights(taught)
    assert not (out / "training").exists()


def test_going_on_with_another_teacher_is_refused(make_recipe, logits_file, tmp_path):
    file, out = tmp_path / "logits.parquet", tmp_path / "out"
    file.write_bytes(logits_file.read_bytes())
    recipe = make_recipe(teachers={"sources": [str(file)]})
    with pytest.raises(Interrupted):
        train_recipe(recipe, out, speaker=Stopping("training", 3), cpu=True)
    table = pq.read_table(file)
    pq.write_table(table.set_column(1, LABELS[-1], pa.array(np.zeros(len(table)))), file)
    with pytest.raises(InputError, match=r"teacher .*logits\.parquet has changed since the run"):
        train_quietly(recipe, out, resume=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "nowhere: there is no such classifier folder or Parquet file of logits"),
        (".", "not a classifier folder"),
    ],
)
def test_teachers_that_are_none_are_refused_before_anything_is_computed(source, message, make_recipe, tmp_path):
    with pytest.raises(InputError, match=message):
        train_quietly(make_recipe(teachers={"sources": [source]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_label_that_a_teacher_does_not_know_is_named(make_recipe, other_order, tiny_roberta, tmp_path):
    rows = "".join(f"text number {n},{label}\n" for n in range(20) for label in (*LABELS, "cellar"))
    (tmp_path / "more.csv").write_text("text,label\n" + rows)
    data = {"source": str(tmp_path / "more.csv"), "labels": "auto"}
    with pytest.raises(InputError, match="does not know the label 'cellar', it knows: workshop, harbour, orchard"):
        train_quietly(make_recipe(data=data, teachers={"sources": [str(other_order)]}), tmp_path / "out")


def test_a_teacher_of_several_labels_is_refused(make_recipe, other_order, tmp_path, monkeypatch):
    several = read_manifest(other_order).model_copy(update={"problem": "multi-label"})
    monkeypatch.setattr(teachers_module, "read_either", lambda _folder: several)
    with pytest.raises(InputError, match="gives a text several labels, the student one class"):
        train_quietly(make_recipe(teachers={"sources": [str(other_order)]}), tmp_path / "out")


@pytest.mark.parametrize(
    ("teachers", "message"),
    [
        ({"mixture": 0.5}, "name them in teachers.sources"),
        ({"sources": ["a", "b"], "weights": [1.0]}, "1 numbers for 2 teachers"),
        ({"sources": ["a"], "mixture": 1.5}, "teachers.mixture = 1.5"),
        ({"sources": ["a"], "temperature": 0.0}, "teachers.temperature = 0.0"),
        ({"sources": ["a"], "weights": [-1.0]}, "teachers.weights"),
        ({"sources": [""]}, "teachers.sources"),
    ],
)
def test_sections_that_mean_nothing_are_refused(teachers, message, make_recipe):
    with pytest.raises(InputError, match=message):
        make_recipe(teachers=teachers)


def test_targets_are_the_teachers_at_their_weights_and_temperature(make_recipe, monkeypatch, tmp_path):
    given = np.random.default_rng(0).normal(size=(2, 90, 3)).astype(np.float32) * 3
    for number, one in enumerate(given):
        columns = {"row": np.arange(1, 91), **{name: one[:, place] for place, name in enumerate(LABELS)}}
        pq.write_table(pa.table(columns), tmp_path / f"{number}.parquet")
    seen, train = [], run_module.train_network

    def watching(bench, folder, speaker, **options):
        seen.append(bench.feeder().extras)
        return train(bench, folder, speaker, **options)

    monkeypatch.setattr(run_module, "train_network", watching)
    sources = [str(tmp_path / f"{number}.parquet") for number in (0, 1)]
    teachers = {"sources": sources, "weights": [3.0, 1.0], "temperature": 4.0}
    recipe = make_recipe(teachers=teachers, training={"epochs": 1})
    train_quietly(recipe, tmp_path / "out")
    expected = softened(list(given[:, collect(recipe).training]), (3.0, 1.0), Decision(temperature=4.0))
    np.testing.assert_allclose(seen[0]["soft_targets"], expected, atol=1e-6)
