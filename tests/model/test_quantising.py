from __future__ import annotations

import gc
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from abilities import needs_int8
from test_network import BF16, FP32, build, stir, table
from tiny import make_backbone
from torch import nn

from pennyweight.errors import InputError, RunError
from pennyweight.model import quantising
from pennyweight.model.folding import fold
from pennyweight.model.inference import compute_logits
from pennyweight.model.quantising import (
    SPAN,
    EightBits,
    Inputs,
    Int8FeedForward,
    Int8Linear,
    Int8Weights,
    eight_bits,
    is_quantised,
    quantise,
    require_int8,
)

FORMATS = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])


def back(x: EightBits) -> torch.Tensor:
    return (x.values.double() - x.zero) * x.scale


def in_steps(weight: torch.Tensor) -> torch.Tensor:
    """A matrix as int8 keeps it: one scale per output, 127 steps either side of zero."""
    scales = weight.double().abs().amax(dim=1, keepdim=True).clamp_min(1e-30) / 127
    return (weight.double() / scales).round() * scales


@FORMATS
@pytest.mark.parametrize("shift", [-50.0, -3.0, 0.0, 0.4, 3.0, 50.0])
def test_an_input_is_off_by_half_a_step(dtype, shift):
    torch.manual_seed(0)
    rows = (torch.randn(700, 33) + shift).to(dtype)  # more than one slice
    found = eight_bits(rows)
    low, high = min(float(rows.min()), 0), max(float(rows.max()), 0)
    assert found.values.dtype is torch.uint8
    assert found.scale == pytest.approx((high - low) / SPAN)
    assert int(found.values.max()) - int(found.values.min()) <= SPAN + 2  # none has gone round
    steps = rows.double() / found.scale
    off = (back(found) / found.scale - steps).abs()
    # In bf16 a number of steps has itself nine significant bits.
    assert (off <= 0.501 + (0 if dtype is torch.float32 else 2**-8 * steps.abs())).all()


def test_behind_gelu_all_of_the_steps_are_used():
    torch.manual_seed(0)
    rows = nn.functional.gelu(torch.randn(100, 50))
    found = eight_bits(rows)
    assert int(found.values.max()) - int(found.values.min()) >= SPAN - 1
    assert found.scale < 0.6 * float(rows.max()) / 127


@FORMATS
def test_zero_stays_zero(dtype):
    rows = torch.tensor([[0.0, 3.0, 0.1]], dtype=dtype)
    for sign in (1, -1):
        found = eight_bits(sign * rows)
        assert int(found.values[0, 0]) == found.zero
    nothing = eight_bits(torch.zeros(2, 3, dtype=dtype))
    assert back(nothing).abs().max() == 0


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_told(odd):
    with pytest.raises(RunError, match="not finite"):
        eight_bits(torch.tensor([[1.0, odd]]))


@FORMATS
def test_the_ends_of_the_range_do_not_go_round(dtype):
    for low, high in np.random.default_rng(0).uniform(-8, 8, (500, 2)):
        rows = torch.tensor([[low, high, 0.0]]).to(dtype)
        found = eight_bits(rows)
        assert (back(found) - rows.double()).abs().max() <= 1.6 * found.scale


@needs_int8
@FORMATS
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 48), (5, 48), (3, 7, 48), (520, 48)])
def test_a_linear_layer_is_the_product_of_what_was_quantised(dtype, bias, shape):
    torch.manual_seed(0)
    linear = nn.Linear(48, 40, bias=bias, dtype=dtype)
    with torch.no_grad():
        linear.weight[3] = 0
    before = linear.weight.clone()
    x = torch.randn(shape, dtype=dtype)
    found = Int8Linear(linear)(x)
    assert found.dtype is dtype
    exact = back(eight_bits(x.reshape(-1, 48))) @ in_steps(linear.weight).T + (linear.bias.double() if bias else 0)
    tolerance = {"atol": 1e-5, "rtol": 1e-5} if dtype is torch.float32 else {"atol": 2**-7, "rtol": 2**-7}
    torch.testing.assert_close(found.double(), exact.view(*shape[:-1], 40), **tolerance)
    away = (found - linear(x)).abs().mean() / linear(x).abs().mean()
    assert 1e-4 < away < 0.03
    assert torch.equal(linear.weight, before)


@needs_int8
@FORMATS
def test_a_feed_forward_network_is_quantised_slice_by_slice(dtype, monkeypatch):
    monkeypatch.setattr(quantising, "ROWS", 8)
    torch.manual_seed(0)
    up, down = nn.Linear(32, 96, dtype=dtype), nn.Linear(96, 32, dtype=dtype)
    x = torch.randn(3, 7, 32, dtype=dtype)
    found = Int8FeedForward(up, down)(x)
    assert (found.shape, found.dtype) == (x.shape, dtype)
    parts = []
    for part in x.view(-1, 32).split(8):
        inner = Int8Weights(up).product(eight_bits(part), dtype)
        parts.append(Int8Linear(down)(nn.functional.gelu(inner)))
    # A value between two steps may fall to either of them, for it is rounded once more between product and GELU.
    expected = torch.cat(parts).view(x.shape)
    assert (found - expected).abs().mean() < 0.01 * expected.abs().mean()
    assert 1e-4 < (found - down(nn.functional.gelu(up(x)))).abs().mean() / expected.abs().mean() < 0.05


