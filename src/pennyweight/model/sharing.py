"""Networks on one backbone hold its frozen tensors once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pennyweight.model.network import Network


def share_weights(networks: Sequence[Network]) -> int:
    """Let networks that only predict hold a tensor once where it is the same in several, bit by bit.

    What adapters were folded into differs and stays; embeddings, norms, layers without adapters, and, where nothing is
    folded, all of the backbone are the same. Tensors are looked for under the same name in the encoder.

    Args:
        networks: opened or folded; their encoders are changed in place, what they compute is not.

    Returns:
        Bytes that are held no more.
    """
    known: dict[str, list[nn.Parameter]] = {}
    saved = 0
    for network in networks:
        base = network.encoder.base_model
        for path, module in base.named_modules():
            for name, parameter in list(module._parameters.items()):
                if parameter is None or parameter.requires_grad:
                    continue
                earlier = known.setdefault(f"{path}.{name}", [])
                same = next((one for one in earlier if _equal(one, parameter)), None)
                if same is None:
                    earlier.append(parameter)
                elif same is not parameter:
                    saved += parameter.untyped_storage().nbytes()
                    module._parameters[name] = same
    return saved


def _equal(one: nn.Parameter, other: nn.Parameter) -> bool:
    """Whether two parameters are the same, bit by bit; of 4-bit ones, their scales too."""
    if one is other:
        return True
    if type(one) is not type(other) or one.dtype is not other.dtype or one.device != other.device:
        return False
    if one.shape != other.shape or not torch.equal(one, other):
        return False
    scales, others = (getattr(parameter, "quant_state", None) for parameter in (one, other))
    return scales is None or others is None or torch.equal(scales.absmax, others.absmax)
