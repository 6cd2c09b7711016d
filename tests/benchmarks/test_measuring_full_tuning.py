"""Adapters against everything trained: what is made of their answers."""

from __future__ import annotations

import numpy as np
import pytest

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


def runs(wrong: dict[str, int], truth: np.ndarray) -> dict[str, list[dict]]:
    """Two seeds of each way that err on the first so many items, the second seed on one more."""
    told = {}
    for way, count in wrong.items():
        answers = [np.where(np.arange(len(truth)) < count + seed, (truth + 1) % 4, truth) for seed in (0, 1)]
        told[way] = [{"predicted": one.tolist(), "seconds": 1.0, "trainable": 10} for one in answers]
    return told


@pytest.mark.parametrize(("wrong", "within"), [(100, True), (110, True), (200, False), (50, False)])
def test_within_means_within_the_interval_of_the_full_tuning(wrong, within):
    truth = np.arange(1000) % 4
    content = summary(runs({"adapters": wrong, "full": 100}, truth), truth)
    full = content["ways"]["full"]
    assert full["accuracy"] == pytest.approx(0.8995)
    assert full["seeds"] == pytest.approx([0.9, 0.899])
    assert 0.87 < full["low"] < full["accuracy"] < full["high"] < 0.93
    assert content["within"] is within
    assert content["difference"]["difference"] == pytest.approx((100 - wrong) / 1000)
    assert ("within the interval" in lines(content)[-1]) is within
