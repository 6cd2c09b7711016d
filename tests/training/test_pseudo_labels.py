from __future__ import annotations

import numpy as np
import pytest

from pennyweight.training.pseudo_labels import aligned, choose, class_thresholds


def opinions(counts: dict[tuple[int, float], int], classes: int = 3) -> np.ndarray:
    """Rows that give a class some probability and share the rest out evenly; so many of each."""
    rows = []
    for (label, probability), count in counts.items():
        row = np.full(classes, (1 - probability) / (classes - 1))
        row[label] = probability
        rows += [row] * count
    return np.array(rows)


def test_thresholds_against_their_definition():
    probabilities = opinions({(0, 0.95): 40, (1, 0.95): 20, (2, 0.95): 4, (2, 0.7): 36})
    expected = [0.9 * b / (2 - b) for b in (40 / 40, 20 / 40, 4 / 40)]
    assert class_thresholds(probabilities, 0.9) == pytest.approx(expected)
    choice = choose(probabilities, confidence=0.9)
    assert choice.counts().tolist() == [40, 20, 40]
    assert choice.chosen.tolist() == list(range(100))


def test_while_most_texts_are_unsure_their_number_is_the_measure():
    probabilities = opinions({(0, 0.95): 10, (1, 0.95): 5, (0, 0.5): 85})
    assert class_thresholds(probabilities, 0.9) == pytest.approx([0.9 * b / (2 - b) for b in (10 / 85, 5 / 85, 0)])


def test_no_class_starves():
    """One threshold for all would leave the third class without a single text."""
    probabilities = opinions({(0, 0.99): 60, (1, 0.97): 50, (2, 0.6): 30, (0, 0.6): 30})
    assert (probabilities.max(axis=1) >= 0.95)[110:].sum() == 0
    choice = choose(probabilities, confidence=0.95)
    assert choice.counts().tolist() == [60, 50, 30]
    assert choice.thresholds[0] == pytest.approx(0.95)


def test_no_threshold_takes_every_text():
    probabilities = np.random.default_rng(0).dirichlet(np.ones(4), size=50)
    choice = choose(probabilities, confidence=0.0)
    assert choice.chosen.tolist() == list(range(50))
    assert (choice.labels == probabilities.argmax(axis=1)).all()
    assert (choice.probabilities == probabilities).all()
    assert choice.counts().sum() == 50


def test_alignment_brings_the_means_to_the_shares_and_keeps_rows_whole():
    probabilities = np.random.default_rng(1).dirichlet([4.0, 1.0, 1.0], size=400)
    shares = np.array([0.2, 0.5, 0.3])
    result = aligned(probabilities, shares)
    assert result.sum(axis=1) == pytest.approx(np.ones(400))
    assert result.mean(axis=0) == pytest.approx(shares, abs=1e-3)
    choice = choose(probabilities, confidence=0.0, shares=shares)
    assert choice.probabilities == pytest.approx(result)
    # Of two texts that differ in one class alone, the one with more of it keeps more of it.
    assert (np.argsort(result[:, 1] / result[:, 0]) == np.argsort(probabilities[:, 1] / probabilities[:, 0])).all()


def test_alignment_of_what_is_aligned_changes_nothing():
    probabilities = np.random.default_rng(2).dirichlet(np.ones(3), size=30)
    assert (aligned(probabilities, probabilities.mean(axis=0)) == probabilities).all()


def test_a_class_that_should_not_occur_leaves_no_row_without_a_label():
    probabilities = opinions({(0, 1.0): 5, (1, 1.0): 5})
    result = aligned(probabilities, np.array([0.0, 0.5, 0.5]))
    assert np.isfinite(result).all()
    assert result.sum(axis=1) == pytest.approx(np.ones(10))


def test_no_texts_no_choice():
    choice = choose(np.zeros((0, 3)), confidence=0.9)
    assert (len(choice.chosen), choice.counts().tolist()) == (0, [0, 0, 0])
