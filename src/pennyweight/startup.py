"""PyTorch and its kin imported in two thirds of the time: the garbage collector waits meanwhile.

Importing PyTorch, Transformers and PEFT makes more than a million objects that stay. Python's collector walks through
them again and again while they are made, at its next full round, and once more as the process ends. The command, whose
process is its own, spares itself all of that; in a user's own Python nothing is changed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import logging
import sys
from collections.abc import Iterator
from typing import Any, cast


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
        import_bitsandbytes()
        import peft  # noqa: F401 - it imports the other two


def import_bitsandbytes() -> Any:
    """The library bitsandbytes, none where it is not installed; PEFT imports it too, so this comes before.

    On CPUs with AVX512-BF16 it would, while being imported, fetch compiled code from the Hub if a package named kernels
    is installed, and complain if not. It does neither here: no code is run that was not installed.
    """
    if importlib.util.find_spec("bitsandbytes") is None:
        return None
    loud, modules = logging.getLogger("bitsandbytes"), cast(dict[str, Any], sys.modules)
    level, known, kernels = loud.level, "kernels" in modules, modules.get("kernels")
    loud.setLevel(logging.ERROR)
    modules["kernels"] = None  # Python's own way to say that there is none
    try:
        return importlib.import_module("bitsandbytes")
    finally:
        loud.setLevel(level)
        if known:
            modules["kernels"] = kernels
        else:
            del modules["kernels"]
