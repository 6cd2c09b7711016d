from __future__ import annotations

import copy
import importlib
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_network import BF16, FP32, build, stir, table
from tiny import make_backbone
from torch import nn

from pennyweight.errors import InputError
from pennyweight.model.backbone import find_backbone, load_backbone
from pennyweight.model.device import choose_machine
from pennyweight.model.folding import fold
from pennyweight.model.four_bits import HalfEmbedding, bitsandbytes_for, import_bitsandbytes
from pennyweight.model.inference import compute_logits
from pennyweight.model.memory import state_bytes, weight_bytes
from pennyweight.model.sharing import share_weights
from pennyweight.training.optimizers import make_optimizers

bnb = pytest.importorskip("bitsandbytes")
NF4 = replace(FP32, four_bits=True)
NF4_BF16 = replace(BF16, four_bits=True)


def logits_of(network, folder) -> np.ndarray:
    tokens, pad_id = table(folder)
    return compute_logits(network, tokens, batch_size=8, pad_id=pad_id)


def dequantised(layer) -> torch.Tensor:
    return bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)


def matrices(network) -> dict[str, nn.Module]:
    return {
        name: one
        for name, one in network.encoder.named_modules()
        if isinstance(one, bnb.nn.Linear4bit) and not hasattr(one, "lora_A")
    }


@pytest.mark.parametrize("kind", ["linear", "stock"])
def test_the_encoders_matrices_alone_are_in_four_bits(kind, tiny_bert):
    network = build(tiny_bert, NF4, kind=kind)
    found = matrices(network)
    assert len(found) == 12
    assert all("encoder.layer" in name for name in found)
    for layer in found.values():
        assert layer.weight.dtype is torch.uint8
        state = layer.weight.quant_state
        assert (state.quant_type, state.nested) == ("nf4", True)
        assert state.blocksize == {32: 32, 64: 64}[layer.in_features]
    for name, module in network.named_modules():
        if type(module) is nn.Linear and "lora_" not in name:
            assert module.weight.dtype is torch.float32, name
            assert "pooler" in name or "classifier" in name or name.startswith("head"), name
        if isinstance(module, nn.Embedding):
            assert isinstance(module, HalfEmbedding)
            assert module.weight.dtype is torch.bfloat16
    assert all(parameter.dtype is torch.float32 for parameter in network.trainable().values())


def test_what_is_kept_is_near_what_was_there(tiny_roberta):
    dense = load_backbone(
        find_backbone(str(tiny_roberta)), FP32, stock_head_classes=None, keep_dropout=False, head_dropout=None
    )
    network = build(tiny_roberta, NF4)
    for name, layer in matrices(network).items():
        plain = name.removeprefix("base_model.model.").removesuffix(".base_layer")
        original = dense.get_submodule(plain).weight
        error = (dequantised(layer) - original).abs().max() / original.abs().max()
        assert 0 < error < 0.16  # half of NF4's widest step
    words = "base_model.model.embeddings.word_embeddings.weight"
    original = dense.embeddings.word_embeddings.weight
    assert torch.equal(network.encoder.get_parameter(words), original.bfloat16())


def test_rows_that_blocks_do_not_divide_stay_dense(tmp_path):
    """A decoder that took blocks for parts of rows would misread them; 48 is no multiple of 32."""
    folder = make_backbone(tmp_path, "bert", hidden_size=48, intermediate_size=96)
    found = matrices(build(folder, NF4))
    assert {name.split(".")[-2] if name.endswith("base_layer") else name for name in found} == {"dense"}
    assert all(layer.in_features == 96 and layer.out_features == 48 for layer in found.values())
    np.testing.assert_allclose(logits_of(build(folder, NF4), folder), logits_of(build(folder), folder), atol=0.5)


