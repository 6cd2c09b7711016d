"""Optimizers over named parameters; torch's own, nothing rewritten."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from pennyweight.model.four_bits import bitsandbytes_for

OptimizerName = Literal["adamw", "adamw-8bit", "sgd", "rmsprop", "muon"]

_VECTORS = (".ia3_l.", ".lora_E.")
"""What PEFT keeps as a matrix of one row or column: IA³'s factors, which are 1 to begin with, and AdaLoRA's values."""


def make_optimizers(
    name: OptimizerName,
    parameters: Mapping[str, nn.Parameter],
    *,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
    weight_decay: float,
    lora_plus: float = 1.0,
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
        lora_plus: rate of the adapters' B factors, in multiples of ``learning_rate`` (LoRA+, Hayou et al. 2024,
            arXiv 2402.12354): B, which begins at zero, may learn faster than A.

    Raises:
        InputError: ``adamw-8bit`` where bitsandbytes is missing or does not compute on the parameters' device.
    """
    decayed, plain = _groups(parameters, learning_rate=learning_rate, weight_decay=weight_decay, lora_plus=lora_plus)
    groups = decayed + plain
    if name == "adamw":
        return [torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=epsilon)]
    if name == "adamw-8bit":
        return [_eight_bits(groups, learning_rate=learning_rate, betas=betas, epsilon=epsilon)]
    if name == "sgd":
        return [torch.optim.SGD(groups, lr=learning_rate, momentum=betas[0])]
    if name == "rmsprop":
        return [torch.optim.RMSprop(groups, lr=learning_rate, momentum=betas[0], eps=epsilon)]
    # Scaled so that an update has AdamW's size and one learning rate serves both (Liu et al. 2025, arXiv 2502.16982).
    muon = torch.optim.Muon(decayed, lr=learning_rate, momentum=betas[0], adjust_lr_fn="match_rms_adamw")
    return [muon, *([torch.optim.AdamW(plain, lr=learning_rate, betas=betas, eps=epsilon)] if plain else [])]


def _groups(
    parameters: Mapping[str, nn.Parameter], *, learning_rate: float, weight_decay: float, lora_plus: float
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Groups of matrices and of all else; with LoRA+ the B factors, which PEFT calls so, are groups of their own."""
    split: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in parameters.items():
        ratio = lora_plus if ".lora_B." in name or ".lora_embedding_B." in name else 1.0
        is_matrix = parameter.ndim >= 2 and not any(vector in name for vector in _VECTORS)
        split.setdefault((is_matrix, ratio), []).append(parameter)
    # Those at the plain rate come first: theirs is the one that is logged.
    ordered = sorted(split.items(), key=lambda entry: entry[0][1] != 1.0)
    matrices, others = (
        [
            {"params": members, "weight_decay": decay, "peak": ratio * learning_rate, "lr": ratio * learning_rate}
            for (is_matrix, ratio), members in ordered
            if is_matrix is wanted
        ]
        for wanted, decay in ((True, weight_decay), (False, 0.0))
    )
    return matrices, others


def _eight_bits(
    groups: list[dict[str, Any]], *, learning_rate: float, betas: tuple[float, float], epsilon: float
) -> Optimizer:
    """AdamW with moments in 8 bits."""
    bitsandbytes_for("training.optimizer = adamw-8bit", groups[0]["params"][0].device)
    from pennyweight.training.eight_bits import EightBitAdamW

    optimizer: Optimizer = EightBitAdamW(groups, lr=learning_rate, betas=betas, eps=epsilon)
    return optimizer
