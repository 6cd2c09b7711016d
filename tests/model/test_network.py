from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from tiny import LABELS, sentences

from pennyweight.budget.plan import PlannedMatrix
from pennyweight.budget.shapes import read_architecture
from pennyweight.data.batches import collate, tokenise
from pennyweight.errors import RunError
from pennyweight.model.adapters import require_planned_count
from pennyweight.model.backbone import find_backbone, load_tokenizer
from pennyweight.model.device import Machine
from pennyweight.model.inference import compute_logits
from pennyweight.model.kinds import AdapterOptions
from pennyweight.model.network import HeadShape, build_network

FP32 = Machine(torch.device("cpu"), torch.float32, "sdpa")
BF16 = Machine(torch.device("cpu"), torch.bfloat16, "plain")
TEXTS = [text for text, _ in sentences(30, seed=2)]


def build(
    folder, machine=FP32, *, kind="linear", adapter_dropout=0.0, ranks=None, layers=None, keep_dropout=False, **head
):
    files = find_backbone(str(folder))
    architecture = read_architecture(files.config, classes=len(LABELS))
    given = ranks or {}
    planned = [
        PlannedMatrix(m.name, m.fan_in, m.fan_out, m.layer, rank=given.get(m.name, 3), alpha=2.0 * given.get(m.name, 3))
        for m in architecture.matrices
        if layers is None or m.layer in layers
    ]
    torch.manual_seed(0)
    return build_network(
        files,
        machine,
        architecture=architecture,
        planned=planned,
        head=HeadShape(kind=kind, classes=len(LABELS), **head),
        adapters=AdapterOptions(dropout=adapter_dropout),
        keep_dropout=keep_dropout,
    )


def table(folder):
    tokenizer = load_tokenizer(find_backbone(str(folder)), add_prefix_space=False)
    return tokenise(TEXTS, tokenizer, max_length=40), tokenizer.pad_token_id


