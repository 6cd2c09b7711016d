"""From what a label column of several labels per text holds to sets of class indices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.data.labels import LabelEncoder, canonical, shorten
from pennyweight.errors import InputError

SEPARATOR = "|"
"""What stands between the labels of an item in one text, unless told otherwise."""


def label_values(value: Any, separator: str = SEPARATOR) -> list[Any] | None:
    """The labels of one item as its column holds them, or None where the column holds nothing.

    A list is taken as it is, and an empty one means that no label applies. A text is cut at the separator; one of white
    space alone is an empty list, since a CSV file has no other way to write it. Anything else is a single label.
    """
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, str):
        return [part for piece in value.split(separator) if (part := piece.strip())]
    if isinstance(value, np.ndarray):
        return list(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    return [value]


def canonical_set(value: Any, separator: str = SEPARATOR) -> tuple[int | str, ...] | None:
    """The distinct labels of one item, each as `canonical` returns it, or None where the column holds nothing.

    Raises:
        TypeError: one of them can be no label, or is missing inside a list.
    """
    values = label_values(value, separator)
    if values is None:
        return None
    found = [canonical(one) for one in values]
    if None in found:
        raise TypeError(f"the labels {shorten(values)} hold an empty one")
    return tuple(dict.fromkeys(label for label in found if label is not None))


class LabelSetEncoder:
    """Sets of class indices, for items with any number of labels."""

    def __init__(self, names: Sequence[str], first_label: int | None = 0, separator: str = SEPARATOR) -> None:
        """Read labels as `LabelEncoder` does, several at a time.

        Raises:
            InputError: names that are not distinct, or one that holds the separator, which could not be read back.
        """
        require_apart(names, separator)
        self._encoder = LabelEncoder(names, first_label)
        self._separator = separator
        self.names = self._encoder.names

    def encode(self, value: Any, *, where: str) -> tuple[int, ...] | None:
        """The class indices of one item, ascending, each once; None where the column holds nothing.

        Args:
            value: what the label column holds: a list, a text with separators, or a single label.
            where: source and row, for the error.

        Raises:
            InputError: a label is outside the known set, or missing inside a list.
        """
        values = label_values(value, self._separator)
        if values is None:
            return None
        indices = {self._encoder.encode(one, where=where) for one in values}
        if None in indices:
            raise InputError(f"{where}: the labels {shorten(values)} hold an empty one; leave it out")
        return tuple(sorted(index for index in indices if index is not None))


def require_apart(names: Iterable[str], separator: str) -> None:
    """Raises InputError where a label's name holds the separator: written as one text, it would be read as two."""
    for name in names:
        if separator in name:
            raise InputError(
                f"label {shorten(name)} holds {separator!r}, which stands between labels: give another separator with "
                "--set data.label_separator=…"
            )


def membership(sets: Sequence[Iterable[int]], classes: int) -> NDArray[np.bool_]:
    """Sets of class indices as one row each, bool [items, classes]."""
    table = np.zeros((len(sets), classes), dtype=bool)
    for row, indices in enumerate(sets):
        table[row, list(indices)] = True
    return table


def joined(names: Sequence[str], chosen: Iterable[int], separator: str = SEPARATOR) -> str:
    """The names of some class indices as one text, as `label_values` reads it."""
    return separator.join(names[index] for index in chosen)
