from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_network import BF16, FP32, build, stir, table
from tiny import make_backbone
from torch import nn

from pennyweight.model.folding import fold
from pennyweight.model.inference import compute_logits

EAGER = replace(FP32, attention="eager")  # the one that every architecture has


def logits_of(network, folder) -> np.ndarray:
    tokens, pad_id = table(folder)
    return compute_logits(network, tokens, batch_size=8, pad_id=pad_id)


def adapted(network) -> dict[str, nn.Module]:
    """Every layer that carries a LoRA pair, by its name in the plain encoder."""
    layers = {name: module for name, module in network.encoder.named_modules() if hasattr(module, "lora_A")}
    return {name.removeprefix("base_model.model."): layer for name, layer in layers.items()}


@pytest.mark.parametrize("head", [{"kind": "linear"}, {"kind": "low-rank", "rank": 2}, {"kind": "stock"}])
def test_folded_computes_the_same_as_unfolded(head, tiny_roberta):
    network = build(tiny_roberta, **head)
    without = logits_of(network, tiny_roberta)
    stir(network)
    unfolded = logits_of(network, tiny_roberta)
    assert np.abs(unfolded - without).max() > 1e-2
    np.testing.assert_allclose(logits_of(fold(network), tiny_roberta), unfolded, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "electra", "distilbert", "deberta-v2", "albert"])
def test_whatever_the_architecture(kind, tmp_path):
    folder = make_backbone(tmp_path, kind)
    network = build(folder, EAGER)
    without = logits_of(network, folder)
    stir(network)
    unfolded = logits_of(network, folder)
    assert np.abs(unfolded - without).max() > 1e-2
    np.testing.assert_allclose(logits_of(fold(network), folder), unfolded, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "stock"])
def test_in_bf16_folding_costs_no_more_than_bf16_does(kind, tiny_roberta):
    """Both round, at different places: each is as far from the same network in fp32 as the other."""
    exact, network = build(tiny_roberta, FP32, kind=kind), build(tiny_roberta, BF16, kind=kind)
    without = logits_of(network, tiny_roberta)
    for one in (exact, network):
        stir(one)
    truth, unfolded = logits_of(exact, tiny_roberta), logits_of(network, tiny_roberta)
    folded = logits_of(fold(network), tiny_roberta)
    assert np.abs(unfolded - without).max() > 0.1
    error = np.abs(unfolded - truth).mean()
    assert 0 < error < 0.02
    assert np.abs(folded - truth).mean() < 1.5 * error


@pytest.mark.parametrize("machine", [FP32, BF16], ids=["fp32", "bf16"])
def test_the_sum_is_rounded_once(machine, tiny_bert):
    ranks = {"encoder.layer.0.attention.self.query": 5}
    network = build(tiny_bert, machine, ranks=ranks)
    stir(network)
    folded = fold(network)
    layers = adapted(network)
    assert len(layers) == 12
    for name, layer in layers.items():
        down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        exact = layer.base_layer.weight.float() + layer.scaling["default"] * (up @ down)
        weight = folded.encoder.get_submodule(name).weight
        assert weight.dtype is machine.dtype
        torch.testing.assert_close(weight, exact.to(machine.dtype), rtol=0, atol=1e-7 if machine is FP32 else 0)
        assert not torch.equal(weight, layer.base_layer.weight)


@pytest.mark.parametrize("kind", ["linear", "stock"])
def test_nothing_of_peft_is_left(kind, tiny_roberta):
    network = build(tiny_roberta, kind=kind)
    stir(network)
    folded = fold(network)
    for name, module in folded.named_modules():
        assert not type(module).__module__.startswith(("peft", "pennyweight.model.lora")), name
    for name in adapted(network):
        assert type(folded.encoder.get_submodule(name)) is nn.Linear
    assert not any("lora" in name or "base_layer" in name for name in folded.state_dict())
    assert not folded.training
    assert folded.trainable() == {}


def test_a_stock_head_is_the_trained_one(tiny_roberta):
    network = build(tiny_roberta, kind="stock")
    with torch.no_grad():
        for name, parameter in network.trainable().items():
            if "modules_to_save" in name:
                parameter.add_(torch.randn_like(parameter))
    trained = {n.split("modules_to_save.default.")[1]: p for n, p in network.trainable().items() if "to_save" in n}
    head = fold(network).encoder.classifier.state_dict()
    assert head.keys() == trained.keys()
    for name, tensor in head.items():
        assert torch.equal(tensor, trained[name])


@pytest.mark.parametrize("machine", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["linear", "stock"])
def test_the_trained_network_is_left_as_it_was(kind, machine, tiny_roberta):
    network = build(tiny_roberta, machine, kind=kind, adapter_dropout=0.3).train()
    stir(network)
    tokens, pad_id = table(tiny_roberta)
    compute_logits(network, tokens, batch_size=8, pad_id=pad_id)
    for parameter in network.trainable().values():
        parameter.grad = torch.ones_like(parameter)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    learning = set(network.trainable())
    folded = fold(network)
    with torch.no_grad():
        for layer in adapted(network):
            folded.encoder.get_submodule(layer).weight.zero_()
    after = network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert set(network.trainable()) == learning
    assert all(parameter.grad is not None for parameter in network.trainable().values())
    assert all(parameter.grad is None for parameter in folded.parameters())
    assert network.training


def test_what_is_not_folded_into_is_kept_once(tiny_roberta):
    network = build(tiny_roberta)
    folded = fold(network)
    embeddings = "embeddings.word_embeddings.weight"
    there = network.encoder.get_parameter(f"base_model.model.{embeddings}")
    assert folded.encoder.get_parameter(embeddings).data_ptr() == there.data_ptr()
    head = folded.head.out.weight
    assert head.data_ptr() != network.head.out.weight.data_ptr()  # it is trained on
