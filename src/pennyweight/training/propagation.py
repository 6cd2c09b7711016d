"""Label propagation: what is believed of texts, passed on to the texts nearest to them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pennyweight.training.likeness import Neighbours
from pennyweight.training.pseudo_labels import Probabilities, aligned

_PULL = 0.8
_ROUNDS = 20
_BOLDNESS = 1.5
"""The power that a belief is raised to when it is passed on in several senses; in a single one it does harm."""


def propagated(
    probabilities: Probabilities,
    given: Probabilities,
    neighbours: Sequence[Neighbours],
    *,
    shares: Probabilities | None = None,
) -> Probabilities:
    """What is believed of each text once it has listened to the texts nearest to it, and they to theirs.

    Twenty times over, each text takes four fifths of its belief from its neighbours and keeps one fifth of what it
    began with (Zhou et al. 2004, Learning with Local and Global Consistency). Labelled items stay what they are (Zhu
    et al. 2003, Semi-Supervised Learning Using Gaussian Fields and Harmonic Functions). Where neighbours are heard in
    several senses, texts speak more surely than they believe: who is wrong in one is seldom heard in the other.

    Args:
        probabilities: of the texts without labels, [texts, classes], each row summing to 1.
        given: of the labelled items, [items, classes].
        neighbours: of the texts among texts and items, in one sense or several, which have the same say. A text without
            neighbours in one of them listens to the others, and one without any to nobody.
        shares: how frequent the classes should be among the texts, [classes]; none: as they turn out to be.

    Returns:
        [texts, classes], each row summing to 1.
    """
    nearest = np.concatenate([one.nearest for one in neighbours], axis=1)
    weights = np.concatenate([one.weights() for one in neighbours], axis=1)
    senses = weights.sum(axis=1, keepdims=True)
    weights /= np.maximum(senses, 1)
    alone = np.where(senses > 0, 0, probabilities)
    believed = probabilities
    for _ in range(_ROUNDS):
        every, heard = np.concatenate([_spoken(believed, len(neighbours)), given]), alone.copy()
        for rank in range(weights.shape[1]):  # one at a time: all at once would be neighbours times the memory
            heard += weights[:, rank, None] * every[nearest[:, rank]]
        believed = (1 - _PULL) * probabilities + _PULL * heard
        if shares is not None:
            believed = aligned(believed, shares)
    return believed


def _spoken(believed: Probabilities, senses: int) -> Probabilities:
    """What texts say of themselves, [texts, classes], to those who hear them in so many senses."""
    if senses == 1:
        return believed
    bold = believed**_BOLDNESS
    return np.asarray(bold / bold.sum(axis=1, keepdims=True))
