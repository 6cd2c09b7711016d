from __future__ import annotations

import numpy as np
import pytest

from pennyweight.data.noise import deal_folds, find_doubts

SKEWED = np.repeat([0, 1, 2], [50, 20, 7])


def drawn(*, items: int = 4000, classes: int = 4, noise: float = 0.2, seed: int = 0):
    """True classes, noisy labels, and probabilities of a judge who is mostly right and does not see the labels."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(classes, size=items)
    labels = np.where(
        generator.random(items) < noise, (truth + generator.integers(1, classes, size=items)) % classes, truth
    )
    logits = generator.normal(size=(items, classes)) + 4 * np.eye(classes)[truth]
    shares = np.exp(logits)
    return truth, labels, shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("folds", [2, 3, 5, 7])
def test_every_class_is_spread_evenly_over_the_folds(folds):
    fold = deal_folds(SKEWED, folds=folds, seed=1)
    assert np.ptp(np.bincount(fold, minlength=folds)) <= 1
    for label in range(3):
        assert np.ptp(np.bincount(fold[label == SKEWED], minlength=folds)) <= 1


def test_folds_are_drawn_from_the_seed():
    first = deal_folds(SKEWED, folds=4, seed=1)
    assert np.array_equal(first, deal_folds(SKEWED, folds=4, seed=1))
    assert not np.array_equal(first, deal_folds(SKEWED, folds=4, seed=2))


def test_copies_share_the_fold_of_their_item():
    labels = np.concatenate([SKEWED, SKEWED[::2], SKEWED[::2]])
    origins = np.concatenate([np.arange(77), np.arange(77)[::2], np.arange(77)[::2]])
    fold = deal_folds(labels, folds=4, seed=1, origins=origins)
    assert np.array_equal(fold, fold[:77][origins])
    assert np.ptp(np.bincount(fold[:77])) <= 1


def test_most_wrong_labels_are_found_with_the_class_they_are_of_and_few_right_ones():
    truth, labels, shares = drawn()
    doubts = find_doubts(shares, labels)
    wrong = labels != truth
    found = np.zeros(len(labels), dtype=bool)
    found[doubts.items] = True
    assert found[wrong].mean() > 0.7
    assert found[~wrong].mean() < 0.05
    assert (doubts.suggested == truth[doubts.items]).mean() > 0.9
    assert np.array_equal(doubts.confidence, shares[doubts.items, doubts.suggested])
    assert (doubts.suggested != labels[doubts.items]).all()


def test_each_class_has_its_own_yardstick():
    """A judge who is never sure of class 1 gives it 0.4 at most: still that is what makes an item likely of it."""
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 0])
    first = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6, 0.6, 0.55])
    doubts = find_doubts(np.stack([first, 1 - first], axis=1), labels)
    assert doubts.items.tolist() == [7]
    assert doubts.suggested.tolist() == [1]
    assert doubts.confidence.tolist() == pytest.approx([0.45])


def test_a_threshold_says_how_sure_the_other_class_has_to_be():
    shares = np.array([[0.2, 0.8], [0.35, 0.65], [0.9, 0.1], [0.45, 0.55]])
    labels = np.array([0, 0, 0, 1])
    assert find_doubts(shares, labels, threshold=0.7).items.tolist() == [0]
    assert find_doubts(shares, labels, threshold=0.6).items.tolist() == [0, 1]
    assert find_doubts(shares, labels, threshold=0.0).items.tolist() == [0, 1]
    assert find_doubts(shares, labels, threshold=0.95).items.tolist() == []


def test_a_judge_who_agrees_with_all_doubts_none():
    labels = np.arange(12) % 3
    assert len(find_doubts(np.eye(3)[labels], labels).items) == 0


def test_a_class_without_items_is_never_suggested():
    shares = np.array([[0.1, 0.1, 0.8], [0.1, 0.1, 0.8], [0.2, 0.3, 0.5]])
    assert set(find_doubts(shares, np.array([0, 1, 0])).suggested.tolist()) <= {0, 1}
