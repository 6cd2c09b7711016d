from __future__ import annotations

import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from pennyweight.data import filtering
from pennyweight.data.filtering import Dropped, counts_by_reason, find_unwanted, write_dropped
from pennyweight.errors import InputError

ENGLISH = "The government said on Tuesday that it would not raise taxes before the end of the year."
GERMAN = "Die Regierung teilte am Dienstag mit, dass sie die Steuern vor dem Jahresende nicht erhöhen werde."
FRENCH = "Le gouvernement a annoncé mardi qu'il n'augmenterait pas les impôts avant la fin de l'année."


def items_by_reason(texts, **wanted) -> dict[str, list[int]]:
    return {one.reason: one.items.tolist() for one in find_unwanted(texts, **wanted)}


def test_nothing_is_dropped_unless_asked():
    assert find_unwanted(["", "a", "a", "x " * 10_000]) == []
    assert find_unwanted([], shortest=3, longest=4, drop_repeats=True) == []


def test_lengths_are_in_words_and_bounds_are_kept():
    texts = ["one", "one two", "one two three", "one  two\tthree four", ""]
    assert items_by_reason(texts, shortest=2, longest=3) == {"too short": [0, 4], "too long": [3]}
    assert items_by_reason(texts, shortest=1) == {"too short": [4]}


def test_repeats_are_those_of_kept_texts_and_the_first_stays():
    texts = ["a b", "c", "A  b", "c", "d e", "a B"]
    assert items_by_reason(texts, drop_repeats=True) == {"repeating an earlier text": [2, 3, 5]}
    assert items_by_reason(texts, shortest=2, drop_repeats=True) == {
        "too short": [1, 3],
        "repeating an earlier text": [2, 5],
    }


def test_languages_are_told_apart():
    dropped = find_unwanted([ENGLISH, GERMAN, FRENCH, ENGLISH], languages=("en", "fr"))
    assert [one.items.tolist() for one in dropped] == [[1]]
    assert dropped[0].found == ("de",)
    assert 0.9 <= dropped[0].confidence[0] <= 1
    assert find_unwanted([ENGLISH, GERMAN, "?!"], languages=("en", "de")) == []


def test_what_is_not_sure_stays():
    texts = [ENGLISH, GERMAN, "Berlin", "ok", "12 34"]
    strict = items_by_reason(texts, languages=("fr",), certainty=0.0)
    sure = items_by_reason(texts, languages=("fr",), certainty=0.99)
    assert set(sure["in another language"]) < set(strict["in another language"])


def test_an_unknown_language_is_named():
    with pytest.raises(InputError, match=r"filter\.languages: 'qq' is not among the languages"):
        find_unwanted([ENGLISH], languages=("en", "qq"))


def test_what_to_do_without_the_library(monkeypatch):
    filtering._identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(InputError, match=r"pip install 'pennyweight\[languages\]'"):
        find_unwanted([ENGLISH], languages=("en",))


def test_reasons_sum_up():
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(list("abc"), size=generator.integers(1, 6))) for _ in range(300)]
    dropped = find_unwanted(texts, shortest=2, longest=4, drop_repeats=True)
    together = np.concatenate([one.items for one in dropped])
    assert len(np.unique(together)) == len(together) == sum(counts_by_reason(dropped).values())
    left = np.setdiff1d(np.arange(300), together)
    assert all(2 <= len(texts[index].split()) <= 4 for index in left)
    assert len({texts[index] for index in left}) == len(left)


def test_the_list_names_row_reason_and_what_speaks_for_it(tmp_path):
    dropped = [
        Dropped(np.array([4, 5]), "too short"),
        Dropped(np.array([1]), "in another language", found=("de",), confidence=(0.75,)),
    ]
    path = tmp_path / "filtered.parquet"
    write_dropped(path, dropped, rows=np.arange(10, 20), labels=list("abcdefghij"))
    assert pq.read_table(path).to_pylist() == [
        {"row": 11, "label": "b", "reason": "in another language", "found": "de", "confidence": 0.75},
        {"row": 14, "label": "e", "reason": "too short", "found": None, "confidence": None},
        {"row": 15, "label": "f", "reason": "too short", "found": None, "confidence": None},
    ]
    assert counts_by_reason([*dropped, dropped[0]]) == {"too short": 4, "in another language": 1}
