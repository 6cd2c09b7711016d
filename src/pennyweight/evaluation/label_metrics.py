"""Numbers for items with several labels, from logits and sets of labels; numpy only, memory constant in the items.

What streams past leaves counts per label, a few sums over items, two reliability histograms, a histogram of each
label's logits, and for the intervals the counts of resamples that are drawn as the items come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pennyweight.errors import InputError, RunError
from pennyweight.evaluation.decisions import Decision, check_sets, sigmoid
from pennyweight.evaluation.intervals import Interval, percentiles, ratio, wilson
from pennyweight.evaluation.label_results import LabelMetrics, OneLabel
from pennyweight.evaluation.metrics import expected_calibration_error, reliability

_Floats = NDArray[np.float64]
_Truth = NDArray[np.bool_]

_REACH, _STEPS = 16, 64
"""Logits are told apart in 64 steps to the unit, from -16 to 16, to rank the items of a label."""
_BINS = 2 * _REACH * _STEPS
_ITEMS_PER_DRAW = 2048


class StreamingLabelMetrics:
    """Takes logits batch by batch and keeps sums: for k labels about 16 kB each, and 24 bytes for each per resample."""

    def __init__(
        self,
        label_names: Sequence[str],
        decision: Decision | None = None,
        *,
        resamples: int = 1000,
        bins: int = 15,
        seed: int = 0,
    ) -> None:
        """Start from nothing.

        Args:
            label_names: in index order.
            decision: temperature and thresholds; none: 1, and a half for all labels.
            resamples: of the bootstrap behind the intervals of F1.
            bins: number of equal-width probability bins.
            seed: of the resamples; with the same items in the same order, same intervals.
        """
        self._names, count = tuple(label_names), len(label_names)
        self._decision = decision or Decision("multi-label")
        self._items = self._right = 0
        self._counts = np.zeros((3, count), dtype=np.int64)  # (hits, true, predicted)
        self._sums = np.zeros(5)  # of F1, ranking precision, coverage, and the log losses at 1 and at the temperature
        self._histograms = np.zeros((2, 3, bins))
        self._ranks = np.zeros((count, 2, _BINS), dtype=np.int32)
        self._resampled = np.zeros((resamples, 3, count))
        self._generator = np.random.default_rng(seed)

    def update(self, logits: ArrayLike, labels: ArrayLike) -> None:
        """Add a batch: logits float [n, k], and which labels apply, bool [n, k].

        Raises:
            RunError: a logit is not finite.
            ValueError: shapes or types that do not fit.
        """
        check_sets(logits, labels, len(self._names))
        scores, truth = np.asarray(logits, dtype=np.float64), np.asarray(labels)
        if not np.isfinite(scores).all():
            raise RunError("the model's outputs are not finite: training has diverged; lower training.learning_rate")
        if not len(scores):
            return
        given = self._decision.decide(self._decision.probabilities(scores))
        hits = given & truth
        self._items += len(scores)
        self._right += int((given == truth).all(axis=1).sum())
        self._counts += np.stack([one.sum(axis=0) for one in (hits, truth, given)])
        overlap, sizes = hits.sum(axis=1), given.sum(axis=1) + truth.sum(axis=1)
        f1 = np.where(sizes > 0, 2 * overlap / np.maximum(sizes, 1), 1.0)
        ranking, coverage = _ranking(scores, truth)
        self._sums += [f1.sum(), ranking.sum(), coverage.sum(), *self._confidence(scores, truth)]
        self._rank(scores, truth)
        self._resample(hits, truth, given)

    def _confidence(self, scores: _Floats, truth: _Truth) -> list[float]:
        """Fill the reliability histograms; returns the log losses, summed over items and averaged over labels."""
        bins, losses = self._histograms.shape[2], []
        for index, temperature in enumerate((1.0, self._decision.temperature)):
            scaled = scores / temperature
            losses.append(float((np.logaddexp(0, scaled) - truth * scaled).mean(axis=1).sum()))
            shares = sigmoid(scaled).ravel()
            place = np.clip(np.ceil(shares * bins).astype(np.int64) - 1, 0, bins - 1)
            for row, weights in enumerate((None, truth.ravel().astype(np.float64), shares)):
                self._histograms[index, row] += np.bincount(place, weights, minlength=bins)
        return losses

    def _rank(self, scores: _Floats, truth: _Truth) -> None:
        place = np.clip(np.floor((scores + _REACH) * _STEPS), 0, _BINS - 1).astype(np.int64)
        cells = (np.arange(scores.shape[1]) * 2 + truth) * _BINS + place
        filled, counts = np.unique(cells, return_counts=True)
        self._ranks.reshape(-1)[filled] += counts.astype(np.int32)

    def _resample(self, hits: _Truth, truth: _Truth, given: _Truth) -> None:
        """Count each item in each resample as often as it would be drawn: a Poisson variable of mean 1.

        That is the bootstrap of a stream, whose length nobody knows (Oza & Russell, "Online bagging and boosting",
        AISTATS 2001).
        """
        marks = np.concatenate([hits, truth, given], axis=1).astype(np.float32)
        for start in range(0, len(marks), _ITEMS_PER_DRAW):
            part = marks[start : start + _ITEMS_PER_DRAW]
            drawn = self._generator.poisson(1.0, size=(len(part), len(self._resampled))).astype(np.float32)
            self._resampled += (drawn.T @ part).reshape(self._resampled.shape)

    def result(self) -> LabelMetrics:
        """The metrics of all items seen so far.

        Raises:
            InputError: no item was seen.
        """
        if not self._items:
            raise InputError("there is nothing to evaluate: give data with at least one labelled item")
        hits, true, predicted = self._counts
        precision, recall = ratio(hits, predicted), ratio(hits, true)
        micro, macro, per_label = self._f1()
        average = [_average_precision(table) for table in self._ranks]
        occurring = [one for one in average if one is not None]
        f1, ranking, coverage, before, after = (self._sums / self._items).tolist()
        pairs = self._items * len(self._names)
        return LabelMetrics(
            label_names=self._names,
            examples=self._items,
            accuracy=wilson(self._right, self._items),
            micro_precision=float(ratio(hits.sum(keepdims=True), predicted.sum(keepdims=True))[0]),
            micro_recall=float(ratio(hits.sum(keepdims=True), true.sum(keepdims=True))[0]),
            micro_f1=micro,
            macro_precision=float(precision.mean()),
            macro_recall=float(recall.mean()),
            macro_f1=macro,
            sample_f1=f1,
            hamming_loss=float((true + predicted - 2 * hits).sum() / pairs),
            ranking_average_precision=ranking,
            coverage=coverage,
            macro_average_precision=float(np.mean(occurring)) if occurring else 0.0,
            labels_per_item=float(true.sum() / self._items),
            log_loss=after,
            log_loss_uncalibrated=before,
            ece=expected_calibration_error(self._histograms[1]),
            ece_uncalibrated=expected_calibration_error(self._histograms[0]),
            temperature=self._decision.temperature,
            per_class=self._per_label(precision, recall, per_label, average),
            reliability=reliability(self._histograms[1]),
            reliability_uncalibrated=reliability(self._histograms[0]),
        )

    def _per_label(
        self,
        precision: NDArray[np.float64],
        recall: NDArray[np.float64],
        f1: Sequence[Interval],
        average: Sequence[float | None],
    ) -> tuple[OneLabel, ...]:
        _, true, predicted = self._counts
        thresholds = self._decision.thresholds or (0.5,) * len(self._names)
        return tuple(
            OneLabel(
                label=name,
                support=int(true[i]),
                predicted=int(predicted[i]),
                threshold=thresholds[i],
                precision=float(precision[i]),
                recall=float(recall[i]),
                f1=f1[i],
                average_precision=average[i],
            )
            for i, name in enumerate(self._names)
        )

    def _f1(self) -> tuple[Interval, Interval, tuple[Interval, ...]]:
        """Micro F1, macro F1 and the F1 of each label, with intervals.

        As in `bootstrap_f1`, a label that a resample misses is left out of it, and one absent from the data counts 0.
        """
        hits, sizes = self._counts[0], self._counts[1] + self._counts[2]
        drawn_hits, drawn_sizes = self._resampled[:, 0], self._resampled[:, 1] + self._resampled[:, 2]
        estimate, drawn = _f1(hits, sizes), _f1(drawn_hits, drawn_sizes)
        present, defined = sizes > 0, drawn_sizes > 0
        macro = drawn.sum(axis=1) / np.maximum(defined.sum(axis=1), 1) * present.mean()
        micro = _f1(drawn_hits.sum(axis=1), drawn_sizes.sum(axis=1))
        per_label = tuple(
            percentiles(float(estimate[i]), drawn[defined[:, i], i] if present[i] else drawn[:, i])
            for i in range(len(estimate))
        )
        total = float(_f1(hits.sum(keepdims=True), sizes.sum(keepdims=True))[0])
        return percentiles(total, micro), percentiles(float(estimate.mean()), macro), per_label


def _f1(hits: NDArray[Any], sizes: NDArray[Any]) -> _Floats:
    """2 hits / (true + predicted), 0 where there are none of either."""
    found: _Floats = np.divide(2 * hits, sizes, out=np.zeros(sizes.shape), where=sizes > 0)
    return found


def _ranking(scores: _Floats, truth: _Truth) -> tuple[_Floats, _Floats]:
    """Label ranking average precision and coverage of each item; equal scores share the worst rank among them.

    An item that has all labels or none has nothing to rank: its precision is 1, and without a label its coverage 0
    (Tsoumakas, Katakis & Vlahavas, "Mining multi-label data", 2010).
    """
    items, classes = scores.shape
    order = np.argsort(-scores, axis=1, kind="stable")
    falling, true = np.take_along_axis(scores, order, axis=1), np.take_along_axis(truth, order, axis=1)
    last = np.ones((items, classes), dtype=bool)
    last[:, :-1] = falling[:, :-1] != falling[:, 1:]
    ends = np.where(last, np.arange(classes), classes)
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]  # place of the last of equal scores
    found = np.take_along_axis(np.cumsum(true, axis=1), ends, axis=1)
    relevant = true.sum(axis=1)
    precision = np.where(true, found / (ends + 1), 0.0).sum(axis=1) / np.maximum(relevant, 1)
    nothing = (relevant == 0) | (relevant == classes)
    return np.where(nothing, 1.0, precision), np.where(true, ends + 1, 0).max(axis=1).astype(np.float64)


def _average_precision(table: NDArray[np.int32]) -> float | None:
    """Area below precision over recall as a step function, of a histogram [(without, with the label), bin]."""
    without, own = table[:, ::-1].astype(np.int64)
    if not own.sum():
        return None
    precision = ratio(np.cumsum(own), np.cumsum(own + without))
    return float((own * precision).sum() / own.sum())
