"""Numbers from logits and labels, each with its uncertainty; numpy only, and memory that does not grow with the items.

Everything reported is a function of three small tables that are kept while the items stream past: the confusion matrix,
two sums of log losses, and two reliability histograms (one at temperature 1, one at the classifier's temperature).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pennyweight.errors import InputError, RunError
from pennyweight.evaluation import confusion
from pennyweight.evaluation.intervals import Interval, bootstrap_f1, ratio, wilson

__all__ = [
    "ClassMetrics",
    "Interval",
    "Metrics",
    "ReliabilityBin",
    "StreamingMetrics",
    "check_logits",
    "log_softmax",
    "wilson",
]

_Floats = NDArray[np.float64]
_Counts = NDArray[np.int64]


def log_softmax(logits: ArrayLike, temperature: float = 1.0) -> _Floats:
    """Log probabilities of logits [n, k] divided by ``temperature``, in float64 and without overflow."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    shifted = scaled - scaled.max(axis=1, keepdims=True)
    normalised: _Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return normalised


def check_logits(logits: ArrayLike, labels: ArrayLike) -> tuple[_Floats, _Counts]:
    """Logits as float64 [n, k] and labels as int64 [n], proven to fit each other.

    Raises:
        RunError: a logit is NaN or infinite: the model has diverged.
        ValueError: shapes or labels that do not belong together, a mistake of the caller's.
    """
    scores = np.asarray(logits, dtype=np.float64)
    classes = np.asarray(labels)
    if scores.ndim != 2 or classes.shape != scores.shape[:1] or scores.shape[1] < 1:
        raise ValueError(f"logits of shape {scores.shape} with labels of shape {classes.shape}; need [n, k] and [n]")
    if classes.size and not np.issubdtype(classes.dtype, np.integer):
        raise ValueError(f"labels of type {classes.dtype}; need integers")
    if classes.size and not (classes.min() >= 0 and classes.max() < scores.shape[1]):
        raise ValueError(f"labels from {classes.min()} to {classes.max()} for {scores.shape[1]} classes")
    if not np.isfinite(scores).all():
        raise RunError("the model's outputs are not finite: training has diverged; lower training.learning_rate")
    return scores, classes.astype(np.int64)


@dataclass(frozen=True)
class ClassMetrics:
    """One class: how often it is the truth, how often it was predicted, and how well the two agree."""

    label: str
    support: int
    predicted: int
    precision: float
    recall: float
    f1: Interval


@dataclass(frozen=True)
class ReliabilityBin:
    """The items whose confidence lies in (low, high]; mean confidence and accuracy are None where there are none."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Metrics:
    """What an evaluation says.

    Macro averages run over all classes, one that never occurs counting 0 (scikit-learn's ``labels=`` all classes with
    ``zero_division=0``). Log losses are in nats per item. ``confusion`` is [true][predicted].
    """

    label_names: tuple[str, ...]
    examples: int
    accuracy: Interval
    macro_precision: float
    macro_recall: float
    macro_f1: Interval
    log_loss: float
    log_loss_uncalibrated: float
    ece: float
    ece_uncalibrated: float
    temperature: float
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[ReliabilityBin, ...]
    reliability_uncalibrated: tuple[ReliabilityBin, ...]

    @property
    def several(self) -> bool:
        """Each item has one class, not several labels."""
        return False

    def as_dict(self) -> dict[str, Any]:
        """The contract of ``evaluate --json`` and metrics.json: plain Python values, never NaN."""
        return {
            "examples": self.examples,
            "accuracy": vars(self.accuracy).copy(),
            "macro_precision": self.macro_precision,
            "macro_recall": self.macro_recall,
            "macro_f1": self.macro_f1.value,
            "macro_f1_interval": {"low": self.macro_f1.low, "high": self.macro_f1.high},
            "log_loss": self.log_loss,
            "log_loss_uncalibrated": self.log_loss_uncalibrated,
            "ece": self.ece,
            "ece_uncalibrated": self.ece_uncalibrated,
            "temperature": self.temperature,
            "labels": list(self.label_names),
            "per_class": [
                {**vars(one), "f1": one.f1.value, "f1_low": one.f1.low, "f1_high": one.f1.high}
                for one in self.per_class
            ],
            "confusion": confusion.as_json(self.confusion),
            "reliability": {
                "calibrated": [vars(one).copy() for one in self.reliability],
                "uncalibrated": [vars(one).copy() for one in self.reliability_uncalibrated],
            },
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The metrics that `as_dict` made ``content`` of."""

        def one_class(fields: Mapping[str, Any]) -> ClassMetrics:
            plain = {name: fields[name] for name in ("label", "support", "predicted", "precision", "recall")}
            return ClassMetrics(**plain, f1=Interval(fields["f1"], fields["f1_low"], fields["f1_high"]))

        def bins(kind: str) -> tuple[ReliabilityBin, ...]:
            return tuple(ReliabilityBin(**fields) for fields in content["reliability"][kind])

        same = ("examples", "macro_precision", "macro_recall", "log_loss", "log_loss_uncalibrated")
        return cls(
            **{name: content[name] for name in (*same, "ece", "ece_uncalibrated", "temperature")},
            label_names=tuple(content["labels"]),
            accuracy=Interval(**content["accuracy"]),
            macro_f1=Interval(content["macro_f1"], **content["macro_f1_interval"]),
            per_class=tuple(map(one_class, content["per_class"])),
            confusion=confusion.from_json(content["confusion"]),
            reliability=bins("calibrated"),
            reliability_uncalibrated=bins("uncalibrated"),
        )


