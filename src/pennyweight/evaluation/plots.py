"""One function per plot, each from plain values to a matplotlib Figure; no pyplot, so no global state.

Series differ in colour and in marker; every axis names its quantity and unit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter, StrMethodFormatter

from pennyweight.evaluation.confusion import most_confused
from pennyweight.evaluation.drawing import BLUE, FAINT, GREEN, INK, ORANGE, PURPLE, as_png, short, styled
from pennyweight.evaluation.judged import AnyMetrics
from pennyweight.evaluation.label_results import LabelMetrics
from pennyweight.evaluation.metrics import Metrics, ReliabilityBin
from pennyweight.files import write_bytes

History = Sequence[Mapping[str, Any]]
"""What training logged: ``{"event": "step" or "validation", "step": …}`` and the quantities of the moment."""

_CURVE = (4.6, 3.1)
_LEGIBLE_CLASSES = 30
_MOST_POINTS = 300
MOST_DRAWN = 50
"""Most classes of a confusion matrix that is drawn whole."""


@styled
def loss_curves(history: History) -> Figure:
    """Training loss (means of neighbouring steps where there are many) and validation loss, nats per item."""
    figure, axes = _step_axes("loss, nats per item")
    _draw(axes, *_series(history, "step", "loss"), label="training", colour=BLUE)
    _draw(axes, *_series(history, "validation", "loss"), label="validation", colour=ORANGE, marker="o")
    axes.set_ylim(bottom=0)
    axes.legend()
    return figure


@styled
def score_curves(history: History) -> Figure:
    """Accuracy (of several labels micro F1) and macro averages on validation data, in per cent, by optimiser step."""
    several = any("micro_f1" in record for record in history)
    figure, axes = _step_axes("on validation data")
    curves = (
        *((("micro_f1", "micro F1", BLUE, "o"),) if several else (("accuracy", "accuracy", BLUE, "o"),)),
        ("macro_precision", "macro precision", ORANGE, "^"),
        ("macro_recall", "macro recall", GREEN, "v"),
        ("macro_f1", "macro F1", PURPLE, "s"),
    )
    for key, label, colour, marker in curves:
        _draw(axes, *_series(history, "validation", key), label=label, colour=colour, marker=marker)
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend(ncols=2)
    return figure


@styled
def learning_rate_curve(history: History) -> Figure:
    """The learning rate that every optimiser step used."""
    figure, axes = _step_axes("learning rate")
    _draw(axes, *_series(history, "step", "learning_rate"), label="learning rate", colour=GREEN)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    return figure


@styled
def confusion_matrix(metrics: Metrics) -> Figure:
    """Counts [true][predicted], shaded by the share of the true class; of many classes those that are most confused."""
    counts = np.asarray(metrics.confusion)
    support = counts.sum(axis=1, keepdims=True)
    drawn = list(range(len(counts)))
    if len(counts) > MOST_DRAWN:
        drawn = most_confused(metrics.confusion, _LEGIBLE_CLASSES)
        counts, support = counts[np.ix_(drawn, drawn)], support[drawn]
    classes = len(counts)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    side = float(np.clip(2.4 + 0.25 * classes, 4.2, 9.0))
    figure = Figure(figsize=(side + 0.8, side))
    axes = figure.subplots()
    shades = LinearSegmentedColormap.from_list("share", [(0.0, 0.447, 0.698, 0.0), (0.0, 0.447, 0.698, 1.0)])
    # Square-root shading: errors are a few per cent of a class and would be invisible beside the diagonal.
    image = axes.imshow(shares, cmap=shades, norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="nearest")
    ticks = range(0, classes, -(-classes // _LEGIBLE_CLASSES))
    names = [short(metrics.label_names[drawn[i]], 20) for i in ticks]
    font = float(np.clip(10 - 0.13 * classes, 6, 9))
    upright = classes > 8 or max(map(len, names)) > 12
    axes.set_xticks(ticks, names, fontsize=font, rotation=90 if upright else 0)
    axes.set_yticks(ticks, names, fontsize=font)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    bar = figure.colorbar(image, ax=axes, shrink=0.7, format=PercentFormatter(1.0, decimals=0))
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    if classes <= _LEGIBLE_CLASSES:
        _write_counts(axes, counts, shares, font)
    return figure


def confusion_caption(classes: int) -> str:
    """What `confusion_matrix` shows of so many classes."""
    which = f", the {_LEGIBLE_CLASSES} most confused of {classes:,}" if classes > MOST_DRAWN else ""
    return (
        f"Confusion matrix: rows are true classes, columns predicted ones{which}; shaded by the share of the true class"
    )


def _write_counts(axes: Axes, counts: np.ndarray, shares: np.ndarray, font: float) -> None:
    """Every count into its cell, and thin lines between the cells; zeros are left out where cells are many."""
    for true, predicted in np.ndindex(*counts.shape):
        if counts[true, predicted] or len(counts) <= 6:
            colour = "#ffffff" if shares[true, predicted] > 0.4 else INK
            text = f"{counts[true, predicted]:,}"
            axes.text(predicted, true, text, ha="center", va="center", color=colour, fontsize=font)
    edges = FixedLocator((np.arange(1, len(counts)) - 0.5).tolist())
    axes.xaxis.set_minor_locator(edges)
    axes.yaxis.set_minor_locator(edges)
    axes.grid(visible=True, which="minor", color=FAINT, linewidth=0.5)
    axes.tick_params(which="minor", length=0)


@styled
def reliability_diagram(metrics: AnyMetrics) -> Figure:
    """Accuracy against confidence before and after temperature scaling, and how many items each bin holds.

    Of several labels it is how often labels apply against the probability that they were given, each label of each item
    for itself; their numbers are drawn on a logarithmic scale, since most labels are improbable.
    """
    truth, confidence = ("share that applies", "probability") if metrics.several else ("accuracy", "confidence")
    figure = Figure(figsize=(5.2, 4.8))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=(0, (4, 3)), label=f"{confidence} = {truth}")
    versions = [(metrics.reliability_uncalibrated, f"as trained, ECE {metrics.ece_uncalibrated:.3f}", ORANGE, "s")]
    if metrics.temperature != 1:
        after = f"temperature {metrics.temperature:.2f}, ECE {metrics.ece:.3f}"
        versions.append((metrics.reliability, after, BLUE, "o"))
    for index, (bins, label, colour, marker) in enumerate(versions):
        filled = [one for one in bins if one.confidence is not None and one.accuracy is not None]
        across, up = [one.confidence for one in filled], [one.accuracy for one in filled]
        # A marker's area tells how many items stand behind it, so that a bin of two does not shout.
        areas = [8 + 60 * one.count / sum(every.count for every in bins) for one in filled]
        upper.plot(across, up, color=colour, linewidth=0.8)
        upper.scatter(across, up, s=areas, color=colour, marker=marker, label=label, zorder=3, clip_on=False)
        _draw_counts(lower, bins, index, len(versions), colour)
    upper.set_ylabel(f"{truth} in the bin")
    upper.set_ylim(-0.02, 1.02)
    upper.yaxis.set_major_formatter(PercentFormatter(1.0))
    upper.legend(loc="upper left")
    lower.set_ylabel("labels" if metrics.several else "items")
    if metrics.several:
        lower.set_yscale("log")
    else:
        lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    lower.grid(visible=False, axis="x")
    lower.set_xlabel(confidence + (" of the label" if metrics.several else " (probability of the predicted class)"))
    lower.xaxis.set_major_formatter(PercentFormatter(1.0))
    lower.set_xlim(0, 1)
    return figure


def _draw_counts(axes: Axes, bins: Sequence[ReliabilityBin], index: int, versions: int, colour: str) -> None:
    width = 0.9 * (bins[0].high - bins[0].low) / versions
    left = [(one.low + one.high) / 2 + (index - versions / 2) * width for one in bins]
    axes.bar(left, [one.count for one in bins], width=width, align="edge", color=colour)


@styled
def predicted_class_bars(metrics: AnyMetrics) -> Figure:
    """How often each class is the truth and how often it was predicted; of more than thirty, the most frequent."""
    classes: list[Any] = list(metrics.per_class)
    if len(classes) > _LEGIBLE_CLASSES:
        classes = sorted(classes, key=lambda one: -max(one.support, one.predicted))[:_LEGIBLE_CLASSES]
    place = np.arange(len(classes))
    figure = Figure(figsize=(7.0, 1.3 + 0.34 * len(classes)))
    axes = figure.subplots()
    axes.barh(place - 0.19, [one.support for one in classes], height=0.36, color=BLUE, label="true")
    axes.barh(place + 0.19, [one.predicted for one in classes], height=0.36, color=ORANGE, label="predicted")
    axes.set_yticks(place, [short(one.label, 26) for one in classes])
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    kind = "labels" if metrics.several else "classes"
    most = f" (the {len(classes)} most frequent of {len(metrics.per_class)} {kind})"
    axes.set_xlabel("items" + (most if len(classes) < len(metrics.per_class) else ""))
    axes.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return figure


@styled
def label_scores(metrics: LabelMetrics) -> Figure:
    """F1 of each label at its threshold, with its 95 % interval, and average precision; the weakest thirty of many."""
    labels = sorted(metrics.per_class, key=lambda one: one.f1.value)[:_LEGIBLE_CLASSES]
    place = np.arange(len(labels))
    figure = Figure(figsize=(7.0, 1.3 + 0.26 * len(labels)))
    axes = figure.subplots()
    low = [one.f1.value - min(one.f1.low, one.f1.value) for one in labels]
    high = [max(one.f1.high, one.f1.value) - one.f1.value for one in labels]
    scores = [one.f1.value for one in labels]
    axes.errorbar(scores, place, xerr=(low, high), fmt="o", color=BLUE, elinewidth=1.0, label="F1, 95 % interval")
    known = [(one.average_precision, y) for y, one in enumerate(labels) if one.average_precision is not None]
    across, up = zip(*known, strict=True) if known else ((), ())
    axes.plot(across, up, color=ORANGE, marker="^", linestyle="", label="average precision")
    axes.set_yticks(place, [short(one.label, 26) for one in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("score" if len(labels) == len(metrics.per_class) else f"score (the {len(labels)} weakest labels)")
    axes.legend(ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return figure


def save_plots(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write each figure to ``folder``/NAME.png, whole or not at all.

    Raises:
        RunError: the folder cannot be written.
    """
    for name, figure in figures.items():
        write_bytes(folder / f"{name}.png", as_png(figure))


def _step_axes(quantity: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_CURVE)
    axes = figure.subplots()
    axes.set_xlabel("optimiser step")
    axes.set_ylabel(quantity)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    return figure, axes


def _series(history: History, event: str, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and values of one quantity, where it was recorded."""
    pairs = [(one["step"], one[key]) for one in history if one["event"] == event and one.get(key) is not None]
    steps, values = np.array(pairs, dtype=np.float64).reshape(-1, 2).T
    return steps, values


def _draw(axes: Axes, steps: np.ndarray, values: np.ndarray, *, label: str, colour: str, marker: str = "") -> None:
    """One curve; more than a few hundred points are drawn as means of neighbours, with their range as a band."""
    if not len(steps):
        return
    if len(steps) > _MOST_POINTS:
        groups = np.array_split(np.arange(len(steps)), _MOST_POINTS)
        low, high = [values[group].min() for group in groups], [values[group].max() for group in groups]
        steps = np.array([steps[group].mean() for group in groups])
        values = np.array([values[group].mean() for group in groups])
        axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(steps, values, color=colour, marker=marker or ("o" if len(steps) == 1 else ""), label=label)
