"""What comparisons, audits and choices found, as tables of words: the same on a page and on a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pennyweight.evaluation.intervals import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pennyweight.evaluation.audit import Audit, Part
    from pennyweight.evaluation.choice import Choice
    from pennyweight.evaluation.comparison import Comparison, Pair


@dataclass(frozen=True)
class Grid:
    """A table of words and numbers, as text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: tuple[int, ...] = (0,)
    """Columns that hold words; the others hold numbers, and are set to the right."""

    def is_word(self, column: int) -> bool:
        """Whether a column holds words."""
        return column in self.words


def percent(interval: Interval) -> str:
    """``93.03 % (92.15–93.81)``."""
    return f"{100 * interval.value:.2f} % ({100 * interval.low:.2f}–{100 * interval.high:.2f})"


def points(interval: Interval) -> str:
    """A difference in percentage points: ``+0.53 (-0.11 to +1.17)``."""
    return f"{100 * interval.value:+.2f} ({100 * interval.low:+.2f} to {100 * interval.high:+.2f})"


def p_words(p: float) -> str:
    """A p value to three digits."""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def left_out(found: Comparison | Audit) -> list[str]:
    """What was not judged, a line for each reason."""
    lines = []
    if found.skipped:
        lines.append(f"{found.skipped:,} rows skipped: no usable text or label.")
    if found.unmapped:
        counts = ", ".join(f"{label} {count:,}" for label, count in found.unmapped.items())
        lines.append(f"{sum(found.unmapped.values()):,} left out by the label mapping: {counts}.")
    missing = getattr(found, "left_out", 0)
    if missing:
        lines.append(f"{missing:,} items left out: not all have a prediction of them.")
    return lines


def standings(comparison: Comparison) -> Grid:
    """One line for each contender, the best first."""
    rows = []
    for one in sorted(comparison.standings, key=lambda one: -one.accuracy.value):
        seconds = "" if one.seconds_per_thousand is None else f"{one.seconds_per_thousand:.2f}"
        rows.append(
            (
                one.name if one.seeds == 1 else f"{one.name} ({one.seeds} seeds)",
                percent(one.accuracy),
                percent(one.macro_f1),
                f"{one.ece:.4f}",
                seconds,
                "" if one.trainable is None else f"{one.trainable:,}",
            )
        )
    columns = ("classifier", "accuracy (95 % interval)", "macro F1", "ECE", "s per 1,000", "trainable")
    return Grid(columns, tuple(rows))


def pairs(found: Sequence[Pair]) -> Grid:
    """One line for each pair: the difference in points, and whether it is more than chance."""
    columns = (
        *("first", "second", "accuracy, points", "macro F1, points", "only first : only second"),
        *("p", "p corrected", "verdict by accuracy"),
    )
    rows = tuple(
        (
            one.first,
            one.second,
            points(one.accuracy),
            points(one.macro_f1),
            "" if one.only_first is None else f"{one.only_first:,} : {one.only_second:,}",
            p_words(one.p),
            p_words(one.p_corrected),
            verdict(one),
        )
        for one in found
    )
    return Grid(columns, rows, words=(0, 1, 7))


def verdict(pair: Pair) -> str:
    """Who is better, if anybody is shown to be."""
    if not pair.significant:
        return "no difference shown"
    return f"{pair.first if pair.accuracy.value > 0 else pair.second} is better"


def conditions(audit: Audit) -> Grid:
    """The clean texts, then one line for each condition."""
    metrics = audit.metrics
    clean = ("clean", "", percent(metrics.accuracy), "", f"{100 * metrics.macro_f1.value:.2f} %", f"{metrics.ece:.4f}")
    rows = [(*clean, "", "")]
    rows += [
        (
            one.name,
            f"{one.changed:,}",
            percent(one.accuracy),
            points(one.against_clean.accuracy),
            f"{100 * one.macro_f1:.2f} %",
            f"{one.ece:.4f}",
            p_words(one.against_clean.p_corrected),
            one.meaning,
        )
        for one in audit.conditions
    ]
    columns = ("condition", "changed", "accuracy (95 % interval)", "to clean, points", "macro F1", "ECE", "p corrected")
    return Grid((*columns, "what is done to the texts"), tuple(rows), words=(0, 7))


def parts(found: Sequence[Part], what: str) -> Grid:
    """Accuracy of parts of the items."""
    rows = tuple((one.name, f"{one.items:,}", percent(one.accuracy)) for one in found)
    return Grid((what, "items", "accuracy (95 % interval)"), rows)


def candidates(choice: Choice) -> Grid:
    """One line for each candidate, the chosen one first."""
    rows = tuple(
        (
            one.name,
            percent(one.score),
            one.worst,
            "" if one.behind is None else points(one.behind),
            "" if one.p_corrected is None else p_words(one.p_corrected),
        )
        for one in choice.candidates
    )
    columns = ("classifier", f"{choice.by} {choice.metric_words}", "weakest in", "behind, points", "p corrected")
    return Grid(columns, rows, words=(0, 2))


def cells(choice: Choice) -> Grid:
    """Every candidate's score in every data set and condition, in per cent."""
    names = tuple(one.name for one in choice.candidates)
    rows = tuple(
        (cell.name, *(f"{100 * one.cells[cell.name]:.2f}" for one in choice.candidates)) for cell in choice.cells
    )
    return Grid((f"{choice.metric_words}, %", *names), rows)
