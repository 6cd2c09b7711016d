"""Which validation was best, and when to stop: a value that follows from the validation history alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

MetricName = Literal["accuracy", "macro_f1", "micro_f1", "loss"]


@dataclass(frozen=True)
class Selection:
    """Reads a history of validation values, oldest first."""

    metric: MetricName
    patience: int | None = None
    """Validations without a new best before training stops; none: never early."""
    skipped: int = 0
    """Validations at the start that are never the best, of a network that still has to be made smaller."""

    @property
    def higher_is_better(self) -> bool:
        """Every metric but the loss."""
        return self.metric != "loss"

    def best(self, values: Sequence[float]) -> int | None:
        """Index of the best value, the first of equals; none where there is none."""
        counted = list(values[self.skipped :])
        if not counted:
            return None
        pick = max if self.higher_is_better else min
        return self.skipped + counted.index(pick(counted))

    def is_new_best(self, values: Sequence[float]) -> bool:
        """Whether the newest value is better than all before it."""
        return self.best(values) == len(values) - 1

    def should_stop(self, values: Sequence[float]) -> bool:
        """Whether the last ``patience`` validations brought no new best."""
        best = self.best(values)
        return self.patience is not None and best is not None and len(values) - 1 - best >= self.patience
