from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pennyweight.training.batch import Batch
from pennyweight.training.contrastive import contrastive, contrastive_loss

LABELS = torch.tensor([0, 1, 0, 2, 1, 0])


def vectors(*, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return torch.randn(6, 5, dtype=torch.float64)


def test_against_its_definition_item_by_item():
    features, temperature = vectors(), 0.2
    unit = [row / row.norm() for row in features]
    losses = contrastive_loss(features, LABELS, temperature=temperature)
    for i in range(6):
        others = [j for j in range(6) if j != i]
        scores = {j: math.exp(float(unit[i] @ unit[j]) / temperature) for j in others}
        friends = [j for j in others if LABELS[j] == LABELS[i]]
        terms = [-math.log(scores[j] / sum(scores.values())) for j in friends]
        assert losses[i].item() == pytest.approx(sum(terms) / len(terms) if terms else 0.0)
    assert losses[3] == 0  # alone of its class


def test_neither_length_nor_order_matters():
    features = vectors()
    losses = contrastive_loss(features, LABELS, temperature=0.1)
    longer = features * torch.tensor([1.0, 2, 3, 4, 5, 6])[:, None]
    torch.testing.assert_close(contrastive_loss(longer, LABELS, temperature=0.1), losses)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    torch.testing.assert_close(contrastive_loss(features[order], LABELS[order], temperature=0.1), losses[order])


def test_alike_texts_of_two_classes_cost_the_logarithm_of_the_others():
    """All vectors equal: every other item has the share 1/5."""
    losses = contrastive_loss(torch.ones(6, 5), LABELS, temperature=0.1)
    expected = math.log(5) * torch.tensor([1.0, 1, 1, 0, 1, 1])
    torch.testing.assert_close(losses, expected)


def test_learning_draws_classes_together():
    features = vectors().requires_grad_()
    optimizer = torch.optim.SGD([features], lr=0.3)
    for _ in range(200):
        optimizer.zero_grad()
        contrastive_loss(features, LABELS, temperature=0.3).sum().backward()
        optimizer.step()
    unit = nn.functional.normalize(features.detach(), dim=1)
    alike, same = unit @ unit.T, LABELS[:, None] == LABELS[None, :]
    assert alike[same].min() > 0.9
    assert alike[~same].max() < 0.3


@pytest.mark.parametrize("features", [torch.zeros(6, 5), 1e4 * torch.ones(6, 5), torch.eye(6, 5) * 1e-30])
@pytest.mark.parametrize("labels", [LABELS, torch.zeros(6, dtype=torch.int64), torch.arange(6)])
def test_finite_with_its_gradient(features, labels):
    features = features.clone().requires_grad_()
    losses = contrastive_loss(features, labels, temperature=0.01)
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert torch.isfinite(features.grad).all()


def test_a_batch_of_one_costs_nothing():
    features = torch.randn(1, 5).requires_grad_()
    losses = contrastive_loss(features, torch.tensor([2]), temperature=0.1)
    losses.sum().backward()
    assert losses.tolist() == [0.0]
    assert torch.equal(features.grad, torch.zeros(1, 5))


class Pooling(nn.Module):
    def features(self, states: Tensor) -> Tensor:
        return states.mean(dim=1)


def test_the_objective_takes_pooled_vectors_and_no_logits():
    states = torch.randn(6, 3, 5)
    losses = contrastive(temperature=0.5)(Pooling(), Batch({"states": states}, LABELS))
    torch.testing.assert_close(losses, contrastive_loss(states.mean(dim=1), LABELS, temperature=0.5))
