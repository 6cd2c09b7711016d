"""Objectives: functions from a network and a batch to a loss per item. The loop does not know which one it drives."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from pennyweight.training.batch import Batch

Objective = Callable[[nn.Module, Batch], Tensor]
"""(network, batch) → loss of each item [batch], in nats. It calls the network as often as it needs."""


def cross_entropy(*, label_smoothing: float = 0.0) -> Objective:
    """Cross-entropy against the label, ``label_smoothing`` of the target spread evenly over all classes.

    Szegedy et al. 2016, arXiv 1512.00567.
    """

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        logits = network(**batch.inputs)
        return functional.cross_entropy(logits, batch.labels, reduction="none", label_smoothing=label_smoothing)

    return objective