def test_an_input_that_is_common_is_quantised_once():
    inputs = Inputs()
    x = torch.randn(4, 8)
    assert inputs(x) is inputs(x)
    same, other = inputs(x), x + 1
    assert inputs(other) is not same
    torch.testing.assert_close(back(inputs(other)), other.double(), atol=0.05, rtol=0)


def test_threads_have_each_their_own_input():
    inputs, wrong = Inputs(), []

    def many(value):
        for number in range(400):
            x = torch.full((2, 2), value + number)
            for _ in range(3):
                found = float(back(inputs(x)).max())
                if found != pytest.approx(value + number, rel=1e-3):
                    wrong.append((value + number, found))

    threads = [threading.Thread(target=many, args=(1e4 * place,)) for place in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_input_that_is_gone_is_forgotten():
    inputs = Inputs()
    x = torch.ones(3, 2)
    kept = weakref.ref(inputs(x).values)
    assert kept() is not None
    del x
    gc.collect()
    assert kept() is None


def test_an_input_that_is_gone_is_not_taken_for_the_next():
    inputs = Inputs()
    for value in range(1, 20):  # a new tensor may lie where the last one lay
        x = torch.full((2, 2), float(value))
        assert back(inputs(x)).max() == pytest.approx(value)
        del x
        gc.collect()


@needs_int8
@pytest.mark.parametrize("machine", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("head", [{"kind": "linear"}, {"kind": "linear", "pooling": "cls"}, {"kind": "stock"}])
@pytest.mark.parametrize("kind", ["roberta", "bert"])
def test_a_network_in_int8_is_near_the_one_it_was_made_of(kind, head, machine, tiny_roberta, tiny_bert):
    folder = {"roberta": tiny_roberta, "bert": tiny_bert}[kind]
    network = build(folder, machine, **head)
    stir(network)
    folded = fold(network)
    tokens, pad_id = table(folder)
    before, after = (compute_logits(one, tokens, batch_size=8, pad_id=pad_id) for one in (folded, quantise(folded)))
    spread = before.std(axis=0).mean()
    assert 1e-3 * spread < np.abs(after - before).mean() < 0.1 * spread
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.99
    np.testing.assert_array_equal(compute_logits(folded, tokens, batch_size=8, pad_id=pad_id), before)


@needs_int8
@pytest.mark.parametrize("kind", ["electra", "distilbert", "deberta-v2", "albert"])
def test_whatever_the_architecture(kind, tmp_path):
    folder = make_backbone(tmp_path, kind)
    network = build(folder, replace(FP32, attention="eager"))
    stir(network)
    folded = fold(network)
    tokens, pad_id = table(folder)
    before, after = (compute_logits(one, tokens, batch_size=8, pad_id=pad_id) for one in (folded, quantise(folded)))
    assert 0 < np.abs(after - before).mean() < 0.15 * before.std(axis=0).mean()


@needs_int8
def test_another_activation_than_gelu(tmp_path):
    folder = make_backbone(tmp_path, "bert", hidden_act="relu")
    folded = fold(build(folder))
    quantised = quantise(folded)
    assert not any(isinstance(module, Int8FeedForward) for module in quantised.modules())
    assert sum(isinstance(module, Int8Linear) for module in quantised.modules()) == 12
    tokens, pad_id = table(folder)
    before, after = (compute_logits(one, tokens, batch_size=8, pad_id=pad_id) for one in (folded, quantised))
    assert 0 < np.abs(after - before).mean() < 0.1 * before.std(axis=0).mean()


@needs_int8
def test_query_key_and_value_have_their_input_in_common(tiny_roberta):
    for layer in quantise(fold(build(tiny_roberta))).encoder.encoder.layer:
        attention = layer.attention.self
        assert attention.query._inputs is attention.key._inputs is attention.value._inputs
        assert layer.attention.output.dense._inputs is not attention.query._inputs


@needs_int8
@pytest.mark.parametrize("kind", ["linear", "stock"])
def test_head_pooler_embeddings_and_normalisation_stay_as_they_are(kind, tiny_bert):
    folded = fold(build(tiny_bert, BF16, kind=kind))
    quantised = quantise(folded)
    assert is_quantised(quantised)
    assert not is_quantised(folded)
    left = {name: parameter for name, parameter in quantised.named_parameters() if "encoder.layer." in name}
    assert left
    assert all("LayerNorm" in name for name in left)
    for name, parameter in quantised.named_parameters():
        assert parameter is folded.get_parameter(name)
    dense = {name for name, module in quantised.named_modules() if isinstance(module, nn.Linear)}
    assert dense == ({"head.out"} if kind == "linear" else {"encoder.bert.pooler.dense", "encoder.classifier"})
    assert quantised.shape == folded.shape
    assert quantised.machine == folded.machine
    assert not quantised.training
    assert sum(isinstance(module, nn.Linear) for module in folded.encoder.modules()) == 12 + 2 * (kind == "stock")


def test_only_where_int8_is_fast(monkeypatch, tiny_roberta):
    folded = fold(build(tiny_roberta))
    with pytest.raises(InputError, match="int8 runs on the CPU, not on cuda: give cpu"):
        require_int8(torch.device("cuda"))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True, "avx512_f": True, "avx512_vnni": False})
    with pytest.raises(InputError, match="int8 needs a CPU with VNNI or AMX"):
        quantise(folded)
