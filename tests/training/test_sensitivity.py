"""The spectra that ranks are found by, against gradients made by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from pennyweight.errors import RunError
from pennyweight.training.batch import Batch, StepBatches
from pennyweight.training.losses import item_loss
from pennyweight.training.objectives import one_pass, supervised
from pennyweight.training.sensitivity import gradient_spectra


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(6, 5)
        self.two = nn.Linear(5, 4)
        self.head = nn.Linear(4, 3)
        self.drop = nn.Dropout(0.5)
        for module in (self.one, self.two):
            module.requires_grad_(False)

    def forward(self, x):
        return self.head(self.drop(torch.tanh(self.two(torch.tanh(self.one(x))))))


def steps(count: int, parts: int = 1):
    generator = torch.Generator().manual_seed(4)
    for _ in range(count):
        batches = [
            Batch({"x": torch.randn(8, 6, generator=generator)}, torch.randint(0, 3, (8,), generator=generator))
            for _ in range(parts)
        ]
        yield StepBatches(batches, 8 * parts)


def spectra(network, count, **options):
    matrices = {"one": network.one.weight, "two": network.two.weight}
    head = {f"head.{name}": parameter for name, parameter in network.head.named_parameters()}
    objective = one_pass(supervised(item_loss("cross-entropy")))
    return gradient_spectra(network, matrices, objective, steps(count, **options), head=head, warmup=count // 2)


def test_they_are_those_of_the_summed_gradient():
    torch.manual_seed(0)
    network = Small()
    found = spectra(network, 2)
    content = list(steps(2))
    head = [parameter.detach().clone().requires_grad_() for parameter in network.head.parameters()]
    optimizer = torch.optim.AdamW(head, lr=1e-2, weight_decay=0.0)
    weights = [network.one.weight.detach().clone(), network.two.weight.detach().clone()]
    for number, step in enumerate(content):
        for weight in weights:
            weight.requires_grad_(number == 1)
        [batch] = step.batches
        inner = torch.tanh(functional.linear(batch.inputs["x"], weights[0], network.one.bias))
        inner = torch.tanh(functional.linear(inner, weights[1], network.two.bias))
        functional.cross_entropy(functional.linear(inner, *head), batch.labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    for name, weight in zip(("one", "two"), weights, strict=True):
        expected = torch.linalg.svdvals(weight.grad)
        torch.testing.assert_close(torch.tensor(found[name]), expected, rtol=1e-4, atol=1e-7)
    assert found["one"][0] > 0


def test_the_network_is_left_as_it_was():
    torch.manual_seed(0)
    network = Small().train()
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    learning = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    first = spectra(network, 6, parts=2)
    assert network.training
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
        assert parameter.requires_grad is learning[name]
    assert spectra(network, 6, parts=2) == first


def test_there_is_one_value_for_each_rank_and_they_fall():
    torch.manual_seed(0)
    found = spectra(Small(), 4)
    assert {name: len(values) for name, values in found.items()} == {"one": 5, "two": 4}
    assert all(values == sorted(values, reverse=True) for values in found.values())


def test_a_matrix_that_nothing_depends_on_promises_nothing():
    torch.manual_seed(0)
    network = Small()
    with torch.no_grad():
        network.two.weight.zero_()
    found = spectra(network, 4)
    assert max(found["one"]) == pytest.approx(0, abs=1e-9)
    assert found["two"][0] > 1e-4


def test_gradients_that_are_no_numbers_are_refused():
    torch.manual_seed(0)
    network = Small()
    with torch.no_grad():
        network.one.weight.fill_(float("nan"))
    with pytest.raises(RunError, match="gradients are not finite"):
        spectra(network, 4)
