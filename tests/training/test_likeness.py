from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from pennyweight.data.batches import TokenTable, offsets_of
from pennyweight.training.likeness import Neighbours, comparisons, neighbours_by_meaning, neighbours_by_words
from pennyweight.training.words import word_vectors


def table_of(texts: list[list[int]]) -> TokenTable:
    lengths = np.array([len(text) for text in texts])
    return TokenTable(np.concatenate(texts).astype(np.int32), offsets_of(lengths), lengths)


def scored(cosines: np.ndarray) -> np.ndarray:
    """CSLS by its definition: r is a text's mean cosine to the ten nearest to it, itself left out."""
    others = cosines - 9 * np.eye(len(cosines))
    r = np.sort(others, axis=1)[:, -10:].mean(axis=1)
    return 2 * others - r[:, None] - r


def test_neighbours_against_their_definition(monkeypatch):
    monkeypatch.setattr("pennyweight.training.likeness._CHUNK", 7)  # three chunks, the last one smaller
    features = np.random.default_rng(0).normal(size=(24, 6))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    unit = unit - unit.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    scores = scored(unit @ unit.T)[:20]
    done: list[int] = []
    found = neighbours_by_meaning(3 * features, 20, 4, progress=done.append)
    assert (found.nearest == np.argsort(-scores, axis=1)[:, :4]).all()
    assert (found.nearest >= 20).any()  # labelled items are among them
    assert found.alike == pytest.approx(np.sort(scores, axis=1)[:, :-5:-1], abs=1e-6)
    weights = found.weights()
    assert weights.sum(axis=1) == pytest.approx(np.ones(20))
    assert weights[:, 0] / weights[:, 3] == pytest.approx(np.exp(5 * (found.alike[:, 0] - found.alike[:, 3])))
    assert done == [0, 7, 14, 21, 24, 31, 38]
    assert comparisons(24, 20) == 44


def test_of_few_texts_all_others_are_neighbours():
    found = neighbours_by_meaning(np.random.default_rng(0).normal(size=(3, 5)), 2, 20)
    assert np.sort(found.nearest, axis=1).tolist() == [[1, 2], [0, 2]]


def pairs_around_a_hub() -> np.ndarray:
    """Three pairs of texts with a cosine of 0.65 to each other, and a text that has one of 0.7 to all of them."""
    turns = np.repeat(np.arange(3), 2) * 2 * np.pi / 3
    asunder = np.sqrt((0.65 - 0.49) / 0.51 / 2 + 0.5)
    out = np.stack([np.cos(turns), np.sin(turns)], axis=1) * asunder
    sides = np.repeat(np.eye(3), 2, axis=0) * np.array([1, -1] * 3)[:, None] * np.sqrt(1 - asunder**2)
    pairs = np.concatenate([np.full((6, 1), 0.7), np.sqrt(0.51) * np.concatenate([out, sides], axis=1)], axis=1)
    return np.concatenate([pairs, np.eye(1, 6)])


def test_a_text_near_to_everything_is_nobodys_nearest(monkeypatch):
    vectors = pairs_around_a_hub()
    cosines = vectors @ vectors.T
    assert cosines[:6, 6] == pytest.approx(np.full(6, 0.7))
    assert cosines[[0, 2, 4], [1, 3, 5]] == pytest.approx(np.full(3, 0.65))
    monkeypatch.setattr("pennyweight.training.likeness._NEAREST", 3)
    found = neighbours_by_words(sparse.csr_array(vectors.astype(np.float32)), 6, 2)
    assert found.nearest.tolist() == [[1, 6], [0, 6], [3, 6], [2, 6], [5, 6], [4, 6]]


def test_finding_stops_where_it_is_asked_to():
    def stop(_done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        neighbours_by_meaning(np.ones((5, 8)), 4, 2, progress=stop)


def test_neighbours_by_words_against_their_definition(monkeypatch):
    monkeypatch.setattr("pennyweight.training.likeness._CHUNK", 7)
    generator = np.random.default_rng(4)
    table = table_of([list(generator.integers(5, 30, size=generator.integers(3, 12))) for _ in range(24)])
    dense = word_vectors(table).toarray()
    scores = np.where(dense @ dense.T == 0, -np.inf, scored(dense @ dense.T))[:20]
    done: list[int] = []
    found = neighbours_by_words(word_vectors(table), 20, 4, progress=done.append)
    assert found.alike == pytest.approx(np.sort(scores, axis=1)[:, :-5:-1], abs=1e-6)
    assert np.take_along_axis(scores, found.nearest, axis=1) == pytest.approx(found.alike, abs=1e-6)
    assert (found.nearest >= 20).any()
    assert done == [0, 7, 14, 21, 24, 31, 38]


def test_texts_with_no_word_in_common_are_no_neighbours():
    table = table_of([[5, 6, 7], [5, 6, 8], [9, 10], [9, 11], [12]])
    found = neighbours_by_words(word_vectors(table), 5, 3)
    assert (found.nearest[:4, 0] == [1, 0, 3, 2]).all()
    assert np.isneginf(found.alike[:, 1:]).all()
    assert np.isneginf(found.alike[4]).all()
    weights = found.weights()
    assert (weights == [[1, 0, 0]] * 4 + [[0, 0, 0]]).all()


def test_of_few_texts_all_others_are_asked_for_words():
    """However many are wanted, and exactly so many of them: with the text itself left out none is lost."""
    table = table_of([[5, 6], [5, 7], [6, 7], [8]])
    found = neighbours_by_words(word_vectors(table), 3, 20)
    assert np.sort(found.nearest[:, :2], axis=1).tolist() == [[1, 2], [0, 2], [0, 1]]
    assert found.nearest.shape == (3, 3)
    assert np.isneginf(found.alike[:, 2]).all()  # nothing in common with the last


def test_weights_of_opposites_are_finite():
    weights = Neighbours(np.array([[1, 2]], np.int32), np.array([[-1.0, -1.0]], np.float32)).weights()
    assert weights == pytest.approx(np.array([[0.5, 0.5]]))
