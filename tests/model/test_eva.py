"""First factors from the principal directions of a matrix's inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_kinds import KINDS, PACKED, build, logits
from test_network import FP32, table

from pennyweight.data.batches import collate
from pennyweight.model.eva import begin_with_inputs
from pennyweight.model.principal import fast_layers


def batches(folder, count=3):
    tokens, pad_id = table(folder)
    return [collate(tokens, np.arange(start, start + 10), pad_id=pad_id) for start in range(0, 10 * count, 10)]


def inputs_of(network, path, folder):
    """All that reaches a matrix, padding left out."""
    seen = []
    handle = network.encoder.get_submodule(path).register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    rows = []
    with torch.no_grad():
        for batch in batches(folder):
            network(**batch)
            states = seen.pop()
            rows.append(states[batch["attention_mask"].bool()])
    handle.remove()
    return torch.cat(rows)


@pytest.mark.parametrize("machine", [FP32, PACKED], ids=["padded", "packed"])
def test_a_takes_the_directions_in_which_inputs_vary_most(machine, tiny_roberta):
    network, _ = build(tiny_roberta, "lora", machine=machine)
    plain, _ = build(tiny_roberta, "lora")
    before = logits(network, tiny_roberta)
    assert begin_with_inputs(network.eval(), batches(tiny_roberta)) == []
    for path, layer in fast_layers(network.encoder).items():
        rows = inputs_of(plain.eval(), path, tiny_roberta)
        centred = rows - rows.mean(0)
        down = layer.lora_A["default"].weight
        best = torch.linalg.svdvals(centred)[:3].square().sum()
        torch.testing.assert_close(down @ down.T, torch.eye(3), atol=1e-4, rtol=0)
        assert (centred @ down.T).square().sum() > 0.97 * best, path
        assert not layer.lora_B["default"].weight.any()
    np.testing.assert_allclose(logits(network, tiny_roberta), before, atol=1e-5)  # B is zero still


def test_it_follows_from_the_texts_alone(tiny_roberta):
    networks = [build(tiny_roberta, "lora")[0] for _ in range(2)]
    for seed, network in enumerate(networks):
        torch.manual_seed(seed)
        begin_with_inputs(network, batches(tiny_roberta))
    for one, other in zip(*(fast_layers(network.encoder).values() for network in networks), strict=True):
        assert torch.equal(one.lora_A["default"].weight, other.lora_A["default"].weight)


def test_a_matrix_that_sees_too_little_keeps_its_first_factors_and_is_named(tiny_roberta):
    """With the first token alone pooled, the last query and feed-forward see one vector of each text."""
    KINDS["wide"] = {"targets": ["query"], "rank": 20}
    try:
        network, _ = build(tiny_roberta, "wide", pooling="cls")
    finally:
        del KINDS["wide"]
    first = {path: layer.lora_A["default"].weight.clone() for path, layer in fast_layers(network.encoder).items()}
    left = begin_with_inputs(network, batches(tiny_roberta, count=2))
    assert left == ["encoder.layer.1.attention.self.query"]
    for path, layer in fast_layers(network.encoder).items():
        assert torch.equal(layer.lora_A["default"].weight, first[path]) is path.endswith(left[0])
