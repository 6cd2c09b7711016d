"""Label propagation: what is believed of texts, passed on to the texts nearest to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.training.pseudo_labels import Probabilities, aligned

_CHUNK = 512
_SHARPNESS = 10.0
_PULL = 0.8
_ROUNDS = 20


@dataclass(frozen=True)
class Neighbours:
    """The texts most alike each text."""

    nearest: NDArray[np.int64]
    """Their numbers, [texts, neighbours]."""
    alike: NDArray[np.float32]
    """Cosines to them around the centre of all texts, [texts, neighbours]."""

    def weights(self) -> Probabilities:
        """How much each of them counts, [texts, neighbours]; rows sum to 1."""
        powers = np.exp(_SHARPNESS * (self.alike.astype(np.float64) - self.alike.max(axis=1, keepdims=True)))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def find_neighbours(
    features: NDArray[np.floating], count: int, *, go_on: Callable[[], None] = lambda: None
) -> Neighbours:
    """The ``count`` texts most alike each text, itself left out; all others where there are fewer.

    Of the features only the direction from their common centre counts. The time grows with the square of the number of
    texts, the memory does not.

    Args:
        features: [texts, hidden], two texts at least.
        count: neighbours of each.
        go_on: called from time to time; raises to stop.
    """
    import torch

    vectors = torch.from_numpy(
        unit_vectors(unit_vectors(features) - unit_vectors(features).mean(axis=0)).astype(np.float32)
    )
    count = min(count, len(vectors) - 1)
    nearest = np.empty((len(vectors), count), dtype=np.int64)
    alike = np.empty((len(vectors), count), dtype=np.float32)
    for first in range(0, len(vectors), _CHUNK):
        go_on()
        cosines = vectors[first : first + _CHUNK] @ vectors.T
        rows = torch.arange(len(cosines))
        cosines[rows, first + rows] = -torch.inf
        found = cosines.topk(count, dim=1)
        nearest[first : first + _CHUNK], alike[first : first + _CHUNK] = found.indices.numpy(), found.values.numpy()
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
        neighbours: of texts and items, in this order.
        shares: how frequent the classes should be among the texts, [classes]; none: as they turn out to be.

    Returns:
        [texts, classes], each row summing to 1.
    """
    texts, weights = len(probabilities), neighbours.weights()
    began = np.concatenate([probabilities, given])
    believed = began.copy()
    for _ in range(_ROUNDS):
        heard = np.einsum("tn,tnc->tc", weights, believed[neighbours.nearest])
        believed[:texts] = ((1 - _PULL) * began + _PULL * heard)[:texts]
        if shares is not None:
            believed[:texts] = aligned(believed[:texts], shares)
    return believed[:texts]


def unit_vectors(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows divided by their lengths."""
    wide = np.asarray(vectors, dtype=np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12))
