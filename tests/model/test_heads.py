from __future__ import annotations

import pytest
import torch

from pennyweight.model.heads import LinearHead, LowRankHead, make_head

torch.manual_seed(0)
HIDDEN = torch.randn(3, 5, 8)


def test_heads_against_their_formulas():
    pooled = HIDDEN[:, 0]
    linear = LinearHead(8, 4).eval()
    torch.testing.assert_close(linear(pooled), pooled @ linear.out.weight.T + linear.out.bias)
    low = LowRankHead(8, 4, rank=2).eval()
    assert low.down.weight.shape == (2, 8)
    matrix = low.out.weight @ low.down.weight
    torch.testing.assert_close(low(pooled), pooled @ matrix.T + low.out.bias)
    assert torch.linalg.matrix_rank(matrix) == 2


@pytest.mark.parametrize(("kind", "rank"), [("linear", None), ("low-rank", 3)])
def test_dropout_acts_in_training_alone(kind, rank):
    head = make_head(kind, hidden=8, classes=4, rank=rank, dropout=0.5)
    pooled = HIDDEN[:, 0]
    head.train()
    assert not torch.equal(head(pooled), head(pooled))
    head.eval()
    assert torch.equal(head(pooled), head(pooled))
    assert all(parameter.dtype == torch.float32 for parameter in head.parameters())
