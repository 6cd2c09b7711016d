from __future__ import annotations

import json

import numpy as np
import pytest

from pennyweight.data.inspection import find_leaks, inspect, split_several, split_validation
from pennyweight.errors import InputError

NAMES = ("World", "Sports", "Business")


def look(texts, labels, **options):
    defaults = {"token_lengths": np.array([len(text.split()) + 2 for text in texts]), "max_length": 8}
    return inspect(texts, np.array(labels, dtype=np.int64), NAMES, **{**defaults, **options})


def test_counts_of_every_kind():
    texts = ["one", "Two  words", "two words", "two words", "ONE", "a b c d e f g", "unique"]
    seen = look(texts, [0, 1, 1, 0, 0, 1, 1], rows=[11, 12, 13, 14, 15, 16, 17], leaks=np.array([5]))
    assert seen.items == 7
    assert seen.class_counts == {"World": 3, "Sports": 4, "Business": 0}
    assert (seen.duplicates, seen.duplicate_rows) == (2, (13, 15))
    assert (seen.conflicting, seen.conflicting_rows) == (3, (12, 13, 14))
    assert (seen.truncated, seen.truncated_rows) == (1, (16,))
    assert (seen.leaks, seen.leaked_rows) == (1, (16,))


def test_a_repeat_counts_as_duplicate_per_label():
    seen = look(["x", "x", "x", "x"], [0, 1, 0, 1])
    assert seen.duplicate_rows == (3, 4)
    assert seen.conflicting == 4


def test_quantiles_are_lengths_that_occur():
    lengths = np.arange(1, 101)
    seen = look(["t"] * 100, [0] * 100, token_lengths=lengths, max_length=90)
    assert seen.length_quantiles["min"] == 1
    assert seen.length_quantiles["max"] == 100
    assert list(seen.length_quantiles) == ["min", "5%", "25%", "50%", "75%", "95%", "99%", "max"]
    assert all(
        abs(seen.length_quantiles[name] - share) <= 1
        for name, share in {"5%": 5, "25%": 25, "50%": 50, "75%": 75, "95%": 95, "99%": 99}.items()
    )
    assert seen.truncated == 10


def test_it_is_plain_json_and_says_so_in_sentences():
    seen = look(["a", "a", "b"], [0, 0, 1], leaks=np.array([2]))
    assert json.loads(json.dumps(seen.as_dict())) == seen.as_dict()
    lines = seen.lines()
    assert lines[0] == "3 items in 3 classes: World 2, Sports 1, Business 0"
    assert "1 item repeating an earlier item (same text, same label) (row 2)" in lines
    assert "1 item whose text also occurs in the validation or test data, left out (row 3)" in lines
    assert not any("cut there" in line or "another label" in line for line in lines)


def test_windows_are_told_where_texts_have_several():
    assert look(["x"] * 20, [0] * 20).windows_per_text is None
    seen = look(["x"] * 20, [0] * 20, windows=np.array([1] * 9 + [2] * 10 + [7]))
    assert seen.windows_per_text == {"mean": 1.8, "median": 2, "95 % up to": 2, "most": 7}
    assert "windows per text: mean 1.8, median 2, 95 % up to 2, most 7" in seen.lines()
    assert json.loads(json.dumps(seen.as_dict())) == seen.as_dict()


def test_only_the_first_rows_are_named():
    seen = look(["same"] * 50, [0] * 50)
    assert seen.duplicates == 49
    assert seen.duplicate_rows == (2, 3, 4, 5, 6)
    assert seen.lines()[-1].endswith("(rows 2, 3, 4, 5, 6, …)")


def test_nothing_to_inspect():
    seen = look([], [], token_lengths=np.array([], dtype=np.int64))
    assert seen.items == seen.duplicates == 0
    assert set(seen.length_quantiles.values()) == {0}
    assert seen.lines()


def test_many_classes_are_summed_up():
    names = [f"intent {number}" for number in range(77)]
    seen = inspect(["x"] * 77, np.arange(77), names, token_lengths=np.ones(77, dtype=int), max_length=8)
    assert seen.lines()[0].endswith("… (fewest 1, most 1)")


def test_lengths_that_do_not_match():
    with pytest.raises(ValueError, match="do not match"):
        look(["a"], [0, 1])


@pytest.mark.parametrize(
    "variant",
    [
        "Fed raises rates",
        "FED  raises\n rates ",
        "fed\u00a0raises rates",
        "\uff26ed raises rates",
        "fed raises rates\t",
    ],
)
def test_leaks_are_found_in_any_spelling(variant):
    assert find_leaks(["other", variant, "fed raises rate"], ["x", "fed raises rates"]).tolist() == [1]


def test_composed_and_decomposed_letters_are_the_same():
    assert find_leaks(["Zo\u00eb Stra\u00dfe"], ["ZOE\u0308 STRASSE"]).tolist() == [0]


