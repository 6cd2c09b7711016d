from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pennyweight.training.batch import Batch
from pennyweight.training.objectives import Objective, cross_entropy


class Given(nn.Module):
    """A network that answers with the logits that it is given."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits


def losses_of(objective: Objective, logits: Tensor, labels: Tensor) -> Tensor:
    return objective(Given(), Batch({"logits": logits}, labels))


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.5])
def test_cross_entropy_per_item_against_its_definition(smoothing):
    torch.manual_seed(0)
    logits, labels = torch.randn(9, 4), torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0])
    target = torch.full((9, 4), smoothing / 4)
    target[torch.arange(9), labels] += 1 - smoothing
    expected = -(target * logits.log_softmax(dim=1)).sum(dim=1)
    losses = losses_of(cross_entropy(label_smoothing=smoothing), logits, labels)
    assert losses.shape == (9,)
    torch.testing.assert_close(losses, expected)


def test_the_mean_is_that_of_torch():
    logits, labels = torch.randn(5, 3), torch.tensor([2, 0, 1, 1, 0])
    expected = torch.nn.CrossEntropyLoss(label_smoothing=0.1)(logits, labels)
    torch.testing.assert_close(losses_of(cross_entropy(label_smoothing=0.1), logits, labels).mean(), expected)
