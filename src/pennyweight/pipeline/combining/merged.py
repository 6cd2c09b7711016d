"""What classifiers lost or won by being merged, each on data of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pennyweight.evaluation.metrics import Interval, Metrics
from pennyweight.opening import load
from pennyweight.pipeline.judging.judgement import evaluate_source
from pennyweight.pipeline.preparation import schema_of_card


@dataclass(frozen=True)
class Judged:
    """One classifier on its data, before it was merged and after."""

    name: str
    data: str
    examples: int
    before: Interval
    """Accuracy."""
    after: Interval

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "before": vars(self.before), "after": vars(self.after)}


def compare_merged(
    before: Sequence[Path], after: Sequence[Path], sources: Sequence[str], *, backbone: str | None = None
) -> list[Judged]:
    """Judge each classifier and what it was merged into on the same data; raises as `evaluate_source`."""
    rows = []
    merged = list(after) * (len(before) if len(after) == 1 else 1)
    for own, whole, source in zip(before, merged, sources, strict=True):
        one, other = (load(folder, backbone=backbone) for folder in (own, whole))
        text = one.manifest.text
        judged = [
            evaluate_source(
                predictor,
                source,
                schema=schema_of_card(predictor.manifest, text=text.columns, label=text.label_column),
                resamples=100,
            ).metrics
            for predictor in (one, other)
        ]
        first, second = (metrics for metrics in judged if isinstance(metrics, Metrics))
        rows.append(Judged(own.resolve().name, source, first.examples, first.accuracy, second.accuracy))
    return rows
