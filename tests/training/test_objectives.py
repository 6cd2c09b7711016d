from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from pennyweight.training.batch import Batch
from pennyweight.training.distillation import distilled, soft_targets
from pennyweight.training.losses import item_loss
from pennyweight.training.objectives import (
    one_pass,
    r_drop,
    supervised,
    symmetric_binary_divergence,
    symmetric_divergence,
)

LABELS = torch.tensor([0, 1, 2, 0, 2])


class Given(nn.Module):
    """A network that answers with the logits that it is given, and counts how often it is asked."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.asked: list[int] = []

    def forward(self, logits: Tensor) -> Tensor:
        self.asked.append(len(logits))
        return self.dropout(logits)


def batch_of(**extras: Tensor) -> Batch:
    torch.manual_seed(0)
    return Batch({"logits": torch.randn(5, 3)}, LABELS, extras=extras)


def test_supervised_is_the_loss_of_the_logits():
    batch, loss = batch_of(), item_loss("gce")
    assert torch.equal(one_pass(supervised(loss))(Given(), batch), loss(batch.inputs["logits"], LABELS))


def test_r_drop_takes_soft_targets_as_one_pass_does():
    shares = torch.tensor([[0.2, 0.3, 0.5]] * 5)
    extras = {
        name: torch.from_numpy(rows)
        for name, rows in soft_targets(shares.numpy(), mixture=0.6, temperature=2.0).items()
    }
    batch, loss = batch_of(**extras), distilled(item_loss("cross-entropy"))
    torch.testing.assert_close(r_drop(loss, weight=3.0)(Given(), batch), one_pass(loss)(Given(), batch))


def test_r_drop_is_one_pass_of_twice_the_batch():
    network, batch = Given(0.5), batch_of()
    torch.manual_seed(1)
    losses = r_drop(supervised(item_loss("cross-entropy")), weight=2.0)(network, batch)
    assert network.asked == [10]
    torch.manual_seed(1)
    first, second = network(torch.cat([batch.inputs["logits"]] * 2)).chunk(2)
    assert not torch.equal(first, second)
    one, other = first.softmax(dim=1), second.softmax(dim=1)
    divergence = ((one * (one / other).log()).sum(dim=1) + (other * (other / one).log()).sum(dim=1)) / 2
    plain = [nn.functional.cross_entropy(part, LABELS, reduction="none") for part in (first, second)]
    torch.testing.assert_close(losses, sum(plain) / 2 + 2.0 * divergence)


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_r_drop_without_weight_or_dropout_is_the_plain_loss(weight):
    batch, loss = batch_of(), supervised(item_loss("focal"))
    torch.testing.assert_close(r_drop(loss, weight=weight)(Given(), batch), one_pass(loss)(Given(), batch))


def test_divergence_is_symmetric_zero_at_equality_and_finite_at_extremes():
    one, other = torch.randn(4, 3), torch.randn(4, 3)
    torch.testing.assert_close(symmetric_divergence(one, other), symmetric_divergence(other, one))
    assert torch.equal(symmetric_divergence(one, one), torch.zeros(4))
    assert (symmetric_divergence(one, other) > 0).all()
    extreme = torch.tensor([[1e4, -1e4]]).requires_grad_()
    divergence = symmetric_divergence(extreme, -extreme.detach())
    divergence.sum().backward()
    assert torch.isfinite(divergence).all()
    assert torch.isfinite(extreme.grad).all()


class Windows(nn.Module):
    """Means of each text's rows, as a network that pools windows gives them."""

    def forward(self, rows: Tensor, starts: Tensor) -> Tensor:
        return torch.stack([rows[begin:end].mean(dim=0) for begin, end in itertools.pairwise(starts)])


def test_r_drop_keeps_windows_with_their_texts():
    torch.manual_seed(0)
    inputs = {"rows": torch.randn(9, 3), "starts": torch.tensor([0, 2, 3, 6, 8, 9])}
    loss = supervised(item_loss("cross-entropy"))
    batch = Batch(inputs, LABELS)
    torch.testing.assert_close(r_drop(loss, weight=1.0)(Windows(), batch), one_pass(loss)(Windows(), batch))


def test_of_several_labels_the_divergence_is_of_yes_and_no():
    """A label's yes and no are two classes with logits z and 0."""
    torch.manual_seed(0)
    one, other = torch.randn(2, 5, 3)
    as_classes = [torch.stack([logits, torch.zeros_like(logits)], dim=-1).reshape(-1, 2) for logits in (one, other)]
    expected = symmetric_divergence(*as_classes).reshape(5, 3).mean(dim=1)
    torch.testing.assert_close(symmetric_binary_divergence(one, other), expected)


def test_r_drop_weighs_both_of_its_terms_by_an_item_s_own_weight():
    torch.manual_seed(0)
    plain = batch_of()
    weighed = Batch(plain.inputs, LABELS, extras={"weight": torch.tensor([1.0, 0.5, 0.1, 0.0, 2.0])})
    losses = []
    for batch in (plain, weighed):
        torch.manual_seed(1)
        losses.append(r_drop(lambda logits, _batch: torch.zeros(len(logits)), weight=2.0)(Given(0.5), batch))
    assert (losses[0] > 0).all()
    torch.testing.assert_close(losses[1], losses[0] * weighed.extras["weight"])
