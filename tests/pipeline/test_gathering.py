from __future__ import annotations

import numpy as np
import pytest
from tiny import sentences, write_csv

from pennyweight.console import Speaker
from pennyweight.errors import InputError
from pennyweight.pipeline.gathering import collect_all, gather
from pennyweight.pipeline.preparation import collect

LABELLED, OTHERS = sentences(30), sentences(60)[30:]


@pytest.fixture
def gathered(make_recipe, tmp_path):
    """A function from texts and changes to what is gathered, of 30 labelled items and 3 test items."""
    data = {"source": str(write_csv(tmp_path / "train.csv", LABELLED))}
    data["test"] = str(write_csv(tmp_path / "test.csv", OTHERS[:3]))

    def run(texts, *, wanted=None, **unlabelled):
        source = str(write_csv(tmp_path / "texts.csv", [(text,) for text in texts], header=("text",)))
        recipe = make_recipe(data=data, filter=wanted or {}, unlabelled={"source": source, **unlabelled})
        collected = collect(recipe)
        return collected, *gather(recipe, collected)

    return run


def test_texts_stand_behind_the_items_and_their_copies_behind_them(gathered):
    texts = [text for text, _ in OTHERS[3:13]]
    before, collected, found = gathered(texts, strength=0.5)
    assert found.texts == 10
    assert found.line() == "10 texts without labels"
    assert collected.labelled == 30
    assert collected.unlabelled.tolist() == list(range(30, 40))
    assert collected.views.tolist() == list(range(40, 50))
    assert collected.texts == (*before.texts, *texts, *texts)
    assert collected.cleaned[:40] == (*before.cleaned, *texts)
    assert (collected.labels[30:] == -1).all()
    for part in ("training", "validation", "leaked"):
        assert (getattr(collected, part) == getattr(before, part)).all()
    for text, copy in zip(texts, collected.cleaned[40:], strict=True):
        words = iter(text.split())
        assert all(word in words for word in copy.split())
    assert sum(len(copy.split()) for copy in collected.cleaned[40:]) < 0.8 * sum(len(text.split()) for text in texts)
    assert gathered(texts, strength=0.5)[1].cleaned == collected.cleaned
    assert collected.origin[30:].tolist() == [*range(30, 40)] * 2
    swapped = gathered(texts, strength=0.5, operations=["swap"])[1].cleaned[40:]
    assert all(sorted(copy.split()) == sorted(text.split()) for text, copy in zip(texts, swapped, strict=True))
    assert swapped != tuple(texts)


def test_without_strength_a_text_is_learnt_from_as_it_is(gathered):
    _, collected, _ = gathered([text for text, _ in OTHERS[3:]], strength=0.0)
    assert (collected.views == collected.unlabelled).all()
    assert (collected.labelled, len(collected.texts)) == (30, 57)


def test_what_is_known_leaked_or_repeated_is_left_out_and_counted(gathered):
    known, leaked, new = LABELLED[0][0].upper(), OTHERS[1][0], OTHERS[5][0]
    _, collected, found = gathered([new, known, leaked, new, leaked], strength=0.0)
    assert (found.texts, found.known, found.leaked, found.repeated, found.skipped) == (1, 1, 2, 1, 0)
    assert collected.texts[30:] == (new,)
    assert found.line() == (
        "1 texts without labels; left out: 1 also among the labelled items, 2 in the test data, 1 repeated"
    )


def test_the_limit_counts_rows(gathered):
    texts = [text for text, _ in OTHERS[3:]]
    assert gathered(texts, limit=4, strength=0.0)[2].texts == 4


def test_texts_that_are_all_known_are_refused(gathered):
    with pytest.raises(InputError, match="holds no text that is not in the labelled data already"):
        gathered([LABELLED[0][0]])
    with pytest.raises(InputError, match="holds no text that is not in the test data already"):
        gathered([OTHERS[0][0]])
    with pytest.raises(InputError, match="holds no text that is not in the labelled or test data already"):
        gathered([OTHERS[0][0], LABELLED[0][0]])


def test_empty_texts_stop_the_run(gathered):
    with pytest.raises(InputError, match="row 2: the text is empty"):
        gathered([OTHERS[4][0], " ", OTHERS[5][0]])


def test_without_such_texts_nothing_changes(make_recipe):
    collected = collect(make_recipe())
    same, found = gather(make_recipe(), collected)
    assert same is collected
    assert found is None
    assert len(np.union1d(collected.unlabelled, collected.views)) == 0


def test_what_the_filter_does_not_want_is_left_out_here_too(gathered):
    texts = ["apple", *(text for text, _ in OTHERS[3:13])]
    _, collected, found = gathered(texts, strength=0.0, wanted={"shortest": 2})
    assert (found.texts, found.filtered) == (10, 1)
    assert collected.texts[30:] == tuple(texts[1:])
    assert found.line() == "10 texts without labels; left out: 1 filtered out"
    with pytest.raises(InputError, match=r"filter: no text of unlabelled.source is left \(too short\)"):
        gathered(texts, wanted={"shortest": 99})


def test_groups_stand_beside_their_items(make_recipe, tmp_path):
    rows = [(text, label, str(number % 3)) for number, (text, label) in enumerate(LABELLED)]
    source = write_csv(tmp_path / "grouped.csv", rows, header=("text", "label", "place"))
    texts = write_csv(tmp_path / "texts.csv", [(text,) for text, _ in OTHERS], header=("text",))
    recipe = make_recipe(
        data={"source": str(source), "groups": "place"},
        unlabelled={"source": str(texts), "strength": 0.0},
        augmentation={"copies": 1, "operations": ["swap"]},
    )
    collected, _ = collect_all(recipe, Speaker(enabled=False))
    assert len(collected.groups) == len(collected.texts)
    assert set(collected.groups[30:60]) == {""}
    copies = np.flatnonzero(collected.origin != np.arange(len(collected.texts)))
    assert len(copies) > 20
    assert all(collected.groups[copy] == collected.groups[collected.origin[copy]] for copy in copies)
