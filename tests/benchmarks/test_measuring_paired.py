from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from benchmarks.paired import accuracy, compared, macro_f1


def test_of_the_same_predictions_nothing_is_different():
    truth = np.arange(40) % 4
    same = np.stack([truth, np.roll(truth, 1)])
    found = compared(same, same, truth)
    assert (found.off, found.difference, found.low, found.high, found.p) == (0.5, 0, 0, 0, 1)


def test_a_large_difference_is_sure_and_a_small_one_is_not():
    generator = np.random.default_rng(0)
    truth = generator.integers(4, size=1000)

    def guesses(right: float) -> np.ndarray:
        keep = generator.random((3, 1000)) < right
        return np.where(keep, truth, (truth + 1) % 4)

    sure = compared(guesses(0.8), guesses(0.9), truth)
    assert sure.p < 1e-6 and 0 < sure.low < sure.difference < sure.high
    assert sure.on - sure.off == pytest.approx(sure.difference)
    unsure = compared(guesses(0.85), guesses(0.85), truth)
    assert unsure.p > 0.01 and unsure.high - unsure.low < 0.08


def test_the_p_value_is_that_of_a_paired_test():
    generator = np.random.default_rng(1)
    truth = np.zeros(2000, dtype=int)
    off, on = (generator.random((1, 2000)) > share for share in (0.80, 0.82))
    gains = (on[0] == truth).astype(float) - (off[0] == truth)
    error = gains.std(ddof=1) / np.sqrt(2000)
    from scipy.stats import norm

    assert compared(off, on, truth).p == pytest.approx(2 * norm.sf(abs(gains.mean()) / error), rel=0.2)


def test_macro_f1_is_that_of_scikit_learn():
    generator = np.random.default_rng(2)
    truth, predicted = generator.random((2, 50, 5)) < 0.4
    expected = f1_score(truth, predicted, average="macro", zero_division=0)
    assert macro_f1(predicted[None], truth) == pytest.approx([expected])
    assert accuracy(truth[:, 0], truth[:, 0]) == 1


def test_shapes_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="shapes"):
        compared(np.zeros((2, 5)), np.zeros((2, 6)), np.zeros(5))
