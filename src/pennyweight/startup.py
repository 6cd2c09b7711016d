"""PyTorch and its kin imported in two thirds of the time: the garbage collector waits meanwhile.

Importing PyTorch, Transformers and PEFT makes more than a million objects that stay. Python's collector walks through
them again and again while they are made, at its next full round, and once more as the process ends. The command, whose
process is its own, spares itself all of that; in a user's own Python nothing is changed.
"""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage inside, and never look again at what is alive at the end (`gc.freeze`).

    For what imports the heavy libraries; where they are imported already, or nothing is collected anyway, it does
    nothing.
    """
    if "peft" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def load_libraries() -> None:
    """Import PyTorch, Transformers' models and PEFT, which training and predicting need."""
    with uncollected():
        import peft  # noqa: F401 - it imports the other two