class StreamingMetrics:
    """Takes logits batch by batch and keeps only sums: k² counts and a few dozen floats for k classes."""

    def __init__(self, label_names: Sequence[str], *, temperature: float = 1.0, bins: int = 15) -> None:
        """Start from nothing.

        Args:
            label_names: in index order.
            temperature: positive; what logits are divided by before confidences are read off.
            bins: number of equal-width confidence bins, 15 as in Guo et al. (2017).
        """
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ValueError(f"temperature is {temperature}; it must be positive")
        self._names = tuple(label_names)
        self._temperatures = (1.0, float(temperature))
        self._confusion = np.zeros((len(self._names), len(self._names)), dtype=np.int64)
        self._losses = np.zeros(2)
        # [temperature, (items, right ones, sum of confidences), bin]
        self._histograms = np.zeros((2, 3, bins))

    @property
    def examples(self) -> int:
        """Items seen so far."""
        return int(self._confusion.sum())

    def update(self, logits: ArrayLike, labels: ArrayLike) -> None:
        """Add a batch: logits float [n, k], labels int [n].

        Raises:
            RunError: a logit is not finite.
            ValueError: shapes or labels that do not fit.
        """
        scores, classes = check_logits(logits, labels)
        if scores.shape[1] != len(self._names):
            raise ValueError(f"logits for {scores.shape[1]} classes, but there are {len(self._names)} label names")
        if not classes.size:
            return
        predicted = scores.argmax(axis=1)
        cells = np.bincount(classes * len(self._names) + predicted, minlength=self._confusion.size)
        self._confusion += cells.reshape(self._confusion.shape)
        right = (predicted == classes).astype(np.float64)
        bins = self._histograms.shape[2]
        for index, temperature in enumerate(self._temperatures):
            log_probabilities = log_softmax(scores, temperature)
            self._losses[index] -= log_probabilities[np.arange(classes.size), classes].sum()
            confidence = np.exp(log_probabilities.max(axis=1))
            place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
            for row, weights in enumerate((None, right, confidence)):
                self._histograms[index, row] += np.bincount(place, weights, minlength=bins)

    def merge(self, other: StreamingMetrics) -> None:
        """Add what another one has seen, as if its batches had been given here."""
        same = self._names == other._names and self._temperatures == other._temperatures
        if not same or self._histograms.shape != other._histograms.shape:
            raise ValueError("only metrics of the same labels, temperature and number of bins can be merged")
        self._confusion += other._confusion
        self._losses += other._losses
        self._histograms += other._histograms

    def result(self, *, resamples: int = 1000, seed: int = 0) -> Metrics:
        """The metrics of all items seen so far; ``resamples`` and ``seed`` are the F1 bootstrap's.

        Raises:
            InputError: no item was seen.
        """
        if not self.examples:
            raise InputError("there is nothing to evaluate: give data with at least one labelled item")
        hits, support, predicted = self._confusion.diagonal(), self._confusion.sum(1), self._confusion.sum(0)
        precision, recall = ratio(hits, predicted), ratio(hits, support)
        macro_f1, class_f1 = bootstrap_f1(self._confusion, resamples=resamples, seed=seed)
        before, after = (reliability(histogram) for histogram in self._histograms)
        return Metrics(
            label_names=self._names,
            examples=self.examples,
            accuracy=wilson(int(hits.sum()), self.examples),
            macro_precision=float(precision.mean()),
            macro_recall=float(recall.mean()),
            macro_f1=macro_f1,
            log_loss=float(self._losses[1] / self.examples),
            log_loss_uncalibrated=float(self._losses[0] / self.examples),
            ece=expected_calibration_error(self._histograms[1]),
            ece_uncalibrated=expected_calibration_error(self._histograms[0]),
            temperature=self._temperatures[1],
            per_class=tuple(
                ClassMetrics(name, int(support[i]), int(predicted[i]), float(precision[i]), float(recall[i]), f1)
                for i, (name, f1) in enumerate(zip(self._names, class_f1, strict=True))
            ),
            confusion=tuple(tuple(row) for row in self._confusion.tolist()),
            reliability=after,
            reliability_uncalibrated=before,
        )


def expected_calibration_error(histogram: _Floats) -> float:
    """Mean over items of abs(accuracy - confidence) of the item's bin (Guo et al., "On calibration…", ICML 2017)."""
    items, right, confidence = histogram
    return float(np.abs(right - confidence).sum() / items.sum())


def reliability(histogram: _Floats) -> tuple[ReliabilityBin, ...]:
    """The histogram (items, right ones, sum of confidences) by bin as bins with means."""
    bins = histogram.shape[1]
    return tuple(
        ReliabilityBin(
            low=place / bins,
            high=(place + 1) / bins,
            count=int(items),
            confidence=float(confidence / items) if items else None,
            accuracy=float(right / items) if items else None,
        )
        for place, (items, right, confidence) in enumerate(histogram.T)
    )
