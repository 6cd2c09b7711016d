"""Pairs of factors that begin as the largest singular directions of their matrix (PiSSA).

Meng et al. 2024, arXiv 2404.02948, train B A beside W − B₀ A₀, with B₀ A₀ the best approximation of W. Here W stays as
it is and the product counts from its start: W + scaling · (B A − B₀ A₀) is the same function, and what is saved is
plain LoRA of twice the rank, [A; A₀] and [B, −B₀], on the very backbone. Nothing is rounded that training did not see.
"""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from pennyweight.model.lora import FastLinear

_ITERATIONS = 8  # of the subspace iteration behind the singular directions; PEFT's documentation names 4 to 16


def begin_with_principal(placed: Any) -> None:
    """Let every LoRA pair of a model begin as its matrix's largest directions; what the model computes stays the same.

    The directions are drawn from PyTorch's current seed, by PEFT's own initialisation.
    """
    for layer in fast_layers(placed).values():
        base = layer.get_base_layer()
        weight = base.weight.data
        layer.pissa_init("default", f"pissa_niter_{_ITERATIONS}")
        base.weight.data = weight  # PEFT has taken the product out of it
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        down.data, up.data = down.data.float().contiguous(), up.data.float().contiguous()
        layer.start = (down.detach().clone(), up.detach().clone())


def settle(placed: Any) -> None:
    """Turn pairs that count from a start into plain ones of twice the rank, in place; others are left alone."""
    config = placed.peft_config["default"]
    layers = [layer for layer in fast_layers(placed).values() if layer.start is not None]
    for layer in layers:
        down, up = (factor.detach() for factor in layer.factors("default"))
        for module, weight in ((layer.lora_A["default"], down), (layer.lora_B["default"], up)):
            module.weight = nn.Parameter(weight, requires_grad=False)
        layer.start = None
        rank, alpha = len(down), doubled_alpha(layer.lora_alpha["default"], root=config.use_rslora)
        layer.r["default"], layer.lora_alpha["default"] = rank, alpha
        layer.scaling["default"] = alpha / (math.sqrt(rank) if config.use_rslora else rank)
    if layers:
        double_config(config)


def double_config(config: Any) -> None:
    """Make a LoRA configuration that of twice the rank with the same scaling, in place."""
    root = config.use_rslora
    config.r *= 2
    config.lora_alpha = doubled_alpha(config.lora_alpha, root=root)
    config.rank_pattern = {name: 2 * rank for name, rank in config.rank_pattern.items()}
    config.alpha_pattern = {name: doubled_alpha(alpha, root=root) for name, alpha in config.alpha_pattern.items()}


def doubled_alpha(alpha: float, *, root: bool) -> float:
    """The alpha that scales twice the rank as ``alpha`` does the rank; ``root``: by its square root."""
    return alpha * math.sqrt(2) if root else alpha * 2


def counts_from_start(placed: Any) -> bool:
    """Whether a model has pairs that count from a start."""
    return any(layer.start is not None for layer in fast_layers(placed).values())


def fast_layers(placed: Any) -> dict[str, FastLinear]:
    """Every LoRA layer of a model by its path."""
    return {path: module for path, module in placed.named_modules() if isinstance(module, FastLinear)}
