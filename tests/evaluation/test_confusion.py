from __future__ import annotations

import json

import numpy as np
import pytest

from pennyweight.evaluation import confusion
from pennyweight.evaluation.metrics import Metrics, StreamingMetrics


def _metrics(classes: int, items: int = 2000) -> Metrics:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, classes, items)
    logits = generator.normal(size=(items, classes))
    logits[np.arange(items), labels] += 3
    metrics = StreamingMetrics([f"class {index}" for index in range(classes)])
    metrics.update(logits, labels)
    return metrics.result(resamples=100)


@pytest.mark.parametrize("classes", [3, confusion.MOST_WHOLE, confusion.MOST_WHOLE + 1])
def test_metrics_of_many_classes_come_back_from_json(classes):
    found = _metrics(classes)
    written = json.dumps(found.as_dict())
    assert Metrics.from_dict(json.loads(written)) == found


def test_of_a_thousand_classes_only_what_holds_something_is_written():
    found = _metrics(1000)
    content = found.as_dict()["confusion"]
    assert content["classes"] == 1000
    assert len(content["cells"]) <= 2000
    assert sum(count for *_, count in content["cells"]) == 2000
    assert all(count == found.confusion[true][predicted] > 0 for true, predicted, count in content["cells"])


def test_the_most_confused_classes():
    counts = ((9, 0, 0, 0), (0, 5, 3, 0), (0, 0, 8, 1), (0, 0, 0, 7))
    assert confusion.most_confused(counts, 2) == [1, 2]
    assert confusion.most_confused(counts, 3) == [1, 2, 3]
    assert confusion.most_confused(counts, 9) == [0, 1, 2, 3]
