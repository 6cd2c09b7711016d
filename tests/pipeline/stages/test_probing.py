from __future__ import annotations

import signal

import numpy as np
import pytest
from conftest import train_quietly

from pennyweight.console import Speaker
from pennyweight.errors import InputError, Interrupted
from pennyweight.pipeline.run import train_recipe
from pennyweight.pipeline.stages import probing

PROBE = {"kind": "linear", "start": "probe"}


@pytest.fixture(scope="module")
def looked_at(make_recipe, tmp_path_factory):
    """The network's logits of its training items before and after the probe, their labels, and its features."""
    found = {}

    def watched(bench):
        items = bench.collected.training
        found["before"] = bench.logits(bench.network, items)
        found["features"] = bench.features(items)
        probing.probe(bench)
        found["after"] = bench.logits(bench.network, items)
        found["labels"] = bench.collected.labels[items]
        found["head"] = bench.network.head.out.weight.detach().clone()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pennyweight.pipeline.stages.fitting.probe", watched)
        recipe = make_recipe(head={**PROBE, "probe_strength": 100}, training={"epochs": 1})
        train_quietly(recipe, tmp_path_factory.mktemp("probed") / "out")
    return found


def test_the_head_is_fitted_to_the_items(looked_at):
    before, after = ((looked_at[when].argmax(axis=1) == looked_at["labels"]).mean() for when in ("before", "after"))
    assert after > 0.8 > before


def test_features_are_what_the_head_sees(looked_at):
    centred = looked_at["after"] - looked_at["features"] @ looked_at["head"].numpy().T
    assert np.ptp(centred, axis=0).max() < 1e-3  # what is left is the bias, the same for every item


def test_a_resumed_run_is_the_same(make_recipe, tmp_path):
    class Interrupting(Speaker):
        def bar(self, what, total):
            made = super().bar(what, total)
            made.update = lambda done, note: signal.raise_signal(signal.SIGTERM) if done == 3 else None
            return made

    recipe = make_recipe(head={**PROBE, "dropout": 0.1}, training={"epochs": 1})
    whole = train_quietly(recipe, tmp_path / "whole").folder
    with pytest.raises(Interrupted):
        train_recipe(recipe, tmp_path / "out", speaker=Interrupting(enabled=False), cpu=True)
    train_quietly(recipe, tmp_path / "out", resume=True)
    for name in ("adapter_model.safetensors", "head.safetensors"):
        assert (tmp_path / "out" / name).read_bytes() == (whole / name).read_bytes()


def test_other_heads_cannot_be_fitted(make_recipe):
    for head in ({"kind": "stock"}, {"kind": "low-rank", "rank": 2}):
        with pytest.raises(InputError, match=r"head\.start = 'probe' fits a linear head"):
            make_recipe(head={**head, "start": "probe"})


def test_altered_copies_do_not_take_part(make_recipe, monkeypatch, tmp_path):
    seen, fit = [], probing.fit_probe

    def fitting(features, labels, **options):
        seen.append((len(features), len(labels)))
        return fit(features, labels, **options)

    monkeypatch.setattr(probing, "fit_probe", fitting)
    augmentation = {"copies": 1, "operations": ["swap"]}
    train_quietly(make_recipe(head=PROBE, augmentation=augmentation, training={"epochs": 1}), tmp_path / "out")
    assert seen == [(72, 72)]
