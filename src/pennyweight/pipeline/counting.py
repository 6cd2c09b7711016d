"""The plan of what exists already: matrices and head counted as a recipe's are, with a budget of what there is."""

from __future__ import annotations

from collections.abc import Sequence

from pennyweight.budget.allot import largest_uniform_rank, work_per_token
from pennyweight.budget.memory import backbone_bytes
from pennyweight.budget.plan import Plan, PlannedMatrix
from pennyweight.budget.shapes import Architecture


def count_existing(
    backbone: str, planned: Sequence[PlannedMatrix], architecture: Architecture, *, head: int, length: int
) -> Plan:
    """A plan whose budget is exactly what it needs.

    Args:
        backbone: its name.
        planned: adapted matrices with rank and alpha.
        architecture: of the backbone.
        head: parameters of the head.
        length: tokens of a text, which the counted work depends on.
    """
    names = {matrix.name for matrix in planned}
    trained = head + sum(matrix.parameters for matrix in planned)
    targets = [matrix for matrix in architecture.matrices if matrix.name in names]
    return Plan(
        backbone=backbone,
        budget=trained,
        head=head,
        matrices=tuple(planned),
        work=work_per_token(
            planned,
            architecture.matrices,
            hidden=architecture.hidden,
            layers=architecture.layers,
            length=length,
            repeats=architecture.repeats,
        ),
        largest_rank=largest_uniform_rank(targets, room=trained - head, fixed_ranks={}),
        backbone_bytes=backbone_bytes(architecture.total, architecture.matrices),
    )
