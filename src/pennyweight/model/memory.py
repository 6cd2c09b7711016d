"""What weights and optimizers take, in bytes, as they stand in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn


def weight_bytes(network: nn.Module) -> int:
    """Bytes of all parameters and buffers of a network, scales of quantised ones among them, each counted once."""
    return _bytes(tensor for module in network.modules() for tensor in _tensors_of(module))


def state_bytes(optimizers: Iterable[Any]) -> int:
    """Bytes of what optimizers remember of the parameters."""
    states = (state for optimizer in optimizers for state in optimizer.state.values())
    return _bytes(value for state in states for value in state.values() if isinstance(value, Tensor))


def _tensors_of(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)
    scales = getattr(getattr(module, "weight", None), "quant_state", None)
    while scales is not None:
        yield from (value for value in vars(scales).values() if isinstance(value, Tensor))
        scales = getattr(scales, "state2", None)


def _bytes(tensors: Iterable[Tensor]) -> int:
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())
