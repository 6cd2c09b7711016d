from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from sklearn import metrics as reference

from pennyweight.errors import InputError, RunError
from pennyweight.evaluation.metrics import StreamingMetrics, check_logits, log_softmax

NAMES = ("World", "Sports", "Business", "Sci/Tech", "never seen")


def _data(items=500, classes=5, seed=0, used=4):
    """Logits and labels of a fair classifier; the last class neither occurs nor is predicted."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, used, items)
    logits = generator.normal(size=(items, classes)) * 2
    logits[np.arange(items), labels] += 2.5
    logits[:, used:] -= 50
    return logits, labels


def _measured(logits, labels, **options):
    metrics = StreamingMetrics(NAMES[: logits.shape[1]], **options)
    metrics.update(logits, labels)
    return metrics.result(resamples=50)


def _softmax(logits):
    raised = np.exp(logits - logits.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def _plain_ece(logits, labels, bins=15):
    """Guo et al. (2017), item by item: bins ((m - 1)/M, m/M], each weighing what it holds."""
    members = [[] for _ in range(bins)]
    for row, label in zip(_softmax(logits), labels, strict=True):
        place = next(m for m in range(bins) if row.max() <= (m + 1) / bins or m == bins - 1)
        members[place].append((row.max(), row.argmax() == label))
    return sum(
        len(held) / len(labels) * abs(np.mean([right for _, right in held]) - np.mean([sure for sure, _ in held]))
        for held in members
        if held
    )


def test_agrees_with_scikit_learn():
    logits, labels = _data()
    predicted = logits.argmax(1)
    every = list(range(5))
    found = _measured(logits, labels, temperature=1.7)

    precision, recall, f1, support = reference.precision_recall_fscore_support(
        labels, predicted, labels=every, zero_division=0
    )
    assert found.examples == 500
    assert found.accuracy.value == pytest.approx(reference.accuracy_score(labels, predicted))
    assert found.confusion == tuple(map(tuple, reference.confusion_matrix(labels, predicted, labels=every)))
    assert [one.label for one in found.per_class] == list(NAMES)
    assert [one.precision for one in found.per_class] == pytest.approx(precision)
    assert [one.recall for one in found.per_class] == pytest.approx(recall)
    assert [one.f1.value for one in found.per_class] == pytest.approx(f1)
    assert [one.support for one in found.per_class] == list(support)
    assert [one.predicted for one in found.per_class] == [int((predicted == i).sum()) for i in every]
    assert (found.macro_precision, found.macro_recall) == pytest.approx((precision.mean(), recall.mean()))
    assert found.macro_f1.value == pytest.approx(f1.mean())
    assert found.log_loss_uncalibrated == pytest.approx(reference.log_loss(labels, _softmax(logits), labels=every))
    assert found.log_loss == pytest.approx(reference.log_loss(labels, _softmax(logits / 1.7), labels=every))


@pytest.mark.parametrize("bins", [1, 7, 15])
def test_calibration_error_agrees_with_a_plain_loop(bins):
    logits, labels = _data(items=400, seed=2)
    found = _measured(logits, labels, temperature=0.6, bins=bins)
    assert found.ece_uncalibrated == pytest.approx(_plain_ece(logits, labels, bins))
    assert found.ece == pytest.approx(_plain_ece(logits / 0.6, labels, bins))
    assert found.ece != pytest.approx(found.ece_uncalibrated)


def test_confidence_on_an_edge_belongs_to_the_lower_bin():
    found = _measured(np.zeros((6, 2)), np.array([0, 0, 0, 1, 1, 1]), bins=2)
    assert [one.count for one in found.reliability] == [6, 0]
    assert (found.reliability[0].confidence, found.reliability[0].accuracy) == (0.5, 0.5)
    assert (found.reliability[1].confidence, found.reliability[1].accuracy) == (None, None)


def test_certain_predictions_land_in_the_last_bin():
    found = _measured(np.array([[900.0, 0.0], [0.0, 900.0]]), np.array([0, 1]))
    assert [one.count for one in found.reliability] == [0] * 14 + [2]
    assert found.ece == 0


def test_reliability_bins_hold_every_item_at_both_temperatures():
    found = _measured(*_data(), temperature=2.0)
    for bins in (found.reliability, found.reliability_uncalibrated):
        assert sum(one.count for one in bins) == 500
        assert all(one.low <= one.confidence <= one.high for one in bins if one.count)
    assert found.reliability != found.reliability_uncalibrated


def _nearly_equal(one, other):
    one, other = one.as_dict(), other.as_dict()
    assert one["confusion"] == other["confusion"]
    assert one["macro_f1_interval"] == other["macro_f1_interval"]
    for key in ("log_loss", "log_loss_uncalibrated", "ece", "ece_uncalibrated"):
        assert one[key] == pytest.approx(other[key], rel=1e-12)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2]])
def test_batches_in_any_order_make_the_same_as_all_at_once(order):
    logits, labels = _data()
    pieces = np.array_split(np.arange(500), [3, 120, 121])
    streamed = StreamingMetrics(NAMES, temperature=1.3)
    for index in order:
        streamed.update(logits[pieces[index]], labels[pieces[index]])
    streamed.update(np.empty((0, 5)), np.empty(0))
    _nearly_equal(streamed.result(resamples=50), _measured(logits, labels, temperature=1.3))


def test_merging_makes_the_same_as_all_at_once():
    logits, labels = _data()
    parts = [StreamingMetrics(NAMES), StreamingMetrics(NAMES), StreamingMetrics(NAMES)]
    parts[0].update(logits[:200], labels[:200])
    parts[1].update(logits[200:], labels[200:])
    for other in parts[1:]:
        parts[0].merge(other)
    assert parts[0].examples == 500
    _nearly_equal(parts[0].result(resamples=50), _measured(logits, labels))


@pytest.mark.parametrize(
    "other", [StreamingMetrics("ab", temperature=2), StreamingMetrics("ac"), StreamingMetrics("ab", bins=9)]
)
def test_only_like_merges_with_like(other):
    with pytest.raises(ValueError, match="can be merged"):
        StreamingMetrics("ab").merge(other)


def test_memory_does_not_grow_with_the_items():
    logits, labels = _data(items=1000)
    metrics = StreamingMetrics(NAMES, temperature=1.5)
    metrics.update(logits, labels)
    tracemalloc.start()
    try:
        for _ in range(5):
            metrics.update(logits, labels)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            metrics.update(logits, labels)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert metrics.examples == 106_000
    assert grown < 5_000


def test_huge_logits_neither_overflow_nor_vanish():
    with np.errstate(all="raise", under="ignore"):
        log_probabilities = log_softmax(np.array([[1e4, -1e4, 0.0]]))
        found = _measured(np.array([[3e4, -3e4], [-3e4, 3e4]], dtype=np.float32), np.array([0, 0]))
    assert log_probabilities.tolist() == [[0.0, -2e4, -1e4]]
    assert found.log_loss == pytest.approx(3e4)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_single_and_half_precision_are_summed_in_double(kind):
    logits, labels = _data(seed=4)
    rounded = logits.astype(kind)
    assert _measured(rounded, labels) == _measured(rounded.astype(np.float64), labels)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_finite_stop_the_run(bad):
    logits, labels = _data(items=10)
    logits[3, 1] = bad
    with pytest.raises(RunError, match=r"not finite.*learning_rate"):
        StreamingMetrics(NAMES).update(logits, labels)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((2, 3)), np.zeros(3, int)),
        (np.zeros(3), np.zeros(3, int)),
        (np.zeros((2, 3)), np.array([0, 3])),
        (np.zeros((2, 3)), np.array([-1, 0])),
        (np.zeros((2, 3)), np.array([0.5, 1.0])),
    ],
)
def test_logits_and_labels_must_fit_each_other(logits, labels):
    with pytest.raises(ValueError, match="labels"):
        check_logits(logits, labels)


def test_logits_must_fit_the_label_names():
    with pytest.raises(ValueError, match="3 classes, but there are 2 label names"):
        StreamingMetrics(["a", "b"]).update(np.zeros((1, 3)), np.zeros(1, int))


def test_nothing_to_evaluate_is_an_input_error():
    with pytest.raises(InputError, match="nothing to evaluate"):
        StreamingMetrics(NAMES).result()


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.inf, np.nan])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="must be positive"):
        StreamingMetrics(NAMES, temperature=temperature)


def test_dictionary_keeps_the_contract_and_survives_json():
    found = _measured(*_data(items=9), temperature=1.5)
    content = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert content == found.as_dict()
    assert set(content) == {
        *("examples", "accuracy", "macro_precision", "macro_recall", "macro_f1", "macro_f1_interval", "labels"),
        *("log_loss", "log_loss_uncalibrated", "ece", "ece_uncalibrated", "temperature", "per_class", "confusion"),
        "reliability",
    }
    assert set(content["accuracy"]) == {"value", "low", "high"}
    assert set(content["macro_f1_interval"]) == {"low", "high"}
    assert set(content["per_class"][0]) == {
        *("label", "support", "predicted", "precision", "recall", "f1", "f1_low", "f1_high"),
    }
    assert content["temperature"] == 1.5
    assert content["labels"] == list(NAMES)
    assert content["per_class"][4] == {
        **{"label": "never seen", "support": 0, "predicted": 0, "precision": 0, "recall": 0},
        **{"f1": 0, "f1_low": 0, "f1_high": 0},
    }


def test_importing_metrics_imports_neither_torch_nor_scipy():
    heavy = "{'torch', 'scipy', 'sklearn', 'matplotlib'}"
    script = f"import sys, pennyweight.evaluation.metrics; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
