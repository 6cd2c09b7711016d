"""Two ways of computing one classifier, item by item: how many are right either way, and how often they agree."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pennyweight.errors import InputError


@dataclass(frozen=True)
class Agreement:
    """What changes for the same items when the same classifier is computed in another number format."""

    examples: int
    accuracy: float
    """Share of items that are right; of several labels those whose labels are all right."""
    reference_accuracy: float
    """The same in the number format compared with."""
    agreement: float
    """Share of items that get the same label, or the same labels, both ways."""

    @property
    def difference(self) -> float:
        """Accuracy minus that of the reference: negative where something is lost."""
        return self.accuracy - self.reference_accuracy

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "difference": self.difference}


class StreamingAgreement:
    """Counts an `Agreement` over windows of items, in constant memory."""

    def __init__(self) -> None:
        """Begin with no items."""
        self._examples = self._right = self._reference_right = self._same = 0

    def update(self, logits: ArrayLike, reference: ArrayLike, labels: ArrayLike) -> None:
        """Add items: logits both ways, [n, classes], and the true class of each, [n]."""
        self.add(np.argmax(logits, axis=1), np.argmax(reference, axis=1), np.asarray(labels))

    def add(self, found: NDArray[Any], expected: NDArray[Any], truth: NDArray[Any]) -> None:
        """Add items as they were decided both ways: class indices int [n], or labels given, bool [n, classes]."""
        self._examples += len(truth)
        self._right += _equal(found, truth)
        self._reference_right += _equal(expected, truth)
        self._same += _equal(found, expected)

    def result(self) -> Agreement:
        """The shares so far; raises InputError where there was no item."""
        if not self._examples:
            raise InputError("the data hold no labelled item to compare on; give others with --data")
        count = self._examples
        return Agreement(count, self._right / count, self._reference_right / count, self._same / count)


def _equal(one: NDArray[Any], other: NDArray[Any]) -> int:
    """How many items are the same in both; of several labels all of an item's."""
    same = one == other
    return int((same.all(axis=1) if same.ndim == 2 else same).sum())
