"""From probabilities of texts without labels to labels that are believed; numpy alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.float64]

_ROUNDS = 100
_CLOSE = 1e-4
_TINY = 1e-12


@dataclass(frozen=True)
class Choice:
    """Which texts are believed to be of which class."""

    chosen: NDArray[np.int64]
    """Indices of the texts, ascending."""
    labels: NDArray[np.int64]
    """Their most probable classes, [chosen]."""
    probabilities: Probabilities
    """What is known of each of them, [chosen, classes]."""
    thresholds: Probabilities
    """Least probability that was believed, by class, [classes]."""

    def counts(self) -> NDArray[np.int64]:
        """How many texts of each class were chosen, [classes]."""
        return np.bincount(self.labels, minlength=len(self.thresholds))


def choose(probabilities: Probabilities, *, confidence: float, shares: Probabilities | None = None) -> Choice:
    """Choose the texts whose most probable class is believed.

    Args:
        probabilities: [texts, classes], each row summing to 1.
        confidence: least probability that is believed of the class that is believed most often; 0: every text is.
        shares: how frequent the classes should be, [classes], to align the probabilities with; none: as they are.
    """
    if shares is not None:
        probabilities = aligned(probabilities, shares)
    thresholds = class_thresholds(probabilities, confidence)
    labels = probabilities.argmax(axis=1)
    chosen = np.flatnonzero(probabilities.max(axis=1) >= thresholds[labels])
    return Choice(chosen, labels[chosen], probabilities[chosen], thresholds)


def class_thresholds(probabilities: Probabilities, confidence: float) -> Probabilities:
    """Least probability that is believed, by class, [classes].

    A class with n texts above ``confidence`` where the class with most has N is learnt to the degree b = n / N, and its
    threshold is ``confidence`` · b / (2 - b) (Zhang et al. 2021, FlexMatch, arXiv 2110.08263, equations 6 and 12).
    While more texts are below ``confidence`` than N, that number stands in for N, so that at first all classes are let
    in (equation 11).
    """
    classes = probabilities.shape[1]
    sure = probabilities.max(axis=1) >= confidence
    counts = np.bincount(probabilities.argmax(axis=1)[sure], minlength=classes)
    most = max(counts.max(initial=0), int((~sure).sum()), 1)
    learnt = counts / most
    return np.asarray(confidence * learnt / (2 - learnt))


def aligned(probabilities: Probabilities, shares: Probabilities) -> Probabilities:
    """Probabilities whose mean over the texts is nearly ``shares``, each row summing to 1.

    Each class is scaled by what it should be over what it is, and rows are brought to sum to 1 again (Berthelot et al.
    2020, arXiv 1911.09785), again and again until the means are right or a hundred rounds are over.

    Args:
        probabilities: [texts, classes].
        shares: [classes], summing to 1; a class of share 0 is no one's any more.
    """
    scaled = np.asarray(probabilities, dtype=np.float64)
    for _ in range(_ROUNDS):
        means = scaled.mean(axis=0)
        if np.abs(means - shares).max(initial=0.0) < _CLOSE:
            break
        # Away from 0, so that a row whose only class has a share of 0 still sums to something.
        scaled = np.maximum(scaled * (shares / np.maximum(means, _TINY)), _TINY)
        scaled = scaled / scaled.sum(axis=1, keepdims=True)
    return scaled
