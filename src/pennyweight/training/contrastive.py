"""Supervised contrastive learning: texts of one class draw together, others apart, before any head is learnt."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pennyweight.training.batch import Batch
from pennyweight.training.objectives import Objective


def contrastive(*, temperature: float) -> Objective:
    """The supervised contrastive loss of a batch's pooled vectors; the head takes no part in it."""

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        features = network.features(**batch.inputs)  # type: ignore[operator]
        return contrastive_loss(features, batch.labels, temperature=temperature)

    return objective


def contrastive_loss(features: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    """How much less alike each item is to those of its class than to the whole batch.

    Khosla et al. 2020, arXiv 2004.11362, with the mean over positives outside the logarithm: for item i, the mean over
    the others p of its class of -log(exp(s_ip) / Σ_{a ≠ i} exp(s_ia)), where s is a cosine over ``temperature``.

    Args:
        features: one vector per item, of any length, [batch, hidden].
        labels: class numbers, [batch].
        temperature: the smaller, the more the nearest items count.

    Returns:
        Loss of each item, [batch], in nats; 0 for an item that is alone of its class.
    """
    if len(labels) == 1:
        return 0 * features.sum(dim=1)
    unit = functional.normalize(features, dim=1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    alike = (unit @ unit.T / temperature).masked_fill(itself, float("-inf"))
    log_shares = alike.log_softmax(dim=1).masked_fill(itself, 0.0)  # else -inf times 0
    positive = (labels[:, None] == labels[None, :]) & ~itself
    return -(log_shares * positive).sum(dim=1) / positive.sum(dim=1).clamp(min=1)
