from __future__ import annotations

import numpy as np
import pytest

from pennyweight.evaluation.audit import by_class, by_length
from pennyweight.evaluation.intervals import wilson
from pennyweight.evaluation.metrics import StreamingMetrics


def test_quarters_by_length():
    lengths = np.array([9, 1, 2, 3, 4, 5, 6, 7])
    right = np.array([0, 1, 1, 1, 0, 1, 0, 0], dtype=bool)
    parts = by_length(lengths, right)
    assert [part.name for part in parts] == ["1–2", "3–4", "5–6", "7–9"]
    assert [part.items for part in parts] == [2, 2, 2, 2]
    assert [part.accuracy.value for part in parts] == [1, 0.5, 0.5, 0]
    assert parts[0].accuracy == wilson(2, 2)


@pytest.mark.parametrize(
    ("lengths", "names"),
    [([5, 5, 5, 5], ["5"]), ([7], ["7"]), ([1, 1, 1, 1, 1, 1, 9], ["1", "9"]), ([2, 3], ["2", "3"])],
)
def test_equal_lengths_stay_together(lengths, names):
    parts = by_length(np.array(lengths), np.ones(len(lengths), dtype=bool))
    assert [part.name for part in parts] == names
    assert sum(part.items for part in parts) == len(lengths)


def test_classes_weakest_first_and_without_absent_ones():
    metrics = StreamingMetrics(("a", "b", "c"))
    truth, predicted = [0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 0]
    metrics.update(np.eye(3)[predicted], truth)
    parts = by_class(metrics.result(resamples=100))
    assert [(part.name, part.items, part.accuracy) for part in parts] == [
        ("b", 2, wilson(1, 2)),
        ("a", 4, wilson(3, 4)),
    ]
