"""The texts most alike each text: in what a network makes of them, or in the words that they hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.training.pseudo_labels import Probabilities
from pennyweight.training.vectors import unit_vectors

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_CHUNK = 512
_NEAREST = 10
"""Of these the mean says how near a text is to everything."""
_SHARPNESS = 5.0


@dataclass(frozen=True)
class Neighbours:
    """The texts and labelled items most alike each text."""

    nearest: NDArray[np.int32]
    """Their numbers, [texts, neighbours]; labelled items are counted on behind the texts."""
    alike: NDArray[np.float32]
    """How alike they are, [texts, neighbours], in descending order; minus infinity: no neighbour, the text has fewer.
    """

    def weights(self) -> Probabilities:
        """How much each of them counts, [texts, neighbours]; rows sum to 1, or to 0 where a text has no neighbour."""
        alike = self.alike.astype(np.float64)
        most = alike.max(axis=1, keepdims=True)
        powers = np.exp(_SHARPNESS * (alike - np.where(np.isneginf(most), 0, most)))
        return np.asarray(powers / np.maximum(powers.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))


def neighbours_by_meaning(
    features: NDArray[np.floating], texts: int, count: int, *, progress: Callable[[int], None] = lambda done: None
) -> Neighbours:
    """Find the ``count`` texts and labelled items most alike each text, itself left out; all where there are fewer.

    Two texts are alike by twice the cosine between them, less the mean cosine of either to the ten nearest to it
    (cross-domain similarity local scaling, Conneau et al. 2018, Word Translation Without Parallel Data, section 2.3):
    a text near to everything, a hub, says little about any other. Of the features only the direction from their common
    centre counts. The time grows with the square of the number of texts and items.

    Args:
        features: of the texts and, behind them, of the labelled items, [texts + items, hidden]; two rows at least.
        texts: how many of them are texts.
        count: neighbours of each.
        progress: called with the number of `comparisons` that are done, from 0; raises to stop.
    """
    import torch

    directions = unit_vectors(features)
    vectors = torch.from_numpy(unit_vectors(directions - directions.mean(axis=0)).astype(np.float32))
    return _found(lambda first, last: vectors[first:last] @ vectors.T, len(vectors), texts, count, progress)


def neighbours_by_words(
    vectors: csr_array, texts: int, count: int, *, progress: Callable[[int], None] = lambda done: None
) -> Neighbours:
    """As `neighbours_by_meaning`, by the words that texts hold; texts with no word in common are no neighbours.

    Args:
        vectors: `word_vectors` of the texts and, behind them, of the labelled items, [texts + items, terms]; two rows
            at least.
        texts: how many of them are texts.
        count: neighbours of each.
        progress: called with the number of `comparisons` that are done, from 0; raises to stop.
    """
    import torch

    turned = vectors.T.tocsr()

    def cosines(first: int, last: int) -> torch.Tensor:
        dense = torch.from_numpy((vectors[first:last] @ turned).toarray())
        return dense.masked_fill_(dense == 0, -torch.inf)

    return _found(cosines, vectors.shape[0], texts, count, progress)


def comparisons(rows: int, texts: int) -> int:
    """How many rows are compared with all: each of texts and items for what is nearest to it, then the texts again."""
    return rows + texts


def _found(
    cosines: Callable[[int, int], Any], rows: int, texts: int, count: int, progress: Callable[[int], None]
) -> Neighbours:
    """The most alike by the cosines of rows from a first to behind a last, [some rows, rows], asked for in turn."""
    import torch

    def others(end: int) -> Iterator[tuple[slice, Any]]:
        for first in range(0, end, _CHUNK):
            last = min(first + _CHUNK, end)
            own, places = cosines(first, last), torch.arange(last - first)
            own[places, first + places] = -torch.inf
            yield slice(first, last), own

    means = torch.empty(rows)
    for part, own in others(rows):
        progress(part.start)
        best = own.topk(min(_NEAREST, rows - 1), dim=1).values
        means[part] = best.masked_fill_(best.isneginf(), 0).mean(dim=1)
    count = min(count, rows - 1)
    nearest, alike = np.empty((texts, count), dtype=np.int32), np.empty((texts, count), dtype=np.float32)
    for part, own in others(texts):
        progress(rows + part.start)
        found = own.mul_(2).sub_(means[part, None]).sub_(means).topk(count, dim=1)
        nearest[part], alike[part] = found.indices.numpy(), found.values.numpy()
    return Neighbours(nearest, alike)
