from __future__ import annotations

import json

import numpy as np
import pytest
from several import several
from sklearn.metrics import f1_score

from pennyweight.errors import InputError
from pennyweight.evaluation.groups import Groups, StreamingGroups
from pennyweight.evaluation.metrics import wilson

LANGUAGES = np.array(["deu", "eng", "中文"])


def _one_class(items=300, classes=4):
    generator = np.random.default_rng(0)
    truth = generator.integers(0, classes - 1, items)
    groups = generator.integers(0, 3, items)
    right = generator.random(items) < np.array([0.9, 0.5, 0.7])[groups]
    predicted = np.where(right, truth, (truth + 1) % (classes - 1))
    return LANGUAGES[groups], truth, predicted


def test_each_group_as_if_it_were_alone_the_worst_first():
    groups, truth, predicted = _one_class()
    streamed = StreamingGroups("lang", classes=4)
    for part in np.array_split(np.arange(300), [7, 150]):
        streamed.update(groups[part].tolist(), truth[part], predicted[part])
    found = streamed.result()
    assert (found.column, [one.group for one in found.groups]) == ("lang", ["eng", "中文", "deu"])
    for one in found.groups:
        own = groups == one.group
        assert one.examples == own.sum()
        assert one.accuracy == wilson(int((truth == predicted)[own].sum()), int(own.sum()))
        occurring = np.union1d(truth[own], predicted[own])
        assert one.macro_f1 == pytest.approx(f1_score(truth[own], predicted[own], labels=occurring, average="macro"))
        assert one.micro_f1 is None


def test_groups_of_several_labels():
    logits, truth = several(items=200)
    predicted, groups = logits > 0, LANGUAGES[np.arange(200) % 3]
    streamed = StreamingGroups("lang", classes=5)
    streamed.update(groups.tolist(), truth, predicted)
    found = streamed.result()
    assert [one.micro_f1 for one in found.groups] == sorted(one.micro_f1 for one in found.groups)
    for one in found.groups:
        own = groups == one.group
        assert one.micro_f1 == pytest.approx(f1_score(truth[own], predicted[own], average="micro"))
        each = f1_score(truth[own], predicted[own], average=None, zero_division=0)
        occurring = truth[own].any(axis=0) | predicted[own].any(axis=0)
        assert one.macro_f1 == pytest.approx(each[occurring].mean())
        assert one.accuracy.value == pytest.approx((truth[own] == predicted[own]).all(axis=1).mean())


def test_it_comes_back_from_json():
    for truth, predicted in (([0, 1], [0, 0]), ([[True, False]] * 2, [[True, True], [True, False]])):
        streamed = StreamingGroups("source", classes=2)
        streamed.update(["a", "b"], np.array(truth), np.array(predicted))
        found = streamed.result()
        assert Groups.from_dict(json.loads(json.dumps(found.as_dict()))) == found


def test_a_column_of_texts_is_no_column_of_groups():
    streamed = StreamingGroups("id", classes=2)
    streamed.update([str(number) for number in range(1000)], np.zeros(1000, int), np.zeros(1000, int))
    with pytest.raises(InputError, match=r"column 'id' holds more than 1,000 distinct values"):
        streamed.update(["1000"], np.zeros(1, int), np.zeros(1, int))
