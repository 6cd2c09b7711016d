from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from several import NAMES, several
from sklearn import metrics as reference

from pennyweight.errors import InputError, RunError
from pennyweight.evaluation.decisions import Decision, sigmoid
from pennyweight.evaluation.judged import read_metrics
from pennyweight.evaluation.label_metrics import StreamingLabelMetrics

THRESHOLDS = (0.5, 0.3, 0.7, 0.4, 0.5)


def measured(logits, labels, *, temperature=1.0, thresholds=None, **options):
    decision = Decision("multi-label", temperature, thresholds)
    metrics = StreamingLabelMetrics(NAMES[: logits.shape[1]], decision, **{"resamples": 50, **options})
    metrics.update(logits, labels)
    return metrics.result()


def test_agrees_with_scikit_learn():
    logits, labels = several()
    found = measured(logits, labels, temperature=1.7, thresholds=THRESHOLDS)
    given = sigmoid(logits / 1.7) >= np.array(THRESHOLDS)
    scores = {
        average: reference.precision_recall_fscore_support(labels, given, average=average, zero_division=0)
        for average in ("micro", "macro", None)
    }
    assert (found.micro_precision, found.micro_recall, found.micro_f1.value) == pytest.approx(scores["micro"][:3])
    assert (found.macro_precision, found.macro_recall, found.macro_f1.value) == pytest.approx(scores["macro"][:3])
    assert [one.precision for one in found.per_class] == pytest.approx(scores[None][0])
    assert [one.recall for one in found.per_class] == pytest.approx(scores[None][1])
    assert [one.f1.value for one in found.per_class] == pytest.approx(scores[None][2])
    assert [one.support for one in found.per_class] == scores[None][3].tolist()
    assert [one.predicted for one in found.per_class] == given.sum(axis=0).tolist()
    assert [one.threshold for one in found.per_class] == list(THRESHOLDS)
    sample = reference.f1_score(labels, given, average="samples", zero_division=1)
    assert found.sample_f1 == pytest.approx(sample)
    assert found.accuracy.value == pytest.approx(reference.accuracy_score(labels, given))
    assert found.hamming_loss == pytest.approx(reference.hamming_loss(labels, given))
    ranking = reference.label_ranking_average_precision_score(labels, logits)
    assert found.ranking_average_precision == pytest.approx(ranking)
    assert found.coverage == pytest.approx(reference.coverage_error(labels, logits))
    assert found.labels_per_item == pytest.approx(labels.sum() / 400)
    for loss, temperature in ((found.log_loss_uncalibrated, 1), (found.log_loss, 1.7)):
        shares = sigmoid(logits / temperature)
        expected = reference.log_loss(labels.ravel(), np.stack([1 - shares.ravel(), shares.ravel()], axis=1))
        assert loss == pytest.approx(expected)


def test_ranking_with_equal_scores_agrees_with_scikit_learn():
    logits, labels = several(items=300, seed=5)
    coarse = np.round(logits)
    labels[10] = True
    found = measured(coarse, labels)
    ranking = reference.label_ranking_average_precision_score(labels, coarse)
    assert found.ranking_average_precision == pytest.approx(ranking)
    assert found.coverage == pytest.approx(reference.coverage_error(labels, coarse))


def test_average_precision_is_that_of_logits_in_steps_of_a_64th():
    logits, labels = several(seed=2)
    found = measured(logits, labels)
    coarse = np.floor(np.clip(logits, -16, 15.99) * 64)
    expected = [reference.average_precision_score(labels[:, index], coarse[:, index]) for index in range(4)]
    own = [one.average_precision for one in found.per_class]
    assert own[:4] == pytest.approx(expected)
    assert own[4] is None
    assert found.macro_average_precision == pytest.approx(np.mean(expected))
    exact = [reference.average_precision_score(labels[:, index], logits[:, index]) for index in range(4)]
    assert own[:4] == pytest.approx(exact, abs=5e-3)


def test_an_item_that_rightly_gets_no_label_counts_as_right():
    found = measured(np.full((4, 3), -2.0), np.zeros((4, 3), dtype=bool))
    assert (found.sample_f1, found.accuracy.value, found.hamming_loss) == (1, 1, 0)
    assert (found.micro_f1.value, found.macro_f1.value, found.macro_average_precision) == (0, 0, 0)
    assert (found.ranking_average_precision, found.coverage) == (1, 0)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [0, 2, 3, 1]])