@pytest.mark.parametrize("machine", [NF4, NF4_BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["linear", "stock"])
def test_it_computes_what_the_dequantised_matrices_would(kind, machine, tiny_roberta):
    network = build(tiny_roberta, machine, kind=kind)
    stir(network)
    dense = build(tiny_roberta, replace(machine, four_bits=False), kind=kind)
    stir(dense)
    trained = network.trainable()
    with torch.no_grad():
        for name, parameter in dense.trainable().items():
            parameter.copy_(trained[name])
        plain = {name.replace(".base_layer", ""): layer for name, layer in matrices(network).items()}
        for name, module in dense.encoder.named_modules():
            if name in plain:
                base = getattr(module, "base_layer", module)
                base.weight.copy_(dequantised(plain[name]))
            if isinstance(module, nn.Embedding):
                module.weight.copy_(module.weight.bfloat16())
    atol = 1e-4 if machine is NF4 else 0.08
    np.testing.assert_allclose(logits_of(network, tiny_roberta), logits_of(dense, tiny_roberta), atol=atol)


def test_the_same_bits_whatever_the_compute_format(tiny_roberta):
    one, other = (matrices(build(tiny_roberta, machine)) for machine in (NF4, NF4_BF16))
    assert all(torch.equal(one[name].weight, other[name].weight) for name in one)


def test_gradients_reach_every_adapter_and_nothing_frozen(tiny_roberta):
    network = build(tiny_roberta, NF4).train()
    stir(network)
    before = {name: layer.weight.clone() for name, layer in matrices(network).items()}
    optimizer = torch.optim.SGD(network.trainable().values(), lr=0.1)
    first = network(**batch(tiny_roberta)).square().mean()
    first.backward()
    assert all(
        parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.trainable().values()
    )
    optimizer.step()
    assert network(**batch(tiny_roberta)).square().mean() < first
    assert all(torch.equal(layer.weight, before[name]) for name, layer in matrices(network).items())


def batch(folder) -> dict[str, torch.Tensor]:
    from pennyweight.data.batches import collate

    tokens, pad_id = table(folder)
    return collate(tokens, np.arange(8), pad_id=pad_id)


@pytest.mark.parametrize("kind", ["linear", "stock"])
def test_folding_keeps_the_adapters_beside_and_the_bits_in_common(kind, tiny_roberta):
    network = build(tiny_roberta, NF4, kind=kind)
    stir(network)
    folded = fold(network)
    expected = logits_of(network, tiny_roberta)
    np.testing.assert_allclose(logits_of(folded, tiny_roberta), expected, atol=1e-5)
    assert folded.trainable() == {}
    assert network.trainable()
    with torch.no_grad():
        for parameter in network.trainable().values():
            parameter.add_(0.5)
    np.testing.assert_allclose(logits_of(folded, tiny_roberta), expected, atol=1e-5)
    for name, layer in matrices(network).items():
        assert folded.encoder.get_submodule(name).weight is layer.weight


def test_an_ensemble_in_four_bits_holds_the_backbone_once(tiny_roberta):
    one, other = (fold(build(tiny_roberta, NF4)) for _ in range(2))
    expected = logits_of(other, tiny_roberta)
    alone = weight_bytes(other)
    saved = share_weights([one, other])
    assert saved > 0.5 * alone
    np.testing.assert_array_equal(logits_of(other, tiny_roberta), expected)
    scaled = fold(build(tiny_roberta, NF4))
    layer = next(iter(matrices(scaled).values()))
    layer.weight.quant_state = copy.deepcopy(layer.weight.quant_state)
    layer.weight.quant_state.absmax = layer.weight.quant_state.absmax.flip(0)
    share_weights([one, scaled])
    assert layer.weight is not next(iter(matrices(one).values())).weight


def test_memory_is_counted_once_and_with_its_scales(tiny_roberta):
    network = build(tiny_roberta)
    buffers = sum(buffer.nbytes for buffer in network.buffers())
    assert weight_bytes(network) == 4 * sum(parameter.numel() for parameter in network.parameters()) + buffers
    assert weight_bytes(nn.ModuleList([network, network])) == weight_bytes(network)
    layer = next(iter(matrices(build(tiny_roberta, NF4)).values()))
    elements = layer.in_features * layer.out_features
    tables = 4 * (16 + 256 + 1 + 1)  # what 4 and 8 bits mean, the scales' scale and their mean
    assert weight_bytes(layer) == elements / 2 + elements / 32 + tables + 4 * layer.out_features


def test_a_full_size_roberta_takes_two_fifths_of_its_memory_and_learns(full_size):
    dense = weight_bytes(build(full_size, kind="stock"))
    network = build(full_size, NF4, kind="stock").train()
    assert weight_bytes(network) <= 0.4 * dense
    stir(network)
    head = network.encoder.get_base_model().classifier
    assert {parameter.dtype for parameter in head.parameters()} == {torch.float32}
    optimizers = make_optimizers(
        "adamw-8bit", network.trainable(), learning_rate=1e-4, betas=(0.9, 0.999), epsilon=1e-8, weight_decay=0.0
    )
    losses = []
    for _ in range(2):
        loss = nn.functional.cross_entropy(network(**batch(full_size)), torch.zeros(8, dtype=torch.long))
        losses.append(loss.item())
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    assert losses[1] < losses[0]
    parameters = list(network.trainable().values())
    expected = sum(one.numel() * (8 if one.numel() < 4096 else 2 + 8 / 256) for one in parameters)
    assert state_bytes(optimizers) == pytest.approx(expected, rel=0.01)


def test_a_machine_says_that_it_holds_four_bits():
    machine = choose_machine(precision="nf4", attention="auto", device=torch.device("cpu"), packable=True)
    auto = choose_machine(precision="auto", attention="auto", device=torch.device("cpu"), packable=True)
    assert machine == replace(auto, four_bits=True)
    assert machine.line() == auto.line().replace("cpu, ", "cpu, nf4 in ")


def test_a_missing_library_or_device_is_one_line(monkeypatch, tiny_roberta):
    with pytest.raises(InputError, match="does not compute on mps"):
        bitsandbytes_for("backbone.precision = nf4", torch.device("mps"))
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(InputError, match=r"pip install 'pennyweight\[4bit\]'"):
        bitsandbytes_for("backbone.precision = nf4", torch.device("cpu"))
    with pytest.raises(InputError, match=r"backbone\.precision = nf4"):
        build(tiny_roberta, NF4)


def test_importing_the_library_runs_nothing_that_was_not_installed(monkeypatch):
    """A package named kernels, from which the library would fetch code, cannot be imported meanwhile."""
    kernels = types.ModuleType("kernels")
    monkeypatch.setitem(sys.modules, "kernels", kernels)
    seen = []

    def importing(name: str) -> types.ModuleType:
        with pytest.raises(ImportError):
            __import__("kernels")
        seen.append(name)
        return kernels

    monkeypatch.setattr(importlib, "import_module", importing)
    assert import_bitsandbytes() is kernels
    assert seen == ["bitsandbytes"]
    assert sys.modules["kernels"] is kernels
