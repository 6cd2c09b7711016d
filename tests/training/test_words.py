from __future__ import annotations

import itertools

import numpy as np
import pytest

from pennyweight.data.batches import TokenTable, offsets_of, starts_of
from pennyweight.training.words import word_vectors


def table_of(rows: list[list[int]], windows: list[int] | None = None) -> TokenTable:
    lengths = np.array([len(row) for row in rows])
    starts = None if windows is None else starts_of(np.array(windows))
    ids = np.concatenate([np.asarray(row, dtype=np.int32) for row in rows])
    return TokenTable(ids, offsets_of(lengths), lengths, starts)


def test_against_scikit_learn():
    """Its TfidfVectorizer with the same terms, logarithmic counts and no smoothing."""
    text = pytest.importorskip("sklearn.feature_extraction.text")
    generator = np.random.default_rng(0)
    rows = [list(generator.zipf(1.5, size=generator.integers(1, 40)) % 500) for _ in range(300)]
    theirs = text.TfidfVectorizer(
        analyzer=lambda row: [*map(str, row), *map(str, itertools.pairwise(row))],
        min_df=2,
        max_df=20,
        sublinear_tf=True,
        smooth_idf=False,
    ).fit_transform(rows)
    own = word_vectors(table_of(rows))
    assert own.dtype == np.float32
    assert own.shape == theirs.shape
    np.testing.assert_allclose((own @ own.T).toarray(), (theirs @ theirs.T).toarray(), atol=1e-6)


def test_a_worked_example():
    """Of four texts: 5 and 6 stand in two, their pair in one of them; 7 in three, more than half; 8 in one alone."""
    own = word_vectors(table_of([[5, 6, 7], [6, 7, 5, 5], [7], [8]])).toarray()
    once, twice = 1.0, 1 + np.log(2)
    pair = 1 + np.log(4 / 2)
    expected = np.array([[once, once, once], [twice, once, once], [0, 0, 0], [0, 0, 0]]) * pair  # 5, 6, and "6 7"
    lengths = np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-12)
    assert own == pytest.approx(expected / lengths)


def test_pairs_end_with_their_row():
    """5 6 is in the first two texts; in the third 5 ends one and in the fourth 6 begins one."""
    own = word_vectors(table_of([[5, 6], [5, 6], [1, 5], [6, 2], [3], [4]])).toarray()
    assert own.shape[1] == 3  # 5, 6 and their pair
    assert (own[2:4] > 0).sum(axis=1).tolist() == [1, 1]


def test_windows_are_one_text():
    rows = [[5, 6], [6, 7], [8], [5, 7], [9], [8, 9]]
    own = word_vectors(table_of(rows, windows=[2, 1, 1, 1, 1]))
    assert own.shape[0] == 5
    assert (own[0].toarray() > 0).sum() == 2  # 5 and 7; 6 is in two rows of one text


def test_common_terms_are_left_out_of_large_collections():
    rows = [[5, 100 + number % 20] for number in range(1000)]
    rows[:30] = [[6, 100 + number % 20] for number in range(30)]
    rows[:31] = [*rows[:30], [7, 100]]
    table = table_of(rows)
    held = np.diff(word_vectors(table).tocsc().indptr)
    assert held.max() == 30  # 6: three of a hundred; a twentieth of the texts hold each of the others
    assert word_vectors(table_of([[5]] * 10 + [[6]] * 10)).shape == (20, 2)


def test_texts_without_a_term_are_empty_rows():
    own = word_vectors(table_of([[5], [6], [7]]))
    assert own.shape[0] == 3
    assert own.nnz == 0
    assert word_vectors(table_of([[], [5], [5], [6], []])).sum(axis=1).tolist() == [0, 1, 1, 0, 0]
