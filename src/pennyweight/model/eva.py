"""Pairs of factors that begin in the directions in which their matrix's inputs vary most (EVA).

Paischer et al. 2024, arXiv 2410.07170. Ranks stay those of the plan: A takes the first principal
directions of what reaches the matrix on some training texts, B stays zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from peft.utils.incremental_pca import IncrementalPCA
from torch import Tensor, nn

from pennyweight.model.network import Network
from pennyweight.model.principal import fast_layers

_SEED = 0  # of the range finder inside: directions follow from the texts alone


class _Inputs:
    """The principal directions of one matrix's inputs, over batches."""

    def __init__(self, rank: int, width: int) -> None:
        self._rank = rank
        # A range finder looks for twice as many directions as are wanted.
        self._analysis = IncrementalPCA(n_components=rank, lowrank=2 * rank <= width, lowrank_seed=_SEED)
        self._rows: list[Tensor] = []

    def add(self, inputs: Tensor) -> None:
        """Take in rows, [n, in]; those of several batches together where one has too few for so many directions."""
        self._rows.append(inputs.float())
        if sum(map(len, self._rows)) >= 2 * self._rank:
            self._analysis.partial_fit(torch.cat(self._rows))
            self._rows.clear()

    def directions(self) -> Tensor | None:
        """The first principal directions, [rank, in]; none where there were too few rows."""
        return getattr(self._analysis, "components_", None)


def begin_with_inputs(network: Network, batches: Iterable[Mapping[str, Tensor]]) -> list[str]:
    """Let every A of a network's LoRA pairs begin as the principal directions of its matrix's inputs.

    Args:
        network: freshly built, its B still zero, so that inputs are those of the frozen backbone.
        batches: arguments of the network, padding on the right.

    Returns:
        Names of the matrices that have seen fewer inputs than twice their ranks; their A is left as it was.
    """
    layers = fast_layers(network.encoder)
    gathered = {path: _Inputs(*layer.lora_A["default"].weight.shape) for path, layer in layers.items()}
    seen: dict[str, Tensor] = {}

    def watch(path: str) -> Any:
        def hook(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
            states, mask = arguments[0], seen["mask"]
            whole = states.shape[:2] == mask.shape
            gathered[path].add(states[mask] if whole else states.reshape(-1, states.shape[-1]))

        return hook

    handles = [layer.register_forward_pre_hook(watch(path)) for path, layer in layers.items()]
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                seen["mask"] = nn.functional.pad(batch["attention_mask"], (network.prompt_length, 0), value=1).bool()
                network(**batch)
    finally:
        for handle in handles:
            handle.remove()
        network.train(was_training)
    left = []
    for path, layer in layers.items():
        directions = gathered[path].directions()
        if directions is None:
            left.append(path.removeprefix("base_model.model."))
        else:
            weight = layer.lora_A["default"].weight
            weight.data.copy_(directions.to(weight.device))
    return left
