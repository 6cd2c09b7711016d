"""One classifier out of several, by its worst, mean or weighted score over data sets and conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pennyweight.evaluation.comparison import LEVEL, Metric
from pennyweight.evaluation.intervals import Interval
from pennyweight.evaluation.significance import bootstrap_p, holm, percentile_interval

By = Literal["worst", "mean", "weighted"]


@dataclass(frozen=True)
class Cell:
    """One data set in one condition."""

    data: str
    condition: str
    weight: float

    @property
    def name(self) -> str:
        """As a phrase: ``typos on val.csv``."""
        return f"{self.condition} on {self.data}"


@dataclass(frozen=True)
class Candidate:
    """One of the classifiers to choose from."""

    name: str
    score: Interval
    """What the choice goes by, with its interval over items and, where there are several, seeds."""
    worst: str
    """The cell in which it scores least."""
    cells: Mapping[str, float]
    """Its score in every cell."""
    behind: Interval | None
    """The chosen one's score minus this one's; none for the chosen one itself."""
    p: float | None
    """Two-sided bootstrap p of no difference from the chosen one."""
    p_corrected: float | None
    """``p`` after Holm's correction for all others together."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        behind = None if self.behind is None else vars(self.behind).copy()
        return {**vars(self), "score": vars(self.score).copy(), "cells": dict(self.cells), "behind": behind}


@dataclass(frozen=True)
class Choice:
    """Which classifier to take, and how sure that is."""

    by: By
    metric: Metric
    cells: tuple[Cell, ...]
    candidates: tuple[Candidate, ...]
    """The chosen one first, then by score."""
    items: Mapping[str, int]
    """Items of each data set."""
    left_out: Mapping[str, int]
    """Rows of each data set that were passed over: unusable ones, and those of labels that are not mapped."""
    not_measured: Mapping[str, str] = field(default_factory=dict)
    """Conditions that could not be measured, and why."""

    @property
    def chosen(self) -> Candidate:
        """The one with the best score."""
        return self.candidates[0]

    @property
    def tied(self) -> tuple[str, ...]:
        """Names of those that the chosen one is not shown to be better than."""
        return tuple(one.name for one in self.candidates[1:] if one.p_corrected is None or one.p_corrected >= LEVEL)

    @property
    def why(self) -> str:
        """The choice in one sentence or two."""
        best, score = self.chosen, self.chosen.score
        of = {"worst": f"worst {self.metric_words} ({best.worst})", "mean": f"mean {self.metric_words}"}
        what = of.get(self.by, f"weighted {self.metric_words}")
        head = (
            f"{best.name} has the best {what} of {len(self.candidates)}: {100 * score.value:.2f} % "
            f"({100 * score.low:.2f}–{100 * score.high:.2f}) over {len(self.cells)} "
            f"{'condition' if len(self.cells) == 1 else 'conditions'}"
        )
        if not self.tied:
            return f"{head}. That is better than every other by more than chance."
        return f"{head}. It is not shown to be better than {', '.join(self.tied)}."

    @property
    def metric_words(self) -> str:
        """The metric in words."""
        return self.metric.replace("_f1", " F1")

    def as_dict(self) -> dict[str, Any]:
        """What ``choose --json`` prints."""
        return {
            "chosen": self.chosen.name,
            "significant": not self.tied,
            "tied": list(self.tied),
            "why": self.why,
            "by": self.by,
            "metric": self.metric,
            "items": dict(self.items),
            "left_out": dict(self.left_out),
            "not_measured": dict(self.not_measured),
            "weights": {cell.name: cell.weight for cell in self.cells},
            "candidates": [one.as_dict() for one in self.candidates],
        }


def choose(
    names: Sequence[str],
    scores: NDArray[np.float64],
    drawn: NDArray[np.float64],
    *,
    cells: Sequence[Cell],
    by: By,
    metric: Metric,
    items: Mapping[str, int],
    left_out: Mapping[str, int],
) -> Choice:
    """Choose by an aggregate of the scores.

    Args:
        names: of the candidates.
        scores: [candidates, cells].
        drawn: of resampled items and seeds, [resamples, candidates, cells].
        cells: data sets and conditions, with their weights, which count where ``by`` is weighted.
        by: which aggregate: the least score, the mean, or the weighted mean.
        metric: what the scores are.
        items: of each data set.
        left_out: rows of each data set that were passed over.

    Returns:
        The choice; of equal candidates the earlier one is chosen.
    """
    weights = np.array([cell.weight for cell in cells])
    whole, resampled = _aggregated(scores, by, weights), _aggregated(drawn, by, weights)
    order = np.argsort(-whole, kind="stable")
    best = int(order[0])
    p_values = {int(other): bootstrap_p(resampled[:, best] - resampled[:, other]) for other in order[1:]}
    corrected = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    candidates = tuple(
        Candidate(
            name=names[one],
            score=percentile_interval(whole[one], resampled[:, one]),
            worst=cells[int(scores[one].argmin())].name,
            cells={cell.name: float(score) for cell, score in zip(cells, scores[one], strict=True)},
            behind=None
            if one == best
            else percentile_interval(whole[best] - whole[one], resampled[:, best] - resampled[:, one]),
            p=p_values.get(one),
            p_corrected=corrected.get(one),
        )
        for one in map(int, order)
    )
    return Choice(by, metric, tuple(cells), candidates, dict(items), dict(left_out))


def _aggregated(scores: NDArray[np.float64], by: By, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """One number for each candidate out of its cells, which are the last axis."""
    if by == "worst":
        least: NDArray[np.float64] = scores.min(axis=-1)
        return least
    share = np.full(len(weights), 1 / len(weights)) if by == "mean" else weights / weights.sum()
    mean: NDArray[np.float64] = scores @ share
    return mean
