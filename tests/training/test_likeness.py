from __future__ import annotations

import numpy as np
import pytest

from pennyweight.data.batches import TokenTable, offsets_of
from pennyweight.training.likeness import Neighbours, neighbours_by_meaning, neighbours_by_words
from pennyweight.training.words import word_vectors


def table_of(texts: list[list[int]]) -> TokenTable:
    lengths = np.array([len(text) for text in texts])
    return TokenTable(np.concatenate(texts).astype(np.int32), offsets_of(lengths), lengths)


def test_neighbours_against_their_definition(monkeypatch):
    monkeypatch.setattr("pennyweight.training.likeness._CHUNK", 7)  # three chunks, the last one smaller
    features = np.random.default_rng(0).normal(size=(24, 6))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    unit = unit - unit.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines = unit[:20] @ unit.T - 9 * np.eye(20, 24)
    done: list[int] = []
    found = neighbours_by_meaning(3 * features, 20, 4, progress=done.append)
    assert (found.nearest == np.argsort(-cosines, axis=1)[:, :4]).all()
    assert (found.nearest >= 20).any()  # labelled items are among them
    assert found.alike == pytest.approx(np.sort(cosines, axis=1)[:, :-5:-1], abs=1e-6)
    weights = found.weights()
    assert weights.sum(axis=1) == pytest.approx(np.ones(20))
    assert weights[:, 0] / weights[:, 3] == pytest.approx(np.exp(5 * (found.alike[:, 0] - found.alike[:, 3])))
    assert done == [0, 7, 14]


def test_of_few_texts_all_others_are_neighbours():
    found = neighbours_by_meaning(np.random.default_rng(0).normal(size=(3, 5)), 2, 20)
    assert np.sort(found.nearest, axis=1).tolist() == [[1, 2], [0, 2]]


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
    cosines = (dense @ dense.T - 9 * np.eye(24))[:20]
    done: list[int] = []
    found = neighbours_by_words(table, 20, 4, progress=done.append)
    assert found.alike == pytest.approx(np.sort(cosines, axis=1)[:, :-5:-1], abs=1e-6)
    assert np.take_along_axis(cosines, found.nearest, axis=1) == pytest.approx(found.alike, abs=1e-6)
    assert (found.nearest >= 20).any()
    assert done == [0, 7, 14]


def test_texts_with_no_word_in_common_are_no_neighbours():
    found = neighbours_by_words(table_of([[5, 6, 7], [5, 6, 8], [9, 10], [9, 11], [12]]), 5, 3)
    assert (found.nearest[:4, 0] == [1, 0, 3, 2]).all()
    assert np.isneginf(found.alike[:, 1:]).all()
    assert np.isneginf(found.alike[4]).all()
    weights = found.weights()
    assert (weights == [[1, 0, 0]] * 4 + [[0, 0, 0]]).all()


def test_weights_of_opposites_are_finite():
    weights = Neighbours(np.array([[1, 2]], np.int32), np.array([[-1.0, -1.0]], np.float32)).weights()
    assert weights == pytest.approx(np.array([[0.5, 0.5]]))
