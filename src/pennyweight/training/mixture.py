"""Labels for texts from where they lie: a Gaussian component for each class, which labelled texts name; numpy alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pennyweight.training.pseudo_labels import Probabilities, aligned
from pennyweight.training.vectors import unit_vectors

_ROUNDS = 40
_DIMENSIONS = 128
_EXPONENT = 0.35
"""Of a direction's variance, that it is divided by; at 0.5 all directions would count alike."""
_LEAST = 1e-12

Vectors = NDArray[np.float64]


def mixture_logits(
    features: NDArray[np.floating],
    labelled: NDArray[np.floating],
    labels: NDArray[np.int64],
    *,
    classes: int,
    shares: Probabilities | None = None,
) -> NDArray[np.float32]:
    """Logarithms of how probable each class is for each text without a label.

    Expectation–maximisation from the labelled texts' means (Nigam et al. 2000, Machine Learning 39, section 3): every
    class is a Gaussian, all of one variance, in the leading directions of the features; a labelled text stays in its
    class. Few labels suffice where classes are clusters, for they need only name them.

    Args:
        features: of the texts without a label, [texts, hidden].
        labelled: of the labelled texts, [items, hidden].
        labels: their classes, [items]; each class has one at least.
        classes: number of classes.
        shares: how frequent the classes should be, [classes], summing to 1; none: as they turn out to be.

    Returns:
        [texts, classes]; their softmax is the probability.
    """
    believed = _settled(*_leading(features, labelled), np.eye(classes)[labels], shares)
    return np.log(np.maximum(believed, _LEAST)).astype(np.float32)


def _settled(texts: Vectors, items: Vectors, given: Probabilities, shares: Probabilities | None) -> Probabilities:
    """What expectation–maximisation ends with, [texts, classes]; ``given``: the items' classes, [items, classes]."""
    means = _means(given, items)
    variance = _spread(np.ones((len(texts), 1)), texts, texts.mean(axis=0, keepdims=True))
    prior = np.zeros(given.shape[1])
    for _ in range(_ROUNDS):
        believed = _softmax(prior - _squares(texts, means) / (2 * max(variance, _LEAST)))
        if shares is not None:
            believed = aligned(believed, shares)
        else:
            prior = np.log(np.maximum((believed.sum(axis=0) + given.sum(axis=0)) / (len(texts) + len(items)), _LEAST))
        means = _means(np.concatenate([believed, given]), np.concatenate([texts, items]))
        variance = _spread(believed, texts, means)
    return believed


def _leading(features: NDArray[np.floating], labelled: NDArray[np.floating]) -> tuple[Vectors, Vectors]:
    """Both as unit vectors in the leading directions of the first, made more alike in length, [texts, dimensions]."""
    texts, items = unit_vectors(features), unit_vectors(labelled)
    centre = texts.mean(axis=0)
    variances, directions = np.linalg.eigh((texts - centre).T @ (texts - centre) / len(texts))
    count = min(_DIMENSIONS, max(len(texts) - 1, 1), texts.shape[1])
    variances, directions = variances[::-1][:count], directions[:, ::-1][:, :count]
    scaled = directions / np.maximum(variances, _LEAST) ** _EXPONENT
    return (texts - centre) @ scaled, (items - centre) @ scaled


def _means(weights: Probabilities, vectors: Vectors) -> Vectors:
    """Of each class, [classes, dimensions]."""
    return np.asarray((weights.T @ vectors) / np.maximum(weights.sum(axis=0), _LEAST)[:, None])


def _squares(vectors: Vectors, means: Vectors) -> Vectors:
    """Squared distance of each vector to each mean, [vectors, classes]."""
    own, theirs = (vectors**2).sum(axis=1)[:, None], (means**2).sum(axis=1)
    return np.asarray(np.maximum(own + theirs - 2 * vectors @ means.T, 0.0))


def _spread(weights: Probabilities, vectors: Vectors, means: Vectors) -> float:
    """Variance in each direction, one for all."""
    return float((weights * _squares(vectors, means)).sum() / (weights.sum() * vectors.shape[1]))


def _softmax(logits: Vectors) -> Probabilities:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
