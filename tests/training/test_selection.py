from __future__ import annotations

import pytest

from pennyweight.training.selection import Selection


@pytest.mark.parametrize(
    ("metric", "values", "best"),
    [
        ("accuracy", [], None),
        ("accuracy", [0.3, 0.9, 0.5], 1),
        ("macro_f1", [0.9, 0.9, 0.5], 0),
        ("loss", [0.9, 0.3, 0.5], 1),
        ("loss", [0.3, 0.3], 0),
    ],
)
def test_the_best_is_the_first_of_equals(metric, values, best):
    assert Selection(metric).best(values) == best


def test_a_new_best_is_better_than_all_before():
    accuracy, loss = Selection("accuracy"), Selection("loss")
    assert not accuracy.is_new_best([])
    assert accuracy.is_new_best([0.5])
    assert not accuracy.is_new_best([0.5, 0.5])
    assert accuracy.is_new_best([0.5, 0.4, 0.6])
    assert loss.is_new_best([0.5, 0.4])
    assert not loss.is_new_best([0.5, 0.6])


@pytest.mark.parametrize(
    ("patience", "values", "stop"),
    [
        (None, [0.9] + [0.1] * 50, False),
        (2, [], False),
        (2, [0.5, 0.4], False),
        (2, [0.5, 0.4, 0.4], True),
        (2, [0.5, 0.4, 0.6, 0.5], False),
        (2, [0.5, 0.4, 0.6, 0.5, 0.6], True),
        (1, [0.5, 0.5], True),
    ],
)
def test_stopping_after_patience_validations_without_a_new_best(patience, values, stop):
    assert Selection("accuracy", patience).should_stop(values) is stop
    assert Selection("loss", patience).should_stop([-value for value in values]) is stop


def test_skipped_validations_are_never_the_best_and_wear_no_patience_out():
    late = Selection("accuracy", patience=1, skipped=2)
    assert late.best([0.9, 0.8]) is None
    assert not late.is_new_best([0.9, 0.8])
    assert not late.should_stop([0.9, 0.8])
    assert late.best([0.9, 0.8, 0.5, 0.6]) == 3
    assert late.is_new_best([0.9, 0.8, 0.5])
    assert not late.should_stop([0.9, 0.8, 0.5, 0.6])
    assert late.should_stop([0.9, 0.8, 0.6, 0.5])
