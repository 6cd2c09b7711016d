"""Whether a difference is more than chance: paired tests, intervals of differences, correction for many comparisons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from pennyweight.evaluation.intervals import Interval

_Floats = NDArray[np.float64]

Z = 1.959963984540054
"""Two-sided normal quantile for 95 %."""


@dataclass(frozen=True)
class McNemar:
    """The test of two classifiers on the same items, from the items that only one of them gets right."""

    only_first: int
    only_second: int
    exact: float
    """Two-sided exact p: never too small, often too large."""
    mid_p: float
    """Two-sided mid-p: nearer to the nominal level than the exact one."""


def mcnemar(only_first: int, only_second: int) -> McNemar:
    """Test whether two classifiers are right equally often.

    Were they, an item that only one of them gets right would be the first's with probability one half; so the count is
    binomial. The exact p doubles its smaller tail; the mid-p counts only half of the probability of what was observed.

    Sources: Q. McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12
    (1947); M. W. Fagerland et al., "The McNemar test for binary matched-pairs data: mid-p and asymptotic are better
    than exact conditional", BMC Medical Research Methodology 13 (2013).

    Args:
        only_first: items that only the first gets right.
        only_second: items that only the second gets right.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"counts of {only_first} and {only_second} items")
    smaller, both = min(only_first, only_second), only_first + only_second
    if not both:
        return McNemar(only_first, only_second, 1.0, 1.0)
    tail = 2 * float(stats.binom.cdf(smaller, both, 0.5))
    return McNemar(only_first, only_second, min(1.0, tail), min(1.0, tail - float(stats.binom.pmf(smaller, both, 0.5))))


def paired_difference(only_first: int, only_second: int, items: int) -> Interval:
    """Difference of two accuracies on the same items, with a 95 % interval that has width even where nothing differs.

    Source: D. G. Bonett and R. M. Price, "Adjusted Wald confidence interval for a difference of binomial proportions
    based on paired data", Journal of Educational and Behavioral Statistics 37 (2012).

    Args:
        only_first: items that only the first gets right.
        only_second: items that only the second gets right.
        items: all items, those included that both or neither get right.

    Returns:
        First minus second; the bounds lie within [-1, 1].
    """
    if min(only_first, only_second) < 0 or only_first + only_second > items or items < 1:
        raise ValueError(f"{only_first} and {only_second} of {items} items")
    first, second = (only_first + 1) / (items + 2), (only_second + 1) / (items + 2)
    half = Z * math.sqrt((first + second - (first - second) ** 2) / (items + 2))
    centre = first - second
    return Interval((only_first - only_second) / items, max(-1.0, centre - half), min(1.0, centre + half))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Correct p values for being several: the chance of any false finding stays within the level; in the order given.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
    (1979).
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        largest = max(largest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = largest
    return tuple(corrected)


def percentile_interval(estimate: float, resampled: ArrayLike) -> Interval:
    """An estimate with the 2.5 % and 97.5 % percentiles of its resampled values."""
    low, high = np.quantile(np.asarray(resampled, dtype=np.float64), (0.025, 0.975))
    return Interval(float(estimate), float(low), float(high))


def bootstrap_p(differences: ArrayLike) -> float:
    """Two-sided p of no difference: twice the share of resampled differences on the rarer side of zero.

    One is added to both counts, so that p is never 0 (A. C. Davison and D. V. Hinkley, "Bootstrap methods and their
    application", 1997, chapter 4). With B resamples no p is below 2 / (B + 1).
    """
    resampled = np.asarray(differences, dtype=np.float64)
    rarer = min(int((resampled <= 0).sum()), int((resampled >= 0).sum()))
    return min(1.0, 2 * (rarer + 1) / (len(resampled) + 1))


def two_way(
    scores: _Floats, groups: Sequence[Sequence[int]], *, keys: Sequence[int] | None = None, seed: int = 0
) -> _Floats:
    """Mean score of each group of members where both the items and the members of a group might have been others.

    The rows of ``scores`` are of resampled items already. The members of a group are runs of one recipe with several
    seeds. Resampling these as well would say too little of few: where only seeds vary, 79 % of the 95 % intervals from
    three seeds and 88 % of those from five hold the truth. So the mean of S seeds is moved by its standard error times
    a draw from Student's t with S - 1 degrees of freedom; where items do not vary this is the t-interval. What chance
    does to one seed on one item counts in both parts, so that with few items the result errs on the safe side. A group
    of one member stays as it is: nothing is known of its seed's share.

    Source: Student, "The probable error of a mean", Biometrika 6 (1908); the sum of both parts as in A. B. Owen, "The
    pigeonhole bootstrap", Annals of Applied Statistics 1 (2007).

    Args:
        scores: of resampled items, [resamples, members].
        groups: member numbers of each group.
        keys: groups of the same key are moved by the same seeds in the same way: those of one recipe in several
            conditions are; none: each group by itself.
        seed: of the draws.

    Returns:
        [resamples, groups].
    """
    drawn = np.empty((len(scores), len(groups)))
    for index, group in enumerate(groups):
        generator = np.random.default_rng((seed, 1, index if keys is None else keys[index]))
        own = scores[:, np.asarray(group, dtype=np.int64)]
        drawn[:, index] = own.mean(axis=1)
        if (freedom := len(group) - 1) > 0:
            normal = generator.standard_normal(own.shape)
            scale = np.sqrt(freedom / generator.chisquare(freedom, size=len(own)))
            moved = (normal * (own - own.mean(axis=1, keepdims=True))).sum(axis=1)
            drawn[:, index] += scale * moved / math.sqrt(freedom * len(group))
    return drawn


@dataclass(frozen=True)
class OverSeeds:
    """One metric over several runs of a recipe that differ in their seed alone."""

    values: tuple[float, ...]
    """One for each seed."""
    mean: float
    deviation: float
    """Standard deviation between seeds (n - 1)."""
    low: float
    high: float
    """Bounds of the 95 % t-interval of the mean over seeds; the items are taken as given."""


def over_seeds(values: Sequence[float], *, least: float = -math.inf, most: float = math.inf) -> OverSeeds:
    """Mean of a metric over seeds with Student's t-interval (Student, "The probable error of a mean", 1908).

    Args:
        values: one for each seed.
        least: what the metric cannot fall below; the interval ends there.
        most: what it cannot exceed.

    Raises:
        ValueError: fewer than two values, of whose spread nothing can be said.
    """
    if len(values) < 2:
        raise ValueError(f"{len(values)} value(s): a spread takes two at least")
    numbers = np.asarray(values, dtype=np.float64)
    deviation = float(numbers.std(ddof=1))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * deviation / math.sqrt(len(values))
    mean = float(numbers.mean())
    return OverSeeds(tuple(numbers.tolist()), mean, deviation, max(mean - half, least), min(mean + half, most))
