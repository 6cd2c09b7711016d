"""AdaLoRA's part of training: factors kept orthogonal by the objective, ranks pruned behind each optimizer step.

Zhang et al. 2023, arXiv 2303.10512. The loop knows of neither. What the allocation remembers from step to step, the
smoothed sensitivity of each element and how it varies, is kept in the optimizer's own state, and so in checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pennyweight.model.kinds import Pruning
from pennyweight.training.batch import Batch
from pennyweight.training.objectives import Objective

_SENSITIVITY, _VARIATION, _STEPS = "sensitivity", "variation", "allocations"
"""Keys in the optimizer's state of a parameter."""


def orthogonal(objective: Objective, encoder: Any, *, weight: float) -> Objective:
    """An objective with AdaLoRA's penalty: ``weight`` times the mean of ‖A Aᵀ − I‖ and ‖Bᵀ B − I‖ over all factors.

    Args:
        objective: what is to be minimised beside it.
        encoder: PEFT's model, of which the factors are.
        weight: factor of the penalty; it is added to the loss of each item, and so once to their mean.
    """
    layers = [module for module in encoder.modules() if "lora_E" in module._modules]
    squares = [layer.lora_A["default"] for layer in layers], [layer.lora_B["default"] for layer in layers]

    def penalised(network: nn.Module, batch: Batch) -> Tensor:
        rows = [_from_identity(down @ down.t()) for down in squares[0]]
        columns = [_from_identity(up.t() @ up) for up in squares[1]]
        return objective(network, batch) + weight * torch.stack([*rows, *columns]).mean()

    return penalised


def prune_behind(optimizers: Sequence[Optimizer], encoder: Any, pruning: Pruning) -> None:
    """Let PEFT prune ranks whenever the optimizer has stepped, while gradients are still there.

    Args:
        optimizers: those of the run, in the order in which they step; each factor is in one of them.
        encoder: PEFT's model with AdaLoRA's layers.
        pruning: how ranks fall over the steps of the run.
    """
    tuner = encoder.base_model
    config = tuner.peft_config["default"]
    config.tinit, config.tfinal, config.total_step = pruning.first, pruning.total - pruning.last, pruning.total
    names = {parameter: name for name, parameter in tuner.model.named_parameters() if "lora_" in name}
    owners = {p: one for one in optimizers for group in one.param_groups for p in group["params"] if p in names}
    pruner = _Pruner(tuner, names, owners)
    last = next(one for one in reversed(optimizers) if one in owners.values())
    last.register_step_pre_hook(pruner.before)
    last.register_step_post_hook(pruner.after)


class _Pruner:
    """PEFT's allocation, driven from an optimizer's hooks."""

    def __init__(self, tuner: Any, names: dict[nn.Parameter, str], owners: dict[nn.Parameter, Optimizer]) -> None:
        self._tuner = tuner
        self._names = names
        self._owners = owners
        self._config = tuner.peft_config["default"]

    def before(self, *_: Any) -> None:
        """Behind the last allocation what is pruned stays so; in a resumed run that is read off the weights."""
        last = self._config.total_step - self._config.tfinal
        if self._config.rank_pattern is None and self._steps() >= last:
            self._config.rank_pattern = {
                name: (parameter != 0).flatten().tolist() for parameter, name in self._names.items() if "lora_E" in name
            }

    def after(self, *_: Any) -> None:
        """Note how sensitive the loss is to each element, and prune down to the budget of this step."""
        allocator = self._tuner.rankallocator
        for parameter, name in self._names.items():
            state = self._state(parameter)
            allocator.ipt.setdefault(name, torch.zeros_like(parameter))
            allocator.exp_avg_ipt[name] = state.get(_SENSITIVITY, torch.zeros_like(parameter))
            allocator.exp_avg_unc[name] = state.get(_VARIATION, torch.zeros_like(parameter))
        step = self._steps() + 1
        if step == self._config.total_step - self._config.tfinal:
            allocator.update_ipt(self._tuner.model)  # PEFT does without at the very last allocation
        memory = allocator.exp_avg_ipt, allocator.exp_avg_unc
        self._tuner.update_and_allocate(step)
        if allocator.exp_avg_ipt:
            memory = allocator.exp_avg_ipt, allocator.exp_avg_unc
        for parameter, name in self._names.items():
            state = self._state(parameter)
            state[_SENSITIVITY], state[_VARIATION] = memory[0][name], memory[1][name]
            state[_STEPS] = torch.tensor(float(step))

    def _state(self, parameter: nn.Parameter) -> dict[str, Tensor]:
        """What the optimizer of a factor remembers of it."""
        state: dict[str, Tensor] = self._owners[parameter].state[parameter]
        return state

    def _steps(self) -> int:
        """Allocations so far."""
        state = self._state(next(iter(self._names)))
        return int(state[_STEPS]) if _STEPS in state else 0


def _from_identity(square: Tensor) -> Tensor:
    distance: Tensor = torch.linalg.matrix_norm(square - torch.eye(len(square), device=square.device))
    return distance
