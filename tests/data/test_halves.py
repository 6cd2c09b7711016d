from __future__ import annotations

import numpy as np
import pytest
from test_batches import CLS, SEP, text_of, word_tokenizer

from pennyweight.data.batches import TokenTable, offsets_of, tokenise
from pennyweight.data.halves import both_sides, divisible, halves


@pytest.fixture(scope="module")
def tokenizer():
    return word_tokenizer()


def rows(table: TokenTable) -> list[list[int]]:
    return [table.ids[first:last].tolist() for first, last in zip(table.offsets, table.offsets[1:], strict=False)]


def test_both_sides_together_are_the_text_each_within_special_tokens(tokenizer):
    table = tokenise([text_of(words, words) for words in range(2, 40)], tokenizer, max_length=64)
    cut = halves(table, special=[CLS, SEP], generator=np.random.default_rng(0))
    found = rows(cut)
    assert len(cut) == 2 * len(table)
    assert cut.full_lengths.tolist() == [len(row) for row in found]
    for number, whole in enumerate(rows(table)):
        left, right = found[2 * number], found[2 * number + 1]
        assert {(one[0], one[-1]) for one in (left, right)} == {(CLS, SEP)}
        assert left[1:-1] + right[1:-1] == whole[1:-1]
        assert min(len(left), len(right)) - 2 >= max(1, (len(whole) - 2) // 4)


def test_cuts_are_drawn_from_all_places_that_leave_a_quarter(tokenizer):
    table = tokenise([text_of(8)], tokenizer, max_length=64)
    generator = np.random.default_rng(0)
    lengths = {int(halves(table, special=[CLS, SEP], generator=generator).lengths()[0]) - 2 for _ in range(100)}
    assert lengths == {2, 3, 4, 5, 6}


def test_special_tokens_are_those_at_the_ends_of_a_row():
    """As many as there are, or none; one in the middle is part of the text."""
    ids = [CLS, CLS, 7, SEP, 8, SEP, 5, 6, CLS, SEP, 9, SEP]
    table = TokenTable(np.array(ids, dtype=np.int32), offsets_of(np.array([6, 2, 2, 2])), np.array([6, 2, 2, 2]))
    assert divisible(table, special=[CLS, SEP]).tolist() == [0, 1]
    found = rows(halves(table.take(np.arange(2)), special=[CLS, SEP], generator=np.random.default_rng(0)))
    assert [found[0][:2], found[0][-1], found[1][:2], found[1][-1]] == [[CLS, CLS], SEP, [CLS, CLS], SEP]
    assert found[0][2:-1] + found[1][2:-1] == [7, SEP, 8]
    assert found[2:] == [[5], [6]]


def test_both_sides_of_a_text_stand_together():
    assert both_sides(np.array([3, 0])).tolist() == [6, 7, 0, 1]
