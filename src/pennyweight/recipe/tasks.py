"""What goes with which kind of task."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel

_ONE_CLASS_ONLY = (
    ("objective", "contrastive_epochs"),
    ("head", "start"),
    ("filter", "label_noise"),
    ("unlabelled", "source"),
    ("augmentation", "balance"),
    ("training", "sampler"),
)
"""Section and key of what is made for one class per text."""
_SEVERAL_ONLY = (("data", "label_separator"), ("evaluation", "thresholds"))
"""Section and key of what has a meaning for several labels per text alone."""


def require_task_fits(sections: Mapping[str, BaseModel], task: str, metric: str) -> None:
    """Raises ValueError where a key is changed from its default that the task has no use for.

    Args:
        sections: a recipe's sections by name.
        task: ``single-label`` or ``multi-label``.
        metric: the metric that picks the best weights.
    """
    if task == "single-label" and metric == "micro_f1":
        raise ValueError("training.metric = micro_f1 is the accuracy where a text has one class: say accuracy")
    other = "single-label" if task == "multi-label" else "multi-label"
    for section, key in _ONE_CLASS_ONLY if task == "multi-label" else _SEVERAL_ONLY:
        part = sections[section]
        if getattr(part, key) != type(part).model_fields[key].default:
            raise ValueError(f"{section}.{key} has a meaning with data.task = '{other}' alone: leave it out")
