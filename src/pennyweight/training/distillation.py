"""Learning from soft targets: probabilities that a teacher gives an item, beside its label or in its place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pennyweight.training.batch import Batch
from pennyweight.training.losses import ItemLoss
from pennyweight.training.objectives import WEIGHT, BatchLoss

SOFT_TARGETS, MIXTURE, TEMPERATURE = "soft_targets", "mixture", "temperature"
"""Names, beside `WEIGHT`, in `Batch.extras`, one row or number for each item."""


SoftLoss = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Logits and probabilities [batch, classes], temperature [batch] → loss of each item [batch], in nats."""


def soft_targets(
    targets: NDArray[np.floating], *, mixture: float | NDArray[np.floating], temperature: float, weight: float = 1.0
) -> dict[str, NDArray[np.float32]]:
    """The extras of items for `distilled`.

    Args:
        targets: probabilities, [items, classes]; softened already, where ``temperature`` is not 1.
        mixture: share of the loss that comes from the targets, one number or one for each item.
        temperature: what the network's logits are divided by before they are compared with the targets.
        weight: factor of the items' loss.
    """
    items = len(targets)
    return {
        SOFT_TARGETS: np.asarray(targets, dtype=np.float32),
        MIXTURE: np.broadcast_to(np.asarray(mixture, dtype=np.float32), (items,)).copy(),
        TEMPERATURE: np.full(items, temperature, dtype=np.float32),
        WEIGHT: np.full(items, weight, dtype=np.float32),
    }


def soft_loss(logits: Tensor, targets: Tensor, temperature: Tensor) -> Tensor:
    """T² KL(targets ‖ softmax(logits / T)) of each item, in nats, [batch].

    T² keeps the size of the gradient as it is without softening (Hinton et al. 2015, arXiv 1503.02531).

    Args:
        logits: [batch, classes].
        targets: probabilities, [batch, classes].
        temperature: T of each item, [batch].
    """
    log_probabilities = functional.log_softmax(logits / temperature[:, None], dim=1)
    divergence = functional.kl_div(log_probabilities, targets, reduction="none").sum(dim=1)
    return divergence * temperature.square()


def soft_binary_loss(logits: Tensor, targets: Tensor, temperature: Tensor) -> Tensor:
    """`soft_loss` where a text has several labels: mean over labels of T² KL of yes and no, sigmoid(logits / T)."""
    scaled = logits / temperature[:, None]
    yes = functional.kl_div(functional.logsigmoid(scaled), targets, reduction="none")
    no = functional.kl_div(functional.logsigmoid(-scaled), 1 - targets, reduction="none")
    return (yes + no).mean(dim=1) * temperature.square()


def distilled(label_loss: ItemLoss, soft: SoftLoss = soft_loss) -> BatchLoss:
    """The loss against the label and that against soft targets, mixed item by item as `soft_targets` said.

    Of an item it is weight times ((1 - mixture) label loss + mixture soft loss), [batch].
    """

    def of_batch(logits: Tensor, batch: Batch) -> Tensor:
        extras = batch.extras
        share = extras[MIXTURE]
        taught = soft(logits, extras[SOFT_TARGETS], extras[TEMPERATURE])
        return extras[WEIGHT] * ((1 - share) * label_loss(logits, batch.labels) + share * taught)

    return of_batch
