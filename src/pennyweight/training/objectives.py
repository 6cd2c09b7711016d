"""Objectives: functions from a network and a batch to a loss per item. The loop does not know which one it drives.

An objective is made in two steps: what logits cost, given all that is known of the items, and how the network is asked
for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pennyweight.training.batch import Batch
from pennyweight.training.losses import ItemLoss

Objective = Callable[[nn.Module, Batch], Tensor]
"""(network, batch) → loss of each item [batch], in nats. It calls the network as often as it needs."""

WEIGHT = "weight"
"""Name in `Batch.extras` of what an item's loss is multiplied by."""

BatchLoss = Callable[[Tensor, Batch], Tensor]
"""(logits [batch, classes], batch) → loss of each item [batch], in nats."""


def supervised(loss: ItemLoss) -> BatchLoss:
    """The loss of logits against the batch's labels."""

    def of_batch(logits: Tensor, batch: Batch) -> Tensor:
        return loss(logits, batch.labels)

    return of_batch


def one_pass(loss: BatchLoss) -> Objective:
    """The network is asked once."""

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        return loss(network(**batch.inputs), batch)

    return objective


def r_drop(loss: BatchLoss, *, weight: float, several: bool = False) -> Objective:
    """The mean loss of two dropout passes, and ``weight`` times how far apart they are (Wu et al. 2021, 2106.14448).

    Both passes are one, of a batch of twice the size. Without dropout they are equal and the second term is 0.

    Args:
        loss: of one pass.
        weight: of the divergence, which an item of a weight of its own has that much of.
        several: whether texts have several labels, each a question of its own.
    """
    apart = symmetric_binary_divergence if several else symmetric_divergence

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        first, second = network(**_twice(batch.inputs)).chunk(2)
        of_item = batch.extras.get(WEIGHT, 1.0)
        return (loss(first, batch) + loss(second, batch)) / 2 + weight * of_item * apart(first, second)

    return objective


def _twice(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch behind itself. ``starts``, where texts have several rows, goes on counting."""
    return {
        name: torch.cat([one, one[1:] + one[-1]]) if name == "starts" else torch.cat([one, one])
        for name, one in inputs.items()
    }


def symmetric_divergence(one: Tensor, other: Tensor) -> Tensor:
    """Mean of the two Kullback-Leibler divergences between what two sets of logits [batch, classes] say: [batch]."""
    first, second = one.log_softmax(dim=1), other.log_softmax(dim=1)
    return ((first.exp() - second.exp()) * (first - second)).sum(dim=1) / 2


def symmetric_binary_divergence(one: Tensor, other: Tensor) -> Tensor:
    """`symmetric_divergence` of yes and no, mean over the labels: [batch]."""
    return ((one.sigmoid() - other.sigmoid()) * (one - other)).mean(dim=1) / 2
