from __future__ import annotations

import json

import numpy as np
import pytest

from pennyweight.evaluation.comparison import Bench, all_pairs
from pennyweight.evaluation.intervals import wilson
from pennyweight.evaluation.joint import JointCounts
from pennyweight.evaluation.significance import mcnemar, paired_difference


def bench(right: np.ndarray, groups, **options) -> Bench:
    """Contenders over members who are right where ``right`` [items, members] says, of two classes in turn."""
    truth = np.arange(len(right)) % 2
    joint = JointCounts(2, right.shape[1])
    joint.update(truth, np.where(right, truth[:, None], 1 - truth[:, None]))
    return Bench(joint, [f"c{number}" for number in range(len(groups))], groups, **{"resamples": 1000, **options})


@pytest.fixture(scope="module")
def right():
    """Five members right on 90, 85, 90, 84 and 86 of 100 items, drawn for each item of 600."""
    return np.random.default_rng(4).random((600, 5)) < (0.9, 0.85, 0.9, 0.84, 0.86)


def test_single_classifiers_by_mcnemar(right):
    one = bench(right, [[0], [1]])
    (pair,) = one.pairs([(0, 1)])
    counts = ((right[:, 0] & ~right[:, 1]).sum(), (right[:, 1] & ~right[:, 0]).sum())
    assert (pair.only_first, pair.only_second) == counts
    assert pair.p == pair.p_corrected == mcnemar(*map(int, counts)).mid_p
    assert pair.p_exact == mcnemar(*map(int, counts)).exact
    assert pair.accuracy == paired_difference(*map(int, counts), 600)
    assert one.standing(0, "accuracy") == wilson(int(right[:, 0].sum()), 600)
    assert one.standing(0, "macro_f1").low < one.means["macro_f1"][0] < one.standing(0, "macro_f1").high
    assert pair.test == "McNemar mid-p"


def test_a_pair_mirrored_says_the_same(right):
    pairs = bench(right, [[0], [1]]).pairs([(0, 1), (1, 0)])
    assert pairs[0].accuracy.low == pytest.approx(-pairs[1].accuracy.high)
    assert pairs[0].macro_f1.low == pytest.approx(-pairs[1].macro_f1.high)
    assert pairs[0].p == pairs[1].p
    assert pairs[0].p_corrected == min(1, 2 * pairs[0].p)


def test_the_same_predictions_do_not_differ(right):
    (pair,) = bench(right[:, [0, 0]], [[0], [1]]).pairs([(0, 1)])
    assert (pair.accuracy.value, pair.p, pair.significant) == (0, 1, False)
    assert (pair.macro_f1.low, pair.macro_f1.high) == (0, 0)


def test_seeds_widen_what_items_alone_would_say(right):
    seeded = bench(right, [[0, 1, 2], [3, 4]])
    (pair,) = seeded.pairs([(0, 1)])
    means = right.mean(axis=0)
    assert pair.accuracy.value == pytest.approx(means[:3].mean() - means[3:].mean())
    assert (pair.test, pair.only_first, pair.p_exact) == ("items and seeds", None, None)
    items_alone = right[:, :3].mean(axis=1) - right[:, 3:].mean(axis=1)
    width = 2 * 1.96 * items_alone.std() / np.sqrt(600)
    assert pair.accuracy.high - pair.accuracy.low > 1.1 * width
    standing = seeded.standing(0, "accuracy")
    assert standing.value == pytest.approx(means[:3].mean())
    assert standing.low < standing.value < standing.high


def test_clear_differences_are_called_so_and_json_holds_all(right):
    worse = right.copy()
    worse[:300, 1] = False
    pairs = bench(worse, [[0], [1], [0]]).pairs(all_pairs(3))
    assert [pair.significant for pair in pairs] == [True, False, True]
    assert [(pair.first, pair.second) for pair in pairs] == [("c0", "c1"), ("c0", "c2"), ("c1", "c2")]
    told = json.loads(json.dumps(pairs[0].as_dict()))
    assert told["significant"] is True
    assert told["accuracy"]["low"] > 0.4


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_over_seeds_and_items_cover_the_truth(seeds):
    """In 200 simulated experiments; seeds shift every item's odds, items are right with a probability of their own."""
    generator = np.random.default_rng(seeds)

    def odds(count):
        share = generator.beta(1.8, 0.2, count).clip(1e-9, 1 - 1e-9)
        return np.log(share / (1 - share))

    shares = 1 / (1 + np.exp(-(odds(40_000)[:, None] + generator.normal(0, 0.15, 100))))
    covered = []
    for _ in range(200):
        shifted = odds(400)[:, None] + generator.normal(0, 0.15, seeds)
        drawn = generator.random((400, seeds)) < 1 / (1 + np.exp(-shifted))
        found = bench(drawn, [range(seeds)], resamples=400).standing(0, "accuracy")
        covered.append(found.low <= shares.mean() <= found.high)
    assert np.mean(covered) >= 0.94
