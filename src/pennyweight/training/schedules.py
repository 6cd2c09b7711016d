"""Learning-rate schedules: pure functions of the step.

Each maps progress after warm-up, in [0, 1), to a factor on the peak learning rate. Steps count from 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

ScheduleName = Literal["constant", "linear", "cosine", "cosine-restarts", "plateau"]


def rate_factor(step: int, *, total: int, warmup: float, schedule: ScheduleName, cycles: int = 1) -> float:
    """The factor on the peak learning rate at ``step`` of ``total``.

    Warm-up rises linearly over the first ``round(warmup · total)`` steps and reaches the peak at its last step, so
    that no step is spent at a rate of zero.

    Args:
        step: optimizer step, from 0.
        total: optimizer steps of the whole run.
        warmup: share of ``total`` spent warming up, in [0, 1].
        schedule: course after warm-up; ``plateau`` stays at the peak, its halvings are `plateau_factor`.
        cycles: cosine cycles of ``cosine-restarts``.
    """
    warmup_steps = round(warmup * total)
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    remaining = max(total - warmup_steps, 1)
    return _COURSES[schedule](min((step - warmup_steps) / remaining, 1.0), cycles)


def plateau_factor(values: Sequence[float], *, higher_is_better: bool, patience: int) -> float:
    """Half to the power of how often ``values`` went ``patience`` validations in a row without a new best.

    A pure function of the validation history, so that a resumed run needs no further state.
    """
    factor, best, waited = 1.0, -math.inf, 0
    for value in values:
        signed = value if higher_is_better else -value
        if signed > best:
            best, waited = signed, 0
            continue
        waited += 1
        if waited >= patience:
            factor, waited = factor / 2, 0
    return factor


def _constant(_progress: float, _cycles: int) -> float:
    return 1.0


def _linear(progress: float, _cycles: int) -> float:
    return 1.0 - progress


def _cosine(progress: float, _cycles: int) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _cosine_restarts(progress: float, cycles: int) -> float:
    """Loshchilov & Hutter 2017, arXiv 1608.03983: equal cycles, each from the peak down to zero."""
    return 0.0 if progress >= 1.0 else _cosine((progress * cycles) % 1.0, cycles)


_COURSES: dict[ScheduleName, Callable[[float, int], float]] = {
    "constant": _constant,
    "linear": _linear,
    "cosine": _cosine,
    "cosine-restarts": _cosine_restarts,
    "plateau": _constant,
}
