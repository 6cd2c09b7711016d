"""How logits become probabilities, and these become labels: of one class per item, or of any number of labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pennyweight.evaluation.metrics import log_softmax

Problem = Literal["single-label", "multi-label"]

HALF = 0.5
"""The threshold of a label for which none was tuned."""


@dataclass(frozen=True)
class Decision:
    """From logits to labels, in plain values."""

    problem: Problem = "single-label"
    """`single-label`: each item has one class; `multi-label`: any number of labels, none included."""
    temperature: float = 1.0
    """What logits are divided by before probabilities are read off."""
    thresholds: tuple[float, ...] | None = None
    """Of several labels: the probability from which on each is given, [classes]; none: a half for all."""

    @property
    def several(self) -> bool:
        """Whether an item may have several labels."""
        return self.problem == "multi-label"

    def probabilities(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Of logits [n, classes]: softmax for one class per item, a sigmoid for each of several labels."""
        if self.several:
            return sigmoid(np.asarray(logits, dtype=np.float64) / self.temperature)
        return np.exp(log_softmax(logits, self.temperature))

    def decide(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """What is predicted: class indices [n], or of several labels which are given, bool [n, classes]."""
        if self.several:
            return np.asarray(probabilities >= (HALF if self.thresholds is None else np.asarray(self.thresholds)))
        return np.asarray(probabilities.argmax(axis=1))

    def confidence(self, probabilities: NDArray[Any], decided: NDArray[Any]) -> NDArray[np.float64]:
        """Probability of what was decided, [n]; of several labels that all are as decided, were they independent."""
        if self.several:
            return np.asarray(np.where(decided, probabilities, 1 - probabilities).prod(axis=1))
        return np.asarray(probabilities[np.arange(len(decided)), decided])

    def right(self, decided: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.bool_]:
        """Where the decision is the truth, bool [n]; of several labels where all of them are."""
        return np.asarray((decided == truth).all(axis=1) if self.several else decided == truth)


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + e^-x) without overflow, and without losing what is near 0."""
    tail = np.exp(-np.abs(logits))
    return np.asarray(np.where(logits >= 0, 1.0, tail) / (1.0 + tail))


def tune_thresholds(probabilities: ArrayLike, labels: ArrayLike) -> tuple[float, ...]:
    """For each label the threshold of the best F1 on some items, halfway between the probabilities on either side.

    Of equally good ones that nearest to a half is taken; a label that no item has keeps a half.

    Args:
        probabilities: float [n, classes], of items that the model was not trained on.
        labels: which labels apply, bool [n, classes].
    """
    shares, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=bool)
    if shares.shape != truth.shape or shares.ndim != 2:
        raise ValueError(f"probabilities of shape {shares.shape} with labels of shape {truth.shape}")
    return tuple(_best_threshold(shares[:, index], truth[:, index]) for index in range(shares.shape[1]))


def _best_threshold(shares: NDArray[np.float64], truth: NDArray[np.bool_]) -> float:
    if not truth.any():
        return HALF
    order = np.argsort(-shares, kind="stable")
    falling, hits = shares[order], np.cumsum(truth[order])
    given = np.arange(1, len(falling) + 1)
    below = np.append(falling[1:], 0.0)
    scores = np.where(falling > below, 2 * hits / (given + truth.sum()), -1.0)
    middles = (falling + below) / 2
    best = np.flatnonzero(scores >= scores.max() - 1e-12)
    if scores.max() <= 0:  # all items share one probability, and it is 0
        return HALF
    return float(middles[best[np.abs(middles[best] - HALF).argmin()]])


def check_sets(logits: ArrayLike, labels: ArrayLike, classes: int | None = None) -> None:
    """Raises ValueError unless both are [n, classes] and the labels are truth values."""
    scores, truth = np.shape(logits), np.asarray(labels)
    if len(scores) != 2 or truth.shape != scores or truth.dtype != np.bool_ or scores[1] != (classes or scores[1]):
        raise ValueError(
            f"logits of shape {scores} with labels of shape {truth.shape} and type {truth.dtype}; need [n, classes] "
            "for both, the labels as truth values"
        )
