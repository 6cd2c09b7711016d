from __future__ import annotations

import numpy as np
import pytest

from pennyweight.training.likeness import Neighbours, neighbours_by_meaning
from pennyweight.training.propagation import propagated


def clusters(*, each: int, spread: float, seed: int = 0, hidden: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Texts of three classes around three directions, and their classes."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), each)
    return np.eye(hidden)[labels] + spread * generator.normal(size=(len(labels), hidden)), labels


def test_texts_alike_are_no_hindrance():
    found = neighbours_by_meaning(np.ones((5, 8)), 4, 2)
    believed = propagated(np.full((4, 2), 0.5), np.array([[1.0, 0.0]]), [found])
    assert np.isfinite(believed).all()
    assert believed.sum(axis=1) == pytest.approx(np.ones(4))


def test_belief_settles_where_the_definition_says():
    """(1 - pull) (1 - pull W)⁻¹ times what texts began with and what items are, Zhou et al. 2004, equation 5."""
    generator = np.random.default_rng(1)
    neighbours = neighbours_by_meaning(generator.normal(size=(12, 6)), 9, 3)
    began, given = generator.dirichlet(np.ones(3), size=9), np.eye(3)
    before = began.copy()
    passed = np.zeros((9, 12))
    passed[np.arange(9)[:, None], neighbours.nearest] = neighbours.weights()
    settled = np.linalg.solve(np.eye(9) - 0.8 * passed[:, :9], 0.2 * began + 0.8 * passed[:, 9:] @ given)
    assert propagated(began, given, [neighbours]) == pytest.approx(settled, abs=0.02)
    assert (began == before).all()


def test_neighbours_put_a_mistaken_text_right():
    features, labels = clusters(each=30, spread=0.05)
    opinions = np.full((90, 3), 0.1)
    opinions[np.arange(90), labels] = 0.8
    mistaken = [5, 40, 70]
    opinions[mistaken] = np.roll(opinions[mistaken], 1, axis=1)
    order = np.concatenate([np.arange(90), [0, 30, 60]])
    believed = propagated(opinions, np.eye(3), [neighbours_by_meaning(features[order], 90, 10)])
    assert (opinions.argmax(axis=1) != labels).sum() == 3
    assert (believed.argmax(axis=1) == labels).all()


def test_labelled_items_alone_name_what_nobody_has_an_opinion_of():
    features, labels = clusters(each=30, spread=0.1)
    named = np.array([0, 30, 60])
    neighbours = neighbours_by_meaning(np.concatenate([features, features[named]]), 90, 10)
    believed = propagated(np.full((90, 3), 1 / 3), np.eye(3), [neighbours])
    assert (believed.argmax(axis=1) == labels).mean() > 0.95


def test_classes_are_as_frequent_as_they_should_be():
    features, _ = clusters(each=30, spread=0.6)
    shares = np.array([0.5, 0.3, 0.2])
    opinions = np.random.default_rng(2).dirichlet(np.ones(3), size=87)
    believed = propagated(opinions, np.eye(3), [neighbours_by_meaning(features, 87, 10)], shares=shares)
    assert believed.mean(axis=0) == pytest.approx(shares, abs=1e-3)


def test_a_text_beside_an_item_alone():
    """A text whose only neighbour is an item of the second class takes four fifths of its belief from it."""
    neighbours = Neighbours(np.array([[1]], dtype=np.int32), np.array([[0.3]], dtype=np.float32))
    believed = propagated(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), [neighbours])
    assert believed == pytest.approx(np.array([[0.2, 0.8]]))


def beside(numbers: list[list[int]], *, alike: float = 0.5) -> Neighbours:
    """Texts whose neighbours are all equally alike; minus one stands for none."""
    nearest = np.array(numbers, dtype=np.int32)
    return Neighbours(np.maximum(nearest, 0), np.where(nearest < 0, -np.inf, alike).astype(np.float32))


def test_two_senses_have_half_of_the_say_each():
    """However many neighbours each of them has, and however alike these are."""
    senses = [beside([[1, 1, 1]], alike=0.9), beside([[2]], alike=0.1)]
    believed = propagated(np.array([[1.0, 0.0, 0.0]]), np.eye(3)[1:], senses)
    assert believed == pytest.approx(np.array([[0.2, 0.4, 0.4]]))


def test_a_text_speaks_more_surely_where_it_is_heard_in_two_senses():
    """Belief to the power of 1.5: what is twice as likely is said to be 2.8 times as likely."""
    began = np.array([[1.0, 0.0], [2 / 3, 1 / 3]])
    once, twice = beside([[1], [-1]]), [beside([[1], [-1]]), beside([[1], [-1]])]
    assert propagated(began, np.eye(2), [once])[0] == pytest.approx([0.2 + 0.8 * 2 / 3, 0.8 / 3])
    said = 2**1.5 / (1 + 2**1.5)
    assert propagated(began, np.eye(2), twice) == pytest.approx(
        np.array([[0.2 + 0.8 * said, 0.8 * (1 - said)], [2 / 3, 1 / 3]])
    )


def test_a_text_without_neighbours_in_one_sense_listens_to_the_other():
    senses = [beside([[1]]), beside([[-1]])]
    believed = propagated(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), senses)
    assert believed == pytest.approx(np.array([[0.2, 0.8]]))


def test_a_text_without_any_neighbour_keeps_what_it_began_with():
    believed = propagated(np.array([[0.7, 0.3], [1.0, 0.0]]), np.array([[0.0, 1.0]]), [beside([[-1], [2]])])
    assert believed == pytest.approx(np.array([[0.7, 0.3], [0.2, 0.8]]))
