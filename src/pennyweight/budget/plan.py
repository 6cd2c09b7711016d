"""The budget is a value: an exact count per matrix and per group. Plain arithmetic, nothing is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pennyweight.errors import BudgetError

BYTES_PER_PARAMETER = 4  # what is trained is kept and saved in fp32


@dataclass(frozen=True)
class PlannedMatrix:
    """One adapted matrix: W + alpha / rank · B A, with A of shape [rank, fan_in] and B of shape [fan_out, rank]."""

    name: str
    fan_in: int
    fan_out: int
    layer: int | None
    rank: int
    alpha: float

    @property
    def parameters(self) -> int:
        """Trainable parameters of A and B together."""
        return self.rank * (self.fan_in + self.fan_out)


@dataclass(frozen=True)
class Work:
    """Floating-point operations per token at one sequence length; a multiply-add counts as two."""

    forward: int
    backward: int
    length: int
    """Sequence length in tokens that the attention scores are counted at."""


@dataclass(frozen=True)
class Plan:
    """What will be trained, counted before anything is loaded."""

    backbone: str
    budget: int
    head: int
    """Trainable parameters of the classification head."""
    matrices: tuple[PlannedMatrix, ...]
    work: Work
    largest_rank: int | None
    """Largest uniform rank for the same matrices and head that fits the budget; none where not even rank 1 does."""
    windows: int = 0
    """Trainable parameters of the query that weighs a text's windows."""

    def __post_init__(self) -> None:
        assert sum(self.groups.values()) == self.trainable

    @property
    def adapters(self) -> int:
        """Trainable parameters of all adapters."""
        return sum(matrix.parameters for matrix in self.matrices)

    @property
    def trainable(self) -> int:
        """Trainable parameters in all; what is built must have exactly as many."""
        return self.adapters + self.head + self.windows

    @property
    def groups(self) -> dict[str, int]:
        """Trainable parameters by group, `windows` only where it has any; the groups sum to the whole."""
        windows = {"windows": self.windows} if self.windows else {}
        return {"adapters": self.adapters, "head": self.head, **windows}

    @property
    def within_budget(self) -> bool:
        """Whether the plan may be built."""
        return self.trainable <= self.budget

    @property
    def adapter_bytes(self) -> int:
        """Size of all that is trained, in bytes, as it is saved (fp32)."""
        return self.trainable * BYTES_PER_PARAMETER

    def refusal(self) -> str:
        """One line that says by how much the plan is over its budget and what would fit."""
        excess = self.trainable - self.budget
        fits = (
            f"the largest uniform rank that fits is {self.largest_rank} (--set adapters.rank={self.largest_rank})"
            if self.largest_rank
            else f"no uniform rank fits beside a head of {self.head:,}: take fewer targets (adapters.targets), "
            "a smaller head (head.kind) or a larger budget"
        )
        return f"over budget: {self.trainable:,} trainable parameters are {excess:,} more than {self.budget:,}; {fits}"

    def require_within_budget(self) -> None:
        """Raises BudgetError, with `refusal` as its message, where the plan is over its budget."""
        if not self.within_budget:
            raise BudgetError(self.refusal())

    def as_dict(self) -> dict[str, Any]:
        """The plan as ``plan --json`` prints it."""
        return {
            "backbone": self.backbone,
            "trainable": self.trainable,
            "budget": self.budget,
            "within_budget": self.within_budget,
            "groups": self.groups,
            "adapter_bytes": self.adapter_bytes,
            "flops_per_token": {
                "forward": self.work.forward,
                "backward": self.work.backward,
                "at_length": self.work.length,
            },
            "largest_rank": self.largest_rank,
            "modules": [
                {
                    "name": matrix.name,
                    "in": matrix.fan_in,
                    "out": matrix.fan_out,
                    "rank": matrix.rank,
                    "alpha": matrix.alpha,
                    "parameters": matrix.parameters,
                }
                for matrix in self.matrices
            ],
        }