def test_batches_make_the_same_as_all_at_once(order):
    logits, labels = several()
    pieces = np.array_split(np.arange(400), [3, 120, 121])
    decision = Decision("multi-label", 1.3, THRESHOLDS)
    streamed = StreamingLabelMetrics(NAMES, decision, resamples=50)
    for index in order:
        streamed.update(logits[pieces[index]], labels[pieces[index]])
    streamed.update(np.zeros((0, 5)), np.zeros((0, 5), dtype=bool))
    one, other = streamed.result().as_dict(), measured(logits, labels, temperature=1.3, thresholds=THRESHOLDS).as_dict()
    intervals = ("micro_f1_interval", "macro_f1_interval")
    if order == [0, 1, 2, 3]:  # resamples follow the order of the items
        assert [one[name] for name in intervals] == [other[name] for name in intervals]
    for name in one.keys() - {*intervals, "per_class", "reliability"}:
        assert one[name] == (pytest.approx(other[name]) if isinstance(one[name], float) else other[name])


def test_intervals_are_those_of_a_plain_bootstrap_over_items():
    logits, labels = several(items=500, seed=8)
    given = sigmoid(logits) >= 0.5
    generator = np.random.default_rng(1)
    values = []
    for _ in range(500):
        drawn = generator.integers(0, 500, 500)
        scores = [
            reference.f1_score(labels[drawn], given[drawn], average=one, zero_division=0) for one in ("micro", None)
        ]
        values.append([scores[0], scores[1].mean(), *scores[1][:4]])
    low, high = np.quantile(values, (0.025, 0.975), axis=0)
    found = measured(logits, labels, resamples=2000)
    intervals = [found.micro_f1, found.macro_f1, *(one.f1 for one in found.per_class[:4])]
    assert [one.low for one in intervals] == pytest.approx(low, abs=0.015)
    assert [one.high for one in intervals] == pytest.approx(high, abs=0.015)
    assert all(one.low < one.value < one.high for one in intervals)


def test_reliability_counts_every_label_of_every_item():
    logits, labels = several()
    found = measured(logits, labels, temperature=2.0)
    for bins, temperature in ((found.reliability, 2.0), (found.reliability_uncalibrated, 1.0)):
        shares = sigmoid(logits / temperature)
        assert sum(one.count for one in bins) == 2000
        for one in bins:
            inside = (shares > one.low) & (shares <= one.high) if one.low else shares <= one.high
            assert one.count == inside.sum()
            if one.count:
                assert one.accuracy == pytest.approx(labels[inside].mean())
                assert one.confidence == pytest.approx(shares[inside].mean())


def test_memory_does_not_grow_with_the_items():
    metrics = StreamingLabelMetrics(NAMES, resamples=100)
    logits, labels = several(items=2000)
    metrics.update(logits, labels)
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    for _ in range(10):
        metrics.update(logits, labels)
    grown = sum(one.size_diff for one in tracemalloc.take_snapshot().compare_to(before, "filename"))
    tracemalloc.stop()
    assert grown < 50_000


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_stop_the_run(bad):
    logits, labels = several(items=10)
    logits[3, 1] = bad
    with pytest.raises(RunError, match=r"not finite.*learning_rate"):
        measured(logits, labels)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="labels of shape"):
        measured(np.zeros((2, 5)), np.zeros((2, 4), dtype=bool))
    with pytest.raises(ValueError, match="labels of shape"):
        StreamingLabelMetrics(NAMES).update(np.zeros((2, 4)), np.zeros((2, 4), dtype=bool))
    with pytest.raises(InputError, match="nothing to evaluate"):
        StreamingLabelMetrics(NAMES).result()


def test_dictionary_keeps_the_contract_and_comes_back_from_json():
    found = measured(*several(items=60), temperature=1.5, thresholds=THRESHOLDS)
    content = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert content == found.as_dict()
    assert set(content) == {
        *("problem", "examples", "accuracy", "micro_precision", "micro_recall", "micro_f1", "micro_f1_interval"),
        *("macro_precision", "macro_recall", "macro_f1", "macro_f1_interval", "sample_f1", "hamming_loss"),
        *("ranking_average_precision", "coverage", "macro_average_precision", "labels_per_item", "log_loss"),
        *("log_loss_uncalibrated", "ece", "ece_uncalibrated", "temperature", "labels", "per_class", "reliability"),
    }
    assert set(content["per_class"][0]) == {
        *("label", "support", "predicted", "threshold", "precision", "recall"),
        *("f1", "f1_low", "f1_high", "average_precision"),
    }
    assert content["problem"] == "multi-label"
    assert read_metrics(content) == found


def test_importing_it_imports_neither_torch_nor_scipy():
    heavy = "{'torch', 'scipy', 'sklearn', 'matplotlib'}"
    script = f"import sys, pennyweight.evaluation.judged; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
