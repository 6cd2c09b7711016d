"""From what a label column holds to class indices."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from pennyweight.errors import InputError

_WHOLE = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?=(?:\.0+)?$)")
_SHOWN = 12


def canonical(value: Any) -> int | str | None:
    """Bring a label to one of three forms: an integer, a name, or None where there is no label.

    Whole numbers are integers, however they are written (3, 3.0, "3", "3.0"); booleans are the names "False" and
    "True"; NumPy's scalars are what they hold; strings lose the white space around them; null, NaN and empty strings
    are no label.

    Raises:
        TypeError: the value can be no label: a list, an object, a broken number, half of a surrogate pair.
    """
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or (isinstance(value, float | Decimal) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return int(value)
    if isinstance(value, str):
        name = value.strip()
        whole = _WHOLE.match(name)
        if whole or is_unicode(name):
            return int(whole[0]) if whole else name or None
    raise TypeError(f"label {shorten(value)} is neither a name nor a whole number")


class LabelEncoder:
    """Class indices for labels given as names or as integers.

    A value that is itself one of the names means that name; otherwise an integer means the class that many places
    after ``first_label``. Without one it means nothing: names that were discovered are in an order of their own.
    """

    def __init__(self, names: Sequence[str], first_label: int | None = 0) -> None:
        if len(set(names)) != len(names) or not all(name.strip() for name in names):
            raise InputError(f"label names must be distinct and not empty, these are not: {listed(names)}")
        self.names = tuple(names)
        self.first_label = first_label
        self._index = {name: index for index, name in enumerate(self.names)}
        # "03" or "2.0" may be names as well; then only they themselves mean them.
        self._numbers = {str(canonical(name)): index for index, name in enumerate(self.names)}

    def encode(self, value: Any, *, where: str) -> int | None:
        """Return the class index of a label, or None where there is none.

        Args:
            value: what the label column holds.
            where: source and row, for the error.

        Raises:
            InputError: the label is outside the known set; names the row, the value and the set.
        """
        if isinstance(value, str) and (index := self._index.get(value.strip())) is not None:
            return index
        try:
            label = canonical(value)
        except TypeError:
            raise InputError(f"{where}: {self._refusal(value)}; correct the label") from None
        if label is None:
            return None
        index = self._index.get(str(label), self._numbers.get(str(label)))
        if index is not None:
            return index
        number = int(value) if isinstance(value, bool) else label
        if self.first_label is None:
            index = self._numbers.get(str(number))
        elif isinstance(number, int) and 0 <= number - self.first_label < len(self.names):
            index = number - self.first_label
        if index is not None:
            return index
        raise InputError(f"{where}: {self._refusal(value)}{self._hint(label)}")

    def _refusal(self, value: Any) -> str:
        return f"label {shorten(value)} is none of the known ones: {listed(self.names)}"

    def _hint(self, label: int | str) -> str:
        if self.first_label is None and isinstance(label, int) and not all(map(_WHOLE.match, self.names)):
            return (
                f"; these names were found in the data and are in no order, so that a number means none of them: say "
                f"which it means (evaluate: --map {label}={_clipped(self.names[0])}; train: --set data.labels=…)"
            )
        if self.first_label == 0 and label == len(self.names):
            return "; where the data counts its classes from 1: --set data.first_label=1"
        if self.first_label == 1 and label == 0:
            return "; where the data counts its classes from 0: --set data.first_label=0"
        return "; correct the label, or have the classes discovered (train: --set data.labels=auto)"


def discover(values: Iterable[int | str]) -> tuple[str, ...]:
    """Name the classes that occur: integers in numeric order, names in sorted order.

    Args:
        values: labels as `canonical` returns them; integers among names count as names.
    """
    distinct = set(values)
    if all(isinstance(value, int) for value in distinct):
        return tuple(str(value) for value in sorted(distinct, key=int))
    return tuple(sorted(str(value) for value in distinct))


def listed(names: Sequence[str]) -> str:
    """Join names for a message, the first dozen of them."""
    shown = ", ".join(_clipped(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}, … {len(names)} in all"


def shorten(value: Any) -> str:
    """Show a value in a message, on one line and not too long."""
    # The text of a huge value is not even built.
    return _clipped(repr(value[:80] if isinstance(value, str | list) else value))


def is_unicode(text: str) -> bool:
    """Tell whether a string can be written as UTF-8, which one with half of a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _clipped(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}…"
