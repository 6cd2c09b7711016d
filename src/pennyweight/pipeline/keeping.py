"""Arrays that a run computes part by part before it trains, and keeps in its folder: going on begins with the same."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from pennyweight.console import Speaker
from pennyweight.errors import Interrupted, RunError
from pennyweight.files import write_bytes
from pennyweight.signals import stop_requests
from pennyweight.training.agreeing import agreed

Arrays = Mapping[str, np.ndarray]
_PART = 4096
"""Items between two looks at whether to stop."""


def in_parts(
    compute: Callable[[np.ndarray], np.ndarray],
    items: np.ndarray,
    *,
    speaker: Speaker,
    what: str,
    go_on: Callable[[], None] = lambda: None,
) -> np.ndarray:
    """What ``compute`` makes of items, [items, …], some thousand of them at a time, under a bar called ``what``.

    Between the parts ``go_on`` is called, which raises to stop.
    """
    parts = []
    with speaker.bar(what, len(items)) as bar:
        for first in range(0, len(items), _PART):
            go_on()
            parts.append(compute(items[first : first + _PART]))
            bar.update(first + len(parts[-1]), "")
    return np.concatenate(parts)


def kept(
    path: Path, compute: Callable[[Callable[[], None]], Arrays], *, accelerator: Any, what: str, shared: bool = False
) -> Arrays:
    """Read arrays from a run's folder, computing and writing them first where they are not there yet.

    Of several processes the first writes them, and all read what it wrote.

    Args:
        path: the file.
        compute: makes the arrays; calls what it is given from time to time, which stops it if that was asked for.
        accelerator: an ``accelerate.Accelerator``.
        what: what the work is called, for the message when it is stopped.
        shared: the processes compute together, each calling ``compute``; else the first alone does.

    Raises:
        Interrupted: SIGINT or SIGTERM came.
        RunError: the file cannot be written or is damaged.
    """
    with stop_requests() as requested:

        def go_on() -> None:
            # Who computes together stops together: a process that left alone would be waited for.
            if agreed(accelerator, bool(requested)) if shared else requested:
                raise Interrupted(what)

        first = accelerator.is_main_process
        if (first or shared) and not path.exists():
            with contextlib.suppress(Interrupted):  # the others wait: all stop together, below
                arrays = compute(go_on)
                if first:
                    write_arrays(path, arrays)
        accelerator.wait_for_everyone()
        if agreed(accelerator, bool(requested)):
            raise Interrupted(f"stopped while {what}; the same command with --resume goes on")
    return read_arrays(path)


def read_arrays(path: Path) -> Arrays:
    """The arrays of a file that `write_arrays` wrote; raises RunError where it is damaged."""
    try:
        arrays: Arrays = load(path.read_bytes())
    except (OSError, SafetensorError, ValueError) as error:
        raise RunError(f"{path}: damaged ({error}); remove it, and --resume computes it again") from None
    return arrays


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write arrays by their names, whole or not at all; raises RunError where the file cannot be written."""
    write_bytes(path, save({name: np.ascontiguousarray(one) for name, one in arrays.items()}))
