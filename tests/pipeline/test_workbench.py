from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from conftest import train_quietly

from pennyweight.errors import InputError, Interrupted
from pennyweight.model import device
from pennyweight.pipeline.workbench import machine_for

CPU = torch.device("cpu")


@pytest.mark.parametrize(("family", "dropout"), [("roberta", True), ("albert", False)])
def test_texts_are_packed_only_where_they_may_be(family, dropout, make_recipe, monkeypatch):
    monkeypatch.setattr(device, "fast_bf16", lambda _device: True)
    monkeypatch.setattr(device, "has_packed_kernel", lambda: True)
    architecture, known = SimpleNamespace(model_type=family), SimpleNamespace(model_type="roberta")
    cuda, auto = torch.device("cuda"), {"precision": "auto"}
    machine = machine_for(make_recipe(backbone={**auto, "dropout": dropout}), architecture, cuda)
    assert machine.line() == "cuda, bf16, sdpa attention"
    assert machine_for(make_recipe(backbone=auto), known, cuda).line() == "cuda, bf16, packed attention"
    with pytest.raises(InputError, match="packed"):
        machine_for(make_recipe(backbone={"attention": "packed", "dropout": dropout}), architecture, CPU)


def test_what_the_recipe_says_is_obeyed(make_recipe):
    recipe = make_recipe(backbone={"precision": "bf16", "attention": "eager"})
    assert machine_for(recipe, SimpleNamespace(model_type="bert"), CPU).line() == "cpu, bf16, eager attention"


@pytest.mark.parametrize(("padding", "length"), [("fixed", 48), ("dynamic", None)])
def test_batches_are_padded_as_the_recipe_says(padding, length, make_recipe, monkeypatch, tmp_path):
    seen = []

    def stop(bench, *_arguments, **_options):
        seen.append(bench.feeder())
        raise Interrupted("seen enough")

    monkeypatch.setattr("pennyweight.pipeline.run.train_network", stop)
    with pytest.raises(Interrupted):
        train_quietly(make_recipe(text={"padding": padding, "max_length": 48}), tmp_path / "out")
    (feeder,) = seen
    widths = {batch.inputs["attention_mask"].shape[1] for _, content in feeder.steps() for batch in content.batches}
    assert (widths == {48}) is (padding == "fixed")
    assert feeder.length == length
