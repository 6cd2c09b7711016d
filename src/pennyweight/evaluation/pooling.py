"""One answer from several: pools of predicted probabilities, and how they are fitted to labelled items.

Everything works on log probabilities, [members, items, classes], and yields log probabilities, [items, classes]. Where
items have several labels, each label of each of them is an item here, of the two classes no and yes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pennyweight.evaluation.metrics import log_softmax

_Floats = NDArray[np.float64]
_Counts = NDArray[np.int64]

FLOOR = -30.0
"""Least log probability that stacking looks at, so that one member's certainty cannot outweigh all else."""
PENALTY = 1.0
"""Weight of half the sum of stacking's squared coefficients, beside the sum of log losses: scikit-learn's C = 1."""


@dataclass(frozen=True)
class Stacking:
    """A multinomial logistic regression on the members' log probabilities (Wolpert 1992, "Stacked generalization")."""

    coefficients: _Floats
    """[members · classes, classes]."""
    intercepts: _Floats
    """[classes]."""

    def apply(self, members: _Floats) -> _Floats:
        """Log probabilities [items, classes] of the members' [members, items, classes]."""
        return log_softmax(_columns(members) @ self.coefficients + self.intercepts)


def mixture(members: _Floats, weights: _Floats) -> _Floats:
    """Log of the weighted mean of probabilities.

    The mean is taken of probabilities and not of their logarithms: a member that rules a class out wrongly then cannot
    rule it out for all, and the likelihood of the weights has one maximum.

    Args:
        members: log probabilities, [members, items, classes].
        weights: at least 0, summing to 1, [members].
    """
    top = members.max(axis=0)
    with np.errstate(divide="ignore"):  # where the only members with a weight give a class no chance at all
        mixed: _Floats = np.log(np.einsum("m,mnk->nk", weights, np.exp(members - top))) + top
    return np.maximum(mixed, np.log(np.finfo(np.float64).tiny))


def fit_weights(members: _Floats, labels: _Counts) -> _Floats:
    """The weights of `mixture`, [members], under which labelled items are likeliest.

    The log likelihood is concave in the weights (Smyth and Wolpert 1999, "Linearly combining density estimators via
    stacking"), so that what is found is the best there is. Of members that are the same, each gets the same.

    Args:
        members: log probabilities, [members, items, classes], of items that no member was trained on.
        labels: the items' classes, [items]; at least one.
    """
    from scipy.optimize import minimize

    count = len(members)
    of_label = members[:, np.arange(len(labels)), labels]
    shares = np.exp(of_label - of_label.max(axis=0))  # [members, items], the factors taken out change no optimum

    def loss(weights: _Floats) -> tuple[float, _Floats]:
        mixed = np.maximum(weights @ shares, np.finfo(np.float64).tiny)
        return -float(np.log(mixed).mean()), -(shares / mixed).mean(axis=1)

    found = minimize(
        loss,
        np.full(count, 1 / count),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * count,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    kept = np.clip(found.x, 0.0, None)
    kept[kept < 1e-6] = 0.0
    return np.asarray(kept / kept.sum())


def fit_stacking(members: _Floats, labels: _Counts) -> Stacking:
    """Fit a `Stacking` to labelled items: least log loss and half the squared coefficients, which is convex.

    Args:
        members: log probabilities, [members, items, classes], of items that no member was trained on.
        labels: the items' classes, [items]; at least one.
    """
    from scipy.optimize import minimize

    columns, classes = _columns(members), members.shape[2]
    inner = columns.shape[1] * classes
    truth = np.eye(classes)[labels]

    def loss(parameters: _Floats) -> tuple[float, _Floats]:
        coefficients, intercepts = parameters[:inner].reshape(-1, classes), parameters[inner:]
        logs = log_softmax(columns @ coefficients + intercepts)
        outer = np.exp(logs) - truth
        value = -float((logs * truth).sum()) + PENALTY / 2 * float((coefficients**2).sum())
        gradient = columns.T @ outer + PENALTY * coefficients
        return value / len(labels), np.concatenate([gradient.ravel(), outer.sum(axis=0)]) / len(labels)

    start = np.zeros(inner + classes)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-14, "gtol": 1e-8})
    return Stacking(found.x[:inner].reshape(-1, classes), found.x[inner:])


def _columns(members: _Floats) -> _Floats:
    """[members, items, classes] as [items, members · classes]."""
    clipped = np.maximum(members, FLOOR)
    return np.moveaxis(clipped, 0, 1).reshape(members.shape[1], -1)
