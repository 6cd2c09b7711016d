from __future__ import annotations

from collections import Counter

import pytest

from pennyweight.data.mapping import mapped_rows, read_label_map, require_known
from pennyweight.data.readers import Row
from pennyweight.errors import InputError


def rows(*labels):
    return iter([Row(number, {"label": label, "text": "t"}) for number, label in enumerate(labels, start=1)])


def test_pairs_and_files_say_the_same(tmp_path):
    path = tmp_path / "map.toml"
    path.write_text('Sport = "Sports"\n"Politics & world" = "World"\n3 = "Sci/Tech"\n')
    expected = {"Sport": "Sports", "Politics & world": "World", "3": "Sci/Tech"}
    assert read_label_map(str(path)) == expected
    assert read_label_map(" Sport = Sports, Politics & world=World,3=Sci/Tech,") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no label"),
        ("Sport", "'Sport' maps nothing"),
        ("Sport=", "maps nothing"),
        ("=Sports", "maps nothing"),
        ("a=b,a=c", "'a' is mapped twice"),
        ("nowhere.toml", "no such file"),
    ],
)
def test_what_is_no_mapping_is_refused(text, message):
    with pytest.raises(InputError, match=message):
        read_label_map(text)


@pytest.mark.parametrize(
    ("content", "message"),
    [("a = ", "TOML"), ("a = 3", "a = 3"), ("[a]\nb = 'c'", "one a line"), ("", "names no label")],
)
def test_files_that_are_no_mapping(tmp_path, content, message):
    path = tmp_path / "map.toml"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_label_map(str(path))


def test_rows_in_our_words_the_others_counted():
    dropped: Counter[str] = Counter()
    made = list(mapped_rows(rows("a", 3, "b", "3.0", None, " a ", "b"), "label", {"a": "A", "3": "C"}, dropped))
    assert [(row.number, row.values["label"]) for row in made] == [(1, "A"), (2, "C"), (4, "C"), (5, None), (6, "A")]
    assert dropped == {"b": 2}
    assert all(row.values["text"] == "t" for row in made)


def test_our_own_names_are_not_mapped_by_themselves():
    dropped: Counter[str] = Counter()
    made = list(mapped_rows(rows("a", "A"), "label", {"a": "A"}, dropped))
    assert [row.number for row in made] == [1]
    assert dropped == {"A": 1}


def test_of_several_labels_those_that_are_not_mapped_are_taken_off():
    dropped: Counter[str] = Counter()
    several = rows("a|b", ["b", 3], "b", "", None, ["a", None])
    made = list(mapped_rows(several, "label", {"a": "A", "3": "C"}, dropped, separator="|"))
    expected = [(1, ["A"]), (2, ["C"]), (4, ""), (5, None), (6, ["a", None])]
    assert [(row.number, row.values["label"]) for row in made] == expected
    assert dropped == {"b": 3}


def test_a_mapping_that_fits_nothing_is_refused():
    with pytest.raises(InputError, match="none of the labels in the data; these are: y, x"):
        list(mapped_rows(rows("x", "y", "y"), "label", {"a": "A"}, Counter()))


def test_a_label_that_we_do_not_have_is_refused():
    require_known({"a": "A"}, ("A", "B"))
    with pytest.raises(InputError, match="--map a=C: the classifier has no label 'C'; it has: A, B"):
        require_known({"a": "C"}, ("A", "B"))
