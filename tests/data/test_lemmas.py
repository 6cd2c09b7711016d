from __future__ import annotations

import sys

import pytest

from pennyweight.data import lemmas
from pennyweight.data.lemmas import LONGEST_WORD, lemmatise
from pennyweight.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("the children were running", "the child be run"),
        ("Mice went; GEESE went!", "Mouse go; GOOSE go!"),
        ("Shares rose 3.5% in  early\tdeals", "Share rose 3.5% in  early\tdeal"),
        ("the company's profits, the boys’ houses", "the company's profit, the boy’ house"),
        ("they won't say it isn't so", "they won't say it isn't so"),
        ("B2B firms, x2's prices", "B2B firm, x2's price"),
        ("Zoë 東京 новости \U0001f600 e\u0301", "Zoë 東京 новости \U0001f600 e\u0301"),
        ("", ""),
    ],
)
def test_known_words_and_what_is_left_alone(text, expected):
    assert lemmatise(text) == expected


def test_other_languages():
    assert lemmatise("Die Kinder gingen", "de") == "Der Kind gehen"
    assert lemmatise("l'homme, les chevaux", "fr") == "l'homme, le cheval"
    with pytest.raises(InputError, match=r"text\.language = 'xx': simplemma has no dictionary of it"):
        lemmatise("anything", "xx")


def test_a_circle_of_forms_settles_on_one():
    circle = {"a": "b", "b": "c", "c": "b", "d": "d"}
    assert [lemmas._settled(circle.__getitem__, word) for word in "abcd"] == ["b", "b", "b", "d"]


@pytest.mark.parametrize(("word", "found"), [("word", "two words"), ("ßa", "ẞb"), ("word", ""), ("Word", "wo-rd")])
def test_a_form_that_is_no_single_word_is_not_taken(word, found):
    assert lemmas._in_case_of(word, found) in (word, found)
    assert lemmas._in_case_of(word, found).isalpha()


def test_long_and_odd_input_passes_in_linear_time():
    assert lemmatise("b" * 1_000_000) == "b" * 1_000_000
    assert lemmatise("a'" * 300_000 + "1") == "a'" * 300_000 + "1"
    assert lemmatise("houses" + "s" * LONGEST_WORD) == "houses" + "s" * LONGEST_WORD


def test_what_to_do_without_the_library(monkeypatch):
    lemmas._dictionary.cache_clear()
    monkeypatch.setitem(sys.modules, "simplemma", None)
    with pytest.raises(InputError, match=r"text.cleaning: .* pip install 'pennyweight\[lemmas\]'"):
        lemmatise("houses")
