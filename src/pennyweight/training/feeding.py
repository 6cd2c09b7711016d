"""Which items every optimizer step sees, in every process: pure functions of the seed and the step's number."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from pennyweight.data.balancing import Sampler
from pennyweight.data.batches import FORWARD_TOKENS, Order, TokenTable, collate, epoch_batches, split_by_tokens
from pennyweight.model.prefix import Prefix
from pennyweight.training.batch import Batch, StepBatches


@dataclass(frozen=True)
class Course:
    """The whole run in numbers."""

    items: int
    epochs: int
    batch_size: int
    """Items per batch over all processes together."""
    accumulation: int
    """Batches per optimizer step."""
    validations_per_epoch: int
    order: Order
    seed: int
    sampler: Sampler = "uniform"
    """How often items come: each once per epoch, or each class equally often."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of one epoch; the last may have fewer batches."""
        return math.ceil(math.ceil(self.items / self.batch_size) / self.accumulation)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the run."""
        return self.steps_per_epoch * self.epochs

    def epochs_after(self, steps: int) -> float:
        """Epochs done after so many steps."""
        return steps / self.steps_per_epoch

    def validates_after(self, steps: int) -> bool:
        """Whether a validation is due after so many steps: evenly within an epoch, always at its end."""
        within = (steps - 1) % self.steps_per_epoch + 1
        done = within * self.validations_per_epoch // self.steps_per_epoch
        before = (within - 1) * self.validations_per_epoch // self.steps_per_epoch
        return done > before


@dataclass(frozen=True)
class Feeder:
    """Turns a token table into the batches of each step, for one of several processes."""

    course: Course
    table: TokenTable
    labels: np.ndarray
    """Class numbers, int64 [items]; of several labels which ones apply, bool [items, classes]."""
    pad_id: int
    length: int | None
    """Tokens that every row is padded to; none: the longest of each batch."""
    device: torch.device
    prefix: Prefix | None = None
    """What the frozen layers make of the table's rows, in its order; none: batches are of tokens."""
    forward_tokens: int = FORWARD_TOKENS
    """Most tokens of one forward pass, padding included; a larger batch is handed out in parts."""
    process: int = 0
    processes: int = 1
    extras: Mapping[str, np.ndarray] = field(default_factory=dict)
    """What else the objective wants to know of each item, by name, each [items, …]."""
    deal: Callable[[int], Sequence[np.ndarray]] | None = None
    """Batches of an epoch, by its number, as many as the course says; none: every item once, in the course's order."""

    def steps(self, first: int = 0) -> Iterator[tuple[int, StepBatches]]:
        """The steps from number ``first`` to the end of the run, each with its number."""
        course = self.course
        for epoch in range(first // course.steps_per_epoch, course.epochs):
            batches = self._batches_of(epoch) if self.deal is None else self.deal(epoch)
            begin = epoch * course.steps_per_epoch
            for step in range(max(first, begin), begin + course.steps_per_epoch):
                start = (step - begin) * course.accumulation
                group = batches[start : start + course.accumulation]
                parts = [part for indices in group for part in self._parts(indices)]
                yield step, StepBatches(parts, sum(map(len, group)))

    def _batches_of(self, epoch: int) -> Sequence[np.ndarray]:
        """The items of each batch of an epoch."""
        course = self.course
        return epoch_batches(
            self.table.lengths(),
            batch_size=course.batch_size,
            seed=course.seed,
            epoch=epoch,
            order=course.order,
            classes=self.labels if course.sampler == "balanced" else None,
        )

    def _parts(self, indices: np.ndarray) -> list[Batch]:
        """This process's share of a batch; one without a share computes an item whose loss counts nothing."""
        share = indices[self.process :: self.processes]
        if not len(share):
            return [self._batch(indices[:1], weight=0.0)]
        widths, rows = self.table.widths(), self.table.windows()
        parts = split_by_tokens(share, widths, tokens=self.forward_tokens, width=self.length, rows=rows)
        return [self._batch(part, weight=1.0) for part in parts]

    def _batch(self, items: np.ndarray, *, weight: float) -> Batch:
        inputs = collate(self.table, items, pad_id=self.pad_id, length=self.length)
        if self.prefix is not None:
            inputs = self.prefix.put_in(inputs, self.table.rows(items))
        return Batch(
            inputs={name: tensor.to(self.device) for name, tensor in inputs.items()},
            labels=torch.from_numpy(self.labels[items]).to(self.device),
            weight=weight,
            extras={name: torch.from_numpy(rows[items]).to(self.device) for name, rows in self.extras.items()},
        )
