"""Text classifiers on an exact parameter budget.

``pennyweight.plan`` counts, ``pennyweight.train`` trains, ``pennyweight.load`` opens what predicts. Importing this
module loads neither torch nor transformers, nor does planning with a backbone known by a short name; the rest does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pennyweight.errors import BudgetError, InputError, Interrupted, PennyweightError, RunError

if TYPE_CHECKING:
    from pennyweight.api import audit, choose, compare, plan, train
    from pennyweight.classifier import Classifier
    from pennyweight.ensemble import Ensemble
    from pennyweight.opening import load

__all__ = [
    "BudgetError",
    "Classifier",
    "Ensemble",
    "InputError",
    "Interrupted",
    "PennyweightError",
    "RunError",
    "audit",
    "choose",
    "compare",
    "load",
    "plan",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in ("audit", "choose", "compare", "plan", "train"):
        from pennyweight import api

        return getattr(api, name)
    if name == "Classifier":
        from pennyweight.classifier import Classifier

        return Classifier
    if name == "Ensemble":
        from pennyweight.ensemble import Ensemble

        return Ensemble
    if name == "load":
        from pennyweight.opening import load

        return load
    raise AttributeError(f"module 'pennyweight' has no attribute {name!r}")
