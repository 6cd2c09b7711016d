"""Checkpoints: one safetensors file, written whole or not at all; with it a run resumes exactly.

Tensors are stored under ``trained.NAME``, ``best.NAME`` and ``optimizer.NAME.KEY``; counters and the
validation history are JSON in the file's own header. Nothing is pickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.optim import Optimizer

from pennyweight.errors import RunError
from pennyweight.files import write_bytes


@dataclass
class Progress:
    """How far a run has come: all that the consumer of the loop remembers."""

    next_step: int = 0
    """The optimizer step to take next, from 0."""
    validations: tuple[float, ...] = ()
    """Values of the selection metric, oldest first."""
    best_step: int | None = None
    """Steps taken when the best validation was seen."""
    log_lines: int = 0
    """Lines of the log that belong to this state; later ones are of steps to be taken again."""
    seconds: float = 0.0
    """Training time so far, interruptions not counted."""


def save_checkpoint(
    path: Path,
    *,
    parameters: Mapping[str, nn.Parameter],
    best: Mapping[str, Tensor],
    optimizers: Sequence[Optimizer],
    progress: Progress,
) -> None:
    """Write everything that training needs to go on exactly; raises RunError where it cannot be written."""
    tensors = {f"trained.{name}": parameter.detach() for name, parameter in parameters.items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for optimizer in optimizers:
        names = _names(optimizer, parameters)
        for number, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                if value is not None:
                    tensors[f"optimizer.{names[number]}.{key}"] = torch.as_tensor(value)
    header = {"progress": json.dumps(vars(progress))}
    write_bytes(path, save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, metadata=header))


def load_checkpoint(
    path: Path, *, parameters: Mapping[str, nn.Parameter], optimizers: Sequence[Optimizer]
) -> tuple[Progress, dict[str, Tensor]]:
    """Put a checkpoint back into ``parameters`` and ``optimizers``; returns the progress and the best tensors.

    Raises:
        RunError: the file is damaged or belongs to another run.
    """
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads(file.metadata()["progress"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: the checkpoint is damaged ({error}); train anew into another folder") from None
    trained = _part(tensors, "trained.")
    if trained.keys() != parameters.keys():
        raise RunError(f"{path}: the checkpoint belongs to another run; train anew into another folder")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(trained[name])
    remembered = _part(tensors, "optimizer.")
    if {name.rpartition(".")[0] for name in remembered} - parameters.keys():
        raise RunError(f"{path}: the checkpoint is of another version; train anew into another folder")
    for optimizer in optimizers:
        _restore(optimizer, _names(optimizer, parameters), remembered)
    progress["validations"] = tuple(progress["validations"])
    return Progress(**progress), _part(tensors, "best.")


def _names(optimizer: Optimizer, parameters: Mapping[str, nn.Parameter]) -> list[str]:
    """The parameters of an optimizer by name, in the order in which it numbers them."""
    names = {parameter: name for name, parameter in parameters.items()}
    return [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]


def _restore(optimizer: Optimizer, names: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
    content: dict[str, Any] = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition(".")
        if parameter in names:
            state.setdefault(names.index(parameter), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": content["param_groups"]})


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
