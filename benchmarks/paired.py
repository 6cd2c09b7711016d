"""Two ways of doing the same job, judged on the same items over several seeds: how far apart, how sure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

RESAMPLES = 2000

Statistic = Callable[[NDArray[Any], NDArray[Any]], NDArray[np.float64]]
"""(predictions, truth), each [..., items] or [..., items, classes] → a value for each [...]."""


@dataclass(frozen=True)
class Difference:
    """What ``on`` has ahead of ``off``."""

    off: float
    on: float
    difference: float
    low: float
    """95 % of the difference, by a bootstrap over items and seeds."""
    high: float
    p: float
    """Two-sided, of no difference, by the bootstrap's standard error."""


def accuracy(predicted: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Share of right items."""
    return np.asarray((predicted == truth).mean(axis=-1), dtype=np.float64)


def macro_f1(predicted: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Mean over classes of F1, of many-hot predictions [..., items, classes]; a class without any counts 0."""
    hits = (predicted & truth).sum(axis=-2)
    both = predicted.sum(axis=-2) + truth.sum(axis=-2)
    return np.asarray((2 * hits / np.maximum(both, 1)).mean(axis=-1), dtype=np.float64)


def compared(
    off: NDArray[Any], on: NDArray[Any], truth: NDArray[Any], *, statistic: Statistic = accuracy, seed: int = 0
) -> Difference:
    """Compare predictions of two ways, seed by seed, on the same items.

    Both items and seeds are drawn with replacement, since both would be others in a repetition. Of very few seeds the
    bootstrap sees too little spread; the interval is then more about items than about seeds.

    Args:
        off: predictions without the technique, [seeds, items] or [seeds, items, classes].
        on: predictions with it, of the same shape.
        truth: [items] or [items, classes].
        statistic: what is compared.
        seed: of the bootstrap.
    """
    if off.shape != on.shape or off.shape[1:] != truth.shape:
        raise ValueError(f"predictions of shapes {off.shape} and {on.shape} for truth of shape {truth.shape}")
    before, after = (float(statistic(one, truth).mean()) for one in (off, on))
    generator = np.random.default_rng(seed)
    drawn = np.empty(RESAMPLES)
    for index in range(RESAMPLES):
        items = generator.integers(len(truth), size=len(truth))
        seeds = generator.integers(len(off), size=len(off))
        there = truth[items]
        drawn[index] = np.mean(statistic(on[seeds][:, items], there) - statistic(off[seeds][:, items], there))
    difference, error = after - before, float(drawn.std(ddof=1))
    low, high = np.quantile(drawn, [0.025, 0.975])
    p = float(2 * norm.sf(abs(difference) / error)) if error else float(difference == 0)
    return Difference(before, after, difference, float(low), float(high), p)
