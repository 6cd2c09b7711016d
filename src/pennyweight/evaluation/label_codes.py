"""Numbers for sets of labels, so that items of several labels can be counted as items of one class are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class LabelCodes:
    """Gives every set of labels that it meets a number, from 0 on."""

    def __init__(self, classes: int) -> None:
        """Start from nothing; ``classes`` is the number of labels."""
        self.classes = classes
        self._codes: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def encode(self, sets: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The numbers of sets of labels, bool [items, classes]: [items]."""
        if sets.ndim != 2 or sets.shape[1] != self.classes or sets.dtype != np.bool_:
            raise ValueError(f"sets of shape {sets.shape} and type {sets.dtype}; need truth values [n, {self.classes}]")
        distinct, place = np.unique(np.packbits(sets, axis=1), axis=0, return_inverse=True)
        numbers = [self._codes.setdefault(one.tobytes(), len(self._codes)) for one in distinct]
        return np.array(numbers, dtype=np.int64)[place.reshape(-1)]

    def table(self) -> NDArray[np.bool_]:
        """Which labels each number stands for, [numbers, classes]."""
        packed = np.frombuffer(b"".join(self._codes), dtype=np.uint8).reshape(len(self._codes), -1)
        return np.unpackbits(packed, axis=1, count=self.classes).astype(bool)
