"""What an audit finds: how a classifier bears spoilt texts, and where, by length and by class, it is weak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.evaluation.comparison import Pair
from pennyweight.evaluation.intervals import Interval, wilson
from pennyweight.evaluation.judged import AnyMetrics


@dataclass(frozen=True)
class Condition:
    """One way of spoiling the texts, and what it costs."""

    name: str
    meaning: str
    changed: int
    """Items whose text it changes at all."""
    accuracy: Interval
    macro_f1: float
    ece: float
    against_clean: Pair
    """This condition minus the clean texts, on the same items; p corrected for all conditions together."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        against = self.against_clean
        return {
            **{name: getattr(self, name) for name in ("name", "meaning", "changed", "macro_f1", "ece")},
            "accuracy": vars(self.accuracy).copy(),
            "difference": vars(against.accuracy).copy(),
            "macro_f1_difference": vars(against.macro_f1).copy(),
            "lost": against.only_second,
            "gained": against.only_first,
            "p": against.p,
            "p_corrected": against.p_corrected,
            "significant": against.significant,
        }


@dataclass(frozen=True)
class Part:
    """Some of the items, and how many of them are right."""

    name: str
    items: int
    accuracy: Interval
    """With Wilson's interval."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"name": self.name, "items": self.items, "accuracy": vars(self.accuracy).copy()}


@dataclass(frozen=True)
class Audit:
    """How one classifier bears what it was not trained for."""

    evaluated_on: str
    """Which data, as a phrase."""
    metrics: AnyMetrics
    """On the texts as they are; its ECE is after the temperature, its ``ece_uncalibrated`` before."""
    conditions: tuple[Condition, ...]
    lengths: tuple[Part, ...]
    """By quarters of the texts' lengths, shortest first."""
    length_unit: str
    """``tokens``, or ``words`` where tokens are not known."""
    classes: tuple[Part, ...]
    """By true class, weakest first."""
    not_measured: dict[str, str]
    """Conditions that could not be measured, and why."""
    seed: int
    """Of what the conditions draw."""
    skipped: int = 0
    """Rows without a usable text or label."""
    unmapped: dict[str, int] | None = None
    """Rows left out by the label mapping, by their label; none where there is no mapping."""

    def as_dict(self) -> dict[str, Any]:
        """What ``audit --json`` prints, and audit.json holds."""
        plain = ("evaluated_on", "length_unit", "not_measured", "seed", "skipped", "unmapped")
        return {
            **{name: getattr(self, name) for name in plain},
            "clean": self.metrics.as_dict(),
            "conditions": [one.as_dict() for one in self.conditions],
            "lengths": [one.as_dict() for one in self.lengths],
            "classes": [one.as_dict() for one in self.classes],
        }


def by_length(lengths: NDArray[np.integer[Any]], right: NDArray[np.bool_], *, parts: int = 4) -> tuple[Part, ...]:
    """Accuracy in equal parts of the items by length, shortest first; equal lengths stay together.

    Args:
        lengths: of each text, [items].
        right: whether each item is right, [items].
        parts: how many at most; fewer where lengths repeat.
    """
    bounds = np.unique(np.quantile(lengths, np.arange(1, parts + 1) / parts, method="inverted_cdf"))
    place = np.searchsorted(bounds, lengths)
    found = []
    for number in range(len(bounds)):
        inside = place == number
        own = lengths[inside]
        name = f"{own.min()}" if own.min() == own.max() else f"{own.min()}–{own.max()}"
        found.append(Part(name, int(inside.sum()), wilson(int(right[inside].sum()), int(inside.sum()))))
    return tuple(found)


def by_class(metrics: AnyMetrics) -> tuple[Part, ...]:
    """Share of each class's items that are right, weakest first; classes without items are left out.

    Of several labels per item: share of the items with a label that are given it.
    """
    parts = [
        Part(one.label, one.support, wilson(round(one.recall * one.support), one.support))
        for one in metrics.per_class
        if one.support
    ]
    return tuple(sorted(parts, key=lambda part: part.accuracy.value))
