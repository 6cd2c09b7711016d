"""What one optimizer step is fed with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """This process's part of one batch."""

    inputs: Mapping[str, Tensor]
    """Keyword arguments of the network, each [rows, length, …]: a text is one row, or several windows. ``starts``,
    [batch + 1], then says which are whose; it is absent where every text is one row."""
    labels: Tensor
    """Class numbers, [batch]; of several labels which ones apply, bool [batch, classes]."""
    weight: float = 1.0
    """0 where this process has no part of the batch and takes part in the exchange of gradients only."""
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    """What else an objective wants to know of each item, by name, each [batch, …]: a teacher's logits, say."""


@dataclass(frozen=True)
class StepBatches:
    """All that one optimizer step consumes."""

    batches: Sequence[Batch]
    """One per accumulated batch."""
    items: int
    """Items of the step over all batches and processes: the loss is their mean."""
