from __future__ import annotations

import numpy as np
from scipy.special import expit, softmax

from pennyweight.evaluation.averaging import average_copies


def test_no_copies_leave_the_logits_alone():
    logits = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    assert average_copies(logits, 0) is logits


def test_probabilities_are_averaged_over_a_text_and_its_copies():
    logits = np.random.default_rng(1).normal(size=(4 * 3, 5), scale=4).astype(np.float32)
    averaged = average_copies(logits, 2)
    expected = softmax(logits.astype(np.float64), axis=1).reshape(4, 3, 5).mean(axis=1)
    np.testing.assert_allclose(softmax(averaged.astype(np.float64), axis=1), expected, atol=1e-6)
    assert averaged.dtype == np.float32


def test_equal_copies_give_the_probabilities_of_one():
    logits = np.random.default_rng(2).normal(size=(3, 4)).astype(np.float32)
    averaged = average_copies(np.repeat(logits, 4, axis=0), 3)
    np.testing.assert_allclose(softmax(averaged, axis=1), softmax(logits, axis=1), atol=1e-6)


def test_extreme_logits_stay_finite():
    averaged = average_copies(np.array([[3e4, -3e4], [-3e4, 3e4], [0, -2e4], [1, -2e4]], dtype=np.float32), 1)
    assert np.isfinite(averaged).all()
    np.testing.assert_allclose(softmax(averaged, axis=1), [[0.5, 0.5], [1, 0]], atol=1e-6)


def test_of_several_labels_each_is_averaged_by_itself():
    logits = np.random.default_rng(3).normal(size=(5 * 3, 4), scale=4).astype(np.float32)
    averaged = average_copies(logits, 2, several=True)
    expected = expit(logits.astype(np.float64)).reshape(5, 3, 4).mean(axis=1)
    np.testing.assert_allclose(expit(averaged.astype(np.float64)), expected, atol=1e-6)
    extreme = average_copies(np.array([[9e3, -9e3], [9e3, -9e3]], dtype=np.float32), 1, several=True)
    assert np.isfinite(extreme).all()
    np.testing.assert_allclose(extreme, [[9e3, -9e3]])
