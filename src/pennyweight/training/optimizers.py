"""Optimizers over named parameters; torch's own, nothing rewritten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn
from torch.optim import Optimizer

OptimizerName = Literal["adamw", "sgd", "rmsprop", "muon"]


def make_optimizers(
    name: OptimizerName,
    parameters: Mapping[str, nn.Parameter],
    *,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
    weight_decay: float,
) -> list[Optimizer]:
    """One optimizer, or two for ``muon``, which takes the matrices while AdamW takes the rest.

    Weight decay applies to matrices alone. Each group keeps its peak rate under the key ``peak``; the loop sets
    ``lr`` from it at every step.

    Args:
        name: which optimizer.
        parameters: what is trained, by name.
        learning_rate: peak rate.
        betas: AdamW's two decay rates; the first is the momentum of the others.
        epsilon: added to denominators (AdamW, RMSprop).
        weight_decay: decoupled for AdamW and Muon, L2 for SGD and RMSprop.
    """
    matrices = [parameter for parameter in parameters.values() if parameter.ndim >= 2]
    vectors = [parameter for parameter in parameters.values() if parameter.ndim < 2]
    decayed = {"params": matrices, "weight_decay": weight_decay, "peak": learning_rate}
    plain = {"params": vectors, "weight_decay": 0.0, "peak": learning_rate}
    groups = [group for group in (decayed, plain) if group["params"]]
    if name == "adamw":
        return [torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=epsilon)]
    if name == "sgd":
        return [torch.optim.SGD(groups, lr=learning_rate, momentum=betas[0])]
    if name == "rmsprop":
        return [torch.optim.RMSprop(groups, lr=learning_rate, momentum=betas[0], eps=epsilon)]
    # Scaled so that an update has AdamW's size and one learning rate serves both (Liu et al. 2025, arXiv 2502.16982).
    muon = torch.optim.Muon([decayed], lr=learning_rate, momentum=betas[0], adjust_lr_fn="match_rms_adamw")
    return [muon, *([torch.optim.AdamW([plain], lr=learning_rate, betas=betas, eps=epsilon)] if vectors else [])]
