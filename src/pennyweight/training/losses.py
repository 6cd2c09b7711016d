"""Losses of single items: functions from logits and labels to one number per item. They know no network and no batch.

Beside cross-entropy each is made of a penalty, which says what it costs to have given a true class some probability;
a target that is spread over several classes costs the mean of theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

LossName = Literal["cross-entropy", "focal", "gce"]

ItemLoss = Callable[[Tensor, Tensor], Tensor]
"""(logits [batch, classes], labels) → loss of each item [batch], in nats.

Labels are class numbers, int64 [batch], or shares of each class, float [batch, classes], whose rows sum to 1; where a
text has several labels, which of them apply, bool, or how surely, float, [batch, classes].
"""

Penalty = Callable[[Tensor], Tensor]
"""Logarithm of the probability of what is true → its cost, elementwise: 0 for certainty, falling as it rises."""


def item_loss(
    name: LossName,
    *,
    gamma: float = 2.0,
    q: float = 0.7,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> ItemLoss:
    """The loss of that name.

    Args:
        name: ``cross-entropy``, ``focal`` or ``gce``.
        gamma: of the focal loss, how much less is made of items that are all but certain.
        q: of the generalised cross-entropy, from cross-entropy (towards 0) to 1 - p (at 1).
        label_smoothing: share of each target that is spread evenly over all classes (Szegedy et al. 2016, 1512.00567).
        class_weights: factor on what each class of a target costs, [classes]; none: 1 for all.
    """
    weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
    if name == "cross-entropy":
        return _cross_entropy(label_smoothing, weights)
    return _penalised(penalty_of(name, gamma=gamma, q=q), label_smoothing, weights)


def penalty_of(name: LossName, *, gamma: float = 2.0, q: float = 0.7) -> Penalty:
    """The penalty of the loss of that name; arguments as of `item_loss`."""
    if name == "cross-entropy":
        return torch.neg
    return focal_penalty(gamma) if name == "focal" else gce_penalty(q)


def focal_penalty(gamma: float) -> Penalty:
    """(1 - p)^gamma · (-log p) (Lin et al. 2017, arXiv 1708.02002)."""

    def penalty(log_p: Tensor) -> Tensor:
        # Away from 0, where a power below 1 has no finite slope.
        rest = (-torch.expm1(log_p)).clamp(min=torch.finfo(log_p.dtype).eps)
        return -log_p * rest**gamma

    return penalty


def gce_penalty(q: float) -> Penalty:
    """(1 - p^q) / q (Zhang & Sabuncu 2018, arXiv 1805.07836): bounded, so that no wrong label pulls without end."""

    def penalty(log_p: Tensor) -> Tensor:
        return -torch.expm1(q * log_p) / q

    return penalty


def balanced_weights(labels: NDArray[np.int64], *, classes: int) -> list[float]:
    """Weights by which each class that occurs counts as much in all: n / (k · n_c), as scikit-learn's.

    Args:
        labels: class numbers of the training items, [n].
        classes: number of classes, of which k occur; one that does not occur weighs 1.
    """
    counts = np.bincount(labels, minlength=classes)
    present = counts > 0
    weights = np.ones(classes)
    weights[present] = len(labels) / (present.sum() * counts[present])
    return [float(weight) for weight in weights]


def _cross_entropy(label_smoothing: float, weights: Tensor | None) -> ItemLoss:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        weight = None if weights is None else weights.to(logits)
        return functional.cross_entropy(
            logits, labels, weight=weight, reduction="none", label_smoothing=label_smoothing
        )

    return loss


def _penalised(penalty: Penalty, label_smoothing: float, weights: Tensor | None) -> ItemLoss:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        classes = logits.shape[1]
        target = labels if labels.is_floating_point() else functional.one_hot(labels, classes).to(logits.dtype)
        target = (1 - label_smoothing) * target + label_smoothing / classes
        if weights is not None:
            target = target * weights.to(logits)
        return (target * penalty(logits.log_softmax(dim=1))).sum(dim=1)

    return loss
