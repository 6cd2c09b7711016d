"""A linear head fitted to vectors that stand still: logistic regression, a convex problem with one answer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def fit_probe(
    features: NDArray[np.floating], targets: NDArray[np.floating], *, strength: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The linear head that minimises mean cross-entropy plus |W|² / (2 · strength · items), W for vectors of length 1.

    Vectors are divided by the root mean square of their lengths before they are fitted, and the head's matrix
    afterwards, so that ``strength`` means the same for every backbone.

    Args:
        features: [items, hidden].
        targets: shares of each class, rows sum to 1, [items, classes].
        strength: how far the matrix may go, as the C of scikit-learn's logistic regression.

    Returns:
        The head's matrix [classes, hidden] and bias [classes].
    """
    from scipy.optimize import minimize

    items, classes = targets.shape
    scale = float(np.sqrt((features.astype(np.float64) ** 2).sum(axis=1).mean())) or 1.0
    inputs = np.concatenate([features.astype(np.float64) / scale, np.ones((items, 1))], axis=1)
    shares = targets.astype(np.float64)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights = flat.reshape(classes, -1)
        logits = inputs @ weights.T
        logits -= logits.max(axis=1, keepdims=True)
        log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        penalised = weights.copy()
        penalised[:, -1] = 0.0  # the bias is free
        value = -(shares * log_p).sum() / items + (penalised**2).sum() / (2 * strength * items)
        gradient = (np.exp(log_p) - shares).T @ inputs / items + penalised / (strength * items)
        return float(value), gradient.ravel()

    found = minimize(loss, np.zeros(classes * inputs.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    weights = found.x.reshape(classes, -1)
    return (weights[:, :-1] / scale).astype(np.float32), weights[:, -1].astype(np.float32)
