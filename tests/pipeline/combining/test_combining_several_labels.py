"""Ensembles and merging of classifiers that give a text any number of labels."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import train_quietly
from tiny import LABELS, tagged, write_csv

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.evaluation.calibration import fit_temperature
from pennyweight.evaluation.decisions import tune_thresholds
from pennyweight.opening import load
from pennyweight.pipeline.combining.ensembling import make_ensemble
from pennyweight.pipeline.combining.merged import compare_merged, judge_members
from pennyweight.pipeline.combining.merging import Blend, merge_classifiers

TEXTS = [text for text, _ in tagged(40, seed=4)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    def write(seed):
        rows = [(text, "|".join(labels)) for text, labels in tagged(seed=seed)]
        return write_csv(tmp_path_factory.mktemp("tagged") / f"{seed}.csv", rows, ("text", "tags"))

    return write


@pytest.fixture(scope="module")
def taggers(make_recipe, source, tmp_path_factory):
    """Two classifiers, the labels of the second in another order."""
    folder, data = tmp_path_factory.mktemp("taggers"), str(source(9))
    folders = []
    for seed, labels in enumerate((LABELS, LABELS[::-1])):
        recipe = make_recipe(
            data={"source": data, "label": "tags", "task": "multi-label", "validation": 0.25, "labels": list(labels)},
            training={"epochs": 6, "learning_rate": 0.02, "seed": seed},
        )
        folders.append(train_quietly(recipe, folder / str(seed)).folder)
    return folders


def by_label(classifier, values) -> np.ndarray:
    """Columns in the order of `LABELS`."""
    return np.asarray(values)[..., [classifier.labels.index(label) for label in LABELS]]


def test_an_ensemble_of_one_is_that_one(taggers, tmp_path):
    make_ensemble(taggers[1:], tmp_path / "one")
    one, own = load(tmp_path / "one"), Classifier.load(taggers[1])
    assert (one.labels, one.manifest.thresholds) == (own.labels, own.manifest.thresholds)
    np.testing.assert_allclose(one.predict_proba(TEXTS), own.predict_proba(TEXTS), rtol=1e-5)
    assert one.predict(TEXTS) == own.predict(TEXTS)
    assert len(set(one.predict(TEXTS))) > 2


def test_the_mean_is_of_each_labels_probability(taggers, tmp_path):
    make_ensemble(taggers, tmp_path / "mean")
    together, members = load(tmp_path / "mean"), [Classifier.load(folder) for folder in taggers]
    expected = np.mean([by_label(member, member.predict_proba(TEXTS)) for member in members], axis=0)
    np.testing.assert_allclose(together.predict_proba(TEXTS), expected, atol=1e-6)
    thresholds = np.mean([by_label(member, member.manifest.thresholds) for member in members], axis=0)
    assert together.manifest.thresholds == pytest.approx(thresholds)
    given = [tuple(np.array(LABELS)[row].tolist()) for row in expected >= thresholds]
    assert together.predict(TEXTS) == given


@pytest.mark.parametrize("method", ["mean", "weighted", "stacked"])
def test_labelled_data_fit_all_there_is_to_fit(method, taggers, source, tmp_path):
    done = make_ensemble(taggers, tmp_path / "out", method=method, data=str(source(31)))
    together, (texts, sets) = load(tmp_path / "out"), zip(*tagged(seed=31), strict=True)
    truth = np.array([[label in labels for label in LABELS] for labels in sets])
    logits, manifest = together.logits(texts), done.manifest
    assert manifest.temperature == pytest.approx(fit_temperature(logits, truth), rel=0.02)
    shares = together.predict_proba(texts)
    assert manifest.thresholds == pytest.approx(tune_thresholds(shares, truth), abs=1e-5)
    assert manifest.fitted.examples == 120
    log_loss = -np.where(truth, np.log(shares), np.log(1 - shares)).mean()
    assert manifest.fitted.log_loss == pytest.approx(log_loss, abs=1e-5)
    if method != "mean":
        assert log_loss <= min(manifest.fitted.member_log_loss) + 0.02


def test_members_of_both_kinds_are_refused(taggers, trained, tmp_path):
    with pytest.raises(InputError, match="some members give a text one class and others several labels"):
        make_ensemble([trained, taggers[0]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_judges_one(taggers, source, tmp_path, pennyweight):
    code, _, stderr = pennyweight("ensemble", *taggers, "--out", tmp_path / "out", "--data", source(31))
    assert code == 0, stderr
    code, stdout, stderr = pennyweight("evaluate", tmp_path / "out", "--data", source(32))
    assert code == 0, stderr
    assert "macro F1" in stdout


def test_merged_with_itself_it_is_itself(taggers, source, tmp_path):
    [folder] = merge_classifiers(taggers[:1] * 2, tmp_path / "merged", Blend("linear", weights=(1.0, 3.0)))
    merged, own = load(folder), Classifier.load(taggers[0])
    assert merged.manifest.thresholds == pytest.approx(own.manifest.thresholds)
    np.testing.assert_allclose(merged.predict_proba(TEXTS), own.predict_proba(TEXTS), atol=1e-5)
    data = [str(source(31))]
    [judged] = compare_merged(taggers[:1], judge_members(taggers[:1], data), [folder], data)
    texts, sets = zip(*tagged(seed=31), strict=True)
    expected = np.mean([set(found) == set(truth) for found, truth in zip(own.predict(texts), sets, strict=True)])
    assert judged.examples == 120
    assert judged.before.value == pytest.approx(expected)
    assert judged.after.value == pytest.approx(expected, abs=0.01)


def test_merged_thresholds_are_means_label_by_label(taggers, tmp_path):
    [folder] = merge_classifiers(taggers, tmp_path / "merged", Blend("linear", weights=(1.0, 3.0)))
    first, second = (Classifier.load(one) for one in taggers)
    expected = (np.array(first.manifest.thresholds) + 3 * by_label(second, second.manifest.thresholds)) / 4
    assert load(folder).manifest.thresholds == pytest.approx(expected)


def test_heads_of_both_kinds_are_not_merged(taggers, trained, tmp_path):
    with pytest.raises(InputError, match="one gives a text one class and the other several labels"):
        merge_classifiers([trained, taggers[0]], tmp_path / "out", Blend("linear"))
