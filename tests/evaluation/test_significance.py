from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from pennyweight.evaluation.significance import (
    bootstrap_p,
    holm,
    mcnemar,
    over_seeds,
    paired_difference,
    percentile_interval,
    two_way,
)


@pytest.mark.parametrize(
    ("only_first", "only_second", "exact", "mid_p"),
    [
        (1, 9, 22 / 1024, 12 / 1024),
        (1, 7, 18 / 256, 10 / 256),  # Fagerland et al. (2013): 0.070 and 0.039
        (0, 6, 2 / 64, 1 / 64),
        (5, 5, 1, 1),
        (0, 1, 1, 0.5),
        (0, 0, 1, 1),
    ],
)
def test_mcnemar_by_hand(only_first, only_second, exact, mid_p):
    found = mcnemar(only_first, only_second)
    assert (found.exact, found.mid_p) == pytest.approx((exact, mid_p))
    mirrored = mcnemar(only_second, only_first)
    assert (mirrored.exact, mirrored.mid_p) == pytest.approx((exact, mid_p))


@pytest.mark.parametrize(("first", "second"), [(3, 11), (40, 65), (700, 640)])
def test_the_exact_p_is_the_binomial_test(first, second):
    assert mcnemar(first, second).exact == pytest.approx(stats.binomtest(first, first + second).pvalue)
    assert mcnemar(first, second).mid_p < mcnemar(first, second).exact


def test_mcnemar_refuses_what_is_no_count():
    with pytest.raises(ValueError, match="-1"):
        mcnemar(-1, 3)


def test_paired_difference_by_hand():
    found = paired_difference(1, 7, 21)
    assert found.value == pytest.approx(-6 / 21)
    half = 1.959964 * np.sqrt((10 / 23 - (6 / 23) ** 2) / 23)
    assert (found.low, found.high) == pytest.approx((-6 / 23 - half, -6 / 23 + half), abs=1e-6)
    mirrored = paired_difference(7, 1, 21)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_nothing_differing_is_not_certainty():
    few, many = paired_difference(0, 0, 10), paired_difference(0, 0, 10_000)
    assert few.value == 0
    assert few.low < many.low < 0 < many.high < few.high
    every = paired_difference(4, 0, 4)
    assert (every.value, every.high) == (1, 1)
    assert every.low < 1


def test_paired_difference_covers_what_it_should():
    """Of 2,000 samples of 200 items, about 95 % have the true difference in their interval."""
    generator = np.random.default_rng(5)
    draws = generator.multinomial(200, (0.12, 0.08, 0.8), size=2000)
    inside = [paired_difference(int(a), int(b), 200) for a, b, _ in draws]
    share = np.mean([one.low <= 0.04 <= one.high for one in inside])
    assert share == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("first", "second", "items"), [(3, 3, 5), (0, 0, 0), (-1, 1, 5)])
def test_paired_difference_refuses_impossible_counts(first, second, items):
    with pytest.raises(ValueError, match="items"):
        paired_difference(first, second, items)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert holm([0.6, 0.7]) == (1.0, 1.0)
    assert holm([0.02]) == (0.02,)
    assert holm([]) == ()


def test_holm_never_lowers_a_p_and_keeps_their_order():
    p_values = np.random.default_rng(1).random(40) ** 3
    corrected = np.array(holm(p_values.tolist()))
    assert (corrected >= p_values).all()
    assert (np.diff(corrected[np.argsort(p_values)]) >= 0).all()


def test_bootstrap_p():
    assert bootstrap_p(np.ones(999)) == pytest.approx(2 / 1000)
    assert bootstrap_p(np.zeros(999)) == 1
    assert bootstrap_p([-1] * 9 + [1] * 990) == pytest.approx(20 / 1000)


def test_percentiles_of_a_known_sample():
    found = percentile_interval(7, np.arange(1001))
    assert (found.value, found.low, found.high) == (7, 25, 975)


def test_over_seeds_by_hand():
    found = over_seeds([1, 2, 3, 4])
    assert (found.mean, found.deviation) == pytest.approx((2.5, np.sqrt(5 / 3)))
    assert found.high - found.mean == pytest.approx(3.182446 * np.sqrt(5 / 3) / 2, abs=1e-6)
    assert found.mean - found.low == pytest.approx(found.high - found.mean)
    assert found.values == (1, 2, 3, 4)
    bounded = over_seeds([0.02, 0.98], least=0, most=1)
    assert (bounded.low, bounded.mean, bounded.high) == (0, 0.5, 1)
    with pytest.raises(ValueError, match="two at least"):
        over_seeds([0.5])


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_where_only_seeds_vary_it_is_the_t_interval(seeds):
    values = np.array([0.80, 0.86, 0.83, 0.90, 0.81])[:seeds]
    drawn = two_way(np.tile(values, (200_000, 1)), [range(seeds), [1]])
    found, expected = percentile_interval(values.mean(), drawn[:, 0]), over_seeds(values.tolist())
    half = expected.high - expected.mean
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.04 * half)
    assert (drawn[:, 1] == 0.86).all()


def test_items_and_seeds_add_up():
    generator = np.random.default_rng(3)
    items = generator.normal(0, 0.01, size=(100_000, 1))
    values = generator.normal(0.8, 0.05, size=30)
    drawn = two_way(items + values, [range(30)])
    assert drawn.var() == pytest.approx(0.01**2 + values.var(ddof=1) / 30 * 29 / 27, rel=0.03)


def test_groups_of_the_same_key_draw_the_same_seeds():
    scores = np.tile([0.1, 0.2, 0.3, 1.1, 1.2, 1.3], (500, 1))
    together = two_way(scores, [range(3), range(3, 6)], keys=[4, 4])
    np.testing.assert_allclose(together[:, 1] - together[:, 0], 1.0)
    apart = two_way(scores, [range(3), range(3, 6)])
    assert np.ptp(apart[:, 1] - apart[:, 0]) > 0
