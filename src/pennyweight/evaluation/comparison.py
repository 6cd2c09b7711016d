"""Classifiers side by side on the same items: where each stands, and what every pair differs by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pennyweight.evaluation.intervals import Interval, wilson
from pennyweight.evaluation.joint import JointCounts, resample, score
from pennyweight.evaluation.significance import (
    bootstrap_p,
    holm,
    mcnemar,
    paired_difference,
    percentile_interval,
    two_way,
)

Metric = Literal["accuracy", "macro_f1"]
METRICS: tuple[Metric, ...] = ("accuracy", "macro_f1")
Test = Literal["McNemar mid-p", "items and seeds"]
LEVEL = 0.05
"""A corrected p below this is called a difference."""


@dataclass(frozen=True)
class Pair:
    """What one contender has over another, on the same items."""

    first: str
    second: str
    accuracy: Interval
    """Accuracy of the first minus that of the second."""
    macro_f1: Interval
    """The same of macro F1, by paired bootstrap."""
    only_first: int | None
    """Items that only the first gets right; none where a contender has several seeds."""
    only_second: int | None
    test: Test
    """Where ``p`` comes from: McNemar's test, or, where a contender has several seeds, draws of items and seeds."""
    p: float
    """Two-sided p of equal accuracy."""
    p_exact: float | None
    """McNemar's exact p, where that is the test."""
    p_corrected: float
    """``p`` after Holm's correction for all pairs compared together."""

    @property
    def significant(self) -> bool:
        """Whether the accuracies differ by more than chance, at the 5 % level over all pairs together."""
        return self.p_corrected < LEVEL

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        intervals = {"accuracy": vars(self.accuracy).copy(), "macro_f1": vars(self.macro_f1).copy()}
        return {**vars(self), **intervals, "significant": self.significant}


class Bench:
    """Contenders on the same items, each of one member or of several seeds, with their resampled scores."""

    def __init__(
        self,
        joint: JointCounts,
        names: Sequence[str],
        groups: Sequence[Sequence[int]],
        *,
        resamples: int,
        keys: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        """Draw the resamples that all intervals are read off.

        Args:
            joint: what the members predicted, of at least one item.
            names: of the contenders.
            groups: member numbers of each contender.
            resamples: bootstrap resamples.
            keys: see `pennyweight.evaluation.significance.two_way`.
            seed: of the draws of items.
        """
        self.joint, self.names, self.groups = joint, tuple(names), tuple(map(tuple, groups))
        self.estimate = score(joint)
        drawn = resample(joint, resamples=resamples, seed=seed)
        self.drawn: dict[Metric, NDArray[np.float64]] = {
            metric: two_way(drawn.of(metric), self.groups, keys=keys).clip(0, 1) for metric in METRICS
        }
        """Resampled scores of each contender, [resamples, contenders]."""
        self.means: dict[Metric, NDArray[np.float64]] = {
            metric: np.array([self.estimate.of(metric)[list(group)].mean() for group in self.groups])
            for metric in METRICS
        }
        """The score of each contender, of several seeds their mean, [contenders]."""

    def standing(self, contender: int, metric: Metric) -> Interval:
        """A contender's score with its interval: Wilson's for one accuracy, else over items and seeds."""
        group = self.groups[contender]
        if metric == "accuracy" and len(group) == 1:
            return wilson(int(self.joint.right()[group[0]]), self.joint.items)
        return percentile_interval(self.means[metric][contender], self.drawn[metric][:, contender])

    def pairs(self, wanted: Sequence[tuple[int, int]]) -> tuple[Pair, ...]:
        """Compare contenders two by two, with p corrected for all of ``wanted`` together."""
        plain = [self._pair(first, second) for first, second in wanted]
        corrected = holm([pair.p for pair in plain])
        return tuple(replace(pair, p_corrected=p) for pair, p in zip(plain, corrected, strict=True))

    def difference(self, first: int, second: int, metric: Metric) -> Interval:
        """First minus second, with its interval over items and, where there are several, seeds."""
        means, drawn = self.means[metric], self.drawn[metric]
        return percentile_interval(means[first] - means[second], drawn[:, first] - drawn[:, second])

    def _pair(self, first: int, second: int) -> Pair:
        one, other = self.groups[first], self.groups[second]
        counts = self.joint.only_right(one[0], other[0])
        test, difference = mcnemar(*counts), paired_difference(*counts, self.joint.items)
        pair = Pair(
            first=self.names[first],
            second=self.names[second],
            accuracy=difference,
            macro_f1=self.difference(first, second, "macro_f1"),
            only_first=test.only_first,
            only_second=test.only_second,
            test="McNemar mid-p",
            p=test.mid_p,
            p_exact=test.exact,
            p_corrected=test.mid_p,
        )
        if len(one) == len(other) == 1:
            return pair
        p = bootstrap_p(self.drawn["accuracy"][:, first] - self.drawn["accuracy"][:, second])
        return replace(
            pair,
            accuracy=self.difference(first, second, "accuracy"),
            only_first=None,
            only_second=None,
            test="items and seeds",
            p=p,
            p_exact=None,
            p_corrected=p,
        )


def all_pairs(contenders: int) -> list[tuple[int, int]]:
    """Every pair once, the earlier contender first."""
    return [(first, second) for first in range(contenders) for second in range(first + 1, contenders)]


@dataclass(frozen=True)
class Standing:
    """One contender's figures."""

    name: str
    seeds: int
    """Runs that it stands for: 1, or the seeds of one recipe, whose means these are."""
    accuracy: Interval
    """Wilson's interval; of several seeds, over items and seeds."""
    macro_f1: Interval
    """Bootstrapped over items; of several seeds, over items and seeds."""
    ece: float
    """Expected calibration error; of several seeds their mean."""
    seconds_per_thousand: float | None
    """Time to predict 1,000 of these texts, here, one after the other; none for predictions read from a file."""
    trainable: int | None
    """Trained parameters, where they are known."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "accuracy": vars(self.accuracy).copy(), "macro_f1": vars(self.macro_f1).copy()}


@dataclass(frozen=True)
class Comparison:
    """Several contenders on the same data."""

    evaluated_on: str
    """Which data, as a phrase."""
    items: int
    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    left_out: int = 0
    """Items that not all contenders have a prediction of."""
    skipped: int = 0
    """Rows without a usable text or label."""
    unmapped: dict[str, int] | None = None
    """Rows left out by the label mapping, by their label; none where there is no mapping."""

    def as_dict(self) -> dict[str, Any]:
        """What ``compare --json`` prints."""
        return {
            **{name: value for name, value in vars(self).items() if name not in ("standings", "pairs")},
            "contenders": [one.as_dict() for one in self.standings],
            "pairs": [one.as_dict() for one in self.pairs],
        }
