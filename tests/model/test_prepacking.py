"""Frozen matrices in oneDNN's order: what they compute, and that a changed weight is ordered anew."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from pennyweight.model import prepacking
from pennyweight.model.prepacking import (
    PrepackedLinear,
    backward_product,
    can_order,
    forward_product,
    prepack,
)

CLOSE = {"rtol": 2e-2, "atol": 2e-2}
here = pytest.mark.skipif(
    not can_order(torch.zeros(1, dtype=torch.bfloat16)), reason="oneDNN has no bf16 products on this machine"
)


def layer(bias=True, dtype=torch.bfloat16):
    torch.manual_seed(1)
    return nn.Linear(48, 32, bias=bias).to(dtype).requires_grad_(False)


def outcome(linear, x):
    given = x.clone().requires_grad_()
    y = linear(given)
    torch.manual_seed(2)
    y.backward(torch.randn_like(y))
    return y.detach(), given.grad


@here
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 48), (3, 5, 48), (1, 1, 48)])
def test_outputs_and_gradients_are_those_of_the_plain_layer(bias, shape):
    plain = layer(bias)
    ordered = PrepackedLinear.of(plain)
    x = torch.randn(shape).bfloat16()
    for mine, other in zip(outcome(ordered, x), outcome(plain, x), strict=True):
        torch.testing.assert_close(mine, other, **CLOSE)
    assert ordered._forth is not None and ordered._back is not None


@here
def test_a_product_without_gradient_orders_one_direction_alone():
    ordered = PrepackedLinear.of(layer())
    ordered(torch.randn(2, 48).bfloat16())
    assert ordered._forth is not None and ordered._back is None


@here
@pytest.mark.parametrize("way", ["in place", "replaced", "loaded"])
def test_a_changed_weight_is_ordered_anew(way):
    plain = layer()
    ordered = PrepackedLinear.of(plain)
    x = torch.randn(4, 48).bfloat16()
    outcome(ordered, x)
    if way == "in place":
        ordered.weight.mul_(3)
    elif way == "replaced":
        ordered.weight = nn.Parameter(plain.weight * 3, requires_grad=False)
    else:
        ordered.load_state_dict({"weight": plain.weight * 3, "bias": plain.bias})
    fresh = PrepackedLinear.of(ordered)
    for mine, other in zip(outcome(ordered, x), outcome(fresh, x), strict=True):
        assert torch.equal(mine, other)


@here
def test_a_change_through_data_is_seen_after_forget():
    ordered = PrepackedLinear.of(layer())
    x = torch.randn(4, 48).bfloat16()
    before = ordered(x)
    ordered.weight.data += 1
    ordered.forget()
    assert not torch.equal(ordered(x), before)


@here
def test_copies_and_pickles_order_their_own():
    ordered = PrepackedLinear.of(layer())
    x = torch.randn(4, 48).bfloat16()
    y = ordered(x)
    for other in (copy.deepcopy(ordered), pickle.loads(pickle.dumps(ordered))):
        assert other._forth is None
        assert torch.equal(other(x), y)
        other.weight.mul_(2)
    assert torch.equal(ordered(x), y)


def test_what_learns_and_what_is_not_bf16_is_computed_as_ever():
    learning = PrepackedLinear.of(layer().requires_grad_(True))
    learning(torch.randn(2, 48).bfloat16()).sum().backward()
    assert learning.weight.grad is not None
    exact = layer(dtype=torch.float32)
    x = torch.randn(2, 48)
    assert torch.equal(PrepackedLinear.of(exact)(x), exact(x))


def test_it_has_the_names_and_the_parameters_of_a_linear_layer():
    plain = layer()
    ordered = PrepackedLinear.of(plain)
    assert ordered.weight is plain.weight and ordered.bias is plain.bias
    assert list(ordered.state_dict()) == list(plain.state_dict())
    assert (ordered.in_features, ordered.out_features) == (48, 32)
    assert repr(ordered).startswith("PrepackedLinear(in_features=48, out_features=32, bias=True")


@here
def test_frozen_bf16_layers_of_a_model_are_taken_and_no_others():
    model = nn.Sequential(layer(), nn.ReLU(), nn.Sequential(layer().requires_grad_(True)), layer(dtype=torch.float32))
    prepack(model)
    assert [type(module) for module in (model[0], model[2][0], model[3])] == [PrepackedLinear, nn.Linear, nn.Linear]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_products_of_a_plain_layer(dtype):
    plain = layer(dtype=dtype)
    x, gradient = torch.randn(3, 48, dtype=dtype), torch.randn(3, 32, dtype=dtype)
    torch.testing.assert_close(forward_product(plain, x), plain(x))
    torch.testing.assert_close(backward_product(plain, gradient), gradient @ plain.weight)


def test_where_onednn_has_no_bf16_nothing_is_taken(monkeypatch):
    monkeypatch.setattr(prepacking, "_has_products", lambda: False)
    model = nn.Sequential(layer())
    prepack(model)
    assert type(model[0]) is nn.Linear
