from __future__ import annotations

import json

import numpy as np
import pytest

from pennyweight.errors import InputError
from pennyweight.evaluation.agreement import StreamingAgreement


def one_hot(classes: list[int]) -> np.ndarray:
    return np.eye(3, dtype=np.float32)[classes]


def test_known_counts_in_whatever_windows():
    found, reference, truth = [0, 1, 2, 2, 0], [0, 1, 1, 0, 0], [0, 2, 2, 0, 0]
    whole, parts = StreamingAgreement(), StreamingAgreement()
    whole.update(one_hot(found), one_hot(reference), truth)
    for part in (slice(0, 2), slice(2, 2), slice(2, 5)):
        parts.update(one_hot(found[part]), one_hot(reference[part]), truth[part])
    result = whole.result()
    assert result == parts.result()
    assert (result.examples, result.accuracy, result.reference_accuracy, result.agreement) == (5, 3 / 5, 3 / 5, 3 / 5)
    assert result.difference == 0


def test_the_difference_is_negative_where_something_is_lost():
    counted = StreamingAgreement()
    counted.update(one_hot([1, 1]), one_hot([0, 1]), [0, 1])
    result = counted.result()
    assert result.difference == -0.5
    assert json.loads(json.dumps(result.as_dict())) == {
        "examples": 2,
        "accuracy": 0.5,
        "reference_accuracy": 1.0,
        "agreement": 0.5,
        "difference": -0.5,
    }


def test_no_items_are_no_measurement():
    with pytest.raises(InputError, match="no labelled item"):
        StreamingAgreement().result()


def test_of_several_labels_all_of_an_item_count_together():
    truth = np.array([[1, 1], [0, 1], [0, 0]], dtype=bool)
    counted = StreamingAgreement()
    counted.add(truth, np.array([[1, 1], [1, 1], [0, 0]], dtype=bool), truth)
    result = counted.result()
    assert (result.accuracy, result.reference_accuracy, result.agreement) == (1, 2 / 3, 2 / 3)
