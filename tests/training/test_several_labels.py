from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from pennyweight.training.losses import focal_penalty, gce_penalty
from pennyweight.training.several_labels import balanced_positive_weights, binary_loss


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
def test_each_label_is_a_question_of_its_own(smoothing, weights):
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 3), torch.rand(6, 3) < 0.4
    targets = labels.float() * (1 - smoothing) + smoothing / 2
    factor = torch.ones(3) if weights is None else torch.tensor(weights)
    yes, no = torch.sigmoid(logits).log(), (1 - torch.sigmoid(logits)).log()
    expected = -(factor * targets * yes + (1 - targets) * no).mean(dim=1)
    losses = binary_loss(label_smoothing=smoothing, positive_weights=weights)(logits, labels)
    assert losses.shape == (6,)
    torch.testing.assert_close(losses, expected)


@pytest.mark.parametrize("penalty", [focal_penalty(2.0), gce_penalty(0.7)])
def test_every_penalty_falls_on_either_answer(penalty):
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 3), torch.rand(6, 3) < 0.4
    right = torch.where(labels, torch.sigmoid(logits), 1 - torch.sigmoid(logits))
    torch.testing.assert_close(binary_loss(penalty)(logits, labels), penalty(right.log()).mean(dim=1))


def test_focal_of_exponent_zero_is_cross_entropy():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 3), torch.rand(6, 3) < 0.4
    torch.testing.assert_close(binary_loss(focal_penalty(0.0))(logits, labels), binary_loss()(logits, labels))


def test_how_surely_a_label_applies_may_be_a_number():
    logits = torch.zeros(1, 2)
    losses = binary_loss()(logits, torch.tensor([[0.5, 0.25]]))
    torch.testing.assert_close(losses, torch.tensor([np.log(2)], dtype=torch.float32))


def test_balanced_weights_are_those_of_scikit_learn_for_each_label():
    generator = np.random.default_rng(0)
    labels = generator.random((200, 3)) < [0.5, 0.1, 0.02]
    weights = balanced_positive_weights(labels)
    for index, weight in enumerate(weights):
        no, yes = compute_class_weight("balanced", classes=np.array([False, True]), y=labels[:, index])
        assert weight == pytest.approx(yes / no)
    assert balanced_positive_weights(np.zeros((5, 2), dtype=bool)) == [1, 1]
    assert balanced_positive_weights(np.ones((4, 1), dtype=bool)) == [0.25]
