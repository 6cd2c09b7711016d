"""The budget is a value: an exact count per matrix and per group. Plain arithmetic, nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pennyweight.errors import BudgetError

BYTES_PER_PARAMETER = 4  # what is trained is kept and saved in fp32


MatrixKind = Literal["lora", "dora", "adalora", "ia3"]
"""What an adapted matrix carries: a pair of thin factors, alone or with more, or a vector that scales."""


@dataclass(frozen=True)
class PlannedMatrix:
    """One adapted matrix W, of shape [fan_out, fan_in], and what it is adapted by.

    ``lora``: W + alpha / rank · B A, with A [rank, fan_in] and B [fan_out, rank]. ``dora``: the same with each row of
    the sum rescaled to a trained length, one for each output (Liu et al. 2024, arXiv 2402.09353). ``adalora``: the
    same with A's rows scaled by a vector E of rank elements (Zhang et al. 2023, arXiv 2303.10512). ``ia3``: one vector
    that scales W's outputs, or its inputs where it narrows (Liu et al. 2022, arXiv 2205.05638).
    """

    name: str
    fan_in: int
    fan_out: int
    layer: int | None
    rank: int
    """Rank of the pair; 0 for ``ia3``, which has none."""
    alpha: float
    """Numerator of the pair's scaling; 0 for ``ia3``."""
    kind: MatrixKind = "lora"

    @property
    def scales_inputs(self) -> bool:
        """Whether an ``ia3`` vector stands before the matrix: where it narrows, as a feed-forward's second one does."""
        return self.fan_in > self.fan_out

    @property
    def parameters(self) -> int:
        """Trainable parameters on this matrix."""
        if self.kind == "ia3":
            return self.fan_in if self.scales_inputs else self.fan_out
        per_rank, once = rank_cost(self.kind, self.fan_in, self.fan_out)
        return self.rank * per_rank + once


def rank_cost(kind: MatrixKind, fan_in: int, fan_out: int) -> tuple[int, int]:
    """Parameters of each rank of a pair on a matrix, and what comes once whatever the rank."""
    return fan_in + fan_out + (kind == "adalora"), fan_out if kind == "dora" else 0


@dataclass(frozen=True)
class PlannedPrompt:
    """Trained vectors that stand before every text (prompt tuning, Lester et al. 2021, arXiv 2104.08691)."""

    length: int
    """Number of vectors."""
    width: int
    """Elements of each."""

    @property
    def parameters(self) -> int:
        """Trainable parameters of all vectors."""
        return self.length * self.width


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
    prompt: PlannedPrompt | None = None
    undecided: int = 0
    """Most parameters that pairs may take whose ranks are found in training; 0 where all ranks are known."""
    backbone_bytes: Mapping[str, int] = field(default_factory=dict)
    """What the frozen backbone takes in memory, by number format."""
    optimizer_bytes: int | None = None
    """What the optimizer remembers of the trained parameters; none where nothing is to be trained."""

    def __post_init__(self) -> None:
        assert sum(self.groups.values()) == self.trainable

    @property
    def adapters(self) -> int:
        """Trainable parameters of all adapters."""
        return sum(count for group, count in self.groups.items() if group not in ("head", "windows"))

    @property
    def trainable(self) -> int:
        """Trainable parameters in all; what is built must have exactly as many."""
        return self.adapters + self.head + self.windows

    @property
    def groups(self) -> dict[str, int]:
        """Trainable parameters by group; `ia3`, `prompt` and `windows` only where there are any."""
        pairs = _sum(matrix for matrix in self.matrices if matrix.kind != "ia3")
        scaled = [matrix for matrix in self.matrices if matrix.kind == "ia3"]
        return {
            "adapters": pairs + self.undecided,
            **({"ia3": _sum(scaled)} if scaled else {}),
            **({"prompt": self.prompt.parameters} if self.prompt else {}),
            "head": self.head,
            **({"windows": self.windows} if self.windows else {}),
        }

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
        return (
            f"over budget: {self.trainable:,} trainable parameters are {excess:,} more than {self.budget:,}; "
            f"{self._remedy()}"
        )

    def _remedy(self) -> str:
        """What would fit, for `refusal`."""
        if any(matrix.kind != "ia3" for matrix in self.matrices):
            if self.largest_rank:
                rank = self.largest_rank
                return f"the largest uniform rank that fits is {rank} (--set adapters.rank={rank})"
            return (
                f"no uniform rank fits beside a head of {self.head:,}: take fewer targets (adapters.targets), "
                "a smaller head (head.kind) or a larger budget"
            )
        if self.prompt:
            longest = (self.budget - self.trainable + self.prompt.parameters) // self.prompt.width
            if longest >= 1:
                return f"the longest prompt that fits is {longest} (--set adapters.prompt_length={longest})"
            return f"no prompt fits beside a head of {self.head:,}: take a smaller head (head.kind) or a larger budget"
        return (
            f"beside a head of {self.head:,} take fewer matrices (adapters.ia3_targets), a smaller head (head.kind) "
            "or a larger budget"
        )

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
            **({"undecided": self.undecided} if self.undecided else {}),
            **({"prompt": {"length": self.prompt.length, "width": self.prompt.width}} if self.prompt else {}),
            "memory": {"backbone_bytes": dict(self.backbone_bytes), "optimizer_bytes": self.optimizer_bytes},
            "modules": [
                {
                    "name": matrix.name,
                    "in": matrix.fan_in,
                    "out": matrix.fan_out,
                    "rank": matrix.rank,
                    "alpha": matrix.alpha,
                    "parameters": matrix.parameters,
                    **({} if matrix.kind == "lora" else {"kind": matrix.kind}),
                }
                for matrix in self.matrices
            ],
        }


def _sum(matrices: Iterable[PlannedMatrix]) -> int:
    return sum(matrix.parameters for matrix in matrices)
