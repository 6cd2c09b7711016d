from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pennyweight.evaluation.metrics import log_softmax
from pennyweight.evaluation.pooling import FLOOR, fit_stacking, fit_weights, mixture


def drawn(*, members=3, items=400, classes=4, seed=0, noise=(1.0, 2.0, 4.0)):
    """Members that see the truth through noise, the first most clearly."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(classes, size=items)
    clear = 3 * np.eye(classes)[labels]
    seen = [clear + generator.normal(size=(items, classes)) * noise[member % 3] for member in range(members)]
    return np.stack([log_softmax(logits) for logits in seen]), labels


def loss(logs, labels) -> float:
    return -float(logs[np.arange(len(labels)), labels].mean())


def test_a_mixture_is_the_weighted_mean_of_probabilities():
    logs, _ = drawn()
    weights = np.array([0.2, 0.5, 0.3])
    expected = sum(weight * np.exp(own) for weight, own in zip(weights, logs, strict=True))
    mixed = mixture(logs, weights)
    np.testing.assert_allclose(np.exp(mixed), expected, rtol=1e-12)
    np.testing.assert_allclose(np.exp(mixed).sum(axis=1), 1)


def test_a_mixture_of_one_is_that_one_to_the_last_bit():
    logs, _ = drawn(members=1)
    np.testing.assert_array_equal(mixture(logs, np.ones(1)), logs[0])
    np.testing.assert_allclose(mixture(np.stack([logs[0]] * 3), np.full(3, 1 / 3)), logs[0], rtol=1e-12)


def test_a_mixture_stays_finite_where_a_probability_vanishes():
    logs = np.array([[[0.0, -2000.0]], [[-2000.0, 0.0]]])
    mixed = mixture(logs, np.array([1.0, 0.0]))
    assert np.isfinite(mixed).all()
    assert mixed[0, 0] == 0
    np.testing.assert_allclose(mixture(logs, np.array([0.5, 0.5])), np.log(0.5))


def test_fitted_weights_are_the_best_convex_ones():
    logs, labels = drawn()
    weights = fit_weights(logs, labels)
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    best = loss(mixture(logs, weights), labels)
    generator = np.random.default_rng(1)
    others = [*np.eye(3), np.full(3, 1 / 3), *generator.dirichlet(np.ones(3), size=200)]
    assert all(best <= loss(mixture(logs, other), labels) + 1e-7 for other in others)


def test_a_useless_member_gets_no_weight_and_twins_get_the_same():
    logs, labels = drawn(members=1)
    misled = np.roll(logs, 1, axis=2)
    np.testing.assert_allclose(fit_weights(np.concatenate([logs, misled]), labels), [1, 0], atol=1e-3)
    np.testing.assert_allclose(fit_weights(np.concatenate([logs, logs]), labels), [0.5, 0.5], atol=1e-6)


def test_weights_of_one_member_and_of_one_item():
    logs, labels = drawn(members=1)
    assert fit_weights(logs, labels).tolist() == [1.0]
    logs, labels = drawn(items=1)
    best = int(logs[:, 0, labels[0]].argmax())
    assert fit_weights(logs, labels).argmax() == best


def test_stacking_is_scikit_learns_logistic_regression():
    logs, labels = drawn(items=300)
    columns = np.maximum(np.concatenate(list(logs), axis=1), FLOOR)
    reference = LogisticRegression(C=1.0, tol=1e-10, max_iter=10_000).fit(columns, labels)
    found = fit_stacking(logs, labels)
    np.testing.assert_allclose(np.exp(found.apply(logs)), reference.predict_proba(columns), atol=1e-5)


def test_stacking_learns_that_a_member_mixes_up_the_classes():
    logs, labels = drawn(members=1, noise=(0.5, 0.5, 0.5))
    turned = np.roll(logs, 1, axis=2)
    found = fit_stacking(turned, labels).apply(turned)
    assert (found.argmax(axis=1) == labels).mean() == (logs[0].argmax(axis=1) == labels).mean() > 0.95


def test_stacking_never_sees_a_class_and_still_answers():
    logs, labels = drawn(items=50)
    found = fit_stacking(logs, np.zeros_like(labels)).apply(logs)
    assert np.isfinite(found).all()
    assert (found.argmax(axis=1) == 0).all()
