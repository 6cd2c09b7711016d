"""Batches in which classes can be told apart: some items of each, in equal numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def contrasting_batches(
    labels: NDArray[np.integer[Any]], *, batch_size: int, seed: int, epoch: int
) -> list[NDArray[np.int64]]:
    """Deal batches in which every class that takes part has as many items as any other, and at least two.

    As many classes take part in a batch as have room for two items, in turn where that is not all of them. A class
    hands out its items in random order, and begins anew when all are dealt; no item is twice in a batch, so that a
    class with few items has fewer in it.

    Args:
        labels: class of each item, [items].
        batch_size: most items per batch, at least 4.
        seed: seed of the run.
        epoch: number of the epoch, which goes into the seed.

    Returns:
        One array of item indices per batch, as many as would hold all items once.
    """
    generator = np.random.default_rng([seed, epoch, 1])
    present = np.unique(labels)
    together = min(len(present), batch_size // 2)
    each = batch_size // together
    count = -(-len(labels) // batch_size)
    decks = {label: _Deck(np.flatnonzero(labels == label), generator) for label in present.tolist()}
    classes = _Deck(present, generator)
    return [
        np.concatenate([decks[label].draw(each) for label in classes.draw(together).tolist()]) for _ in range(count)
    ]


class _Deck:
    """Hands out cards in random order, shuffled anew when all are dealt; never the same card twice in one draw."""

    def __init__(self, cards: NDArray[np.integer[Any]], generator: np.random.Generator) -> None:
        self._cards, self._generator = cards, generator
        self._left = generator.permutation(cards)

    def draw(self, count: int) -> NDArray[np.int64]:
        count = min(count, len(self._cards))
        drawn, self._left = self._left[:count], self._left[count:]
        if len(drawn) < count:
            fresh = self._generator.permutation(self._cards)
            missing = count - len(drawn)
            new = fresh[~np.isin(fresh, drawn)][:missing]
            drawn, self._left = np.concatenate([drawn, new]), fresh[~np.isin(fresh, new)]
        return drawn.astype(np.int64)
