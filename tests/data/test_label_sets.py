from __future__ import annotations

import numpy as np
import pytest

from pennyweight.data.label_sets import LabelSetEncoder, canonical_set, joined, label_values, membership
from pennyweight.errors import InputError

NAMES = ("joy", "fear", "anger")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (["joy", "fear"], ["joy", "fear"]),
        ([], []),
        ("joy|fear", ["joy", "fear"]),
        (" joy | | fear |", ["joy", "fear"]),
        ("", []),
        ("   ", []),
        (2, [2]),
        (np.array([0, 2]), [0, 2]),
        (None, None),
        (float("nan"), None),
    ],
)
def test_what_a_column_may_hold(value, found):
    assert label_values(value) == found


def test_the_separator_is_the_users():
    assert label_values("a; b|c", ";") == ["a", "b|c"]


def test_labels_become_canonical_and_distinct():
    assert canonical_set("3|03|3.0|x") == (3, "03", "x")
    assert canonical_set(["x", " x ", 3, "3"]) == ("x", 3)
    assert canonical_set(None) is None
    assert canonical_set("") == ()


@pytest.mark.parametrize("value", [["a", None], ["a", ""], [["a"]], [{"a": 1}], [0.5]])
def test_what_can_be_no_set_of_labels(value):
    with pytest.raises(TypeError, match="label"):
        canonical_set(value)


def test_encoding_gives_ascending_indices_once():
    encoder = LabelSetEncoder(NAMES)
    assert encoder.encode(["anger", "joy", 0], where="x") == (0, 2)
    assert encoder.encode("fear|joy", where="x") == (0, 1)
    assert encoder.encode([], where="x") == ()
    assert encoder.encode(None, where="x") is None
    assert LabelSetEncoder(NAMES, first_label=1).encode([1, 3], where="x") == (0, 2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (["joy", "rage"], r"row 3: label 'rage' is none of the known ones: joy, fear, anger"),
        ([7], r"row 3: label 7 is none"),
        (["joy", None], r"row 3: the labels \['joy', None\] hold an empty one"),
        ([["joy"]], r"row 3: label \['joy'\] is none"),
    ],
)
def test_an_unknown_label_names_row_and_value(value, message):
    with pytest.raises(InputError, match=message):
        LabelSetEncoder(NAMES).encode(value, where="row 3")


def test_a_name_that_holds_the_separator_is_refused_with_the_remedy():
    with pytest.raises(InputError, match=r"'a\|b' holds '\|'.*data\.label_separator"):
        LabelSetEncoder(("a|b", "c"))
    assert LabelSetEncoder(("a|b", "c"), separator=";").encode("a|b;c", where="x") == (0, 1)


def test_sets_as_a_table_and_back_as_text():
    table = membership([(0, 2), (), (1,)], 3)
    assert table.tolist() == [[True, False, True], [False, False, False], [False, True, False]]
    for row, text in zip(table, ("joy|anger", "", "fear"), strict=True):
        chosen = np.flatnonzero(row).tolist()
        assert joined(NAMES, chosen) == text
        assert LabelSetEncoder(NAMES).encode(text, where="x") == tuple(chosen)
