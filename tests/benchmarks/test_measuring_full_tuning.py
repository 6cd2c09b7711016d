"""Adapters against everything trained: what is made of their answers."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.full_tuning import lines, summary


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
