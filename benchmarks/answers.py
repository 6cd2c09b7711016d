"""Which test items an answer got right, small enough to be kept with a result.

A measurement of many long trainings takes several sittings, and what was trained is gone by the next. These bits are
all that a comparison needs of it.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import float_format, machine
from pennyweight.environment import git_state


def packed(right: NDArray[np.bool_]) -> str:
    """One bit for each item, [items], as base64."""
    return base64.b64encode(np.packbits(right).tobytes()).decode("ascii")


def unpacked(text: str, items: int) -> NDArray[np.bool_]:
    """What was `packed`, [items]; ValueError where it is of another number of items."""
    found = np.frombuffer(base64.b64decode(text, validate=True), dtype=np.uint8)
    if len(found) != (items + 7) // 8:
        raise ValueError(f"{len(found)} bytes cannot be of {items} items")
    return np.unpackbits(found, count=items).astype(bool)


def origin() -> dict[str, Any]:
    """The processor, the number format and the state of the code that an answer is of; results are not code."""
    told = machine()
    state = git_state(beside="benchmarks/results")
    return {"processor": told["gpu"] or told["processor"], "format": float_format(), "git": state}
