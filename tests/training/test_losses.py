from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from pennyweight.recipe import LossName as NamedInRecipe
from pennyweight.training.losses import LossName, balanced_weights, item_loss

NAMES = get_args(LossName)
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 0])


def logits_of(rows: int = 9, *, scale: float = 2.0) -> torch.Tensor:
    torch.manual_seed(0)
    return scale * torch.randn(rows, 4, dtype=torch.float64)


def probability(logits: torch.Tensor) -> torch.Tensor:
    return logits.softmax(dim=1)[torch.arange(len(logits)), LABELS]


def test_the_recipe_names_the_same_losses():
    assert get_args(NamedInRecipe) == NAMES


@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.5])
def test_cross_entropy_against_its_definition(smoothing):
    logits, target = logits_of(), torch.full((9, 4), smoothing / 4, dtype=torch.float64)
    target[torch.arange(9), LABELS] += 1 - smoothing
    expected = -(target * logits.log_softmax(dim=1)).sum(dim=1)
    losses = item_loss("cross-entropy", label_smoothing=smoothing)(logits, LABELS)
    assert losses.shape == (9,)
    torch.testing.assert_close(losses, expected)
    mean = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, LABELS)
    torch.testing.assert_close(losses.mean(), mean)


def test_focal_against_its_definition_and_at_zero_it_is_cross_entropy():
    logits = logits_of()
    p = probability(logits)
    torch.testing.assert_close(item_loss("focal", gamma=2.5)(logits, LABELS), -((1 - p) ** 2.5) * p.log())
    for smoothing in (0.0, 0.2):
        plain = item_loss("cross-entropy", label_smoothing=smoothing)(logits, LABELS)
        torch.testing.assert_close(item_loss("focal", gamma=0.0, label_smoothing=smoothing)(logits, LABELS), plain)


def test_gce_lies_between_cross_entropy_and_one_minus_p():
    logits = logits_of()
    p = probability(logits)
    torch.testing.assert_close(item_loss("gce", q=0.7)(logits, LABELS), (1 - p**0.7) / 0.7)
    torch.testing.assert_close(item_loss("gce", q=1.0)(logits, LABELS), 1 - p)
    one_hot = torch.nn.functional.one_hot(LABELS, 4)
    mae = (logits.softmax(dim=1) - one_hot).abs().sum(dim=1)
    torch.testing.assert_close(item_loss("gce", q=1.0)(logits, LABELS), mae / 2)
    plain = item_loss("cross-entropy")(logits, LABELS)
    torch.testing.assert_close(item_loss("gce", q=1e-6)(logits, LABELS), plain, rtol=1e-4, atol=1e-5)


def test_a_wrong_label_pulls_less_with_gce_and_a_learnt_item_less_with_focal():
    logits = torch.tensor([[8.0, 0.0], [1.0, 0.0]], dtype=torch.float64)

    def pull(name: str, labels: list[int]) -> torch.Tensor:
        given = logits.clone().requires_grad_()
        item_loss(name)(given, torch.tensor(labels)).sum().backward()
        return given.grad.norm(dim=1)

    assert pull("gce", [1, 1])[0] < 0.02 * pull("cross-entropy", [1, 1])[0]
    assert pull("focal", [0, 0])[0] < 0.02 * pull("cross-entropy", [0, 0])[0]


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_one_are_none_and_others_multiply(name):
    logits = logits_of()
    plain = item_loss(name, label_smoothing=0.1)(logits, LABELS)
    assert torch.equal(item_loss(name, label_smoothing=0.1, class_weights=[1, 1, 1, 1])(logits, LABELS), plain)
    weighted = item_loss(name, class_weights=[0.5, 1, 2, 4])(logits, LABELS)
    factors = torch.tensor([0.5, 1, 2, 4], dtype=torch.float64)[LABELS]
    torch.testing.assert_close(weighted, factors * item_loss(name)(logits, LABELS))


@pytest.mark.parametrize("name", NAMES)
def test_shares_of_each_class_stand_for_labels(name):
    """A label is a share of 1, and the loss is linear in the shares."""
    logits, one_hot = logits_of(), torch.nn.functional.one_hot(LABELS, 4).double()
    for options in ({}, {"label_smoothing": 0.3}, {"class_weights": [0.5, 1, 2, 4]}):
        loss = item_loss(name, **options)
        torch.testing.assert_close(loss(logits, one_hot), loss(logits, LABELS))
        other = one_hot.roll(1, dims=1)
        expected = 0.3 * loss(logits, one_hot) + 0.7 * loss(logits, other)
        torch.testing.assert_close(loss(logits, 0.3 * one_hot + 0.7 * other), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("options", [{}, {"gamma": 0.5, "q": 0.01}, {"gamma": 0.0, "q": 1.0}])
def test_loss_and_gradient_are_finite_at_extreme_logits(name, options):
    """Certain and right, certain and wrong, certain beyond what a float can tell from 1."""
    logits = torch.tensor([[1e4, 0, 0, -1e4], [-1e4, 1e4, 0, 0], [80.0, 0, 0, 0], [0, 0, 0, 0]]).requires_grad_()
    for label in range(4):
        losses = item_loss(name, **options)(logits, torch.full((4,), label))
        assert torch.isfinite(losses).all()
        assert (losses >= 0).all()
        [gradient] = torch.autograd.grad(losses.sum(), logits)
        assert torch.isfinite(gradient).all()


def test_balanced_weights_are_those_of_scikit_learn():
    labels = np.repeat([0, 1, 2, 3], [3, 30, 7, 1])
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    assert balanced_weights(labels, classes=4) == pytest.approx(list(expected))
    assert sum(balanced_weights(labels, classes=4)[label] for label in labels) == pytest.approx(len(labels))


def test_a_class_without_items_weighs_one():
    labels = np.array([0, 0, 2, 2, 2, 2])
    assert balanced_weights(labels, classes=3) == pytest.approx([1.5, 1.0, 0.75])
    assert balanced_weights(np.array([1, 1]), classes=2) == [1.0, 1.0]
