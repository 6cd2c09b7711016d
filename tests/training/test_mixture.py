from __future__ import annotations

import numpy as np
import pytest

from pennyweight.training import mixture
from pennyweight.training.mixture import mixture_logits


def clusters(*, each: int, spread: float, seed: int = 0, hidden: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Texts of three classes around three directions, and their classes."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(3), each)
    return np.eye(hidden)[labels] + spread * generator.normal(size=(len(labels), hidden)), labels


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("shares", [None, np.ones(3) / 3])
def test_one_label_names_a_cluster(shares):
    features, labels = clusters(each=60, spread=0.15)
    for order in ([0, 1, 2], [2, 0, 1]):
        named = [60 * one for one in order]
        logits = mixture_logits(features, features[named], np.arange(3), classes=3, shares=shares)
        assert (logits.argmax(axis=1) == np.argsort(order)[labels]).all()


def test_texts_without_labels_say_more_than_the_nearest_labelled_one():
    features, labels = clusters(each=200, spread=0.3)
    named = [3, 203, 403]
    near = np.linalg.norm(features[:, None] - features[named], axis=2).argmin(axis=1)
    found = mixture_logits(features, features[named], np.arange(3), classes=3, shares=np.ones(3) / 3).argmax(axis=1)
    assert (found == labels).mean() > (near == labels).mean() + 0.05


def test_probabilities_add_up_to_the_shares():
    features, _ = clusters(each=50, spread=0.6)
    shares = np.array([0.5, 0.3, 0.2])
    logits = mixture_logits(features, features[[0, 50, 100]], np.arange(3), classes=3, shares=shares)
    assert softmax(logits).mean(axis=0) == pytest.approx(shares, abs=1e-3)


def test_neither_the_order_of_texts_nor_the_length_of_vectors_counts():
    features, _ = clusters(each=40, spread=0.4)
    labelled, labels = features[[0, 40, 80]], np.arange(3)
    logits = mixture_logits(features, labelled, labels, classes=3)
    order = np.random.default_rng(1).permutation(len(features))
    again = mixture_logits(7 * features[order], 0.1 * labelled, labels, classes=3)
    assert softmax(again) == pytest.approx(softmax(logits)[order], abs=1e-4)


def test_fewer_texts_than_directions_and_all_alike():
    features, _ = clusters(each=2, spread=0.1)
    logits = mixture_logits(features, features[[0, 2, 4]], np.arange(3), classes=3)
    assert logits.argmax(axis=1).tolist() == [0, 0, 1, 1, 2, 2]
    alike = np.ones((5, 24))
    assert np.isfinite(mixture_logits(alike, features[[0, 2, 4]], np.arange(3), classes=3)).all()
    assert mixture_logits(features[:1], features[[0, 2, 4]], np.arange(3), classes=3).shape == (1, 3)


def test_settled_it_is_what_expectation_and_maximisation_leave_alone():
    """Classes in unequal numbers: priors, means and the one variance follow from the shares, and they from those."""
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [60, 25, 15])
    texts = 2.5 * np.eye(3, 4)[labels] + generator.normal(size=(100, 4))
    items, given = 2.5 * np.eye(3, 4), np.eye(3)
    found = mixture._settled(texts, items, given, None)
    both, shares = np.concatenate([texts, items]), np.concatenate([found, given])
    means = shares.T @ both / shares.sum(axis=0)[:, None]
    squares = ((texts[:, None] - means) ** 2).sum(axis=2)
    variance = (found * squares).sum() / (100 * 4)
    np.testing.assert_allclose(found, softmax(np.log(shares.mean(axis=0)) - squares / (2 * variance)), atol=5e-3)


def test_directions_keep_a_power_of_how_much_texts_vary_in_them():
    features = np.random.default_rng(0).normal(size=(50, 6)) * [5, 4, 3, 2, 1, 1]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    sizes = np.linalg.eigvalsh(np.cov(unit.T, bias=True))[::-1]
    found = mixture._leading(features, features[:3])[0]
    np.testing.assert_allclose(np.cov(found.T, bias=True), np.diag(sizes**0.3), atol=1e-8)