def stir(network) -> None:
    """B begins at zero, which hides the adapters; give them something to say."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.trainable().items():
            if "lora_B" in name:
                parameter.normal_(std=0.1)


@pytest.mark.parametrize("kind", ["linear", "stock"])
@pytest.mark.parametrize("machine", [FP32, BF16], ids=["fp32", "bf16"])
def test_what_is_trained_is_fp32_and_what_is_frozen_is_the_machines(kind, machine, tiny_roberta):
    network = build(tiny_roberta, machine, kind=kind)
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            assert "lora_" in name or name.startswith("head.") or "classifier" in name
            assert parameter.dtype == torch.float32
        else:
            assert parameter.dtype == machine.dtype, name


@pytest.mark.parametrize("kind", ["linear", "low-rank", "stock"])
def test_bf16_is_near_fp32(kind, tiny_roberta):
    rank = {"rank": 2} if kind == "low-rank" else {}
    tokens, pad_id = table(tiny_roberta)
    networks = [build(tiny_roberta, machine, kind=kind, **rank) for machine in (FP32, BF16)]
    for network in networks:
        stir(network)
    one, other = (compute_logits(network, tokens, batch_size=8, pad_id=pad_id) for network in networks)
    assert one.dtype == other.dtype == np.float32
    assert np.abs(one - other).max() < 0.1 * np.abs(one).max() + 0.05
    assert not np.array_equal(one, other)


def test_a_new_network_is_the_frozen_backbone(tiny_roberta):
    """With B at zero the adapters add nothing."""
    network = build(tiny_roberta).eval()
    tokens, pad_id = table(tiny_roberta)
    batch = collate(tokens, np.arange(6), pad_id=pad_id)
    with torch.no_grad(), network.encoder.disable_adapter():
        without = network(**batch)
    with torch.no_grad():
        assert torch.equal(network(**batch), without)
        stir(network)
        assert not torch.allclose(network(**batch), without, atol=1e-2)


def test_the_adapter_is_alpha_over_rank_times_b_a(tiny_roberta):
    network = build(tiny_roberta, ranks={"encoder.layer.0.attention.self.query": 5})
    stir(network)
    layer = network.encoder.get_submodule("base_model.model.encoder.layer.0.attention.self.query")
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.shape == (5, 32)
    inputs = torch.randn(4, 32)
    expected = layer.base_layer(inputs) + 2.0 * inputs @ a.T @ b.T
    torch.testing.assert_close(layer(inputs), expected)


@pytest.mark.parametrize("machine", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["linear", "stock"])
def test_a_training_step_moves_all_that_is_trained_and_nothing_else(kind, machine, tiny_bert):
    network = build(tiny_bert, machine, kind=kind).train()
    stir(network)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    tokens, pad_id = table(tiny_bert)
    optimizer = torch.optim.SGD(network.trainable().values(), lr=0.1)
    network(**collate(tokens, np.arange(8), pad_id=pad_id)).logsumexp(dim=1).sum().backward()
    optimizer.step()
    moved = {name for name, parameter in network.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == network.trainable().keys()


def test_padding_changes_nothing(tiny_bert):
    network = build(tiny_bert).eval()
    stir(network)
    tokens, pad_id = table(tiny_bert)
    with torch.no_grad():
        short = network(**collate(tokens, np.arange(4), pad_id=pad_id))
        long = network(**collate(tokens, np.arange(4), pad_id=pad_id, length=60))
    torch.testing.assert_close(short, long, atol=1e-5, rtol=1e-5)


def test_logits_come_in_the_texts_order_and_the_mode_is_left_alone(tiny_roberta):
    network = build(tiny_roberta, adapter_dropout=0.5).train()
    stir(network)
    tokens, pad_id = table(tiny_roberta)
    logits = compute_logits(network, tokens, batch_size=7, pad_id=pad_id)
    assert network.training
    network.eval()
    for index in range(len(TEXTS)):
        with torch.no_grad():
            alone = network(**collate(tokens, np.array([index]), pad_id=pad_id))
        np.testing.assert_allclose(logits[index], alone[0], atol=1e-5)
    parts = [compute_logits(network, tokens, batch_size=7, pad_id=pad_id, part=part, parts=3) for part in range(3)]
    np.testing.assert_array_equal(sum(parts), logits)


def test_what_is_saved(tiny_roberta):
    linear, stock = build(tiny_roberta), build(tiny_roberta, kind="stock")
    assert linear.head_tensors().keys() == {"out.weight", "out.bias"}
    assert stock.head_tensors() == {}
    saved = {**linear.adapter(base_model="").tensors, **linear.head_tensors()}
    count = sum(tensor.numel() for tensor in saved.values())
    assert count == sum(parameter.numel() for parameter in linear.trainable().values())
    assert sum(t.numel() for t in stock.adapter(base_model="").tensors.values()) == sum(
        p.numel() for p in stock.trainable().values()
    )
    config = json.loads(linear.adapter(base_model="owner/model").config)
    assert config["base_model_name_or_path"] == "owner/model"
    assert config["target_modules"] == sorted(config["target_modules"])


def test_the_count_has_to_be_that_of_the_plan(tiny_roberta):
    network = build(tiny_roberta)
    count = sum(parameter.numel() for parameter in network.trainable().values())
    require_planned_count(network, count)
    wrong = copy.deepcopy(network)
    wrong.head.out.bias.requires_grad_(False)
    with pytest.raises(RunError, match=f"has {count - 3:,} trainable parameters but the plan says {count:,}"):
        require_planned_count(wrong, count)


def test_with_gradient_checkpointing_layers_are_computed_again(tiny_bert):
    counts = []
    for wanted in (False, True):
        network = build(tiny_bert).train()
        stir(network)
        if wanted:
            network.checkpoint_gradients()
        calls = []
        for layer in network.stack._layers:
            layer.attention.register_forward_hook(lambda *_, seen=calls: seen.append(1))
        tokens, pad_id = table(tiny_bert)
        network(**collate(tokens, np.arange(4), pad_id=pad_id)).sum().backward()
        counts.append((len(calls), [p.grad.clone() for p in network.trainable().values()]))
    (plain, gradients), (checkpointed, again) = counts
    assert checkpointed == 2 * plain == 4
    for one, other in zip(gradients, again, strict=True):
        torch.testing.assert_close(one, other)
