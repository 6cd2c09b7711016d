"""Selectors: which matrices a recipe's words mean.

A selector is a dotted name or the end of one, `*` standing for any run of characters within one part, and optionally
`@` with layers: `query`, `layer.*.output.dense`, `key@0`, `query@0,1,-2`, `value@6:`. Negative numbers count layers
from the last, slices are Python's.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pennyweight.errors import InputError

T = TypeVar("T")


@dataclass(frozen=True)
class Matrix:
    """A weight matrix of the encoder that can carry an adapter: y = W x, W of shape [fan_out, fan_in]."""

    name: str
    """Dotted name within the base model, such as ``encoder.layer.0.attention.self.query``."""
    fan_in: int
    fan_out: int
    layer: int | None
    """Index of the layer it belongs to; none for what stands before or after the layers."""


def select(selector: str, matrices: Sequence[Matrix], *, flag: str, prefix: str = "") -> list[Matrix]:
    """The matrices that ``selector`` means, in the order of ``matrices``.

    Args:
        selector: as the module describes.
        matrices: all there are.
        flag: the recipe key the selector was given under, for the error.
        prefix: name of the base model inside its task model, such as ``roberta``: full names may start with it.

    Raises:
        InputError: malformed, or it matches nothing; the nearest names are given.
    """
    pattern, at, layer_text = selector.partition("@")
    parts = [re.escape(part).replace(r"\*", "[^.]*") for part in pattern.split(".")]
    expression = re.compile(r"(?:.*\.)?" + r"\.".join(parts))
    named = [matrix for matrix in matrices if expression.fullmatch(f"{prefix}.{matrix.name}")]
    if not named:
        raise InputError(f"{flag}: {selector!r} matches no matrix of this backbone; {_near_misses(pattern, matrices)}")
    if not at:
        return named
    total = 1 + max((matrix.layer for matrix in matrices if matrix.layer is not None), default=-1)
    layers = _layers(layer_text, total, selector=selector, flag=flag)
    chosen = [matrix for matrix in named if matrix.layer in layers]
    if not chosen:
        raise InputError(
            f"{flag}: {selector!r} matches no matrix in those layers; this backbone has layers 0 to {total - 1}"
        )
    return chosen


def select_all(selectors: Iterable[str], matrices: Sequence[Matrix], *, flag: str, prefix: str = "") -> list[Matrix]:
    """The union of several selectors, in the order of ``matrices``; raises InputError as `select` does."""
    chosen = {matrix.name for one in selectors for matrix in select(one, matrices, flag=flag, prefix=prefix)}
    return [matrix for matrix in matrices if matrix.name in chosen]


def values_by_matrix(
    patterns: Mapping[str, T], matrices: Sequence[Matrix], *, flag: str, prefix: str = ""
) -> dict[str, T]:
    """Matrix name → value for the matrices that some selector of ``patterns`` picks; later entries win."""
    return {
        matrix.name: value
        for selector, value in patterns.items()
        for matrix in select(selector, matrices, flag=flag, prefix=prefix)
    }


def _layers(text: str, total: int, *, selector: str, flag: str) -> set[int]:
    chosen: set[int] = set()
    for part in text.split(","):
        try:
            bounds = [int(number) if number else None for number in part.strip().split(":")]
        except ValueError:
            bounds = []
        if len(bounds) not in (1, 2) or bounds == [None]:
            raise InputError(f"{flag}: {selector!r}: write layers as @0,1,-2 or as a slice @6: or @:3")
        if len(bounds) == 2:
            chosen.update(range(total)[bounds[0] : bounds[1]])
            continue
        number = bounds[0]
        assert number is not None
        if not -total <= number < total:
            raise InputError(
                f"{flag}: {selector!r}: there is no layer {number}; this backbone has layers 0 to {total - 1}"
            )
        chosen.add(number % total)
    return chosen


def _near_misses(pattern: str, matrices: Sequence[Matrix]) -> str:
    """The names most like ``pattern``: endings of the same number of parts, each given once."""
    parts = pattern.count(".") + 1
    endings = {".".join(matrix.name.split(".")[-size:]): None for size in {parts, 1, 2} for matrix in matrices}
    generic = list(dict.fromkeys(re.sub(r"\b\d+\b", "*", ending) for ending in endings))
    close = difflib.get_close_matches(pattern, generic, n=3, cutoff=0.4)
    return f"near: {', '.join(close or generic[:6])}"
