from __future__ import annotations

import pytest

from pennyweight.budget.allot import assign_ranks, fill_rank, head_parameters, largest_uniform_rank, work_per_token
from pennyweight.budget.selectors import Matrix
from pennyweight.errors import BudgetError

MATRICES = [
    Matrix(f"layer.{layer}.{name}", fan_in=fan_in, fan_out=fan_out, layer=layer)
    for layer in range(3)
    for name, fan_in, fan_out in (("query", 10, 10), ("up", 10, 40), ("down", 40, 10))
]

FULL = 10
"""The smallest side of a matrix: a higher rank adds nothing."""


def spent(rank: int, fixed: dict[str, int]) -> int:
    return sum(fixed.get(matrix.name, rank) * (matrix.fan_in + matrix.fan_out) for matrix in MATRICES)


def test_heads_are_counted_as_pytorch_builds_them():
    from pennyweight.model.heads import make_head

    for kind, rank in (("linear", None), ("low-rank", 1), ("low-rank", 5)):
        built = make_head(kind, hidden=24, classes=7, rank=rank, dropout=0.1)
        counted = head_parameters(kind, hidden=24, classes=7, rank=rank, stock=12345)
        assert counted == sum(parameter.numel() for parameter in built.parameters())
    assert head_parameters("stock", hidden=24, classes=7, rank=None, stock=12345) == 12345


@pytest.mark.parametrize("fixed", [{}, {"layer.0.query": 7}, {"layer.1.up": 3, "layer.2.down": 1, "layer.2.up": 2}])
@pytest.mark.parametrize("room", [*range(360, 380), 719, 720, 721, 1000, 54321])
def test_fill_takes_the_largest_rank(fixed, room):
    rank = largest_uniform_rank(MATRICES, room=room, fixed_ranks=fixed)
    if rank is None:
        assert spent(1, fixed) > room
        return
    assert 1 <= rank <= FULL
    assert spent(rank, fixed) <= room
    assert rank == FULL or room < spent(rank + 1, fixed)


def test_not_even_rank_one_fits():
    least = spent(1, {})
    assert largest_uniform_rank(MATRICES, room=least) == 1
    assert largest_uniform_rank(MATRICES, room=least - 1) is None
    with pytest.raises(BudgetError) as caught:
        fill_rank(MATRICES, budget=least + 99, head=100, fixed_ranks={})
    assert f"needs {least + 100:,} parameters, the budget is {least + 99:,}" in str(caught.value)


def test_nothing_is_left_to_fill_where_every_matrix_has_a_rank():
    fixed = {matrix.name: 2 for matrix in MATRICES}
    assert largest_uniform_rank(MATRICES, room=10**9, fixed_ranks=fixed) is None
    rank = fill_rank(MATRICES, budget=10**9, head=0, fixed_ranks=fixed)
    planned = assign_ranks(MATRICES, rank=rank, alpha=None, rank_by_name=fixed, alpha_by_name={})
    assert {matrix.rank for matrix in planned} == {2}


def test_alpha_is_twice_the_rank_unless_given():
    ranks = {"layer.0.query": 3}
    alphas = {"layer.1.up": 5.0}
    for alpha, expected in ((None, {"layer.0.query": 6.0, "layer.1.up": 5.0}), (16.0, {"layer.1.up": 5.0})):
        planned = assign_ranks(MATRICES, rank=4, alpha=alpha, rank_by_name=ranks, alpha_by_name=alphas)
        default = 8.0 if alpha is None else alpha
        assert {matrix.name: matrix.alpha for matrix in planned} == {
            matrix.name: expected.get(matrix.name, default) for matrix in MATRICES
        }


def test_work_counts_what_pytorch_multiplies():
    """Forward work of a layer's products, counted by PyTorch's own counter on the same shapes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    length, planned = 12, assign_ranks(MATRICES, rank=2, alpha=None, rank_by_name={}, alpha_by_name={})
    work = work_per_token(planned, MATRICES, hidden=10, layers=3, length=length)
    with FlopCounterMode(display=False) as counter:
        for matrix in planned:
            tokens = torch.zeros(length, matrix.fan_in)
            _ = tokens @ torch.zeros(matrix.fan_in, matrix.fan_out)
            _ = tokens @ torch.zeros(matrix.fan_in, matrix.rank) @ torch.zeros(matrix.rank, matrix.fan_out)
        for _layer in range(3):
            scores = torch.zeros(length, 10) @ torch.zeros(10, length)
            _ = scores @ torch.zeros(length, 10)
    assert work.forward * length == counter.get_total_flops()


def test_nothing_flows_back_below_the_lowest_adapter():
    def backward(names: set[str]) -> int:
        chosen = [matrix for matrix in MATRICES if matrix.name in names]
        planned = assign_ranks(chosen, rank=1, alpha=None, rank_by_name={}, alpha_by_name={})
        return work_per_token(planned, MATRICES, hidden=10, layers=3, length=8).backward

    top, bottom = backward({"layer.2.query"}), backward({"layer.0.query"})
    assert bottom - top == 2 * (2 * (100 + 400 + 400) + 2 * 4 * 8 * 10)
    assert backward({"layer.0.query", "layer.2.query"}) == bottom + 4 * 20
