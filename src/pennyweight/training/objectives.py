"""Objectives: functions from logits and labels to a loss per item. The loop does not know which one it drives."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

Objective = Callable[[Tensor, Tensor], Tensor]
"""(logits [batch, classes], labels [batch]) → loss of each item [batch], in nats."""


def cross_entropy(*, label_smoothing: float = 0.0) -> Objective:
    """Cross-entropy against the label, ``label_smoothing`` of the target spread evenly over all classes.

    Szegedy et al. 2016, arXiv 1512.00567.
    """

    def objective(logits: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)

    return objective
