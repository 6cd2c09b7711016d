"""A run on texts with several labels, from the file to predictions, and metrics by group."""

from __future__ import annotations

import csv
import json
import shutil
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import train_quietly
from test_resuming import Interrupting, same
from tiny import LABELS, sentences, tagged, write_csv

from pennyweight.classifier import Classifier
from pennyweight.errors import Interrupted
from pennyweight.evaluation.calibration import fit_temperature
from pennyweight.evaluation.decisions import Decision, tune_thresholds
from pennyweight.evaluation.label_results import LabelMetrics
from pennyweight.pipeline.judging.judgement import evaluate_source
from pennyweight.pipeline.preparation import collect
from pennyweight.pipeline.run import train_recipe


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    rows = [(text, "|".join(labels), ("north", "south")[len(text) % 2]) for text, labels in tagged()]
    return write_csv(tmp_path_factory.mktemp("tagged") / "tagged.csv", rows, ("text", "tags", "place"))


@pytest.fixture(scope="module")
def tagged_recipe(make_recipe, source):
    def make(**changes):
        data = {"source": str(source), "label": "tags", "task": "multi-label", "validation": 0.25, "groups": "place"}
        training = {"epochs": 12, "learning_rate": 0.02, "metric": "macro_f1"}
        return make_recipe(
            data={**data, **changes.pop("data", {})}, training={**training, **changes.pop("training", {})}, **changes
        )

    return make


@pytest.fixture(scope="module")
def outcome(tagged_recipe, tmp_path_factory):
    return train_quietly(tagged_recipe(), tmp_path_factory.mktemp("several") / "classifier")


@pytest.fixture(scope="module")
def classifier(outcome):
    return Classifier.load(outcome.folder, device="cpu")


def held_out(recipe):
    collected = collect(recipe)
    return [collected.texts[index] for index in collected.validation], collected.labels[collected.validation]


def test_it_learns_and_says_so_by_label(outcome):
    metrics = outcome.judgement.metrics
    assert isinstance(metrics, LabelMetrics)
    assert metrics.label_names == LABELS
    assert metrics.macro_f1.value > 0.62, "all labels for every text would give 0.57"
    assert metrics.micro_f1.low < metrics.micro_f1.value < metrics.micro_f1.high


def test_temperature_and_thresholds_are_those_of_the_validation_split(tagged_recipe, classifier):
    texts, truth = held_out(tagged_recipe())
    logits = classifier.logits(texts)
    temperature = fit_temperature(logits, truth)
    assert classifier.manifest.temperature == pytest.approx(temperature, rel=1e-4)
    thresholds = tune_thresholds(Decision("multi-label", temperature).probabilities(logits), truth)
    assert classifier.manifest.thresholds == pytest.approx(thresholds, abs=1e-4)
    assert len(set(thresholds)) > 1
    assert (classifier.manifest.format, classifier.manifest.problem) == (2, "multi-label")


def test_predictions_are_the_labels_above_their_thresholds(tagged_recipe, classifier):
    texts, _ = held_out(tagged_recipe())
    shares = classifier.predict_proba(texts)
    given = shares >= np.array(classifier.manifest.thresholds)
    expected = [tuple(np.array(LABELS)[row].tolist()) for row in given]
    assert classifier.predict(texts) == expected
    assert {len(labels) for labels in expected} >= {0, 1, 2}


def test_the_judgement_is_what_the_saved_classifier_says(tagged_recipe, outcome, classifier):
    texts, truth = held_out(tagged_recipe())
    names = [[LABELS[index] for index in np.flatnonzero(row)] for row in truth]
    recorded = json.loads((outcome.folder / "report" / "metrics.json").read_text())
    for labels in (names, ["|".join(own) for own in names], [np.flatnonzero(row) for row in truth]):
        again = classifier.evaluate(texts, labels, resamples=100).as_dict()
        assert again["per_class"] == recorded["per_class"]
        assert again["micro_f1_interval"] == recorded["micro_f1_interval"]
    rows = pq.read_table(outcome.folder / "report" / "predictions.parquet").to_pylist()
    assert [tuple(row["predicted"]) for row in rows] == classifier.predict(texts)
    assert [row["label"] for row in rows] == names


