"""Texts cut in two: pairs that belong together, for which nobody has given a label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.data.batches import TokenTable, offsets_of


def halves(table: TokenTable, *, special: Sequence[int], generator: np.random.Generator) -> TokenTable:
    """Both sides of every text, cut between two of its tokens, each with the special tokens of the whole.

    Where a text is cut is drawn evenly from the places that leave a quarter of its tokens on either side.

    Args:
        table: tokens of the texts, one row each, of two tokens or more beside the special ones: `divisible`.
        special: ids of the tokens that a tokenizer puts around texts.
        generator: where the cuts are drawn from.

    Returns:
        A table of twice as many texts: of text i the sides are 2 i and 2 i + 1.
    """
    first, last = _inner(table, special)
    inner = last - first
    least = np.maximum(1, inner // 4)
    cuts = first + generator.integers(least, inner - least + 1)
    rows = [
        (table.ids[begin:left], table.ids[start:end], table.ids[right:close])
        for begin, left, cut, right, close in zip(table.offsets[:-1], first, cuts, last, table.offsets[1:], strict=True)
        for start, end in ((left, cut), (cut, right))
    ]
    lengths = np.array([sum(map(len, row)) for row in rows], dtype=np.int64)
    ids = np.concatenate([part for row in rows for part in row]) if rows else table.ids[:0]
    return TokenTable(ids=ids, offsets=offsets_of(lengths), full_lengths=lengths)


def divisible(table: TokenTable, *, special: Sequence[int]) -> NDArray[np.int64]:
    """Numbers of the texts, one row each, that have two tokens or more beside the special ones around them."""
    first, last = _inner(table, special)
    return np.flatnonzero(last - first >= 2)


def first_rows(table: TokenTable) -> TokenTable:
    """The table of each text's first row alone."""
    return table if table.starts is None else table.unrolled().take(table.starts[:-1])


def end_to_end(tables: Sequence[TokenTable]) -> TokenTable:
    """Tables of one row a text, one behind the other."""
    return TokenTable(
        ids=np.concatenate([one.ids for one in tables]),
        offsets=offsets_of(np.concatenate([np.diff(one.offsets) for one in tables])),
        full_lengths=np.concatenate([one.full_lengths for one in tables]),
    )


def both_sides(texts: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Numbers of the sides of some texts in the table of `halves`, those of a text together, [2 · texts]."""
    return np.stack([2 * texts, 2 * texts + 1], axis=1).ravel()


def _inner(table: TokenTable, special: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the tokens between the special ones at both ends of each row begin and end in the table, [rows]."""
    before = offsets_of(np.isin(table.ids, list(special), invert=True).astype(np.int64))
    begins, ends = table.offsets[:-1], table.offsets[1:]
    # The first place behind a row's first inner token, and behind its last: where the count of inner tokens rises.
    first = np.searchsorted(before, before[begins] + 1) - 1
    last = np.searchsorted(before, before[ends])
    empty = before[begins] == before[ends]
    return np.where(empty, begins, first), np.where(empty, begins, last)
