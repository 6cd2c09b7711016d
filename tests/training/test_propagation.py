from __future__ import annotations

import numpy as np
import pytest

from pennyweight.training.propagation import Neighbours, find_neighbours, propagated


def clusters(*, each: int, spread: float, seed: int = 0, hidden: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Texts of three classes around three directions, and their classes."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), each)
    return np.eye(hidden)[labels] + spread * generator.normal(size=(len(labels), hidden)), labels


def test_neighbours_against_their_definition(monkeypatch):
    monkeypatch.setattr("pennyweight.training.propagation._CHUNK", 7)  # three chunks, the last one smaller
    features = np.random.default_rng(0).normal(size=(24, 6))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    unit = unit - unit.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit[:20] @ unit.T - 9 * np.eye(20, 24)
    done: list[int] = []
    found = find_neighbours(3 * features, 20, 4, progress=done.append)
    assert (found.nearest == np.argsort(-cosines, axis=1)[:, :4]).all()
    assert (found.nearest >= 20).any()  # labelled items are among them
    assert found.alike == pytest.approx(np.sort(cosines, axis=1)[:, :-5:-1], abs=1e-6)
    weights = found.weights()
    assert weights.sum(axis=1) == pytest.approx(np.ones(20))
    assert weights[:, 0] / weights[:, 3] == pytest.approx(np.exp(10 * (found.alike[:, 0] - found.alike[:, 3])))
    assert done == [0, 7, 14]


def test_of_few_texts_all_others_are_neighbours():
    found = find_neighbours(np.random.default_rng(0).normal(size=(3, 5)), 2, 20)
    assert np.sort(found.nearest, axis=1).tolist() == [[1, 2], [0, 2]]


def test_texts_alike_are_no_hindrance():
    found = find_neighbours(np.ones((5, 8)), 4, 2)
    believed = propagated(np.full((4, 2), 0.5), np.array([[1.0, 0.0]]), found)
    assert np.isfinite(believed).all()
    assert believed.sum(axis=1) == pytest.approx(np.ones(4))


def test_finding_stops_where_it_is_asked_to():
    def stop(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        find_neighbours(np.ones((5, 8)), 4, 2, progress=stop)


def test_belief_settles_where_the_definition_says():
    """(1 - pull) (1 - pull W)⁻¹ times what texts began with and what items are, Zhou et al. 2004, equation 5."""
    generator = np.random.default_rng(1)
    neighbours = find_neighbours(generator.normal(size=(12, 6)), 9, 3)
    began, given = generator.dirichlet(np.ones(3), size=9), np.eye(3)
    before = began.copy()
    passed = np.zeros((9, 12))
    passed[np.arange(9)[:, None], neighbours.nearest] = neighbours.weights()
    settled = np.linalg.solve(np.eye(9) - 0.8 * passed[:, :9], 0.2 * began + 0.8 * passed[:, 9:] @ given)
    assert propagated(began, given, neighbours) == pytest.approx(settled, abs=0.02)
    assert (began == before).all()


def test_neighbours_put_a_mistaken_text_right():
    features, labels = clusters(each=30, spread=0.05)
    opinions = np.full((90, 3), 0.1)
    opinions[np.arange(90), labels] = 0.8
    mistaken = [5, 40, 70]
    opinions[mistaken] = np.roll(opinions[mistaken], 1, axis=1)
    order = np.concatenate([np.arange(90), [0, 30, 60]])
    believed = propagated(opinions, np.eye(3), find_neighbours(features[order], 90, 10))
    assert (opinions.argmax(axis=1) != labels).sum() == 3
    assert (believed.argmax(axis=1) == labels).all()


def test_labelled_items_alone_name_what_nobody_has_an_opinion_of():
    features, labels = clusters(each=30, spread=0.1)
    named = np.array([0, 30, 60])
    neighbours = find_neighbours(np.concatenate([features, features[named]]), 90, 10)
    believed = propagated(np.full((90, 3), 1 / 3), np.eye(3), neighbours)
    assert (believed.argmax(axis=1) == labels).mean() > 0.95


def test_classes_are_as_frequent_as_they_should_be():
    features, _ = clusters(each=30, spread=0.6)
    shares = np.array([0.5, 0.3, 0.2])
    opinions = np.random.default_rng(2).dirichlet(np.ones(3), size=87)
    believed = propagated(opinions, np.eye(3), find_neighbours(features, 87, 10), shares=shares)
    assert believed.mean(axis=0) == pytest.approx(shares, abs=1e-3)


def test_a_text_beside_an_item_alone():
    """A text whose only neighbour is an item of the second class takes four fifths of its belief from it."""
    neighbours = Neighbours(np.array([[1]], dtype=np.int32), np.array([[0.3]], dtype=np.float32))
    believed = propagated(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), neighbours)
    assert believed == pytest.approx(np.array([[0.2, 0.8]]))
