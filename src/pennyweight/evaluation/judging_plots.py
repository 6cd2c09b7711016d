"""Pictures of comparisons and audits, one function each, from plain values to a matplotlib Figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from pennyweight.evaluation.audit import Condition, Part
from pennyweight.evaluation.comparison import Pair, Standing
from pennyweight.evaluation.drawing import BLUE, INK, ORANGE, short, styled
from pennyweight.evaluation.intervals import Interval

_LONGEST_NAME = 28


@styled
def comparison_plot(standings: Sequence[Standing], pairs: Sequence[Pair]) -> Figure:
    """Accuracies with their intervals, the best on top; below them all differences, those beyond chance in colour."""
    ranked = sorted(standings, key=lambda one: -one.accuracy.value)
    figure = Figure(figsize=(7.0, 1.8 + 0.34 * (len(ranked) + len(pairs))))
    upper, lower = figure.subplots(2, 1, height_ratios=(len(ranked) + 0.6, len(pairs) + 0.6))
    _dots(upper, [one.name for one in ranked], [one.accuracy for one in ranked], [BLUE] * len(ranked))
    upper.xaxis.set_major_formatter(PercentFormatter(1.0))
    upper.set_xlabel("accuracy, with 95 % interval")
    _differences(lower, [f"{short(one.first, 18)} − {short(one.second, 18)}" for one in pairs], pairs)
    return figure


@styled
def conditions_plot(clean: Interval, conditions: Sequence[Condition]) -> Figure:
    """Accuracy of clean and spoilt texts, with intervals, and what each condition costs on the same items."""
    figure = Figure(figsize=(8.6, 1.3 + 0.34 * (len(conditions) + 1)))
    left, right = figure.subplots(1, 2, sharey=True)
    names = ["clean", *(one.name for one in conditions)]
    colours = [INK, *[BLUE] * len(conditions)]
    _dots(left, names, [clean, *(one.accuracy for one in conditions)], colours)
    left.axvline(clean.value, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    left.xaxis.set_major_formatter(PercentFormatter(1.0))
    left.set_xlabel("accuracy, with 95 % interval")
    _differences(right, [""] * len(conditions), [one.against_clean for one in conditions], first=1)
    right.set_yticks(range(len(names)), [short(name, _LONGEST_NAME) for name in names])
    right.set_ylim(len(names) - 0.5, -0.5)
    right.tick_params(labelleft=False)
    return figure


@styled
def parts_plot(parts: Sequence[Part], what: str, whole: float) -> Figure:
    """Accuracy of parts of the items with intervals; the dashed line is that of all items.

    Args:
        parts: at least one; of more than thirty, the first thirty are drawn.
        what: what the parts are, for the axis.
        whole: accuracy of all items.
    """
    drawn = list(parts[:30])
    figure = Figure(figsize=(7.0, 1.2 + 0.34 * len(drawn)))
    axes = figure.subplots()
    _dots(axes, [one.name for one in drawn], [one.accuracy for one in drawn], [BLUE] * len(drawn))
    axes.axvline(whole, color=INK, linewidth=0.8, linestyle=(0, (4, 3)))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylabel(what)
    axes.set_xlabel("accuracy, with 95 % interval")
    return figure


def _dots(axes: Axes, names: Sequence[str], intervals: Sequence[Interval], colours: Sequence[str]) -> None:
    """Estimates as dots with their intervals as lines, the first on top."""
    for place, (interval, colour) in enumerate(zip(intervals, colours, strict=True)):
        axes.plot([interval.low, interval.high], [place, place], color=colour, solid_capstyle="butt")
        axes.plot([interval.value], [place], color=colour, marker="o", linestyle="none")
    axes.set_yticks(range(len(names)), [short(name, _LONGEST_NAME) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _differences(axes: Axes, names: Sequence[str], pairs: Sequence[Pair], *, first: int = 0) -> None:
    """Differences in points with their intervals, from place ``first`` on; beyond chance in colour and as squares."""
    axes.axvline(0, color=INK, linewidth=0.8)
    for place, pair in enumerate(pairs, start=first):
        colour, marker = (ORANGE, "s") if pair.significant else (INK, "o")
        interval = pair.accuracy
        axes.plot([interval.low, interval.high], [place, place], color=colour, solid_capstyle="butt")
        axes.plot([interval.value], [place], color=colour, marker=marker, linestyle="none")
    axes.set_yticks(np.arange(len(names)) + first, names)
    axes.set_ylim(len(names) + first - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:+.3g}" if share else "0"))
    axes.set_xlabel("difference in points, with 95 % interval (square: beyond chance)")
