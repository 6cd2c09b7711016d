"""Confusion matrices as JSON: whole where they are small, their cells that hold something where they are large."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

MOST_WHOLE = 200
"""Most classes of which every cell is written; of 1,000 classes that would be a million, most of them 0."""

Confusion = tuple[tuple[int, ...], ...]


def as_json(confusion: Confusion) -> list[list[int]] | dict[str, Any]:
    """Rows [true][predicted]; beyond `MOST_WHOLE` classes the cells [true, predicted, count] that hold something."""
    if len(confusion) <= MOST_WHOLE:
        return [list(row) for row in confusion]
    counts = np.array(confusion)
    true, predicted = np.nonzero(counts)
    cells = np.stack([true, predicted, counts[true, predicted]], axis=1)
    return {"classes": len(confusion), "cells": cells.tolist()}


def from_json(content: Sequence[Sequence[int]] | Mapping[str, Any]) -> Confusion:
    """The matrix that `as_json` made ``content`` of."""
    if not isinstance(content, Mapping):
        return tuple(tuple(row) for row in content)
    counts = np.zeros((content["classes"], content["classes"]), dtype=np.int64)
    for true, predicted, count in content["cells"]:
        counts[true, predicted] = count
    return tuple(tuple(row) for row in counts.tolist())


def most_confused(confusion: Confusion, most: int) -> list[int]:
    """The classes that most mistakes go out from or into, at most ``most``, in index order."""
    counts = np.array(confusion)
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    return sorted(np.argsort(-wrong, kind="stable")[:most].tolist())
