"""How good a classifier is on each group of items, such as each language: counts that stream, one small table each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pennyweight.errors import InputError
from pennyweight.evaluation.intervals import Interval, ratio, wilson

MOST_GROUPS = 1000
"""More distinct values than this are no groups: such a column holds texts or numbers of rows."""


@dataclass(frozen=True)
class GroupMetrics:
    """One group of items."""

    group: str
    examples: int
    accuracy: Interval
    """Share of items that are right; of several labels those whose labels are all right."""
    macro_f1: float
    """Mean F1 of the classes that are true or predicted for one of its items."""
    micro_f1: float | None
    """Of several labels: F1 over all labels of all items together; none where each item has one class."""

    @property
    def rank(self) -> float:
        """What groups are ordered by, the lowest first."""
        return self.accuracy.value if self.micro_f1 is None else self.micro_f1

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        own = {**vars(self), "accuracy": vars(self.accuracy).copy()}
        return {key: value for key, value in own.items() if value is not None}


@dataclass(frozen=True)
class Groups:
    """All groups of a column, the worst first."""

    column: str
    groups: tuple[GroupMetrics, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"column": self.column, "groups": [one.as_dict() for one in self.groups]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The groups that `as_dict` made ``content`` of."""

        def one_group(fields: Mapping[str, Any]) -> GroupMetrics:
            known = {**fields, "accuracy": Interval(**fields["accuracy"]), "micro_f1": fields.get("micro_f1")}
            return GroupMetrics(**known)

        return cls(content["column"], tuple(map(one_group, content["groups"])))


class StreamingGroups:
    """Counts by group, over windows of items: for each one a table of 3 × classes counts."""

    def __init__(self, column: str, *, classes: int) -> None:
        """Begin with no items.

        Args:
            column: where the groups' names come from.
            classes: number of classes.
        """
        self._column, self._classes = column, classes
        self._several = False
        self._items: dict[str, list[int]] = {}  # items, right ones
        self._tables: dict[str, NDArray[np.int64]] = {}  # [(hits, true, predicted), class]

    def update(self, groups: Sequence[str], truth: NDArray[Any], predicted: NDArray[Any]) -> None:
        """Add items: the group of each, and class indices int [n], or which labels apply, bool [n, classes].

        Raises:
            InputError: there are too many groups by now for the column to be one of groups.
        """
        self._several = truth.ndim == 2
        names = np.asarray(groups, dtype=object)
        for name in dict.fromkeys(groups):
            members = np.flatnonzero(names == name)
            self._add(name, truth[members], predicted[members])

    def _add(self, name: str, truth: NDArray[Any], predicted: NDArray[Any]) -> None:
        if name not in self._items:
            if len(self._items) == MOST_GROUPS:
                raise InputError(
                    f"column {self._column!r} holds more than {MOST_GROUPS:,} distinct values, too many for groups; "
                    "name a column of few, such as a language or a source"
                )
            self._items[name] = [0, 0]
            self._tables[name] = np.zeros((3, self._classes), dtype=np.int64)
        same = (truth == predicted).all(axis=1) if self._several else truth == predicted
        self._items[name][0] += len(truth)
        self._items[name][1] += int(same.sum())
        if self._several:
            counts = [(truth & predicted).sum(axis=0), truth.sum(axis=0), predicted.sum(axis=0)]
        else:
            counts = [np.bincount(one, minlength=self._classes) for one in (truth[same], truth, predicted)]
        self._tables[name] += np.stack(counts)

    def result(self) -> Groups:
        """The groups so far, the worst first, equally good ones by name."""
        found = [self._one(name) for name in self._items]
        return Groups(self._column, tuple(sorted(found, key=lambda one: (one.rank, one.group))))

    def _one(self, name: str) -> GroupMetrics:
        (items, right), (hits, true, predicted) = self._items[name], self._tables[name]
        occurring = true + predicted > 0
        scores = ratio(2 * hits, true + predicted)[occurring]
        micro = ratio(2 * hits.sum(keepdims=True), (true + predicted).sum(keepdims=True))[0]
        return GroupMetrics(
            group=name,
            examples=items,
            accuracy=wilson(right, items),
            macro_f1=float(scores.mean()) if len(scores) else 0.0,
            micro_f1=float(micro) if self._several else None,
        )
