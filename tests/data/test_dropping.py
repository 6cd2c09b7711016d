from __future__ import annotations

import numpy as np
import pytest

from pennyweight.data.dropping import drop_words


@pytest.mark.parametrize("text", ["", "  ", "one", "two words", "日本語", "a b c d e f g h"])
@pytest.mark.parametrize("share", [0.1, 0.9, 0.999])
def test_something_is_always_left_and_stays_in_order(text, share):
    for seed in range(20):
        left = drop_words(text, share=share, generator=np.random.default_rng(seed))
        words = iter(text.split())
        assert all(word in words for word in left.split())
        assert bool(left.split()) == bool(text.split())


def test_so_many_words_are_left_out():
    text = " ".join(map(str, range(10_000)))
    assert len(drop_words(text, share=0.3, generator=np.random.default_rng(0)).split()) == pytest.approx(7000, abs=200)
    assert drop_words(text, share=0.0, generator=np.random.default_rng(0)) == text
