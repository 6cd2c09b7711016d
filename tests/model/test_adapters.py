"""What factors and prompts begin as, and what they are multiplied by."""

from __future__ import annotations

import math

import pytest
from test_kinds import build

from pennyweight.model.adapters import prompt_of
from pennyweight.model.principal import fast_layers


@pytest.mark.parametrize(("name", "scaling"), [("lora", None), ("rslora", 5 / math.sqrt(3))])
def test_rslora_divides_by_the_root_of_the_rank(name, scaling, tiny_roberta):
    network, plan = build(tiny_roberta, name)
    expected = scaling or plan.matrices[0].alpha / 3
    assert {layer.scaling["default"] for layer in fast_layers(network.encoder).values()} == {expected}


@pytest.mark.parametrize("name", ["prompt", "lora+prompt"])
def test_a_prompt_begins_as_words(name, tiny_roberta):
    network, _ = build(tiny_roberta, name)
    words = network.encoder.get_base_model().base_model.embeddings.word_embeddings.weight
    prompt = prompt_of(network.encoder).embedding.weight
    assert len(prompt) == (5 if name == "prompt" else 4)
    for row in prompt:
        assert (words == row).all(dim=1).any()
