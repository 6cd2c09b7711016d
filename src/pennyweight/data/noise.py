"""Labels that are probably wrong, found from probabilities that no item's own label had a hand in.

Confident learning (Northcutt et al. 2021, arXiv 1911.00068): a class counts as likely for an item where its probability
is at least what it is on average for the items that bear its label. So classes that a network is timid about, or that
are often taken for another, are measured by their own yardstick.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Doubts:
    """Items whose label is probably wrong."""

    items: NDArray[np.int64]
    """Their places among the items looked at, ascending, [doubts]."""
    suggested: NDArray[np.int64]
    """The class that each probably is of, [doubts]."""
    confidence: NDArray[np.float64]
    """Probability of that class, [doubts]."""


def deal_folds(
    labels: NDArray[np.integer[Any]], *, folds: int, seed: int, origins: NDArray[np.integer[Any]] | None = None
) -> NDArray[np.int64]:
    """Deal items into folds of nearly equal size, each class spread evenly over them.

    Args:
        labels: class of each item, [items].
        folds: number of folds.
        seed: seed of the draw.
        origins: what each item is a copy of, [items]; items of one origin share a fold. None: nothing is a copy.

    Returns:
        Fold of each item, in [0, folds), [items].
    """
    generator = np.random.default_rng([seed, folds])
    first, group = np.unique(
        np.arange(len(labels)) if origins is None else origins, return_index=True, return_inverse=True
    )[1:]
    order = generator.permutation(len(first))
    order = order[np.argsort(labels[first][order], kind="stable")]
    fold = np.empty(len(first), dtype=np.int64)
    fold[order] = np.arange(len(first)) % folds
    return fold[group]


def find_doubts(
    probabilities: NDArray[np.floating[Any]], labels: NDArray[np.integer[Any]], *, threshold: float | None = None
) -> Doubts:
    """The items for which another class is likely, and their own less so.

    Args:
        probabilities: of each class, from a network that did not learn from the item, [items, classes].
        labels: the class that each item bears, [items].
        threshold: probability from which on another class is likely; none: for each class its mean probability among
            the items that bear its label.
    """
    classes = probabilities.shape[1]
    least = np.full(classes, np.inf if threshold is None else threshold)
    if threshold is None:
        for label in np.unique(labels):
            least[label] = probabilities[labels == label, label].mean()
    likely = np.where(probabilities >= least, probabilities, -1.0)
    best = likely.argmax(axis=1)
    found = np.flatnonzero((likely.max(axis=1) >= 0) & (best != labels))
    return Doubts(found, best[found].astype(np.int64), probabilities[found, best[found]].astype(np.float64))
