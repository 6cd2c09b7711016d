"""The loss of items with several labels: each label is a question of its own, to be answered by yes or no."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pennyweight.training.losses import ItemLoss, Penalty


def binary_loss(
    penalty: Penalty = torch.neg, *, label_smoothing: float = 0.0, positive_weights: Sequence[float] | None = None
) -> ItemLoss:
    """Mean over labels of what the answer yes or no, of probability sigmoid(logit) or the rest, costs.

    Args:
        penalty: logarithm of the probability of the right answer → its cost; as it is, cross-entropy in nats.
        label_smoothing: share of each target that is spread evenly over yes and no (Szegedy et al. 2016, 1512.00567).
        positive_weights: factor on what a label that applies costs, [classes]; none: 1 for all.

    Returns:
        A function of logits [batch, classes] and of which labels apply, bool, or how surely each does, float from 0 to
        1, [batch, classes], to the loss of each item [batch].
    """
    weights = None if positive_weights is None else torch.tensor(positive_weights, dtype=torch.float32)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        yes = (1 - label_smoothing) * labels.to(logits.dtype) + label_smoothing / 2
        no = 1 - yes
        if weights is not None:
            yes = yes * weights.to(logits)
        losses = yes * penalty(functional.logsigmoid(logits)) + no * penalty(functional.logsigmoid(-logits))
        return losses.mean(dim=1)

    return loss


def balanced_positive_weights(labels: NDArray[np.bool_]) -> list[float]:
    """Weights by which a label counts as much where it applies as where it does not: items without by items with it.

    A label that no item has weighs 1.

    Args:
        labels: which labels apply to the training items, [items, classes].
    """
    own = labels.sum(axis=0)
    weights = np.where(own > 0, (len(labels) - own) / np.maximum(own, 1), 1.0)
    return [float(max(weight, 1 / max(len(labels), 1))) for weight in weights]
