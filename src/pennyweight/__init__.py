"""Text classifiers on an exact parameter budget.

``pennyweight.plan`` counts, ``pennyweight.train`` trains, ``pennyweight.Classifier`` predicts. Importing this module
loads neither torch nor transformers, and neither does planning with a backbone known by a short name; the rest does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pennyweight.errors import BudgetError, InputError, Interrupted, PennyweightError, RunError

if TYPE_CHECKING:
    from pennyweight.api import audit, choose, compare, plan, train
    from pennyweight.classifier import Classifier

__all__ = [
    "BudgetError",
    "Classifier",
    "InputError",
    "Interrupted",
    "PennyweightError",
    "RunError",
    "audit",
    "choose",
    "compare",
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
    raise AttributeError(f"module 'pennyweight' has no attribute {name!r}")
