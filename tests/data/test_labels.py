from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest

from pennyweight.data.labels import LabelEncoder, canonical, discover, listed
from pennyweight.errors import InputError

NEWS = ("World", "Sports", "Business", "Sci/Tech")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, 3), (3.0, 3), ("3", 3), (" 3 ", 3), ("3.0", 3), ("-1", -1), (Decimal("2.0"), 2), ("0", 0),
        ("03", "03"), ("3.5", "3.5"), ("1e3", "1e3"), ("٣", "٣"), (True, "True"), ("World", "World"),
        ("  World\n", "World"),
        (None, None), (math.nan, None), ("", None), ("  ", None), (Decimal("NaN"), None),
    ],
)  # fmt: skip
def test_canonical_forms(value, expected):
    result = canonical(value)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize("value", [3.5, math.inf, -math.inf, [1, 2], {"a": 1}, b"x", "\ud800", Decimal("0.1")])
def test_what_can_be_no_label(value):
    with pytest.raises(TypeError, match="neither a name nor a whole number"):
        canonical(value)


@pytest.mark.parametrize("value", ["Business", " Business ", 2, "2", 2.0, "2.0"])
def test_names_and_integers_mean_the_same_class(value):
    assert LabelEncoder(NEWS).encode(value, where="row 1") == 2


@pytest.mark.parametrize("first", [0, 1, 5])
def test_first_label_shifts_integers_only(first):
    encoder = LabelEncoder(NEWS, first)
    assert [encoder.encode(first + index, where="") for index in range(4)] == [0, 1, 2, 3]
    assert [encoder.encode(str(first + index), where="") for index in range(4)] == [0, 1, 2, 3]
    assert [encoder.encode(name, where="") for name in NEWS] == [0, 1, 2, 3]


def test_an_integer_that_is_a_name_means_that_name():
    encoder = LabelEncoder(("1", "2", "3"))
    assert [encoder.encode(value, where="") for value in (1, "2", 3.0)] == [0, 1, 2]
    assert LabelEncoder(("10", "0")).encode(0, where="") == 1


def test_names_with_leading_zeros_mean_themselves():
    encoder = LabelEncoder(("01", "02", "10"))
    assert [encoder.encode(value, where="") for value in ("01", "02", "10", 10)] == [0, 1, 2, 2]


@pytest.mark.parametrize("names", [("False", "True"), ("negative", "positive"), ("false", "true")])
def test_booleans(names):
    encoder = LabelEncoder(names)
    assert [encoder.encode(value, where="") for value in (False, True)] == [0, 1]


@pytest.mark.parametrize("value", [None, math.nan, "", " "])
def test_a_missing_label_is_none(value):
    assert LabelEncoder(NEWS).encode(value, where="") is None


@pytest.mark.parametrize("value", ["Weather", "business", -1, 9, "9", 2.5, [2], "\ud800", "x" * 1_000_000, 10**400])
def test_unknown_labels_name_row_value_and_known_set(value):
    with pytest.raises(InputError) as caught:
        LabelEncoder(NEWS).encode(value, where="news.csv, row 7")
    message = str(caught.value)
    assert message.startswith("news.csv, row 7: label ")
    assert repr(value)[:10] in message or len(repr(value)) > 60
    assert "World, Sports, Business, Sci/Tech" in message
    assert len(message) < 300


def test_counting_from_one_or_from_zero_is_hinted():
    with pytest.raises(InputError, match=r"--set data\.first_label=1"):
        LabelEncoder(NEWS).encode("4", where="row 1")
    with pytest.raises(InputError, match=r"--set data\.first_label=0"):
        LabelEncoder(NEWS, 1).encode(0, where="row 1")
    with pytest.raises(InputError) as caught:
        LabelEncoder(NEWS).encode(5, where="row 1")
    assert "first_label" not in str(caught.value)


@pytest.mark.parametrize("names", [("a", "a"), ("a", ""), ("a", " ")])
def test_names_must_be_distinct_and_not_empty(names):
    with pytest.raises(InputError, match="distinct and not empty"):
        LabelEncoder(names)


def test_discovery_sorts_integers_as_numbers_and_names_as_names():
    assert discover([10, 9, 0, 10]) == ("0", "9", "10")
    assert discover(["b", "a", "b"]) == ("a", "b")
    assert discover([2, "a", 10]) == ("10", "2", "a")
    assert discover(["True", "False"]) == ("False", "True")


def test_discovered_names_encode_every_value_they_came_from():
    values = [0, "1", 7.0, "12", -3]
    encoder = LabelEncoder(discover(canonical(value) for value in values))
    assert sorted(encoder.encode(value, where="") for value in values) == list(range(5))


def test_long_lists_are_cut():
    assert listed([f"intent {number}" for number in range(77)]).endswith("intent 11, … 77 in all")


def test_integers_mean_no_discovered_name():
    encoder = LabelEncoder(("Business", "Sports"), first_label=None)
    assert encoder.encode("Sports", where="x") == 1
    with pytest.raises(InputError, match=r"no order.*--map 1=Business"):
        encoder.encode(1, where="x")


def test_discovered_integers_mean_themselves_however_they_are_written():
    encoder = LabelEncoder(("1", "2"), first_label=None)
    assert [encoder.encode(value, where="x") for value in (1, 2.0, "2", True)] == [0, 1, 1, 0]
    with pytest.raises(InputError, match="none of the known ones"):
        encoder.encode(0, where="x")


def test_numbers_of_numpy_are_numbers():
    assert canonical(np.int64(3)) == 3
    assert type(canonical(np.int64(3))) is int
    assert canonical(np.float32(3)) == 3
