"""Whole runs with the encoder in 4 bits and the optimizer in 8."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import train_quietly
from safetensors.torch import load_file
from tiny import sentences

from pennyweight.classifier import Classifier
from pennyweight.opening import load
from pennyweight.pipeline.combining.ensembling import make_ensemble

pytest.importorskip("bitsandbytes")
TEXTS = [text for text, _ in sentences(40, seed=9)]


@pytest.fixture(scope="module")
def four_bits(tmp_path_factory, make_recipe):
    recipe = make_recipe(
        backbone={"precision": "nf4"},
        adapters={"rank": 128, "alpha": 8.0},  # moments of fewer than 4,096 elements stay in fp32
        training={"optimizer": "adamw-8bit", "epochs": 4},
    )
    return train_quietly(recipe, tmp_path_factory.mktemp("four") / "four").folder


def test_it_learns_and_reopens_in_four_bits_or_in_any_other_format(four_bits):
    own = Classifier.load(four_bits)
    assert own.precision == "nf4"
    found = {one: Classifier.load(four_bits, precision=one, device="cpu") for one in ("nf4", "fp32", "bf16")}
    np.testing.assert_array_equal(found["nf4"].logits(TEXTS), own.logits(TEXTS))
    assert {one: classifier.precision for one, classifier in found.items()} == {one: one for one in found}
    assert np.abs(found["fp32"].logits(TEXTS) - own.logits(TEXTS)).max() > 1e-3
    texts, labels = (list(part) for part in zip(*sentences(), strict=True))
    assert own.evaluate(texts, labels, resamples=100).accuracy.value > 0.5


def test_its_metrics_and_temperature_are_those_of_four_bits(four_bits, small_csv, pennyweight):
    manifest = json.loads((four_bits / "classifier.json").read_text())
    environment = manifest["environment"]
    assert environment["machine"].startswith("cpu, nf4 in ")
    trained = manifest["plan"]["trainable"]
    assert 0 < environment["optimizer_bytes"] < 3 * trained
    assert environment["optimizer_bytes"] == pytest.approx(manifest["plan"]["memory"]["optimizer_bytes"], rel=0.05)
    dense = Classifier.load(four_bits, precision="fp32").network
    assert environment["weights_bytes"] < sum(parameter.nbytes for parameter in dense.parameters()) + 4 * trained


def test_any_classifier_opens_in_four_bits(trained):
    own, four = Classifier.load(trained), Classifier.load(trained, precision="nf4")
    assert four.precision == "nf4"
    assert np.corrcoef(own.logits(TEXTS).ravel(), four.logits(TEXTS).ravel())[0, 1] > 0.6


def test_an_ensemble_opens_in_four_bits(trained, four_bits, tmp_path):
    make_ensemble([trained, four_bits], tmp_path / "both")
    together = load(tmp_path / "both", precision="nf4")
    assert together.precision == "nf4"
    bits = [
        [parameter for parameter in member.network.encoder.parameters() if parameter.dtype is torch.uint8]
        for member in together.members
    ]
    assert len(bits[0]) == 12
    assert all(one is other for one, other in zip(*bits, strict=True))
    assert np.isfinite(together.logits(TEXTS)).all()


def test_a_prefix_of_four_bits_is_not_one_of_other_formats(make_recipe, tmp_path):
    adapters = {"targets": ["query@1"]}
    results = {}
    for precision in ("fp32", "nf4", "fp32"):
        recipe = make_recipe(backbone={"precision": precision}, adapters=adapters, training={"epochs": 1})
        folder = train_quietly(recipe, tmp_path / f"{precision}{len(results)}").folder
        results[folder.name] = load_file(folder / "adapter_model.safetensors")
    one, four, again = results.values()
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert any(not torch.equal(one[name], four[name]) for name in one)


def test_a_missing_library_is_said_before_anything_is_read(refused, small_recipe, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    line = refused("train", small_recipe, "--set", "backbone.precision=nf4", "--out", tmp_path / "out")
    assert "pip install 'pennyweight[4bit]'" in line
    assert not (tmp_path / "out").exists()
