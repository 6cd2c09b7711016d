from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny import config_of

from pennyweight.budget.plan import PlannedMatrix
from pennyweight.errors import InputError
from pennyweight.model.merging import METHODS, OF_FACTORS, Adapter, merge_adapters

CONFIG = config_of("roberta")
QUERY, OUTPUT = "encoder.layer.0.attention.self.query", "encoder.layer.1.output.dense"
SHAPES = {QUERY: (32, 32), OUTPUT: (64, 32)}


def drawn(seed: int, *, rank: int = 3, alpha: float = 6.0, names=(QUERY, OUTPUT)) -> Adapter:
    generator = torch.Generator().manual_seed(seed)
    planned, factors = [], {}
    for name in names:
        fan_in, fan_out = SHAPES[name]
        planned.append(PlannedMatrix(name, fan_in, fan_out, int(name.split(".")[2]), rank, alpha))
        factors[name] = (
            torch.randn(rank, fan_in, generator=generator),
            torch.randn(fan_out, rank, generator=generator),
        )
    return Adapter(tuple(planned), factors)


def update(adapter: Adapter, name: str) -> torch.Tensor:
    """What an adapter adds to a matrix."""
    matrix = next(matrix for matrix in adapter.planned if matrix.name == name)
    down, up = adapter.factors[name]
    assert down.shape == (matrix.rank, matrix.fan_in)
    assert up.shape == (matrix.fan_out, matrix.rank)
    return matrix.alpha / matrix.rank * (up @ down)


def merged(adapters, weights, method, *, density=1.0, rank=None, seed=0) -> Adapter:
    return merge_adapters(CONFIG, adapters, weights, method=method, density=density, rank=rank, seed=seed)


@pytest.mark.parametrize("method", METHODS)
def test_one_adapter_merged_is_itself(method):
    one = drawn(1)
    for name in SHAPES:
        torch.testing.assert_close(update(merged([one], [1.0], method), name), update(one, name), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("weights", [[0.5, 0.5], [0.2, 0.8]], ids=str)
@pytest.mark.parametrize("method", ["linear", "dare_linear", "cat", "svd"])
def test_an_adapter_merged_with_itself_is_itself(method, weights):
    one = drawn(1)
    for name in SHAPES:
        found = update(merged([one, one], weights, method), name)
        torch.testing.assert_close(found, update(one, name), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["ties", "dare_ties"])
def test_three_of_the_same_agree(method):
    one = drawn(2)
    found = merged([one, one, one], [1 / 3] * 3, method)
    for name in SHAPES:
        torch.testing.assert_close(update(found, name), update(one, name), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", ["cat", "svd"])
def test_updates_are_averaged_whatever_their_ranks(method):
    one, other = drawn(1, rank=3), drawn(2, rank=5, alpha=2.0)
    rank = 8 if method == "svd" else None
    found = merged([one, other], [0.3, 0.7], method, rank=rank)
    for name in SHAPES:
        torch.testing.assert_close(
            update(found, name), 0.3 * update(one, name) + 0.7 * update(other, name), atol=1e-4, rtol=1e-4
        )
    assert {matrix.rank for matrix in found.planned} == {8}


def test_svd_cuts_to_the_nearest_of_its_rank():
    one, other = drawn(1), drawn(2)
    found = merged([one, other], [0.5, 0.5], "svd", rank=2)
    for name in SHAPES:
        whole = 0.5 * update(one, name) + 0.5 * update(other, name)
        left, sizes, right = torch.linalg.svd(whole, full_matrices=False)
        best = left[:, :2] @ torch.diag(sizes[:2]) @ right[:2]
        torch.testing.assert_close(update(found, name), best, atol=1e-4, rtol=1e-4)
    cut = merged([one], [1.0], "svd", rank=1)
    assert torch.linalg.matrix_rank(update(cut, QUERY)) == 1


def test_linear_is_the_mean_of_the_factors():
    one, other = drawn(1, alpha=3.0), drawn(2, alpha=3.0)
    found = merged([one, other], [0.25, 0.75], "linear")
    for name in SHAPES:
        (down, up), (other_down, other_up) = one.factors[name], other.factors[name]
        expected = (0.25 * up + 0.75 * other_up) @ (0.25 * down + 0.75 * other_down)
        torch.testing.assert_close(update(found, name), expected, atol=1e-4, rtol=1e-4)


def test_ties_keeps_the_largest_and_the_sign_of_the_majority():
    one = drawn(1, rank=1, alpha=1.0, names=[QUERY])
    down = torch.zeros(1, 32)
    down[0, :3] = torch.tensor([5.0, -4.0, 1.0])
    other_down = torch.zeros(1, 32)
    other_down[0, :3] = torch.tensor([3.0, 2.0, -0.5])
    up = torch.ones(32, 1)
    first = replace(one, factors={QUERY: (down, up)})
    second = replace(one, factors={QUERY: (other_down, up)})
    found = merged([first, second], [0.5, 0.5], "ties", density=2 / 32)
    assert found.factors[QUERY][0][0, :4].tolist() == pytest.approx([4.0, -4.0, 0.0, 0.0])


def test_what_dare_drops_follows_from_the_seed():
    adapters = [drawn(1), drawn(2)]
    one, same, other = (merged(adapters, [0.5, 0.5], "dare_linear", density=0.5, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.factors[QUERY][0], same.factors[QUERY][0])
    assert not torch.equal(one.factors[QUERY][0], other.factors[QUERY][0])


def test_each_matrix_that_any_adapter_touches_is_there_with_its_own_rank():
    one, other = drawn(1, names=[QUERY]), drawn(2, rank=5, names=[OUTPUT])
    found = merged([one, other], [0.5, 0.5], "linear")
    assert {matrix.name: matrix.rank for matrix in found.planned} == {QUERY: 3, OUTPUT: 5}
    whole = merged([one, other], [0.5, 0.5], "cat")
    torch.testing.assert_close(update(whole, QUERY), 0.5 * update(one, QUERY), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("method", OF_FACTORS)
def test_factors_of_other_ranks_are_refused_with_the_remedy(method):
    with pytest.raises(InputError, match=r"rank 3 in one and 5 in another.*--method cat"):
        merged([drawn(1), drawn(2, rank=5)], [0.5, 0.5], method)


def test_ties_takes_the_weighted_mean_of_what_agrees():
    one = drawn(1, rank=1, alpha=1.0, names=[QUERY])
    down, other = torch.zeros(2, 1, 32)
    down[0, :2], other[0, :2] = torch.tensor([5.0, -4.0]), torch.tensor([3.0, 2.0])
    parts = [replace(one, factors={QUERY: (each, torch.ones(32, 1))}) for each in (down, other)]
    found = merged(parts, [0.25, 0.75], "ties", density=1.0)
    assert found.factors[QUERY][0][0, 0].item() == pytest.approx(0.25 * 5 + 0.75 * 3)


def test_dare_keeps_its_share_and_scales_it_up():
    one = drawn(1)
    found = merged([one, drawn(2)], [1.0, 0.0], "dare_linear", density=0.25)
    pairs = zip(found.factors[QUERY], one.factors[QUERY], strict=True)
    ratio = torch.cat([(part / own).flatten() for part, own in pairs])
    kept = ratio[ratio != 0]
    assert 0.13 < len(kept) / len(ratio) < 0.37
    # Four times as large; and A and B share the scaling of 2, which the merged pair has no more.
    torch.testing.assert_close(kept, torch.full_like(kept, 4 * math.sqrt(2)))
