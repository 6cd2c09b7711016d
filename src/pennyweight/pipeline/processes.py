"""The processes that conduct one run together: how they find each other."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pennyweight.model.device import best_device

PATIENCE = timedelta(days=7)
"""How long a process waits for another, which may be judging or asking teachers alone; one that dies ends all at once,
by whoever launched them."""


def start_process(*, cpu: bool = False) -> Any:
    """The ``accelerate.Accelerator`` of this process; ``cpu``: even where there is a GPU."""
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    return Accelerator(
        cpu=cpu or best_device().type == "cpu",  # unless told so, processes on CPUs would not find each other
        mixed_precision="no",  # the network mixes precision itself, at prediction too
        kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
    )
