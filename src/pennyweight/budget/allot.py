"""Fills a budget: head, matrices and the rank of each. Plain arithmetic on shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pennyweight.budget.plan import PlannedMatrix, Work
from pennyweight.budget.selectors import Matrix
from pennyweight.errors import BudgetError

DEFAULT_ALPHA_PER_RANK = 2.0


def head_parameters(
    kind: Literal["stock", "linear", "low-rank"], *, hidden: int, classes: int, rank: int | None, stock: int
) -> int:
    """Trainable parameters of a head.

    ``linear``: hidden · classes + classes. ``low-rank``: rank · (hidden + classes) + classes. ``stock``: as counted
    from the architecture.
    """
    if kind == "stock":
        return stock
    if kind == "linear":
        return hidden * classes + classes
    assert rank is not None
    return rank * (hidden + classes) + classes


def largest_uniform_rank(
    matrices: Sequence[Matrix], *, room: int, fixed_ranks: Mapping[str, int] | None = None
) -> int | None:
    """The largest rank that all ``matrices`` can share within ``room`` parameters; none where not even 1 fits.

    A rank above the smaller side of a matrix adds nothing, so the smallest of these sides is the most.

    Args:
        matrices: what gets an adapter.
        room: parameters left for adapters (the budget less the head).
        fixed_ranks: ranks already given to some of the matrices by name; only the others are raised.
    """
    fixed = fixed_ranks or {}
    spent = sum(fixed[matrix.name] * (matrix.fan_in + matrix.fan_out) for matrix in matrices if matrix.name in fixed)
    per_rank = sum(matrix.fan_in + matrix.fan_out for matrix in matrices if matrix.name not in fixed)
    if per_rank == 0:
        return None
    full = min(min(matrix.fan_in, matrix.fan_out) for matrix in matrices if matrix.name not in fixed)
    rank = min((room - spent) // per_rank, full)
    return rank if rank >= 1 else None


def assign_ranks(
    matrices: Sequence[Matrix],
    *,
    rank: int,
    alpha: float | None,
    rank_by_name: Mapping[str, int],
    alpha_by_name: Mapping[str, float],
) -> tuple[PlannedMatrix, ...]:
    """Give every matrix its rank and alpha; without an alpha it is twice the matrix's own rank."""
    planned = []
    for matrix in matrices:
        own_rank = rank_by_name.get(matrix.name, rank)
        default = DEFAULT_ALPHA_PER_RANK * own_rank if alpha is None else alpha
        planned.append(
            PlannedMatrix(
                name=matrix.name,
                fan_in=matrix.fan_in,
                fan_out=matrix.fan_out,
                layer=matrix.layer,
                rank=own_rank,
                alpha=alpha_by_name.get(matrix.name, default),
            )
        )
    return tuple(planned)


def fill_rank(matrices: Sequence[Matrix], *, budget: int, head: int, fixed_ranks: Mapping[str, int]) -> int:
    """The rank that ``rank = "fill"`` stands for; raises BudgetError where not even rank 1 fits."""
    rank = largest_uniform_rank(matrices, room=budget - head, fixed_ranks=fixed_ranks)
    if rank is None and all(matrix.name in fixed_ranks for matrix in matrices):
        return 1  # every matrix has a rank of its own already: there is nothing left to fill
    if rank is None:
        least = head + sum(matrix.fan_in + matrix.fan_out for matrix in matrices)
        raise BudgetError(
            f"over budget: rank 1 on {len(matrices)} matrices with a head of {head:,} needs {least:,} parameters, "
            f"the budget is {budget:,}; take fewer targets or a smaller head"
        )
    return rank


def work_per_token(
    planned: Sequence[PlannedMatrix],
    everything: Iterable[Matrix],
    *,
    hidden: int,
    layers: int,
    length: int,
    repeats: int = 1,
) -> Work:
    """Floating-point operations per token, a multiply-add counting as two.

    Forward: all matrices, all adapters, and the two products of attention (4 · length · hidden in each layer).
    Backward: the gradient with respect to what flows through every layer from the lowest adapted one up, plus the
    gradients of the adapters' own factors; nothing flows below the lowest adapted layer. Embeddings, norms and the
    head, below one per cent together, are left out. Layers that share their weights count ``repeats`` times.
    """
    matrices = list(everything)
    low_rank = sum(matrix.parameters for matrix in planned)
    attention = 4 * length * hidden
    lowest = min((matrix.layer for matrix in planned if matrix.layer is not None), default=layers)
    if any(matrix.layer is None for matrix in planned):
        lowest = 0
    flowing = sum(m.fan_in * m.fan_out for m in matrices if m.layer is not None and m.layer >= lowest)
    forward = 2 * sum(matrix.fan_in * matrix.fan_out for matrix in matrices) + 2 * low_rank + layers * attention
    backward = 2 * flowing + 4 * low_rank + 2 * attention * (layers - lowest)
    return Work(forward=forward * repeats, backward=backward * repeats, length=length)
