from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pennyweight.training.probe import fit_probe


def clouds(items: int = 60, hidden: int = 7, classes: int = 3, *, seed: int = 0):
    generator = np.random.default_rng(seed)
    labels = np.arange(items) % classes
    centres = generator.normal(size=(classes, hidden))
    return (3 * (centres[labels] + generator.normal(size=(items, hidden)))).astype(np.float32), labels


@pytest.mark.parametrize("strength", [0.1, 1.0, 30.0])
def test_it_is_scikit_learns_logistic_regression(strength):
    features, labels = clouds()
    weight, bias = fit_probe(features, np.eye(3)[labels], strength=strength)
    scale = np.sqrt((features**2).sum(axis=1).mean())
    peer = LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(features / scale, labels)
    ours = features @ weight.T + bias
    theirs = peer.decision_function(features / scale)
    centred = [one - one.mean(axis=1, keepdims=True) for one in (ours, theirs)]
    np.testing.assert_allclose(centred[0], centred[1], atol=2e-2 * np.abs(theirs).max())


def test_the_unit_of_the_vectors_does_not_matter():
    features, labels = clouds()
    logits = []
    for unit in (1.0, 1e-3, 1e3):
        weight, bias = fit_probe(unit * features, np.eye(3)[labels], strength=10)
        logits.append(unit * features @ weight.T + bias)
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-2)
    np.testing.assert_allclose(logits[2], logits[0], atol=1e-2)


def test_without_anything_to_tell_classes_by_it_says_how_frequent_they_are():
    targets = np.eye(3)[[0, 0, 0, 1, 1, 2]]
    weight, bias = fit_probe(np.zeros((6, 4)), targets, strength=1)
    assert not weight.any()
    shares = np.exp(bias) / np.exp(bias).sum()
    assert shares.tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 6], abs=1e-3)


def test_shares_are_fitted_as_well_as_labels():
    targets = np.tile([0.7, 0.2, 0.1], (5, 1))
    weight, bias = fit_probe(np.ones((5, 4)), targets, strength=1e6)
    logits = weight.sum(axis=1) + bias
    assert (np.exp(logits) / np.exp(logits).sum()).tolist() == pytest.approx([0.7, 0.2, 0.1], abs=1e-3)
