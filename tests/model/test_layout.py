from __future__ import annotations

import pytest
import torch

from pennyweight.model.layout import Padded, pack

torch.manual_seed(0)
HIDDEN = torch.randn(3, 5, 8)
MASK = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_mean_against_the_naive_way(dtype):
    hidden = HIDDEN.to(dtype)
    expected = torch.stack([hidden[i, : int(MASK[i].sum())].float().mean(dim=0) for i in range(3)])
    packed, _, layout = pack(hidden, MASK)
    for mean in (Padded(MASK).mean(hidden), layout.mean(packed)):
        torch.testing.assert_close(mean, expected)
        assert mean.dtype == torch.float32


def test_padding_has_no_say():
    other = HIDDEN.clone()
    other[MASK == 0] = 1e6
    assert torch.equal(Padded(MASK).mean(other), Padded(MASK).mean(HIDDEN))


def test_nothing_but_padding_gives_zeros():
    assert torch.equal(Padded(torch.zeros_like(MASK)).mean(HIDDEN), torch.zeros(3, 8))


def test_packing_keeps_every_token_in_order_and_counts_its_place():
    ids = torch.arange(15).view(3, 5)
    packed, places, layout = pack(ids, MASK)
    assert packed.tolist() == [[0, 1, 2, 3, 4, 5, 6, 10]]
    assert places.tolist() == [[0, 1, 2, 3, 4, 0, 1, 0]]
    assert layout.starts.tolist() == [0, 5, 7, 8]
    assert layout.longest == 5


def test_first_tokens_of_both_layouts():
    packed, _, layout = pack(HIDDEN, MASK)
    assert torch.equal(Padded(MASK).first_tokens(HIDDEN)[:, 0], HIDDEN[:, 0])
    assert torch.equal(layout.first_tokens(packed)[0], HIDDEN[:, 0])
