"""Texts as the words that they hold: TF-IDF vectors of the pieces of a tokenizer and of pairs of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.data.batches import offsets_of

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from pennyweight.data.batches import TokenTable

_SHARE = 0.03
"""Of the texts; what stands in more of them says little about any."""
_FEW = 20
"""Texts that a piece may stand in, however few there are."""


def word_vectors(
    table: TokenTable, *, special: Sequence[int] = (), unknown: int | None = None, overlap: int = 0
) -> csr_array:
    """TF-IDF vectors of texts (Salton and Buckley 1988, Information Processing & Management 24), [texts, terms].

    A term is a token or two that follow one another in a row. It counts 1 + log of its occurrences, times 1 + log of
    the texts by the texts that hold it. Left out are terms of one text alone, which make no two texts alike, and those
    of more than 3 % of the texts: of more than twenty where these are more, of more than half in any case.

    Args:
        table: tokens of the texts.
        special: ids of the tokens that a tokenizer puts around texts; part of no term.
        unknown: id of its token for what it does not know; part of no term either.
        overlap: tokens that each further row of a text has in common with the row before; counted once.

    Returns:
        float32; rows have length 1, and a row without terms is empty.
    """
    from scipy import sparse

    texts, pieces = _places(table), table.ids.astype(np.int64)
    inner = ~np.isin(pieces, list(special))
    known = inner & (pieces != (-1 if unknown is None else unknown))
    single = known & ~_repeated(table, inner, overlap)
    begins = np.zeros(len(pieces), dtype=bool)
    begins[table.offsets[:-1][np.diff(table.offsets) > 0]] = True
    later = np.flatnonzero(single & ~begins & np.roll(known, 1))
    pairs = pieces[later - 1] * (pieces.max(initial=0) + 1) + pieces[later]
    singles = _counts(texts[single], pieces[single], len(table))
    counts = sparse.hstack([singles, _counts(texts[later], pairs, len(table))], format="csc")
    held = np.diff(counts.indptr)
    most = min(max(_FEW, int(_SHARE * len(table))), len(table) // 2)
    kept = (held >= 2) & (held <= most)
    counts = sparse.csr_array(counts[:, kept])
    counts.data = 1 + np.log(counts.data)
    weighed = counts @ sparse.diags_array(1 + np.log(len(table) / held[kept]))
    lengths = np.sqrt(weighed.multiply(weighed).sum(axis=1))
    return sparse.csr_array(sparse.diags_array(1 / np.maximum(lengths, 1e-12)) @ weighed).astype(np.float32)


def _places(table: TokenTable) -> NDArray[np.int64]:
    """The text of each token, [tokens]."""
    windows = table.windows()
    rows = np.arange(len(table)) if windows is None else np.repeat(np.arange(len(table)), windows)
    return np.asarray(np.repeat(rows, np.diff(table.offsets)))


def _repeated(table: TokenTable, inner: NDArray[np.bool_], overlap: int) -> NDArray[np.bool_]:
    """Which tokens the row before holds already, [tokens], told by how many inner tokens stand before them in a row."""
    if table.starts is None:
        return np.zeros(len(inner), dtype=bool)
    lengths = np.diff(table.offsets)
    before = offsets_of(inner.astype(np.int64))
    within = before[:-1] - np.repeat(before[table.offsets[:-1]], lengths)
    further = np.ones(len(lengths), dtype=bool)
    further[table.starts[:-1]] = False
    return np.asarray(np.repeat(further, lengths) & (within < overlap))


def _counts(texts: NDArray[np.int64], terms: NDArray[np.int64], count: int) -> Any:
    """How often each text holds each term, [texts, terms that occur]."""
    from scipy import sparse

    known, columns = np.unique(terms, return_inverse=True)
    return sparse.csr_array((np.ones(len(terms)), (texts, columns)), shape=(count, len(known)))
