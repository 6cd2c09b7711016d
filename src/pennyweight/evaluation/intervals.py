"""How sure a number is: score intervals of proportions and bootstrap intervals of F1, both 95 %; numpy only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Counts = NDArray[np.int64]

_CELLS_PER_DRAW = 2_000_000
"""Most cells of resampled confusion matrices held at once (16 MB)."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds of its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(successes: int, trials: int, z: float = 1.959963984540054) -> Interval:
    """Score interval of a proportion; its coverage holds for few trials and for proportions near 0 or 1.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927).

    Args:
        successes: how often it happened, 0 ≤ successes ≤ trials.
        trials: out of how many; with none the interval is [0, 1].
        z: two-sided normal quantile, the default for 95 %.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes out of {trials} trials")
    if trials == 0:
        return Interval(0.0, 0.0, 1.0)
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return Interval(share, low, high)


def bootstrap_f1(confusion: _Counts, *, resamples: int = 1000, seed: int = 0) -> tuple[Interval, tuple[Interval, ...]]:
    """Macro F1 and the F1 of each class with 95 % percentile bootstrap intervals over items.

    F1 depends on the items through the confusion matrix alone, and resampling n items with replacement makes that
    matrix a draw from a multinomial over its cells; so the matrices are drawn directly, all at once.

    A class that a resample happens to miss has no F1 there (0/0). Such a class is left out of that resample instead of
    counting 0, since zeros would pull the intervals of small classes, and of their mean, below the estimate. Classes
    absent from the data itself count 0 throughout, as they do in the estimate. Where no error was seen the bootstrap
    sees none either and its interval has no width: that is a limit of the method, not certainty.

    Source: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979).

    Args:
        confusion: counts [true, predicted], not all zero.
        resamples: number of resampled matrices.
        seed: of the draws; same seed, same intervals.
    """
    estimate, present = _f1(confusion.diagonal(), confusion.sum(1), confusion.sum(0))
    values, defined = _resampled_f1(confusion, resamples, seed)
    macro = values.sum(1) / defined.sum(1) * present.mean()
    per_class = tuple(
        percentiles(float(estimate[i]), values[defined[:, i], i] if present[i] else values[:, i])
        for i in range(len(confusion))
    )
    return percentiles(float(estimate.mean()), macro), per_class


def _resampled_f1(confusion: _Counts, resamples: int, seed: int) -> tuple[_Floats, NDArray[np.bool_]]:
    """F1 [resample, class] of resampled matrices, and where it is defined.

    Only cells that hold something are drawn, in parts of bounded size; row and column sums are taken over runs of them.
    """
    true, predicted = np.nonzero(confusion)
    counts = confusion[true, predicted]
    by_column = np.argsort(predicted, kind="stable")
    rows, row_starts = np.unique(true, return_index=True)
    columns, column_starts = np.unique(predicted[by_column], return_index=True)
    diagonal = np.flatnonzero(true == predicted)
    generator = np.random.default_rng(seed)
    values = np.empty((resamples, len(confusion)))
    defined = np.empty((resamples, len(confusion)), dtype=bool)
    step = max(1, _CELLS_PER_DRAW // len(counts))
    for start in range(0, resamples, step):
        part = slice(start, min(start + step, resamples))
        draws = generator.multinomial(counts.sum(), counts / counts.sum(), size=part.stop - start)
        tables = np.zeros((3, len(draws), len(confusion)), dtype=np.int64)
        tables[0][:, true[diagonal]] = draws[:, diagonal]
        tables[1][:, rows] = np.add.reduceat(draws, row_starts, axis=1)
        tables[2][:, columns] = np.add.reduceat(draws[:, by_column], column_starts, axis=1)
        values[part], defined[part] = _f1(*tables)
    return values, defined


def _f1(hits: _Counts, support: _Counts, predicted: _Counts) -> tuple[_Floats, NDArray[np.bool_]]:
    """F1 of each class (0 where it is 0/0) and where it is defined."""
    return ratio(2 * hits, support + predicted), support + predicted > 0


def percentiles(estimate: float, resampled: _Floats) -> Interval:
    """An estimate with the middle 95 % of what resamples made of it; [0, 1] where no resample defines it."""
    if not resampled.size:
        return Interval(estimate, 0.0, 1.0)
    low, high = np.quantile(resampled, (0.025, 0.975))
    return Interval(estimate, float(low), float(high))


def ratio(numerator: _Counts, denominator: _Counts) -> _Floats:
    """Elementwise quotient, 0 where the denominator is 0: the convention for classes that do not occur."""
    return np.divide(numerator, denominator, out=np.zeros(denominator.shape), where=denominator > 0)
