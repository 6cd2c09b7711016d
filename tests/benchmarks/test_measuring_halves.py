"""The upper half against everywhere: what is made of right and wrong answers."""

import numpy as np
import pytest

from benchmarks.halves import lines, summary


def test_the_difference_is_paired_and_its_interval_holds_it():
    generator = np.random.default_rng(0)
    everywhere = generator.random((3, 2000)) < 0.9
    upper = everywhere.copy()
    upper[:, :20] = False  # the same items, but for one per cent that all seeds get wrong
    content = summary({"everywhere": everywhere, "upper_half": upper}, items=10)
    found = content["difference"]
    assert found["mean"] == pytest.approx(-0.009, abs=0.002)
    assert found["low"] < found["mean"] < found["high"] < 0
    assert found["high"] - found["low"] < 0.01  # unpaired it would be twice as wide
    assert content["contenders"]["everywhere"]["accuracy"] == pytest.approx(everywhere.mean())
    assert content["contenders"]["upper_half"]["seeds"] == pytest.approx(upper.mean(axis=1).tolist())
    assert "points" in lines(content)[-1]


def test_no_difference_has_no_width():
    right = np.ones((3, 50), dtype=bool)
    found = summary({"everywhere": right, "upper_half": right}, items=10)["difference"]
    assert (found["mean"], found["low"], found["high"]) == (0, 0, 0)
