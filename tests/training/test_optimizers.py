from __future__ import annotations

from typing import get_args

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from pennyweight.recipe import OptimizerName
from pennyweight.training.optimizers import make_optimizers

NAMES = get_args(OptimizerName)


def problem() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 3))
    inputs = torch.randn(64, 6)
    return network, inputs, (inputs @ torch.randn(6, 3)).argmax(dim=1)


def make(name, network, **changes):
    options = {"learning_rate": 0.02, "betas": (0.9, 0.99), "epsilon": 1e-8, "weight_decay": 0.0, **changes}
    return make_optimizers(name, dict(network.named_parameters()), **options)


@pytest.mark.parametrize("name", NAMES)
def test_each_lowers_the_loss(name):
    network, inputs, labels = problem()
    optimizers = make(name, network)
    losses = []
    for _ in range(80):
        loss = nn.functional.cross_entropy(network(inputs), labels)
        loss.backward()
        losses.append(loss.item())
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert losses[-1] < 0.4 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_in_exactly_one_group(name):
    network, *_ = problem()
    groups = [group for optimizer in make(name, network, weight_decay=0.1) for group in optimizer.param_groups]
    owned = [parameter for group in groups for parameter in group["params"]]
    assert len(owned) == len({id(parameter) for parameter in owned}) == len(list(network.parameters()))
    assert {id(parameter) for parameter in owned} == {id(parameter) for parameter in network.parameters()}
    for group in groups:
        matrices = {parameter.ndim >= 2 for parameter in group["params"]}
        assert len(matrices) == 1
        assert group["weight_decay"] == (0.1 if matrices == {True} else 0.0)
        assert group["peak"] == group["lr"] == 0.02


def test_muon_takes_the_matrices_and_adamw_the_rest():
    network, *_ = problem()
    muon, adamw = make("muon", network)
    assert isinstance(muon, torch.optim.Muon)
    assert isinstance(adamw, torch.optim.AdamW)
    assert {parameter.ndim for group in muon.param_groups for parameter in group["params"]} == {2}
    assert {parameter.ndim for group in adamw.param_groups for parameter in group["params"]} == {1}


def test_muon_alone_where_there_are_matrices_only():
    network = nn.Linear(4, 4, bias=False)
    assert len(make("muon", network)) == 1


@pytest.mark.parametrize("name", NAMES)
def test_decay_shrinks_matrices_and_leaves_biases_alone(name):
    network, *_ = problem()
    before = {key: parameter.detach().clone() for key, parameter in network.named_parameters()}
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    for optimizer in make(name, network, weight_decay=0.5):
        optimizer.step()
    for key, parameter in network.named_parameters():
        if key.endswith("bias"):
            assert torch.equal(parameter, before[key])
        else:
            assert parameter.norm() < before[key].norm()


def test_the_settings_arrive():
    network, *_ = problem()
    [adamw] = make("adamw", network, betas=(0.7, 0.8), epsilon=1e-5)
    assert {(group["betas"], group["eps"]) for group in adamw.param_groups} == {((0.7, 0.8), 1e-5)}
    [sgd] = make("sgd", network, betas=(0.7, 0.8))
    assert {group["momentum"] for group in sgd.param_groups} == {0.7}
    [rmsprop] = make("rmsprop", network, betas=(0.7, 0.8), epsilon=1e-5)
    assert {(group["momentum"], group["eps"]) for group in rmsprop.param_groups} == {(0.7, 1e-5)}


@pytest.mark.parametrize("name", NAMES)
def test_the_peak_survives_accelerate(name):
    network, *_ = problem()
    accelerator = Accelerator(cpu=True)
    _, *prepared = accelerator.prepare(network, *make(name, network))
    assert {group["peak"] for optimizer in prepared for group in optimizer.param_groups} == {0.02}
    assert {group["peak"] for optimizer in prepared for group in optimizer.state_dict()["param_groups"]} == {0.02}


class Adapted(nn.Module):
    """Named as PEFT names a pair of factors."""

    def __init__(self) -> None:
        super().__init__()
        self.lora_A = nn.ModuleDict({"default": nn.Linear(6, 2, bias=False)})
        self.lora_B = nn.ModuleDict({"default": nn.Linear(2, 6, bias=False)})
        self.head = nn.Linear(6, 3)


@pytest.mark.parametrize("name", NAMES)
def test_lora_plus_moves_b_alone_faster(name):
    network = Adapted()
    names = {id(parameter): key for key, parameter in network.named_parameters()}
    optimizers = make_optimizers(
        name,
        {f"encoder.{key}": parameter for key, parameter in network.named_parameters()},
        learning_rate=0.02,
        betas=(0.9, 0.99),
        epsilon=1e-8,
        weight_decay=0.1,
        lora_plus=16.0,
    )
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    peaks = {names[id(one)]: (group["peak"], group["weight_decay"]) for group in groups for one in group["params"]}
    assert peaks == {
        "lora_A.default.weight": (0.02, 0.1),
        "lora_B.default.weight": (0.32, 0.1),
        "head.weight": (0.02, 0.1),
        "head.bias": (0.02, 0.0),
    }
    assert optimizers[0].param_groups[0]["peak"] == 0.02  # the rate that is logged


def test_lora_plus_of_one_is_as_without():
    network = Adapted()
    groups = [
        [len(group["params"]) for group in make("adamw", network, **more)[0].param_groups]
        for more in ({}, {"lora_plus": 1.0})
    ]
    assert groups == [[3, 1], [3, 1]]


@pytest.mark.parametrize("name", ["layer.query.ia3_l.default", "layer.query.lora_E.default"])
def test_what_peft_keeps_as_a_matrix_of_one_row_is_a_vector(name):
    """IA³'s factors are 1 to begin with: decay would draw them, and the matrix that they scale, towards 0."""
    vector, matrix = nn.Parameter(torch.ones(8, 1)), nn.Parameter(torch.ones(8, 1))
    options = {"learning_rate": 0.1, "betas": (0.9, 0.9), "epsilon": 1e-8, "weight_decay": 0.1}
    vector.grad, matrix.grad = torch.zeros(8, 1), torch.zeros(8, 1)
    (optimizer,) = make_optimizers("adamw", {name: vector, "layer.query.lora_A.default.weight": matrix}, **options)
    optimizer.step()
    assert torch.equal(vector, torch.ones(8, 1))
    assert (matrix < 1).all()
    muon, adamw = make_optimizers("muon", {name: vector, "layer.query.lora_A.default.weight": matrix}, **options)
    assert [id(one) for group in muon.param_groups for one in group["params"]] == [id(matrix)]
    assert [id(one) for group in adamw.param_groups for one in group["params"]] == [id(vector)]
