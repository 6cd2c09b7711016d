"""Adapters against everything trained: what is made of their answers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import full_tuning, harness
from benchmarks.answers import packed
from benchmarks.full_tuning import changes, cleaned, lines, summary
from benchmarks.items import Items
from pennyweight.api import changed
from pennyweight.pipeline.planning import plan_recipe


def test_adapters_learn_every_item_within_a_million_parameters(tmp_path):
    recipe = changed("ag-news", changes(tmp_path, limit=None, seed=2))
    assert (recipe.data.validation, recipe.training.keep, recipe.training.seed) == (0, "last", 2)
    assert plan_recipe(recipe).trainable == 996_868


def test_who_trains_everything_reads_texts_as_the_recipe_does():
    assert cleaned(Items(("a &lt;b&gt;bold&lt;/b&gt; \\word",), (1,))) == Items(("a bold word",), (1,))


def runs(wrong: dict[str, int], items: int) -> dict[str, dict[str, dict]]:
    """Two seeds of each way that err on the first so many items, the second seed on one more."""
    return {
        way: {
            str(seed): {"right": packed(np.arange(items) >= count + seed), "seconds": 1.0, "trainable": 10}
            for seed in (0, 1)
        }
        for way, count in wrong.items()
    }


@pytest.mark.parametrize(("wrong", "within"), [(100, True), (110, True), (200, False), (50, False)])
def test_within_means_within_the_interval_of_the_full_tuning(wrong, within):
    content = summary(runs({"adapters": wrong, "full": 100}, 1000), 1000)
    full = content["ways"]["full"]
    assert full["accuracy"] == pytest.approx(0.8995)
    assert full["seeds"] == pytest.approx([0.9, 0.899])
    assert 0.87 < full["low"] < full["accuracy"] < full["high"] < 0.93
    assert content["within"] is within
    assert content["difference"]["difference"] == pytest.approx((100 - wrong) / 1000)
    assert ("within the interval" in lines(content)[-1]) is within


def test_only_seeds_of_both_ways_are_compared():
    known = runs({"adapters": 100, "full": 50}, 1000)
    del known["full"]["0"]
    content = summary(known, 1000)
    assert content["ways"]["adapters"]["seeds"] == pytest.approx([0.899])
    assert content["difference"]["difference"] == pytest.approx(-0.05)
    alone = summary({"adapters": known["adapters"], "full": {}}, 1000)
    assert alone["ways"]["adapters"]["seeds"] == pytest.approx([0.9, 0.899])
    assert "difference" not in alone and len(lines(alone)) == 1


def test_a_run_is_trained_once_and_kept(tmp_path, monkeypatch, capsys):
    """Training is only written down; the second sitting trains what the first has not."""
    trained = []

    def learnt(way, _data, _test, *, limit, seed):
        assert limit is None
        trained.append((way, seed))
        settings = full_tuning.settings_of(way)
        return {"right": packed(np.arange(100) >= 10), "seconds": 1.0, "trainable": 10, "settings": settings}

    monkeypatch.setattr(full_tuning, "RESULTS", tmp_path)
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setattr(full_tuning, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(full_tuning, "agnews", lambda *_, **__: Items(("text",) * 100, (0,) * 100))
    monkeypatch.setattr(full_tuning, "learnt", learnt)
    for arguments in (["--seeds", "1", "--only", "adapters"], ["--seeds", "1"], ["--seeds", "2", "--only", "full"]):
        monkeypatch.setattr("sys.argv", ["full_tuning", *arguments])
        full_tuning.main()
    assert trained == [("adapters", 0), ("full", 0), ("full", 1)]
    kept = json.loads((tmp_path / "full_tuning.json").read_text())
    assert {way: list(runs) for way, runs in kept["runs"].items()} == {"adapters": ["0"], "full": ["0", "1"]}
    assert kept["within"] is True and kept["ways"]["full"]["seeds"] == [0.9]
    monkeypatch.setattr("sys.argv", ["full_tuning", "--seeds", "1", "--only", "full", "--again"])
    full_tuning.main()
    assert trained[3:] == [("full", 0)]
    monkeypatch.setattr(full_tuning, "LEARNING_RATE", 2e-4)
    monkeypatch.setattr("sys.argv", ["full_tuning", "--seeds", "1"])
    full_tuning.main()
    assert trained[4:] == [("full", 0)], "what was trained otherwise is no seed of the same"
    assert "90.00 %" in capsys.readouterr().out
