from __future__ import annotations

import pytest

from pennyweight.data.windows import windows


@pytest.mark.parametrize("items", [0, 1, 4, 5, 6, 23])
@pytest.mark.parametrize("size", [1, 5, 100])
def test_windows_cut_a_stream_without_loss(items, size):
    cut = list(windows(iter(range(items)), size))
    assert [item for window in cut for item in window] == list(range(items))
    assert all(len(window) == size for window in cut[:-1])
    assert all(cut)


def test_no_more_is_read_than_the_window_needs():
    taken = []

    def stream():
        for number in range(100):
            taken.append(number)
            yield number

    iterator = windows(stream(), 10)
    assert taken == []
    next(iterator)
    assert len(taken) == 10
