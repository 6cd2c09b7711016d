"""Label propagation: what is believed of texts, passed on to the texts nearest to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.training.pseudo_labels import Probabilities, aligned
from pennyweight.training.vectors import unit_vectors

_CHUNK = 512
_SHARPNESS = 10.0
_PULL = 0.8
_ROUNDS = 20


@dataclass(frozen=True)
class Neighbours:
    """The texts and labelled items most alike each text."""

    nearest: NDArray[np.int32]
    """Their numbers, [texts, neighbours]; labelled items are counted on behind the texts."""
    alike: NDArray[np.float32]
    """Cosines to them around the centre of all, [texts, neighbours]."""

    def weights(self) -> Probabilities:
        """How much each of them counts, [texts, neighbours]; rows sum to 1."""
        powers = np.exp(_SHARPNESS * (self.alike.astype(np.float64) - self.alike.max(axis=1, keepdims=True)))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def find_neighbours(
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
    count = min(count, len(vectors) - 1)
    nearest, alike = np.empty((texts, count), dtype=np.int32), np.empty((texts, count), dtype=np.float32)
    for first in range(0, texts, _CHUNK):
        progress(first)
        last = min(first + _CHUNK, texts)
        cosines = vectors[first:last] @ vectors.T
        rows = torch.arange(last - first)
        cosines[rows, first + rows] = -torch.inf
        found = cosines.topk(count, dim=1)
        nearest[first:last], alike[first:last] = found.indices.numpy(), found.values.numpy()
    return Neighbours(nearest, alike)


def propagated(
    probabilities: Probabilities,
    given: Probabilities,
    neighbours: Neighbours,
    *,
    shares: Probabilities | None = None,
) -> Probabilities:
    """What is believed of each text once it has listened to the texts nearest to it, and they to theirs.

    Twenty times over, each text takes four fifths of its belief from its neighbours and keeps one fifth of what it
    began with (Zhou et al. 2004, Learning with Local and Global Consistency). Labelled items stay what they are (Zhu
    et al. 2003, Semi-Supervised Learning Using Gaussian Fields and Harmonic Functions).

    Args:
        probabilities: of the texts without labels, [texts, classes], each row summing to 1.
        given: of the labelled items, [items, classes].
        neighbours: of the texts among texts and items.
        shares: how frequent the classes should be among the texts, [classes]; none: as they turn out to be.

    Returns:
        [texts, classes], each row summing to 1.
    """
    weights = neighbours.weights()
    believed = probabilities
    for _ in range(_ROUNDS):
        every, heard = np.concatenate([believed, given]), np.zeros_like(probabilities)
        for rank in range(weights.shape[1]):  # one at a time: all at once would be neighbours times the memory
            heard += weights[:, rank, None] * every[neighbours.nearest[:, rank]]
        believed = (1 - _PULL) * probabilities + _PULL * heard
        if shares is not None:
            believed = aligned(believed, shares)
    return believed
