from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pennyweight.training.batch import Batch
from pennyweight.training.distillation import distilled, soft_binary_loss, soft_loss, soft_targets
from pennyweight.training.losses import item_loss
from pennyweight.training.objectives import one_pass, supervised
from pennyweight.training.several_labels import binary_loss

ENTROPY = partial(functional.cross_entropy, reduction="none")


class Given(nn.Module):
    """A network that answers with the logits that it is given."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits


def batch_of(logits: Tensor, labels: Tensor, targets: Tensor, **given: float) -> Batch:
    extras = soft_targets(targets.numpy(), **{"mixture": 1.0, "temperature": 1.0, **given})
    return Batch({"logits": logits}, labels, extras={name: torch.from_numpy(rows) for name, rows in extras.items()})


@pytest.fixture
def items():
    torch.manual_seed(0)
    return torch.randn(9, 4, requires_grad=True), torch.arange(9) % 4, torch.randn(9, 4).softmax(dim=1)


def test_without_a_share_of_the_teachers_the_loss_is_that_of_the_labels_bit_for_bit(items):
    logits, labels, targets = items
    plain = one_pass(supervised(item_loss("cross-entropy", label_smoothing=0.1)))(
        Given(), Batch({"logits": logits}, labels)
    )
    smoothed = partial(ENTROPY, label_smoothing=0.1)
    mixed = one_pass(distilled(smoothed))(Given(), batch_of(logits, labels, targets, mixture=0.0, temperature=3.0))
    assert torch.equal(plain, mixed)
    assert torch.equal(*(torch.autograd.grad(loss.sum(), logits)[0] for loss in (plain, mixed)))


def test_a_teacher_that_says_the_labels_gives_cross_entropy(items):
    logits, labels, _ = items
    certain = functional.one_hot(labels, 4).float()
    loss = one_pass(distilled(ENTROPY))(Given(), batch_of(logits, (labels + 1) % 4, certain))
    torch.testing.assert_close(loss, ENTROPY(logits, labels))


@pytest.mark.parametrize("temperature", [1.0, 2.0, 10.0])
def test_the_soft_loss_against_its_definition(temperature, items):
    logits, _, teacher = items
    targets = (teacher.log() / temperature).softmax(dim=1)
    loss = soft_loss(logits, targets, torch.full((9,), temperature))
    own = (logits / temperature).softmax(dim=1)
    torch.testing.assert_close(loss, temperature**2 * (targets * (targets / own).log()).sum(dim=1))
    itself = soft_loss(teacher.log(), targets, torch.full((9,), temperature))
    torch.testing.assert_close(itself, torch.zeros(9), atol=2e-5, rtol=0)


def test_at_high_temperatures_the_gradient_is_that_of_matching_logits(items):
    """Hinton et al. 2015, section 2.1: (z - v) / N for logits of mean 0, whatever the temperature."""
    logits, _, teacher = items
    centred, wanted = (one - one.mean(dim=1, keepdim=True) for one in (logits.detach(), teacher.log()))
    centred.requires_grad_()
    temperature = torch.full((9,), 1000.0, dtype=torch.float64)
    loss = soft_loss(centred.double(), (wanted.double() / 1000).softmax(dim=1), temperature)
    (gradient,) = torch.autograd.grad(loss.sum(), centred)
    torch.testing.assert_close(gradient, (centred.detach() - wanted) / 4, atol=2e-3, rtol=0)


def test_items_have_mixtures_and_weights_of_their_own(items):
    logits, labels, targets = items
    share = np.linspace(0, 1, 9)
    loss = one_pass(distilled(ENTROPY))(
        Given(), batch_of(logits, labels, targets, mixture=share, temperature=2.0, weight=0.5)
    )
    soft, hard = soft_loss(logits, targets, torch.full((9,), 2.0)), ENTROPY(logits, labels)
    shares = torch.from_numpy(share).float()
    torch.testing.assert_close(loss, 0.5 * (shares * soft + (1 - shares) * hard))


def test_gradients_stay_finite_where_teacher_and_network_are_certain_of_different_things():
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    loss = one_pass(distilled(ENTROPY))(
        Given(), batch_of(logits, torch.tensor([1, 1]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]), mixture=0.5)
    )
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_of_several_labels_each_is_compared_by_itself(temperature, items):
    logits, _, _ = items
    torch.manual_seed(1)
    teacher = torch.randn(9, 4)
    targets, own = torch.sigmoid(teacher / temperature), torch.sigmoid(logits / temperature)
    divergence = targets * (targets / own).log() + (1 - targets) * ((1 - targets) / (1 - own)).log()
    loss = soft_binary_loss(logits, targets, torch.full((9,), temperature))
    torch.testing.assert_close(loss, temperature**2 * divergence.mean(dim=1))
    itself = soft_binary_loss(teacher, targets, torch.full((9,), temperature))
    torch.testing.assert_close(itself, torch.zeros(9), atol=2e-5, rtol=0)


def test_of_several_labels_a_teacher_that_says_them_gives_their_loss(items):
    logits, _, _ = items
    truth = torch.arange(36).reshape(9, 4) % 3 == 0
    loss = soft_binary_loss(logits, truth.float(), torch.ones(9))
    torch.testing.assert_close(loss, binary_loss()(logits, truth))