def test_training_and_validation_keep_the_mix_of_labels(tagged_recipe):
    collected = collect(tagged_recipe())
    assert collected.labels.shape == (120, 3)
    assert collected.labels.dtype == bool
    shares = [collected.labels[part].mean(axis=0) for part in (collected.training, collected.validation)]
    assert shares[0] == pytest.approx(shares[1], abs=0.12)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_predicting_a_file(suffix, outcome, classifier, source, tmp_path, pennyweight):
    out = tmp_path / f"out{suffix}"
    columns = "row,label,label_id,confidence,place=column:place,probabilities"
    code, _, stderr = pennyweight("predict", outcome.folder, "--data", source, "--out", out, "--columns", columns)
    assert code == 0, stderr
    texts = [text for text, _ in tagged()]
    expected = classifier.predict(texts)
    if suffix == ".csv":
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        found = [tuple(filter(None, row["label"].split("|"))) for row in rows]
        ids = [tuple(int(one) for one in row["label_id"].split("|") if one) for row in rows]
    else:
        lines = out.read_text().splitlines() if suffix == ".jsonl" else []
        rows = [json.loads(line) for line in lines] if lines else pq.read_table(out).to_pylist()
        found, ids = [tuple(row["label"]) for row in rows], [tuple(row["label_id"]) for row in rows]
    assert found == expected
    assert ids == [tuple(LABELS.index(name) for name in names) for names in expected]
    shares = classifier.predict_proba(texts)
    given = shares >= np.array(classifier.manifest.thresholds)
    sure = np.where(given, shares, 1 - shares).prod(axis=1)
    assert [float(row["confidence"]) for row in rows] == pytest.approx(sure.tolist())
    assert [float(row["p_harbour"]) for row in rows] == pytest.approx(shares[:, 1].tolist())


def test_evaluating_prints_one_object_and_a_table(outcome, source, tmp_path, pennyweight):
    arguments = ("evaluate", outcome.folder, "--data", source, "--by", "place")
    code, stdout, stderr = pennyweight(*arguments, "--json", "--out", tmp_path / "report")
    assert code == 0, stderr
    content = json.loads(stdout)
    assert content["problem"] == "multi-label"
    assert content["groups"]["column"] == "place"
    assert {one["group"] for one in content["groups"]["groups"]} == {"north", "south"}
    assert sum(one["examples"] for one in content["groups"]["groups"]) == content["examples"] == 120
    assert "By place" in (tmp_path / "report" / "report.html").read_text()
    code, stdout, _ = pennyweight(*arguments)
    assert code == 0
    for words in ("micro F1", "all labels right", "threshold", "orchard", "north"):
        assert words in stdout


def test_a_half_is_the_threshold_where_asked_or_where_nothing_is_held_out(tagged_recipe, tmp_path):
    for number, changes in enumerate(({"evaluation": {"thresholds": "half"}}, {"data": {"validation": 0}})):
        recipe = tagged_recipe(training={"epochs": 1}, **changes)
        folder = train_quietly(recipe, tmp_path / str(number)).folder
        assert Classifier.load(folder, device="cpu").manifest.thresholds == (0.5, 0.5, 0.5)


def test_stopping_and_resuming_changes_nothing(tagged_recipe, tmp_path):
    recipe = tagged_recipe(
        training={"epochs": 2, "checkpoint_steps": 2, "label_smoothing": 0.1}, objective={"class_weights": "balanced"}
    )
    whole = train_quietly(recipe, tmp_path / "whole").folder
    for step in (3,):
        with pytest.raises(Interrupted, match=f"stopped after step {step}"):
            train_recipe(recipe, tmp_path / "parts", resume=True, speaker=Interrupting(step, signal.SIGINT), cpu=True)
    same(train_quietly(recipe, tmp_path / "parts", resume=True).folder, whole)


def test_a_finished_run_is_read_back(tagged_recipe, outcome):
    again = train_quietly(tagged_recipe(), outcome.folder, resume=True)
    assert again.judgement.metrics == outcome.judgement.metrics
    assert again.judgement.groups == outcome.judgement.groups


def test_the_card_and_the_terminal_tell_of_several_labels(tagged_recipe, outcome, tmp_path, capsys):
    card = (outcome.folder / "README.md").read_text()
    assert "Any number of these labels may apply" in card
    assert "| micro F1 |" in card
    thresholds = outcome.judgement.metrics.per_class
    assert f"orchard ({thresholds[0].threshold:.3f})" in card
    train_recipe(tagged_recipe(training={"epochs": 1}), tmp_path / "said", cpu=True)
    said = capsys.readouterr().err
    assert "120 items in 3 labels" in said
    assert "labels per item" in said
    assert "micro F1" in said


