from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import f1_score

from pennyweight.evaluation.intervals import bootstrap_f1, wilson


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (1, 1), (0, 30), (30, 30), (7, 12), (112, 120), (7091, 7600)]
)
def test_wilson_agrees_with_scipy(successes, trials):
    found = wilson(successes, trials)
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    assert found.value == successes / trials
    assert found.low == pytest.approx(expected.low, abs=1e-12)
    assert found.high == pytest.approx(expected.high, abs=1e-12)


def test_wilson_without_trials_knows_nothing():
    assert wilson(0, 0) == type(wilson(0, 0))(0.0, 0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3)])
def test_wilson_refuses_impossible_counts(successes, trials):
    with pytest.raises(ValueError, match="successes out of"):
        wilson(successes, trials)


def _items(confusion):
    """The labels and predictions that a confusion matrix counts."""
    true, predicted = np.nonzero(confusion)
    counts = confusion[true, predicted]
    return np.repeat(true, counts), np.repeat(predicted, counts)


def test_bootstrap_agrees_with_resampling_the_items_themselves():
    confusion = np.array([[40, 6, 2], [5, 50, 4], [9, 1, 30]])
    labels, predictions = _items(confusion)
    generator = np.random.default_rng(3)
    naive = []
    for _ in range(2000):
        chosen = generator.integers(0, len(labels), len(labels))
        naive.append(f1_score(labels[chosen], predictions[chosen], labels=[0, 1, 2], average=None, zero_division=0))
    naive = np.array(naive)

    macro, per_class = bootstrap_f1(confusion, resamples=4000, seed=1)

    low, high = np.quantile(naive.mean(1), (0.025, 0.975))
    assert macro.value == pytest.approx(f1_score(labels, predictions, average="macro"))
    assert (macro.low, macro.high) == pytest.approx((low, high), abs=0.008)
    for index, one in enumerate(per_class):
        low, high = np.quantile(naive[:, index], (0.025, 0.975))
        assert one.value == pytest.approx(f1_score(labels, predictions, average=None)[index])
        assert (one.low, one.high) == pytest.approx((low, high), abs=0.012)


def test_bootstrap_covers_the_true_score_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    cells = np.array([[0.30, 0.03, 0.02], [0.04, 0.25, 0.03], [0.02, 0.03, 0.28]])
    recall, precision = cells.diagonal() / cells.sum(1), cells.diagonal() / cells.sum(0)
    truth = (2 * precision * recall / (precision + recall)).mean()
    covered = 0
    for seed in range(300):
        sample = generator.multinomial(300, cells.ravel()).reshape(3, 3)
        macro, _ = bootstrap_f1(sample, resamples=400, seed=seed)
        covered += macro.low <= truth <= macro.high
    assert 0.90 <= covered / 300 <= 0.99


def test_bootstrap_is_a_function_of_the_seed():
    confusion = np.array([[20, 3], [4, 30]])
    assert bootstrap_f1(confusion, seed=5) == bootstrap_f1(confusion, seed=5)
    assert bootstrap_f1(confusion, seed=5) != bootstrap_f1(confusion, seed=6)


def test_bootstrap_drawn_in_parts_is_the_same(monkeypatch):
    confusion = np.random.default_rng(0).integers(0, 4, (9, 9))
    whole = bootstrap_f1(confusion, resamples=200)
    monkeypatch.setattr("pennyweight.evaluation.intervals._CELLS_PER_DRAW", 500)
    assert bootstrap_f1(confusion, resamples=200) == whole


def test_classes_of_a_single_item_do_not_pull_the_interval_below_the_estimate():
    macro, per_class = bootstrap_f1(np.eye(77, dtype=np.int64))
    assert macro.low <= macro.value == 1.0 <= macro.high
    assert all(one.low <= one.value <= one.high for one in per_class)


def test_classes_absent_from_the_data_count_nothing_in_estimate_and_interval():
    confusion = np.zeros((4, 4), dtype=np.int64)
    confusion[:2, :2] = [[8, 2], [1, 9]]
    macro, per_class = bootstrap_f1(confusion)
    half, _ = bootstrap_f1(confusion[:2, :2])
    assert macro.value == pytest.approx(half.value / 2)
    assert (macro.low, macro.high) == pytest.approx((half.low / 2, half.high / 2))
    assert [(one.value, one.low, one.high) for one in per_class[2:]] == [(0, 0, 0), (0, 0, 0)]


@pytest.mark.parametrize("seed", range(5))
def test_interval_holds_the_estimate_and_stays_within_bounds(seed):
    confusion = np.random.default_rng(seed).poisson(1.0 + 6 * np.eye(12))
    macro, per_class = bootstrap_f1(confusion)
    for one in (macro, *per_class):
        assert 0 <= one.low <= one.value <= one.high <= 1