def test_leaks_of_nothing():
    assert find_leaks([], ["a"]).tolist() == find_leaks(["a"], []).tolist() == []
    assert find_leaks(iter(["a", "b"]), iter(["b"])).dtype == np.int64


def test_hostile_texts_are_compared_too():
    hostile = ["\ud800 half", "a" + "\u0301\u0316" * 500_000, "x" * 1_000_000]
    assert find_leaks(hostile, hostile).tolist() == [0, 1, 2]


@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.25, 0.5, 0.9])
def test_the_split_is_a_stratified_partition(fraction):
    labels = np.random.default_rng(0).choice(3, size=997, p=[0.7, 0.28, 0.02])
    train, validation = split_validation(labels, NAMES, fraction=fraction, seed=1)
    assert sorted([*train, *validation]) == list(range(997))
    assert (np.diff(train) > 0).all()
    assert (np.diff(validation) > 0).all()
    for index in range(3):
        total, held = (labels == index).sum(), (labels[validation] == index).sum()
        assert abs(held - fraction * total) <= 0.5 or held == 1
        assert 0 < held < total


def test_the_split_depends_on_the_seed_alone():
    labels = np.arange(200) % 3
    first, again, other = (split_validation(labels, NAMES, fraction=0.1, seed=seed)[1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.tolist() != other.tolist()


def test_rare_classes_are_both_learnt_and_judged():
    labels = np.array([0] * 1000 + [2] * 2)
    train, validation = split_validation(labels, NAMES, fraction=0.05, seed=0)
    assert (labels[train] == 2).sum() == (labels[validation] == 2).sum() == 1


def test_a_class_with_a_single_item_is_refused():
    labels = np.array([0, 0, 0, 1, 2, 2])
    with pytest.raises(InputError, match=r"class Sports has 1 distinct item.*needs 2.*--set data\.validation=0"):
        split_validation(labels, NAMES, fraction=0.1, seed=0)


def test_no_validation():
    train, validation = split_validation(np.array([0, 1, 1]), NAMES, fraction=0, seed=0)
    assert train.tolist() == [0, 1, 2]
    assert validation.size == 0


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2, float("nan")])
def test_fractions_out_of_range(fraction):
    with pytest.raises(InputError, match=r"data\.validation"):
        split_validation(np.array([0, 0, 1, 1]), NAMES, fraction=fraction, seed=0)


def _sets(items=600, seed=0):
    """Labels of very different frequency, one of them always beside a rarer one, some items without any."""
    generator = np.random.default_rng(seed)
    labels = generator.random((items, 5)) < np.array([0.5, 0.2, 0.05, 0.01, 0.0])
    labels[:, 4] = labels[:, 3]
    return labels


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_sets_of_labels_are_split_by_their_rarest(fraction):
    labels = _sets()
    training, validation = split_several(labels, fraction=fraction, seed=1)
    assert sorted([*training, *validation]) == list(range(600))
    assert labels[training].any(axis=0).all()
    assert len(validation) == pytest.approx(fraction * 600, abs=3)
    shares = labels[validation].sum(axis=0) / labels.sum(axis=0)
    assert shares[:3] == pytest.approx(np.full(3, fraction), abs=0.08)
    assert labels[validation].any(axis=0).all()
    assert (~labels[validation].any(axis=1)).sum() == pytest.approx(fraction * (~labels.any(axis=1)).sum(), abs=2)
    again = split_several(labels, fraction=fraction, seed=1)
    assert [part.tolist() for part in again] == [training.tolist(), validation.tolist()]
    assert split_several(labels, fraction=fraction, seed=2)[1].tolist() != validation.tolist()


def test_a_label_of_a_single_item_stays_with_training():
    labels = np.zeros((10, 3), dtype=bool)
    labels[:9, 0] = True
    labels[3, 1] = True
    training, validation = split_several(labels, fraction=0.5, seed=0)
    assert 3 in training
    assert len(validation) == 4
    assert len(split_several(labels, fraction=0.0, seed=0)[1]) == 0


def test_sets_of_labels_are_counted_and_compared_whole():
    labels = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)
    seen = inspect(["x", "X", "x", "y"], labels, NAMES, token_lengths=np.full(4, 3), max_length=8)
    assert seen.class_counts == {"World": 3, "Sports": 2, "Business": 0}
    assert (seen.duplicate_rows, seen.conflicting_rows) == ((2,), (1, 2, 3))
    assert (seen.labels_per_item, seen.without_label) == (1.25, 1)
    assert json.loads(json.dumps(seen.as_dict())) == seen.as_dict()
    assert seen.lines()[0] == "4 items in 3 labels: World 3, Sports 2, Business 0"
    assert "1.25 labels per item; items without any: 1" in seen.lines()
