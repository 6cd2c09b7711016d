from __future__ import annotations

import numpy as np
import pytest

from benchmarks.answers import packed, unpacked


@pytest.mark.parametrize("items", [1, 8, 21, 7600])
def test_what_was_packed_comes_out(items):
    right = np.random.default_rng(items).random(items) < 0.9
    found = unpacked(packed(right), items)
    assert found.dtype == bool and (found == right).all()


def test_another_number_of_items_is_refused():
    with pytest.raises(ValueError, match="3 bytes cannot be of 30 items"):
        unpacked(packed(np.ones(21, dtype=bool)), 30)
