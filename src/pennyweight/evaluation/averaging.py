"""One answer from several readings of a text."""

from __future__ import annotations

import numpy as np

from pennyweight.evaluation.metrics import log_softmax


def average_copies(logits: np.ndarray, copies: int, *, several: bool = False) -> np.ndarray:
    """Average the probabilities of each text and its copies (test-time augmentation).

    The temperature is applied to the average, as Rahaman & Thiery (2021, arXiv 2007.08792) find best for ensembles.

    Args:
        logits: of each text and, right behind it, its copies, fp32 [texts * (1 + copies), classes].
        copies: copies of each text.
        several: whether a text may have several labels, so that probabilities are sigmoids.

    Returns:
        Logarithm of the mean of the probabilities at temperature 1, or of several labels its log odds, fp32 [texts,
        classes]: logits of the average. Without copies the logits as they are.
    """
    if not copies:
        return logits
    shape = (-1, 1 + copies, logits.shape[1])
    if several:
        scores = logits.astype(np.float64)
        given, not_given = -np.logaddexp(0, -scores), -np.logaddexp(0, scores)
        odds = (np.logaddexp.reduce(one.reshape(shape), axis=1) for one in (given, not_given))
        return np.asarray(np.subtract(*odds), dtype=np.float32)
    logs = log_softmax(logits, 1.0).reshape(shape)
    return np.asarray(np.logaddexp.reduce(logs, axis=1) - np.log(1 + copies), dtype=np.float32)
