from __future__ import annotations

import itertools

import numpy as np
import pytest
from several import several
from sklearn.metrics import f1_score

from pennyweight.evaluation.decisions import Decision, check_sets, sigmoid, tune_thresholds


def test_one_class_is_softmax_and_its_largest():
    decision = Decision(temperature=2.0)
    logits = np.array([[2.0, 0.0, -2.0], [0.0, 4.0, 0.0]])
    shares = decision.probabilities(logits)
    assert shares.sum(axis=1) == pytest.approx([1, 1])
    assert shares[0, 0] / shares[0, 1] == pytest.approx(np.e)
    decided = decision.decide(shares)
    assert decided.tolist() == [0, 1]
    assert decision.confidence(shares, decided) == pytest.approx(shares.max(axis=1))
    assert decision.right(decided, np.array([0, 2])).tolist() == [True, False]


def test_several_labels_are_sigmoids_against_their_thresholds():
    decision = Decision("multi-label", 0.5, (0.5, 0.9, 0.1))
    logits = np.array([[0.0, 1.0, -1.0], [-1.0, 1.5, -2.0]])
    shares = decision.probabilities(logits)
    assert shares == pytest.approx(1 / (1 + np.exp(-2 * logits)))
    decided = decision.decide(shares)
    assert decided.tolist() == [[True, False, True], [False, True, False]]
    expected = [
        shares[0, 0] * (1 - shares[0, 1]) * shares[0, 2],
        (1 - shares[1, 0]) * shares[1, 1] * (1 - shares[1, 2]),
    ]
    assert decision.confidence(shares, decided) == pytest.approx(expected)
    assert decision.right(decided, np.array([[1, 0, 1], [1, 1, 0]], dtype=bool)).tolist() == [True, False]


def test_without_thresholds_a_half_decides():
    shares = np.array([[0.5, 0.4999, 0.9]])
    assert Decision("multi-label").decide(shares).tolist() == [[True, False, True]]


def test_a_sigmoid_neither_overflows_nor_loses_what_is_near_nothing():
    with np.errstate(all="raise"):
        found = sigmoid(np.array([-600.0, -50.0, 0.0, 50.0, 600.0]))
    assert found == pytest.approx([np.exp(-600), np.exp(-50), 0.5, 1, 1], rel=1e-12)


def test_no_other_threshold_has_a_better_f1():
    logits, labels = several(items=100, seed=3)
    shares = sigmoid(logits)
    thresholds = tune_thresholds(shares, labels)
    for index in range(4):
        own = f1_score(labels[:, index], shares[:, index] >= thresholds[index])
        everywhere = [f1_score(labels[:, index], shares[:, index] >= cut) for cut in np.unique(shares[:, index])]
        assert own == pytest.approx(max(everywhere))
        assert thresholds[index] not in shares[:, index]
    assert thresholds[4] == 0.5


@pytest.mark.parametrize(
    ("shares", "labels", "threshold"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 0.5),
        ([0.3, 0.2, 0.1, 0.1], [1, 1, 0, 0], 0.15),
        ([0.3, 0.3, 0.3, 0.3], [1, 0, 0, 0], 0.15),
        ([0.9, 0.7, 0.4, 0.2], [1, 0, 1, 0], 0.3),
        ([0.9, 0.8], [0, 0], 0.5),
        ([0.0, 0.0], [1, 0], 0.5),
        ([0.6, 0.55, 0.5], [1, 1, 1], 0.25),
    ],
)
def test_thresholds_by_hand(shares, labels, threshold):
    found = tune_thresholds(np.array(shares)[:, None], np.array(labels, dtype=bool)[:, None])
    assert found == pytest.approx((threshold,))


def test_of_equally_good_thresholds_the_nearest_to_a_half():
    """By F1 the first alone, or the first four, are equally good: 2·1/(1+2) and 2·2/(4+2)."""
    shares, labels = np.array([[0.95], [0.8], [0.7], [0.52], [0.2]]), np.array([[1], [0], [0], [1], [0]], dtype=bool)
    assert tune_thresholds(shares, labels) == pytest.approx((0.36,))


def test_every_order_of_items_gives_the_same_thresholds():
    shares, labels = np.array([[0.9], [0.6], [0.6], [0.1]]), np.array([[1], [1], [0], [0]], dtype=bool)
    found = {tune_thresholds(shares[list(order)], labels[list(order)]) for order in itertools.permutations(range(4))}
    assert len(found) == 1


@pytest.mark.parametrize(
    ("logits", "labels"),
    [
        (np.zeros((2, 3)), np.zeros((2, 2), bool)),
        (np.zeros((2, 3)), np.zeros((2, 3), int)),
        (np.zeros(3), np.zeros(3, bool)),
    ],
)
def test_logits_and_sets_must_fit_each_other(logits, labels):
    with pytest.raises(ValueError, match="labels"):
        check_sets(logits, labels)
    assert check_sets(np.zeros((2, 3)), np.zeros((2, 3), bool), 3) is None
