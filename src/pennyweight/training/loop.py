"""The loop: a generator that takes optimizer steps and reports them. It decides nothing.

Its consumer validates, logs, saves and stops. A step's randomness is a pure function of the seed and the step's
number, so that a run resumed at any step goes on exactly as if it had never stopped.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from pennyweight.training.batch import StepBatches
from pennyweight.training.objectives import Objective


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step did."""

    step: int
    """Number of the step, from 0."""
    loss: float
    """Mean loss over the step's items, in nats."""
    learning_rate: float
    gradient_norm: float
    """L2 norm before clipping."""
    items: int
    seconds: float
    """From asking for the step's batches to the weights' update."""


def training_steps(
    network: nn.Module,
    optimizers: Sequence[Optimizer],
    objective: Objective,
    steps: Iterable[tuple[int, StepBatches]],
    *,
    accelerator: Any,
    factor: Callable[[int], float],
    gradient_clip: float | None,
    seed: int,
) -> Iterator[StepReport]:
    """Take optimizer steps, one per element of ``steps``, yielding a report after each.

    Args:
        network: as prepared by ``accelerator``.
        optimizers: stepped together; each group's rate is its ``peak`` times ``factor(step)``.
        objective: loss of each item.
        steps: (number, batches) pairs.
        accelerator: an ``accelerate.Accelerator``.
        factor: learning-rate factor at a step.
        gradient_clip: largest L2 norm of the gradient, or none.
        seed: seed of dropout, mixed with the step's number and the process's.
    """
    network.train()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    started = time.perf_counter()
    for step, content in steps:
        rate = factor(step)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = group["peak"] * rate
        torch.manual_seed(step_seed(seed, step, accelerator.process_index))
        loss = _accumulate(network, objective, content, accelerator)
        limit = gradient_clip if gradient_clip is not None else float("inf")
        norm = accelerator.clip_grad_norm_(trained, limit)
        for optimizer in optimizers:
            optimizer.step()
        for optimizer in optimizers:  # what prunes behind the last of them looks at the gradients of all
            optimizer.zero_grad(set_to_none=True)
        yield StepReport(
            step=step,
            loss=loss,
            learning_rate=optimizers[0].param_groups[0]["lr"],
            gradient_norm=float(norm),
            items=content.items,
            seconds=time.perf_counter() - started,
        )
        started = time.perf_counter()  # the consumer's own time is not the step's


def step_seed(seed: int, step: int, process: int) -> int:
    """The seed of one step in one process: distinct for neighbouring seeds, steps and processes."""
    return (seed * 1_000_003 + step) * 1_009 + process


def _accumulate(network: nn.Module, objective: Objective, content: StepBatches, accelerator: Any) -> float:
    """Add up the gradients of the step's batches; the loss is the mean over all items of all processes.

    Gradients are averaged over processes, so that each process's sum is scaled by their number.
    """
    total = torch.zeros((), device=accelerator.device)
    last = len(content.batches) - 1
    for index, batch in enumerate(content.batches):
        with accelerator.no_sync(network) if index < last else contextlib.nullcontext():
            share = batch.weight * accelerator.num_processes / content.items
            loss = objective(network, batch).sum() * share
            accelerator.backward(loss)
        total += loss.detach()
    return float(accelerator.reduce(total, reduction="mean"))
