"""The texts most alike each text: in what a network makes of them, or in the words that they hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.training.pseudo_labels import Probabilities
from pennyweight.training.vectors import unit_vectors
from pennyweight.training.words import word_vectors

if TYPE_CHECKING:
    from pennyweight.data.batches import TokenTable

_CHUNK = 512
_SHARPNESS = 5.0


@dataclass(frozen=True)
class Neighbours:
    """The texts and labelled items most alike each text."""

    nearest: NDArray[np.int32]
    """Their numbers, [texts, neighbours]; labelled items are counted on behind the texts."""
    alike: NDArray[np.float32]
    """Cosines to them, [texts, neighbours]; minus infinity: no neighbour, the text has fewer."""

    def weights(self) -> Probabilities:
        """How much each of them counts, [texts, neighbours]; rows sum to 1, or to 0 where a text has no neighbour."""
        cosines = self.alike.astype(np.float64)
        powers = np.exp(_SHARPNESS * (cosines - np.maximum(cosines.max(axis=1, keepdims=True), -1)))
        return np.asarray(powers / np.maximum(powers.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))


def neighbours_by_meaning(
    features: NDArray[np.floating], texts: int, count: int, *, progress: Callable[[int], None] = lambda done: None
) -> Neighbours:
    """Find the ``count`` texts and labelled items most alike each text, itself left out; all where there are fewer.

    Of the features only the direction from their common centre counts. The time grows with texts times texts and items
    together.

    Args:
        features: of the texts and, behind them, of the labelled items, [texts + items, hidden]; two rows at least.
        texts: how many of them are texts.
        count: neighbours of each.
        progress: called with the number of texts that are done, from 0; raises to stop.
    """
    import torch

    directions = unit_vectors(features)
    vectors = torch.from_numpy(unit_vectors(directions - directions.mean(axis=0)).astype(np.float32))
    return _found(lambda first, last: vectors[first:last] @ vectors.T, texts, min(count, len(vectors) - 1), progress)


def neighbours_by_words(
    table: TokenTable, texts: int, count: int, *, progress: Callable[[int], None] = lambda done: None
) -> Neighbours:
    """As `neighbours_by_meaning`, by the cosines of `word_vectors`; texts with no word in common are no neighbours.

    Args:
        table: tokens of the texts and, behind them, of the labelled items; two texts at least.
        texts: how many of them are texts.
        count: neighbours of each.
        progress: called with the number of texts that are done, from 0; raises to stop.
    """
    import torch

    vectors = word_vectors(table)
    turned = vectors.T.tocsr()

    def cosines(first: int, last: int) -> torch.Tensor:
        dense = torch.from_numpy((vectors[first:last] @ turned).toarray())
        return dense.masked_fill_(dense == 0, -torch.inf)

    return _found(cosines, texts, min(count, len(table) - 1), progress)


def _found(cosines: Callable[[int, int], Any], texts: int, count: int, progress: Callable[[int], None]) -> Neighbours:
    """The best of the cosines of texts from a first to behind a last, [texts, all], which are asked for in turn."""
    import torch

    nearest, alike = np.empty((texts, count), dtype=np.int32), np.empty((texts, count), dtype=np.float32)
    for first in range(0, texts, _CHUNK):
        progress(first)
        last = min(first + _CHUNK, texts)
        own, rows = cosines(first, last), torch.arange(last - first)
        own[rows, first + rows] = -torch.inf
        found = own.topk(count, dim=1)
        nearest[first:last], alike[first:last] = found.indices.numpy(), found.values.numpy()
    return Neighbours(nearest, alike)
