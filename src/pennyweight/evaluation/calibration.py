"""One number that makes confidences honest: the temperature."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from pennyweight.evaluation.decisions import check_sets
from pennyweight.evaluation.metrics import check_logits, log_softmax

BOUNDS = (0.05, 20.0)
"""Temperatures that are considered at all."""


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature T that minimises the negative log likelihood of softmax(logits / T).

    Source: Guo et al., "On calibration of modern neural networks", ICML 2017. The likelihood has no maximum where every
    item is classified rightly: ever smaller temperatures would fit ever better. So the targets are softened as Platt
    ("Probabilistic outputs for support vector machines", 1999) softens his: one item's worth of weight among n + 1 is
    spread evenly over the classes. The effect vanishes as 1/n.

    Of several labels per item it is the likelihood of sigmoid(logits / T), each label of each item for itself.

    Args:
        logits: float [n, k], of data that the model was not trained on.
        labels: int [n], or of several labels which ones apply, bool [n, k].

    Returns:
        T within `BOUNDS`; 1.0 where there are no items or the logits are all the same.

    Raises:
        RunError: a logit is not finite.
        ValueError: shapes or labels that do not fit each other.
    """
    if np.ndim(labels) == 2:
        return _fit_sigmoid(logits, labels)
    scores, classes = check_logits(logits, labels)
    items = len(classes)
    if not items or not np.ptp(scores, axis=1).any():
        return 1.0
    spread = 1 / (items + 1)

    def loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(scores, math.exp(log_temperature))
        of_label = log_probabilities[np.arange(items), classes].mean()
        return -float((1 - spread) * of_label + spread * log_probabilities.mean())

    return _minimum(loss)


def _fit_sigmoid(logits: ArrayLike, labels: ArrayLike) -> float:
    """`fit_temperature` for several labels per item."""
    check_sets(logits, labels)
    scores = np.asarray(logits, dtype=np.float64)
    check_logits(scores, np.zeros(len(scores), dtype=np.int64))  # that they are finite
    if not scores.any():
        return 1.0
    spread = 1 / (len(scores) + 1)
    targets = (1 - spread) * np.asarray(labels) + spread / 2

    def loss(log_temperature: float) -> float:
        scaled = scores / math.exp(log_temperature)
        return float((np.logaddexp(0, scaled) - targets * scaled).mean())

    return _minimum(loss)


def _minimum(loss: Callable[[float], float]) -> float:
    """The temperature within `BOUNDS` whose logarithm minimises ``loss``."""
    found = minimize_scalar(loss, bounds=(math.log(BOUNDS[0]), math.log(BOUNDS[1])), method="bounded")
    return float(np.clip(math.exp(found.x), *BOUNDS))
