from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from pennyweight.data.augmentation import Augmenter, copy_counts, delete, insert, replace_words, swap

TEXT = "Shares of the Acme company rose sharply on Tuesday after strong results, analysts said."
KNOWN = {
    "shares": ("stock", "equities"),
    "company": ("firm",),
    "rose": ("climbed", "went up"),
    "strong": ("solid",),
    "the": ("a",),
}
ALL = ("synonyms", "insert", "swap", "delete")


def synonyms(word: str) -> tuple[str, ...]:
    assert word == word.lower(), "words are looked up in small letters"
    return KNOWN.get(word, ())


def drawn(seed: int) -> random.Random:
    return random.Random(seed)


@pytest.mark.parametrize("seed", range(20))
def test_swapping_keeps_the_multiset_of_words(seed):
    words = TEXT.split()
    once = swap(words, 1, drawn(seed))
    assert sum(a != b for a, b in zip(words, once, strict=True)) == 2
    many = swap(words, 9, drawn(seed))
    assert Counter(many) == Counter(words)


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("count", [2, 3, 30])
def test_deleting_leaves_some_words_out_and_never_all(share, count):
    words = [f"w{number}" for number in range(count)]
    for seed in range(30):
        left = delete(words, share, drawn(seed))
        assert 1 <= len(left) < count
        assert left == [word for word in words if word in left], "the order stays"
    assert delete(["one"], 1.0, drawn(0)) == ["one"]
    assert delete([], 1.0, drawn(0)) == []


def test_the_share_deleted_is_the_one_asked_for():
    words = ["w"] * 10_000
    left = len(delete(words, 0.3, drawn(1)))
    assert abs(left - 7000) < 200  # more than four standard deviations


def test_replacing_keeps_case_and_marks_and_all_other_words():
    words = ["\u201cStrong,", "THE", "company's", "COMPANY", "rose!)", "x2"]
    replaced = replace_words(words, 99, drawn(0), synonyms)
    assert replaced[0] == "\u201cSolid,"
    assert replaced[1:4] == ["THE", "company's", "FIRM"]
    assert replaced[4] in ("climbed!)", "went up!)")
    assert replaced[5] == "x2"


def test_replacing_and_inserting_so_many():
    words = TEXT.split()
    for count in (1, 2, 3, 4):
        replaced = replace_words(words, count, drawn(count), synonyms)
        assert sum(a != b for a, b in zip(words, replaced, strict=True)) == count
    for seed in range(20):
        inserted = insert(words, 3, drawn(seed), synonyms)
        new = Counter(inserted) - Counter(words)
        assert not Counter(words) - Counter(inserted)
        assert sum(new.values()) <= 3
        assert set(new) <= {word for known in KNOWN.values() for word in known} - {"a"}
    assert insert([], 3, drawn(0), synonyms) == []


def test_a_copy_follows_from_seed_and_text():
    augmenter = Augmenter(ALL, 0.2, synonyms)
    copies = augmenter.copies(TEXT, 8, seed="3")
    assert copies == augmenter.copies(TEXT, 8, seed="3")
    assert copies[:3] == augmenter.copies(TEXT, 3, seed="3")
    assert copies != augmenter.copies(TEXT, 8, seed="4")
    assert augmenter.copies(TEXT, 0, seed="3") == []
    assert TEXT not in copies
    assert len(set(copies)) > 4


def test_operations_take_turns():
    words = len(TEXT.split())
    copies = Augmenter(("swap", "delete"), 0.1).copies(TEXT, 10, seed="0")
    swapped = [copy for copy in copies if len(copy.split()) == words]
    assert len(swapped) == 5
    assert all(len(copy.split()) < words for copy in copies if copy not in swapped)


@pytest.mark.parametrize("text", ["word", "", "  ", "a a", "?!"])
def test_what_cannot_be_altered_stays(text):
    for operation in ALL:
        for copy in Augmenter((operation,), 0.5).copies(text, 4, seed="0"):
            assert set(copy.split()) == set(text.split())
    assert Augmenter(("delete",), 1.0).copies(text, 2, seed="0") != []


def test_the_next_operation_is_tried_where_one_cannot_alter():
    assert all(
        len(copy.split()) == 1 for copy in Augmenter(("synonyms", "delete"), 0.1).copies("two words", 4, seed="")
    )


@pytest.mark.parametrize("operation", ALL)
def test_a_megabyte_passes(operation):
    text = "company rose " * 80_000
    (copy,) = Augmenter((operation,), 0.1, synonyms).copies(text, 1, seed="0")
    assert copy != text.strip()


def test_so_many_copies_each():
    assert copy_counts(np.array([0, 0, 1]), copies=2, balance=False, seed=0).tolist() == [2, 2, 2]
    assert copy_counts(np.zeros(0, dtype=np.int64), copies=2, balance=True, seed=0).tolist() == []


@pytest.mark.parametrize("copies", [0, 1, 3])
def test_balancing_evens_the_classes_out(copies):
    labels = np.repeat([0, 1, 3], [50, 7, 1])
    counts = copy_counts(labels, copies=copies, balance=True, seed=5)
    sizes = np.bincount(labels) + np.bincount(labels, weights=counts).astype(int)
    assert {int(size) for size in sizes if size} == {50 * (1 + copies)}
    assert np.ptp(counts[labels == 1]) <= 1
    np.testing.assert_array_equal(counts, copy_counts(labels, copies=copies, balance=True, seed=5))
    if copies:
        assert (counts[labels == 0] == copies).all()


def test_strength_is_the_share_of_words_that_are_altered():
    def firm(word: str) -> tuple[str, ...]:
        return ("firm",) if word == "company" else ()

    (copy,) = Augmenter(("synonyms",), 0.5, firm).copies("company " * 20, 1, seed="")
    assert Counter(copy.split()) == {"company": 10, "firm": 10}
    words = [f"w{number}" for number in range(40)]
    (copy,) = Augmenter(("swap",), 0.5).copies(" ".join(words), 1, seed="")
    assert sum(a != b for a, b in zip(words, copy.split(), strict=True)) > 10
    made = [insert(["company"] * 10, 3, drawn(seed), firm) for seed in range(50)]
    assert {len(one) for one in made} == {13}
    assert {place for one in made for place, word in enumerate(one) if word == "firm"} == set(range(13))