def test_groups_of_one_class_each(make_recipe, small_csv, tmp_path, pennyweight):
    rows = [(text, label, ("long", "short")[len(text) < 80]) for text, label in sentences(60, seed=3)]
    test = write_csv(tmp_path / "test.csv", rows, ("text", "label", "size"))
    train = write_csv(tmp_path / "train.csv", [(*row, "") for row in sentences()], ("text", "label", "size"))
    recipe = make_recipe(data={"source": str(train), "test": str(test), "groups": "size"}, training={"epochs": 1})
    outcome = train_quietly(recipe, tmp_path / "out")
    groups = outcome.judgement.groups
    assert [one.group for one in groups.groups] == ["long", "short"] or groups.groups[0].group == "short"
    classifier = Classifier.load(outcome.folder, device="cpu")
    for one in groups.groups:
        own = [(text, label) for text, label, size in rows if size == one.group]
        alone = classifier.evaluate([text for text, _ in own], [label for _, label in own], resamples=100)
        assert (one.examples, one.accuracy) == (alone.examples, alone.accuracy)
    assert json.loads((outcome.folder / "classifier.json").read_text())["metrics"]["groups"] == groups.as_dict()
    judged = evaluate_source(classifier, str(test), resamples=100)
    assert judged.groups is None
    assert "groups" not in judged.as_dict()
    code, _, stderr = pennyweight("evaluate", outcome.folder, "--data", test, "--by", "colour")
    assert code == 2
    assert "no column 'colour'" in stderr
    assert "--by" in stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.metric=micro_f1", "say accuracy"),
        ("evaluation.thresholds=half", "data.task = 'multi-label'"),
        ("data.label_separator=;", "data.task = 'multi-label'"),
        ("data.groups=label", "is a text or label column"),
        ("data.task=regression", "data.task"),
    ],
)
def test_what_does_not_go_together_is_refused(change, message, small_recipe, refused, tmp_path):
    assert message in refused("train", small_recipe, "--out", tmp_path / "out", "--set", change)


def test_labels_in_other_words(outcome, tmp_path, pennyweight, classifier):
    """Translated back it is ours; a label that is not mapped is taken off, and a text that has no other left out."""
    rows = [(text, "|".join(["noise", *map(str.upper, labels)])) for text, labels in tagged()]
    theirs = write_csv(tmp_path / "theirs.csv", rows, ("text", "tags"))
    mapping = ",".join(f"{label.upper()}={label}" for label in LABELS)
    code, stdout, stderr = pennyweight("evaluate", outcome.folder, "--data", theirs, "--map", mapping, "--json")
    assert code == 0, stderr
    found = json.loads(stdout)
    some = [(text, labels) for text, labels in tagged() if labels]
    assert found["unmapped"] == {"noise": 120}
    assert found["examples"] == len(some) < 120
    expected = classifier.evaluate(*map(list, zip(*some, strict=True)))
    assert found["macro_f1"] == pytest.approx(expected.macro_f1.value)


def test_compared_with_itself_it_is_what_evaluating_gives(outcome, classifier, source, tmp_path, pennyweight):
    copied = shutil.copytree(outcome.folder, tmp_path / "copied")
    code, stdout, stderr = pennyweight("compare", outcome.folder, copied, "--data", source, "--json")
    assert code == 0, stderr
    evaluated = evaluate_source(classifier, str(source), resamples=100).metrics
    for contender in json.loads(stdout)["contenders"]:
        assert contender["accuracy"]["value"] == evaluated.accuracy.value


def test_filtered_altered_and_averaged(tagged_recipe, tmp_path):
    recipe = tagged_recipe(
        training={"epochs": 1},
        filter={"shortest": 6},
        augmentation={"copies": 1, "operations": ["swap"]},
        evaluation={"augmented_copies": 2},
    )
    outcome = train_quietly(recipe, tmp_path / "out")
    classifier = Classifier.load(outcome.folder, device="cpu")
    texts, truth = held_out(recipe)
    logits = classifier.logits(texts)
    temperature = fit_temperature(logits, truth)
    assert classifier.manifest.temperature == pytest.approx(temperature, rel=1e-6)
    decision = Decision("multi-label", temperature)
    assert classifier.manifest.thresholds == pytest.approx(tune_thresholds(decision.probabilities(logits), truth))
    plain = classifier.with_copies(0)
    readings = decision.probabilities(plain.logits(classifier._with_copies(texts[:3])) * temperature)
    expected = readings.reshape(3, 3, -1).mean(axis=1)
    np.testing.assert_allclose(decision.probabilities(logits[:3] * temperature), expected, atol=1e-5)
    listed = pq.read_table(outcome.folder / "report" / "filtered.parquet").to_pylist()
    assert listed
    assert {line["reason"] for line in listed} == {"too short"}
    assert all(set(line["label"].split("|")) <= {*LABELS, ""} for line in listed)
