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


def test_windows_do_not_count_what_they_repeat():
    """Two windows that overlap by two tokens, with special tokens 0 and 1 around each, are the text in one piece."""
    whole = [[0, 5, 6, 7, 8, 9, 5, 1], [0, 5, 6, 1], [0, 7, 8, 1], [0, 9, 5, 1], [0, 3, 1], [0, 4, 1]]
    cut = [[0, 5, 6, 7, 8, 1], [0, 7, 8, 9, 5, 1], *whole[1:]]
    own = word_vectors(table_of(cut, windows=[2, 1, 1, 1, 1, 1]), special=(0, 1), overlap=2)
    np.testing.assert_allclose(own.toarray(), word_vectors(table_of(whole), special=(0, 1)).toarray())
    counted_twice = word_vectors(table_of(cut, windows=[2, 1, 1, 1, 1, 1]), special=(0, 1))
    assert abs(counted_twice - own).max() > 0.01


def test_what_a_window_repeats_may_be_unknown():
    """An unknown token counts where tokens are counted off, though it is no word."""
    cut = [[0, 5, 6, 2, 1], [0, 6, 2, 9, 1], [0, 5, 6, 1], [0, 9, 1], [0, 3, 1], [0, 4, 1]]
    own = word_vectors(table_of(cut, windows=[2, 1, 1, 1, 1]), special=(0, 1), unknown=2, overlap=2)
    assert (own.toarray()[0] > 0).sum() == 4  # 5, 6, 9 and "5 6"
    whole = [[0, 5, 6, 2, 9, 1], *cut[2:]]
    np.testing.assert_allclose(own.toarray(), word_vectors(table_of(whole), special=(0, 1), unknown=2).toarray())


def test_special_and_unknown_tokens_are_no_words():
    """Else texts of nothing but unknown characters would be the same, and `[CLS]` would make a pair of a first word."""
    rows = [[0, 5, 2, 6, 1], [0, 5, 2, 6, 1], [0, 2, 2, 1], [0, 2, 2, 1], [0, 7, 1], [0, 8, 1]]
    own = word_vectors(table_of(rows), special=(0, 1), unknown=2)
    assert own.shape[1] == 2  # 5 and 6: no pair spans what stood between them
    assert own.sum(axis=1)[2:].tolist() == [0, 0, 0, 0]


def test_pairs_of_the_largest_token_are_told_apart():
    """A pair is one number: 0 and the largest token are not the pair of 1 and 0."""
    rows = [[0, 9], [0, 9], [1, 0], [1, 0], [3], [4], [5], [6]]
    own = word_vectors(table_of(rows)).toarray()
    assert own.shape[1] == 5  # 0, 1, 9 and two pairs
    assert own[0] @ own[2] == pytest.approx(own[0][0] * own[2][0])


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
