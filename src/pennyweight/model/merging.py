"""Several LoRA adapters as one, by PEFT's weighted combinations; a backbone's weights are not needed."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from pennyweight.budget.plan import PlannedMatrix
from pennyweight.budget.shapes import make_config
from pennyweight.errors import InputError
from pennyweight.model.kinds import AdapterOptions, Place, pair_config

Method = Literal["linear", "ties", "dare_linear", "dare_ties", "cat", "svd"]
METHODS: tuple[Method, ...] = ("linear", "ties", "dare_linear", "dare_ties", "cat", "svd")
OF_FACTORS = METHODS[:4]
"""Methods that combine A with A and B with B, which takes equal ranks."""
PRUNING = METHODS[1:4]
"""Methods that keep a part of the elements, as ``density`` says."""


@dataclass(frozen=True)
class Adapter:
    """One adapter: the matrices it stands on, and its factors by the matrix's name, A [rank, in] and B [out, rank]."""

    planned: tuple[PlannedMatrix, ...]
    factors: Mapping[str, tuple[Tensor, Tensor]]


def merge_adapters(
    config: Mapping[str, Any],
    adapters: Sequence[Adapter],
    weights: Sequence[float],
    *,
    method: Method,
    density: float,
    rank: int | None,
    seed: int,
) -> Adapter:
    """One adapter out of several on the same backbone.

    ``linear`` is the weighted mean of the factors; ``ties`` (Yadav et al. 2023, 2306.01708) prunes them and takes the
    mean of those elements that agree with the majority's sign; ``dare_…`` (Yu et al. 2024, 2311.03099) drops elements
    at random and rescales the rest. These take A and B apart, so that B A holds products of one's B with another's A.
    ``cat`` is the weighted mean of the updates themselves, exactly, its rank the sum of all; ``svd`` is the nearest to
    that of a lower rank.

    Args:
        config: the contents of the backbone's config.json.
        adapters: one or more.
        weights: of each, summing to 1.
        method: how they are combined.
        density: share of the elements that pruning keeps, above 0 and at most 1.
        rank: of ``svd``; none: the highest of the adapters'.
        seed: of what is dropped at random.

    Returns:
        The merged adapter; its scaling, alpha / rank, is 1 everywhere. Merging one adapter, or one with itself without
        dropping anything, gives an adapter that computes the same.

    Raises:
        InputError: ranks that differ, with a method that takes equal ones; a ``rank`` that no matrix can have.
    """
    if method in OF_FACTORS:
        _require_equal_ranks(adapters)
    _require_possible_rank(adapters, rank)
    placed = _placed(config, adapters)
    names, weights = [f"part{number}" for number in range(len(adapters))], list(weights)
    if method == "svd" and len(adapters) == 1:  # PEFT would take one adapter as it is, whatever rank is asked for
        names, weights = names * 2, [weights[0] / 2] * 2
    torch.manual_seed(seed)
    placed.base_model.add_weighted_adapter(
        names,
        [_given(weight, method, count=len(adapters)) for weight in weights],
        "merged",
        combination_type=method,
        svd_rank=rank,
        svd_full_matrices=False,
        density=density if method in PRUNING else None,
    )
    return _merged(placed, adapters, method)


def _merged(placed: Any, adapters: Sequence[Adapter], method: Method) -> Adapter:
    """What PEFT made of the adapters on a model."""
    factors = {}
    planned = []
    for matrix in _union(adapters):
        layer = placed.base_model.model.get_submodule(matrix.name)
        down, up = (part["merged"].weight.detach() for part in (layer.lora_A, layer.lora_B))
        if method == "cat":  # PEFT leaves room for the highest ranks there are anywhere, filled with zeros
            own = sum(one.rank for adapter in adapters for one in adapter.planned if one.name == matrix.name)
            down, up = down[:own], up[:, :own]
        down, up = down.contiguous(), up.contiguous()
        factors[matrix.name] = (down, up)
        planned.append(
            PlannedMatrix(matrix.name, matrix.fan_in, matrix.fan_out, matrix.layer, len(down), float(len(down)))
        )
    return Adapter(tuple(planned), factors)


def _given(weight: float, method: Method, *, count: int) -> float:
    """The weight to give PEFT, whose root it multiplies both factors by; ``ties`` divides by how many agree."""
    if method in ("cat", "svd"):
        return weight
    return (weight * count) ** 2 if method.endswith("ties") and count > 1 else weight**2


def _placed(config: Mapping[str, Any], adapters: Sequence[Adapter]) -> Any:
    """A model of the backbone's shape with all adapters on it; the memory of its own weights is never touched."""
    from peft import get_peft_model
    from transformers import AutoModel

    with torch.device("meta"):
        model = AutoModel.from_config(make_config(config))
    model.to_empty(device="cpu").requires_grad_(False)
    largest = max(matrix.rank for adapter in adapters for matrix in adapter.planned)
    placed = None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
        for number, adapter in enumerate(adapters):
            own = pair_config(adapter.planned, Place(), AdapterOptions())
            own.r = largest  # PEFT compares these; each matrix has its own besides
            own.rank_pattern = {matrix.name: matrix.rank for matrix in adapter.planned}
            own.alpha_pattern = {matrix.name: matrix.alpha for matrix in adapter.planned}
            if placed is None:
                placed = get_peft_model(model, own, adapter_name=f"part{number}")
            else:
                placed.add_adapter(f"part{number}", own)
            for name, (down, up) in adapter.factors.items():
                layer = model.get_submodule(name)
                layer.lora_A[f"part{number}"].weight.data = down.float()
                layer.lora_B[f"part{number}"].weight.data = up.float()
    return placed


def _union(adapters: Sequence[Adapter]) -> list[PlannedMatrix]:
    """Each matrix that any of the adapters stands on, once."""
    return list({matrix.name: matrix for adapter in adapters for matrix in adapter.planned}.values())


def _require_possible_rank(adapters: Sequence[Adapter], rank: int | None) -> None:
    shapes = [(up.shape[0], down.shape[1]) for adapter in adapters for down, up in adapter.factors.values()]
    most = max(min(shape) for shape in shapes)
    if rank is not None and rank > most:
        raise InputError(f"--rank {rank}: no matrix that is merged can have a rank above {most}; give {most} or less")


def _require_equal_ranks(adapters: Sequence[Adapter]) -> None:
    ranks: dict[str, int] = {}
    for matrix in (matrix for adapter in adapters for matrix in adapter.planned):
        if ranks.setdefault(matrix.name, matrix.rank) != matrix.rank:
            raise InputError(
                f"merge: {matrix.name} has rank {ranks[matrix.name]} in one and {matrix.rank} in another, and means of "
                f"factors take equal ranks: say --method cat, or --method svd"
            )
