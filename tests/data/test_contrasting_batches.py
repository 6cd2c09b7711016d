from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pennyweight.data.contrasting import contrasting_batches

SKEWED = np.repeat([0, 1, 2, 5], [40, 3, 17, 1])


def dealt(labels, *, batch_size=16, epoch=0, seed=3):
    return contrasting_batches(labels, batch_size=batch_size, seed=seed, epoch=epoch)


@pytest.mark.parametrize("batch_size", [4, 7, 16, 100])
def test_as_many_batches_as_would_hold_all_once_none_too_large_no_item_twice(batch_size):
    batches = dealt(SKEWED, batch_size=batch_size)
    assert len(batches) == -(-len(SKEWED) // batch_size)
    for batch in batches:
        assert len(batch) <= batch_size
        assert len(np.unique(batch)) == len(batch)


def test_classes_are_equal_in_number_as_far_as_they_go():
    for batch in dealt(SKEWED, batch_size=16):
        assert Counter(SKEWED[batch].tolist()) == {0: 4, 1: 3, 2: 4, 5: 1}


def test_every_item_of_a_class_is_dealt_before_any_returns():
    labels = np.repeat([0, 1], [30, 10])
    batches = dealt(labels, batch_size=10)
    counts = Counter(np.concatenate(batches).tolist())
    assert {counts[item] for item in range(30)} <= {0, 1}
    assert {counts[item] for item in range(30, 40)} == {2}  # 4 batches of 5 go through 10 items twice


def test_many_classes_take_turns_two_items_each():
    labels = np.repeat(np.arange(77), 5)
    batches = dealt(labels, batch_size=32)
    met = Counter()
    for batch in batches:
        counts = Counter(labels[batch].tolist())
        assert set(counts.values()) == {2}
        assert len(counts) == 16
        met.update(counts.keys())
    assert max(met.values()) - min(met.values()) <= 1


def test_all_of_few_items_are_one_batch():
    labels = np.repeat(np.arange(4), 8)
    [batch] = dealt(labels, batch_size=32)
    assert sorted(batch) == list(range(32))


def test_a_pure_function_of_seed_and_epoch():
    first, again = dealt(SKEWED, epoch=2), dealt(SKEWED, epoch=2)
    assert all(np.array_equal(one, other) for one, other in zip(first, again, strict=True))
    for other in (dealt(SKEWED, epoch=3), dealt(SKEWED, epoch=2, seed=4)):
        assert not all(np.array_equal(one, two) for one, two in zip(first, other, strict=True))
