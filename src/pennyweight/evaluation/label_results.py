"""What an evaluation says of items with several labels, as values that go to JSON and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from pennyweight.evaluation.intervals import Interval
from pennyweight.evaluation.metrics import ReliabilityBin

_INTERVALS = ("micro_f1", "macro_f1")


@dataclass(frozen=True)
class OneLabel:
    """One label: how often it applies, how often it was given, and how well the two agree."""

    label: str
    support: int
    predicted: int
    threshold: float
    """Probability from which on it was given."""
    precision: float
    recall: float
    f1: Interval
    average_precision: float | None
    """Area below precision over recall, logits told apart in 64 steps to the unit; none where no item has the label."""


@dataclass(frozen=True)
class LabelMetrics:
    """What an evaluation says of items with several labels.

    Macro averages run over all labels, one that never occurs counting 0, except that of average precision, which runs
    over those that occur. Log losses are in nats per item and label, and calibration is that of single labels: of those
    given probability p, a share p should apply.
    """

    label_names: tuple[str, ...]
    examples: int
    accuracy: Interval
    """Share of items whose labels are all right: subset accuracy."""
    micro_precision: float
    micro_recall: float
    micro_f1: Interval
    macro_precision: float
    macro_recall: float
    macro_f1: Interval
    sample_f1: float
    """Mean F1 of the items' own sets of labels; an item that rightly got none counts 1."""
    hamming_loss: float
    """Share of all (item, label) decisions that are wrong."""
    ranking_average_precision: float
    """Label ranking average precision: how far true labels stand in front of others, from 0 to 1."""
    coverage: float
    """Mean number of labels to go down the ranking to have met all true ones."""
    macro_average_precision: float
    labels_per_item: float
    log_loss: float
    log_loss_uncalibrated: float
    ece: float
    ece_uncalibrated: float
    temperature: float
    per_class: tuple[OneLabel, ...]
    reliability: tuple[ReliabilityBin, ...]
    reliability_uncalibrated: tuple[ReliabilityBin, ...]

    @property
    def several(self) -> bool:
        """Items may have several labels."""
        return True

    def as_dict(self) -> dict[str, Any]:
        """The contract of ``evaluate --json`` and metrics.json: plain Python values, never NaN."""
        content: dict[str, Any] = {"problem": "multi-label"}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in _INTERVALS:
                content |= {field.name: value.value, f"{field.name}_interval": {"low": value.low, "high": value.high}}
            elif isinstance(value, int | float):
                content[field.name] = value
        return {
            **content,
            "accuracy": vars(self.accuracy).copy(),
            "labels": list(self.label_names),
            "per_class": [
                {**vars(one), "f1": one.f1.value, "f1_low": one.f1.low, "f1_high": one.f1.high}
                for one in self.per_class
            ],
            "reliability": {
                "calibrated": [vars(one).copy() for one in self.reliability],
                "uncalibrated": [vars(one).copy() for one in self.reliability_uncalibrated],
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The metrics that `as_dict` made ``content`` of."""

        def one_label(known: Mapping[str, Any]) -> OneLabel:
            plain = {field.name: known[field.name] for field in fields(OneLabel) if field.name != "f1"}
            return OneLabel(**plain, f1=Interval(known["f1"], known["f1_low"], known["f1_high"]))

        def bins(kind: str) -> tuple[ReliabilityBin, ...]:
            return tuple(ReliabilityBin(**known) for known in content["reliability"][kind])

        intervals = {name: Interval(content[name], **content[f"{name}_interval"]) for name in _INTERVALS}
        built = {"label_names", "accuracy", "per_class", "reliability", "reliability_uncalibrated", *_INTERVALS}
        return cls(
            **{field.name: content[field.name] for field in fields(cls) if field.name not in built},
            micro_f1=intervals["micro_f1"],
            macro_f1=intervals["macro_f1"],
            label_names=tuple(content["labels"]),
            accuracy=Interval(**content["accuracy"]),
            per_class=tuple(map(one_label, content["per_class"])),
            reliability=bins("calibrated"),
            reliability_uncalibrated=bins("uncalibrated"),
        )
