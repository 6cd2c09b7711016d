"""Fills a budget: head, matrices and the rank of each. Plain arithmetic on shapes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pennyweight.budget.plan import MatrixKind, PlannedMatrix, Work, rank_cost
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
    matrices: Sequence[Matrix],
    *,
    room: int,
    fixed_ranks: Mapping[str, int] | None = None,
    kind: MatrixKind = "lora",
) -> int | None:
    """The largest rank that all ``matrices`` can share within ``room`` parameters; none where not even 1 fits.

    A rank above the smaller side of a matrix adds nothing, so the smallest of these sides is the most.

    Args:
        matrices: what gets an adapter.
        room: parameters left for adapters (the budget less the head).
        fixed_ranks: ranks already given to some of the matrices by name; only the others are raised.
        kind: what each rank costs beside its pair of vectors.
    """
    fixed = fixed_ranks or {}
    costs = {matrix.name: rank_cost(kind, matrix.fan_in, matrix.fan_out) for matrix in matrices}
    spent = sum(once + fixed.get(name, 0) * each for name, (each, once) in costs.items())
    per_rank = sum(each for name, (each, _) in costs.items() if name not in fixed)
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
    kind: MatrixKind = "lora",
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
                kind=kind,
            )
        )
    return tuple(planned)


def scaled_matrices(matrices: Sequence[Matrix]) -> tuple[PlannedMatrix, ...]:
    """Give every matrix an IA³ vector."""
    return tuple(
        PlannedMatrix(matrix.name, matrix.fan_in, matrix.fan_out, matrix.layer, rank=0, alpha=0.0, kind="ia3")
        for matrix in matrices
    )


def fill_rank(
    matrices: Sequence[Matrix], *, budget: int, head: int, fixed_ranks: Mapping[str, int], kind: MatrixKind = "lora"
) -> int:
    """The rank that ``rank = "fill"`` stands for; raises BudgetError where not even rank 1 fits.

    Args:
        matrices: what gets an adapter.
        budget: most trainable parameters.
        head: parameters that are spent already, on the head and on whatever has no rank.
        fixed_ranks: ranks already given to some of the matrices by name.
        kind: what stands on the matrices.
    """
    rank = largest_uniform_rank(matrices, room=budget - head, fixed_ranks=fixed_ranks, kind=kind)
    if rank is None and all(matrix.name in fixed_ranks for matrix in matrices):
        return 1  # every matrix has a rank of its own already: there is nothing left to fill
    if rank is None:
        least = head + sum(sum(rank_cost(kind, matrix.fan_in, matrix.fan_out)) for matrix in matrices)
        raise BudgetError(
            f"over budget: rank 1 on {len(matrices)} matrices with a head of {head:,} needs {least:,} parameters, "
            f"the budget is {budget:,}; take fewer targets or a smaller head"
        )
    return rank


def most_for_ranks(matrices: Sequence[Matrix], *, budget: int, head: int, kind: MatrixKind = "lora") -> int:
    """Most parameters that pairs of whatever ranks may take; raises BudgetError where no rank of any matrix fits.

    Arguments as of `fill_rank`.
    """
    least = min(sum(rank_cost(kind, matrix.fan_in, matrix.fan_out)) for matrix in matrices)
    if head + least > budget:
        raise BudgetError(
            f"over budget: rank 1 on a single matrix with a head of {head:,} needs {head + least:,} parameters, the "
            f"budget is {budget:,}; take a smaller head (head.kind) or a larger budget"
        )
    full = sum(
        once + min(matrix.fan_in, matrix.fan_out) * each
        for matrix in matrices
        for each, once in [rank_cost(kind, matrix.fan_in, matrix.fan_out)]
    )
    return min(budget - head, full)


def ranks_by_gain(
    matrices: Sequence[Matrix], gains: Mapping[str, Sequence[float]], *, room: int, kind: MatrixKind = "lora"
) -> dict[str, int]:
    """Ranks that fill ``room`` parameters to the last whole one, always taking what gains most for each parameter.

    Args:
        matrices: what may get a pair of factors.
        gains: by name, what each further rank of a matrix gains, falling; 0 behind its end.
        room: parameters for all pairs.
        kind: what stands on the matrices: says what a rank costs.

    Returns:
        Rank by name, of those that have got one. No further rank of any matrix fits, unless all are full. Of equal
        gains the matrix that comes first is taken.
    """
    ranks = dict.fromkeys((matrix.name for matrix in matrices), 0)
    open_ = list(matrices)
    while open_:
        best, best_value, best_cost = None, -1.0, 0
        for matrix in open_:
            each, once = rank_cost(kind, matrix.fan_in, matrix.fan_out)
            rank = ranks[matrix.name]
            cost = each + (once if rank == 0 else 0)
            if cost > room or rank == min(matrix.fan_in, matrix.fan_out):
                continue
            own = gains[matrix.name]
            value = (own[rank] if rank < len(own) else 0.0) / cost
            if value > best_value:
                best, best_value, best_cost = matrix, value, cost
        if best is None:
            break
        ranks[best.name] += 1
        room -= best_cost
    return {name: rank for name, rank in ranks.items() if rank}


def work_per_token(
    planned: Sequence[PlannedMatrix],
    everything: Iterable[Matrix],
    *,
    hidden: int,
    layers: int,
    length: int,
    repeats: int = 1,
    prompted: bool = False,
) -> Work:
    """Floating-point operations per token, a multiply-add counting as two.

    Forward: all matrices, all adapters, and the two products of attention (4 · length · hidden in each layer).
    Backward: the gradient with respect to what flows through every layer from the lowest adapted one up, plus the
    gradients of the adapters' own factors; nothing flows below the lowest adapted layer. Embeddings, norms and the
    head, below one per cent together, are left out. Layers that share their weights count ``repeats`` times. With
    a prompt the gradient flows through all layers.
    """
    matrices = list(everything)
    low_rank = sum(matrix.parameters for matrix in planned)
    attention = 4 * length * hidden
    lowest = min((matrix.layer for matrix in planned if matrix.layer is not None), default=layers)
    if prompted or any(matrix.layer is None for matrix in planned):
        lowest = 0
    flowing = sum(m.fan_in * m.fan_out for m in matrices if m.layer is not None and m.layer >= lowest)
    forward = 2 * sum(matrix.fan_in * matrix.fan_out for matrix in matrices) + 2 * low_rank + layers * attention
    backward = 2 * flowing + 4 * low_rank + 2 * attention * (layers - lowest)
    return Work(forward=forward * repeats, backward=backward * repeats, length=length)
