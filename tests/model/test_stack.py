"""The encoder cut open against Transformers' own forward pass, and its shortcuts against the long way."""

from __future__ import annotations

import pytest
import torch
from test_network import BF16, FP32, build, stir
from tiny import make_backbone

from pennyweight.model.device import Machine
from pennyweight.model.stack import FAMILY, cut_open

PACKED = Machine(torch.device("cpu"), torch.float32, "packed")
PLAIN = Machine(torch.device("cpu"), torch.float32, "plain")
EAGER = Machine(torch.device("cpu"), torch.float32, "eager")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    kinds = ("bert", "roberta", "electra")
    return {kind: make_backbone(tmp_path_factory.mktemp(kind), kind, num_hidden_layers=4) for kind in kinds}


def batch():
    torch.manual_seed(4)
    mask = (torch.arange(17) < torch.tensor([[17], [9], [3], [17], [1]])).long()
    ids = torch.randint(5, 300, mask.shape)
    return ids, mask


def padded_for(network, ids, mask):
    return ids.masked_fill(mask == 0, network.stack._base.config.pad_token_id)


def gradients(network, **inputs):
    network.zero_grad()
    logits = network.train()(**inputs)
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    grads = {name: p.grad.clone() for name, p in network.trainable().items()}
    assert any(bool(grad.abs().max() > 1e-3) for name, grad in grads.items() if "lora_A" in name)
    return logits.detach(), grads


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
@pytest.mark.parametrize("machine", [FP32, PLAIN, PACKED, EAGER], ids=lambda machine: machine.attention)
@pytest.mark.parametrize("head", [{"kind": "stock"}, {"pooling": "cls"}, {"pooling": "mean"}], ids=str)
def test_logits_and_gradients_are_those_of_the_whole_model(kind, machine, head, folders):
    """The shortcut for first tokens is part of it wherever only they are pooled."""
    ids, mask = batch()
    network, reference = (build(folders[kind], one, **head) for one in (machine, FP32))
    for one in (network, reference):
        stir(one)
    reference.stack = None
    ids = padded_for(network, ids, mask)
    logits, grads = gradients(network, input_ids=ids, attention_mask=mask)
    expected, expected_grads = gradients(reference, input_ids=ids, attention_mask=mask)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert grads.keys() == expected_grads.keys()
    for name, grad in grads.items():
        torch.testing.assert_close(grad, expected_grads[name], rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.parametrize("machine", [FP32, PLAIN, PACKED], ids=lambda machine: machine.attention)
def test_first_tokens_alone_are_those_of_the_whole_layer(machine, folders):
    network = build(folders["bert"], machine)
    stir(network)
    ids, mask = batch()
    hidden, layout = network._begin(network.stack, mask, padded_for(network, ids, mask), None)
    whole = layout.first_tokens(network.stack.run(hidden, layout))
    short = network.stack.run(hidden, layout, first_tokens=True)
    assert short.shape == (5, 1, 32)
    torch.testing.assert_close(short.flatten(), whole.flatten(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("head", [{"kind": "stock"}, {"pooling": "mean"}], ids=str)
@pytest.mark.parametrize("machine", [PLAIN, PACKED], ids=lambda machine: machine.attention)
def test_the_prefix_may_be_computed_apart(head, machine, folders):
    network = build(folders["roberta"], machine, layers=(2, 3), **head)
    stir(network)
    assert network.stack.lowest_trained() == 2
    ids, mask = batch()
    ids = padded_for(network, ids, mask)
    whole, grads = gradients(network, input_ids=ids, attention_mask=mask)
    with torch.no_grad():
        prefix = network.prefix(attention_mask=mask, input_ids=ids)
        assert not torch.allclose(prefix, network.stack.embed(ids))
    apart, grads_apart = gradients(network, prefix=prefix, attention_mask=mask)
    torch.testing.assert_close(apart, whole, rtol=1e-5, atol=1e-5)
    for name, grad in grads.items():
        torch.testing.assert_close(grads_apart[name], grad, rtol=1e-4, atol=1e-4, msg=name)


def test_the_lowest_trained_layer(folders):
    assert build(folders["bert"]).stack.lowest_trained() == 0
    assert build(folders["bert"], layers=(1, 3)).stack.lowest_trained() == 1
    assert build(folders["bert"]).requires_grad_(False).stack.lowest_trained() == 4


def test_electras_projection_is_below_all_layers(folders):
    assert build(folders["electra"], layers=(None,)).stack.lowest_trained() == 0
    assert build(folders["electra"], layers=(None, 3)).frozen_layers == 0


@pytest.mark.parametrize("machine", [FP32, PACKED], ids=lambda machine: machine.attention)
@pytest.mark.parametrize("head", [{"kind": "stock"}, {"pooling": "cls"}], ids=str)
def test_where_no_layer_is_left_first_tokens_are_picked_all_the_same(machine, head, folders):
    ids, mask = batch()
    network = build(folders["bert"], machine, **head).requires_grad_(False).eval()
    assert network.frozen_layers == 0
    network.frozen_layers = network.stack.depth
    prefix = network.prefix(mask, ids)
    torch.testing.assert_close(network(mask, prefix=prefix), network(mask, ids), rtol=1e-4, atol=1e-4)


def test_bf16_is_near_fp32_on_every_path(folders):
    ids, mask = batch()
    networks = [build(folders["bert"], machine, kind="stock") for machine in (FP32, BF16)]
    for network in networks:
        stir(network)
        network.eval()
    one, other = (network(input_ids=padded_for(network, ids, mask), attention_mask=mask) for network in networks)
    torch.testing.assert_close(one, other, rtol=0.1, atol=0.05)


def test_other_architectures_are_called_as_they_are(tmp_path):
    network = build(make_backbone(tmp_path, "distilbert"), PLAIN)
    assert network.stack is None
    assert "distilbert" not in FAMILY
    ids, mask = batch()
    assert network(input_ids=ids, attention_mask=mask).shape == (5, 3)


def test_a_decoder_is_not_cut_open(folders):
    network = build(folders["bert"])
    network.encoder.get_base_model().config.is_decoder = True
    assert cut_open(network.encoder) is None
