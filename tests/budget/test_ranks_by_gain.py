"""Ranks that fill a budget by gain: full to the last whole rank, and no exchange of one rank for another gains."""

from __future__ import annotations

import random

import pytest

from pennyweight.budget.allot import most_for_ranks, ranks_by_gain
from pennyweight.budget.plan import rank_cost
from pennyweight.budget.selectors import Matrix
from pennyweight.errors import BudgetError

MATRICES = [
    Matrix(f"layer.{layer}.{name}", fan_in=fan_in, fan_out=fan_out, layer=layer)
    for layer in range(3)
    for name, fan_in, fan_out in (("query", 10, 10), ("up", 10, 40), ("down", 40, 10))
]
FULL = sum(10 * (matrix.fan_in + matrix.fan_out) for matrix in MATRICES)


def falling(seed: int) -> dict[str, list[float]]:
    generator = random.Random(seed)
    return {m.name: sorted((generator.random() ** 3 for _ in range(10)), reverse=True) for m in MATRICES}


def cost(matrix: Matrix, rank: int, kind: str) -> int:
    each, once = rank_cost(kind, matrix.fan_in, matrix.fan_out)
    return rank * each + (once if rank else 0)


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("room", [20, 49, 70, 500, 1234, 2999, FULL - 1, FULL, FULL + 10**6])
def test_no_further_whole_rank_fits(room, kind):
    for seed in range(5):
        ranks = ranks_by_gain(MATRICES, falling(seed), room=room, kind=kind)
        spent = sum(cost(matrix, ranks.get(matrix.name, 0), kind) for matrix in MATRICES)
        assert spent <= room
        for matrix in MATRICES:
            rank = ranks.get(matrix.name, 0)
            more = cost(matrix, rank + 1, kind) - cost(matrix, rank, kind)
            assert rank == 10 or spent + more > room, (matrix.name, rank)


def test_every_rank_taken_gains_as_much_for_each_parameter_as_any_left():
    """But for those that no longer fit: with all costs equal, the best ranks are taken and no other."""
    squares = [matrix for matrix in MATRICES if matrix.fan_in == matrix.fan_out]
    gains = falling(1)
    ranks = ranks_by_gain(squares, gains, room=20 * 12 + 7)
    taken = [gains[m.name][i] for m in squares for i in range(ranks.get(m.name, 0))]
    left = [gain for m in squares for gain in gains[m.name][ranks.get(m.name, 0) :]]
    assert len(taken) == 12
    assert min(taken) >= max(left)


def test_what_gains_nothing_gets_what_is_left_and_no_more_than_it_can_use():
    gains = {matrix.name: [0.0] * 10 for matrix in MATRICES} | {"layer.1.up": [1.0] + [0.0] * 9}
    assert ranks_by_gain(MATRICES, gains, room=50) == {"layer.1.up": 1}
    assert ranks_by_gain(MATRICES, gains, room=70) == {"layer.0.query": 1, "layer.1.up": 1}
    everything = ranks_by_gain(MATRICES, gains, room=10**9)
    assert everything == {matrix.name: 10 for matrix in MATRICES}


def test_a_costlier_matrix_has_to_gain_more():
    pair = [matrix for matrix in MATRICES if matrix.layer == 0][:2]  # 20 and 50 parameters a rank
    for wide, expected in ((2.4, "layer.0.query"), (2.6, "layer.0.up")):
        gains = {"layer.0.query": [1.0] + [0.0] * 9, "layer.0.up": [wide] + [0.0] * 9}
        assert next(iter(ranks_by_gain(pair, gains, room=50 if expected.endswith("up") else 20))) == expected


def test_the_most_that_ranks_may_take():
    assert most_for_ranks(MATRICES, budget=1000, head=100) == 900
    assert most_for_ranks(MATRICES, budget=10**9, head=100) == FULL
    assert most_for_ranks(MATRICES, budget=120, head=100) == 20
    with pytest.raises(BudgetError, match=r"needs 120 parameters, the budget is 119; take a smaller head"):
        most_for_ranks(MATRICES, budget=119, head=100)
