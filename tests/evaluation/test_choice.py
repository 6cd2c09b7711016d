from __future__ import annotations

import json

import numpy as np
import pytest

from pennyweight.evaluation.choice import Cell, choose

CELLS = (Cell("val", "clean", 3.0), Cell("val", "typos", 1.0))
SCORES = np.array([[0.95, 0.60], [0.90, 0.80], [0.89, 0.795]])


def chosen(by, *, spread=0.002, scores=SCORES):
    generator = np.random.default_rng(0)
    drawn = scores + generator.normal(0, spread, size=(2000, *scores.shape))
    return choose(
        ["sharp", "steady", "third"],
        scores,
        drawn,
        cells=CELLS,
        by=by,
        metric="accuracy",
        items={"val": 500},
        left_out={"val": 0},
    )


@pytest.mark.parametrize(
    ("by", "name", "score"), [("worst", "steady", 0.80), ("mean", "steady", 0.85), ("weighted", "steady", 0.875)]
)
def test_by_hand(by, name, score):
    choice = chosen(by)
    assert (choice.chosen.name, choice.chosen.score.value) == (name, pytest.approx(score))
    assert choice.chosen.score.low < score < choice.chosen.score.high


def test_weights_may_turn_the_choice():
    heavy = (Cell("val", "clean", 9.0), Cell("val", "typos", 1.0))
    choice = choose(
        ["sharp", "steady"],
        SCORES[:2],
        np.tile(SCORES[:2], (100, 1, 1)),
        cells=heavy,
        by="weighted",
        metric="accuracy",
        items={"val": 1},
        left_out={"val": 0},
    )
    assert choice.chosen.name == "sharp"
    assert choice.chosen.score.value == pytest.approx(0.915)


def test_says_where_each_is_weak_and_whom_it_is_not_told_apart_from():
    choice = chosen("worst")
    assert [one.name for one in choice.candidates] == ["steady", "third", "sharp"]
    assert all(one.worst == "typos on val" for one in choice.candidates)
    assert choice.tied == ("third",)
    assert "not shown to be better than third" in choice.why
    assert choice.chosen.behind is None
    assert choice.candidates[2].behind.value == pytest.approx(0.2)
    told = json.loads(json.dumps(choice.as_dict()))
    assert (told["chosen"], told["significant"], told["tied"]) == ("steady", False, ["third"])
    assert told["weights"] == {"clean on val": 3.0, "typos on val": 1.0}
    sure = chosen("worst", spread=0.0001)
    assert sure.tied == ()
    assert "better than every other by more than chance" in sure.why


def test_equal_candidates_leave_the_first():
    choice = chosen("mean", scores=np.full((3, 2), 0.5))
    assert choice.chosen.name == "sharp"
    assert choice.tied == ("steady", "third")
