"""Which metrics go with which kind of task: one class per item, or several labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pennyweight.evaluation.decisions import Decision
from pennyweight.evaluation.label_metrics import StreamingLabelMetrics
from pennyweight.evaluation.label_results import LabelMetrics
from pennyweight.evaluation.metrics import Metrics, StreamingMetrics

AnyMetrics = Metrics | LabelMetrics


class Streaming:
    """Takes logits and truth of either kind batch by batch."""

    def __init__(self, label_names: Sequence[str], decision: Decision, *, resamples: int = 1000) -> None:
        """Start from nothing; ``resamples`` stand behind the intervals of F1."""
        self._resamples = resamples
        self._one = None if decision.several else StreamingMetrics(label_names, temperature=decision.temperature)
        self._several = StreamingLabelMetrics(label_names, decision, resamples=resamples) if decision.several else None

    def update(self, logits: np.ndarray, truth: np.ndarray) -> None:
        """Add a batch: logits [n, classes], class indices int [n] or which labels apply, bool [n, classes].

        Raises:
            RunError: a logit is not finite.
            ValueError: shapes or labels that do not fit.
        """
        if self._one is not None:
            self._one.update(logits, truth)
        if self._several is not None:
            self._several.update(logits, truth)

    def result(self) -> AnyMetrics:
        """The metrics of all items seen so far; InputError where there was none."""
        if self._several is not None:
            return self._several.result()
        assert self._one is not None
        return self._one.result(resamples=self._resamples)


def validation_scores(
    label_names: Sequence[str], decision: Decision, logits: np.ndarray, truth: np.ndarray
) -> dict[str, float]:
    """What a validation says by name: loss, accuracy, macro_precision, macro_recall, macro_f1 and perhaps micro_f1."""
    metrics = Streaming(label_names, decision, resamples=100)
    metrics.update(logits, truth)
    result = metrics.result()
    scores = {
        "loss": result.log_loss,
        "accuracy": result.accuracy.value,
        "macro_precision": result.macro_precision,
        "macro_recall": result.macro_recall,
        "macro_f1": result.macro_f1.value,
    }
    return {**scores, "micro_f1": result.micro_f1.value} if isinstance(result, LabelMetrics) else scores


def read_metrics(content: Mapping[str, Any]) -> AnyMetrics:
    """The metrics of either kind that ``as_dict`` made ``content`` of."""
    several = content.get("problem") == "multi-label"
    return LabelMetrics.from_dict(content) if several else Metrics.from_dict(content)
