from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from pennyweight.evaluation.intervals import bootstrap_f1
from pennyweight.evaluation.joint import JointCounts, resample, score
from pennyweight.evaluation.label_codes import LabelCodes
from pennyweight.evaluation.metrics import StreamingMetrics


@pytest.fixture(scope="module")
def answers():
    """Truth [400] and predictions of three members [400, 3] that are right 80, 75 and 60 times of 100."""
    generator = np.random.default_rng(2)
    truth = generator.choice(4, size=400, p=(0.5, 0.3, 0.15, 0.05))
    wrong = (truth[:, None] + generator.integers(1, 4, size=(400, 3))) % 4
    predicted = np.where(generator.random((400, 3)) < (0.8, 0.75, 0.6), truth[:, None], wrong)
    return truth, predicted


def counted(truth, predicted, *, classes=4, parts=1):
    joint = JointCounts(classes, predicted.shape[1])
    for some in np.array_split(np.arange(len(truth)), parts):
        joint.update(truth[some], predicted[some])
    return joint


def test_parts_add_up_to_the_whole(answers):
    whole, parts = counted(*answers), counted(*answers, parts=7)
    assert parts.items == whole.items == 400
    for one, other in zip(whole.cells(), parts.cells(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert whole.cells()[2].sum() == 400


def test_counts_are_those_of_the_items(answers):
    truth, predicted = answers
    joint = counted(*answers, parts=3)
    right = predicted == truth[:, None]
    np.testing.assert_array_equal(joint.right(), right.sum(axis=0))
    assert joint.only_right(0, 2) == ((right[:, 0] & ~right[:, 2]).sum(), (right[:, 2] & ~right[:, 0]).sum())
    assert joint.agreement(0, 1) == pytest.approx((predicted[:, 0] == predicted[:, 1]).mean())
    joint.update([3], [[3, 0, 0]])
    assert joint.right()[0] == right[:, 0].sum() + 1


def test_scores_are_those_of_scikit_learn_and_of_the_metrics(answers):
    truth, predicted = answers
    found = score(counted(*answers))
    for member in range(3):
        expected = f1_score(truth, predicted[:, member], average="macro")
        metrics = StreamingMetrics("abcd")
        metrics.update(np.eye(4)[predicted[:, member]], truth)
        assert found.macro_f1[member] == pytest.approx(expected)
        assert found.macro_f1[member] == pytest.approx(metrics.result(resamples=100).macro_f1.value)
        assert found.accuracy[member] == pytest.approx((predicted[:, member] == truth).mean())


def test_resamples_spread_as_items_do(answers):
    truth, predicted = answers
    drawn = resample(counted(*answers), resamples=4000)
    right = predicted == truth[:, None]
    np.testing.assert_allclose(drawn.accuracy.mean(axis=0), right.mean(axis=0), atol=0.003)
    np.testing.assert_allclose(drawn.accuracy.std(axis=0), right.std(axis=0) / 20, rtol=0.05)
    # Both members meet the same items: their difference spreads as the paired one does.
    paired = (right[:, 0].astype(float) - right[:, 1]).std() / 20
    assert (drawn.accuracy[:, 0] - drawn.accuracy[:, 1]).std() == pytest.approx(paired, rel=0.05)


def test_macro_f1_resampled_as_its_own_interval_is(answers):
    truth, predicted = answers
    confusion = np.zeros((5, 5), dtype=np.int64)  # the fifth class never occurs
    np.add.at(confusion, (truth, predicted[:, 1]), 1)
    own, _ = bootstrap_f1(confusion, resamples=4000)
    joint = counted(truth, predicted, classes=5)
    low, high = np.quantile(resample(joint, resamples=4000).macro_f1[:, 1], (0.025, 0.975))
    assert score(joint).macro_f1[1] == pytest.approx(own.value)
    assert (low, high) == pytest.approx((own.low, own.high), abs=0.006)


def test_same_seed_same_draws(answers):
    joint = counted(*answers)
    one, same, other = (resample(joint, resamples=50, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.accuracy, same.accuracy)
    assert (one.accuracy != other.accuracy).any()


def test_parts_of_bounded_size_are_the_same_kind_of_draw(answers, monkeypatch):
    joint = counted(*answers)
    monkeypatch.setattr("pennyweight.evaluation.joint._CELLS_PER_DRAW", 1)
    drawn = resample(joint, resamples=30)
    assert drawn.accuracy.shape == drawn.macro_f1.shape == (30, 3)
    assert len(np.unique(drawn.accuracy[:, 0])) > 10


@pytest.mark.parametrize(("truth", "predicted"), [([0], [[4]]), ([0], [[-1]]), ([0], [[0, 1]])])
def test_what_does_not_fit_is_refused(truth, predicted):
    with pytest.raises(ValueError, match=r"classes|members"):
        JointCounts(4, 1).update(truth, predicted)


@pytest.fixture(scope="module")
def sets():
    """True labels [300, 9] and those that two members give [300, 9], of which the last label never occurs."""
    generator = np.random.default_rng(6)
    truth = generator.random((300, 9)) < 0.2
    truth[:, 8] = False
    return truth, [truth ^ (generator.random((300, 9)) < share) for share in (0.02, 0.08)]


def coded(truth, given, *, parts):
    codes = LabelCodes(9)
    joint = JointCounts(9, 2, codes=codes)
    for some in np.array_split(np.arange(len(truth)), parts):
        joint.update(codes.encode(truth[some]), np.column_stack([codes.encode(one[some]) for one in given]))
    return joint, codes


def test_sets_of_labels_are_counted_by_number(sets):
    truth, given = sets
    joint, codes = coded(truth, given, parts=4)
    np.testing.assert_array_equal(codes.table()[codes.encode(truth)], truth)
    assert len(codes) == len(np.unique(np.concatenate([truth, *given]), axis=0))
    right = np.array([(one == truth).all(axis=1) for one in given])
    np.testing.assert_array_equal(joint.right(), right.sum(axis=1))
    assert joint.only_right(0, 1) == ((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum())


def test_scores_of_sets_are_those_of_scikit_learn(sets):
    truth, given = sets
    found = score(coded(truth, given, parts=1)[0])
    again = score(coded(truth, given, parts=5)[0])
    for member, one in enumerate(given):
        assert found.accuracy[member] == pytest.approx((one == truth).all(axis=1).mean())
        assert found.macro_f1[member] == pytest.approx(f1_score(truth, one, average="macro", zero_division=0))
    np.testing.assert_allclose(found.macro_f1, again.macro_f1)
    drawn = resample(coded(truth, given, parts=1)[0], resamples=1000)
    np.testing.assert_allclose(drawn.accuracy.mean(axis=0), found.accuracy, atol=0.01)
    np.testing.assert_allclose(drawn.macro_f1.mean(axis=0), found.macro_f1, atol=0.01)


@pytest.mark.parametrize("sets", [np.zeros((2, 8), dtype=bool), np.zeros((2, 9)), np.zeros(9, dtype=bool)])
def test_what_is_no_set_is_refused(sets):
    with pytest.raises(ValueError, match="need truth values"):
        LabelCodes(9).encode(sets)
