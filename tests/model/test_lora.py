"""The fast LoRA layer against PEFT's own: outputs, gradients, dropout's draw, and when it steps aside."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear as PeftLinear
from torch import nn

from pennyweight.model.lora import FastLinear
from pennyweight.model.prepacking import prepack

TOLERANCE = {
    torch.float32: {"rtol": 1e-5, "atol": 1e-6},
    torch.bfloat16: {"rtol": 4e-2, "atol": 4e-2},  # a few roundings of 2⁻⁸ each, in another order
    torch.float64: {"rtol": 1e-12, "atol": 1e-12},
}


class Inside(nn.Module):
    def __init__(self, bias: bool):
        super().__init__()
        self.inner = nn.Linear(24, 40, bias=bias)

    def forward(self, x):
        return self.inner(x)


def adapted(dtype, *, fast, dropout=0.0, bias=True, **options):
    torch.manual_seed(3)
    model = Inside(bias).to(dtype)
    config = LoraConfig(r=4, lora_alpha=12, lora_dropout=dropout, target_modules=["inner"], **options)
    if fast:
        config._register_custom_module({nn.Linear: FastLinear})
    model = get_peft_model(model, config, autocast_adapter_dtype=False)
    layer = model.base_model.model.inner
    torch.manual_seed(4)
    with torch.no_grad():
        layer.lora_A["default"].weight.normal_()
        layer.lora_B["default"].weight.normal_()
    return model.train(), layer


def outcome(dtype, x, *, fast, seed=5, **options):
    model, layer = adapted(dtype, fast=fast, **options)
    given = x.to(dtype).clone().requires_grad_()
    torch.manual_seed(seed)
    y = model(given)
    torch.manual_seed(6)
    (y * torch.randn_like(y)).sum().backward()
    return y.detach(), given.grad, layer.lora_A["default"].weight.grad, layer.lora_B["default"].weight.grad


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(7, 24), (3, 5, 24), (2, 1, 24)])
def test_outputs_and_gradients_are_pefts(dtype, dropout, bias, shape):
    torch.manual_seed(2)
    x = torch.randn(shape)
    ours = outcome(dtype, x, fast=True, dropout=dropout, bias=bias)
    theirs = outcome(dtype, x, fast=False, dropout=dropout, bias=bias)
    for mine, other in zip(ours, theirs, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(mine / scale, other / scale, **TOLERANCE[dtype])


def test_dropout_changes_what_is_computed():
    x = torch.randn(3, 24)
    one, other = (outcome(torch.float32, x, fast=True, dropout=0.4, seed=seed)[0] for seed in (5, 6))
    assert not torch.allclose(one, other)


def test_factors_in_fp32_beside_a_frozen_matrix_in_bf16():
    """As it is in use: the gradient of what is trained arrives in fp32."""
    x = torch.randn(4, 6, 24)
    grads = []
    for fast in (True, False):
        model, layer = adapted(torch.bfloat16, fast=fast)
        factors = [layer.lora_A["default"].weight, layer.lora_B["default"].weight]
        for factor in factors:
            factor.data = factor.data.float()
        y = model(x.bfloat16())
        assert y.dtype is torch.bfloat16
        y.float().square().sum().backward()
        assert all(factor.grad.dtype is torch.float32 for factor in factors)
        grads.append([factor.grad / factor.grad.abs().max() for factor in factors])
    for mine, other in zip(*grads, strict=True):
        torch.testing.assert_close(mine, other, rtol=4e-2, atol=4e-2)


def test_gradients_against_finite_differences():
    model, layer = adapted(torch.float64, fast=True)
    x = torch.randn(3, 24, dtype=torch.float64, requires_grad=True)
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert torch.autograd.gradcheck(lambda *_: model(x), (x, down, up))


def test_an_input_that_needs_no_gradient_gets_none():
    model, layer = adapted(torch.float32, fast=True)
    model(torch.randn(3, 24)).sum().backward()
    assert layer.lora_B["default"].weight.grad is not None


@pytest.mark.parametrize("options", [{"use_dora": True}, {"lora_bias": True}])
def test_what_is_not_plain_lora_is_left_to_peft(options):
    x = torch.randn(3, 24)
    ours, theirs = (outcome(torch.float32, x, fast=fast, **options)[0] for fast in (True, False))
    assert torch.equal(ours, theirs)


def test_disabled_and_merged_adapters_are_left_to_peft():
    x = torch.randn(3, 24)
    model, layer = adapted(torch.float32, fast=True)
    with model.disable_adapter():
        torch.testing.assert_close(model(x), layer.base_layer(x))
    apart = model(x)
    model.merge_adapter()
    torch.testing.assert_close(model(x), apart, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(layer.base_layer(x), model.unmerge_adapter() or layer.base_layer(x))


def test_a_frozen_matrix_that_learns_after_all_is_left_to_peft():
    model, layer = adapted(torch.float32, fast=True)
    layer.base_layer.weight.requires_grad_(True)
    model(torch.randn(3, 24)).sum().backward()
    assert layer.base_layer.weight.grad is not None


def test_it_is_pefts_layer_with_pefts_names():
    _, layer = adapted(torch.float32, fast=True)
    _, theirs = adapted(torch.float32, fast=False)
    assert isinstance(layer, FastLinear) and isinstance(layer, PeftLinear)
    assert list(layer.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("dropout", [0.0, 0.4])
@pytest.mark.parametrize("bias", [True, False])
def test_on_a_matrix_in_onednns_order_it_is_pefts_too(dropout, bias):
    x = torch.randn(3, 5, 24).bfloat16()
    outcomes = []
    for fast in (True, False):
        model, _ = adapted(torch.bfloat16, fast=fast, dropout=dropout, bias=bias)
        if fast:
            prepack(model)
        given = x.clone().requires_grad_()
        torch.manual_seed(5)
        y = model(given)
        torch.manual_seed(6)
        (y * torch.randn_like(y)).sum().backward()
        outcomes.append((y.detach(), given.grad, *(p.grad for p in model.parameters() if p.requires_grad)))
    for mine, other in zip(*outcomes, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(mine / scale, other / scale, **TOLERANCE[torch.bfloat16])


def test_merging_into_a_matrix_in_onednns_order_is_seen():
    x = torch.randn(3, 24).bfloat16()
    model, layer = adapted(torch.bfloat16, fast=True)
    prepack(model)
    with torch.no_grad():
        apart, base = model(x), layer.base_layer(x)
        model.merge_adapter()
        merged = layer.base_layer(x)
        torch.testing.assert_close(merged, apart, rtol=1e-1, atol=2e-1)
        assert not torch.allclose(merged, base, rtol=1e-1, atol=2e-1)
        model.unmerge_adapter()
        torch.testing.assert_close(layer.base_layer(x), base, rtol=1e-1, atol=2e-1)
