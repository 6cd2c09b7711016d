"""Writes what comparisons and audits found as pages."""

from __future__ import annotations

from pathlib import Path

from pennyweight.evaluation import grids
from pennyweight.evaluation.audit import Audit
from pennyweight.evaluation.comparison import Comparison
from pennyweight.evaluation.judging_plots import comparison_plot, conditions_plot, parts_plot
from pennyweight.evaluation.page import Chapter, write_page


def write_comparison(folder: Path, comparison: Comparison) -> Path:
    """Write ``folder``/comparison.html, comparison.json and its plot; raises RunError where it cannot be written."""
    chapters = [
        Chapter(
            "Standing",
            grids.standings(comparison),
            notes=(
                "Intervals of one classifier are Wilson's for accuracy and bootstraps over items for macro F1; those "
                "of several seeds are for other items and other seeds. Overlapping intervals do not mean that two "
                "are equal: the pairs below tell, since they compare on the same items.",
            ),
            figure=comparison_plot(comparison.standings, comparison.pairs),
            caption="Accuracies with their 95 % intervals, and the differences of all pairs on the same items",
        ),
        Chapter(
            "Pairs",
            grids.pairs(comparison.pairs),
            notes=(
                "p is McNemar's mid-p, or of draws of items and seeds where a classifier stands for several seeds; "
                "corrected after Holm for all pairs together. A difference is called one below 0.05.",
            ),
        ),
    ]
    lead = [f"Compared on {comparison.evaluated_on}.", *grids.left_out(comparison)]
    return write_page(
        folder, "comparison", title="Comparison", lead=lead, chapters=chapters, content=comparison.as_dict()
    )


def write_audit(folder: Path, audit: Audit) -> Path:
    """Write ``folder``/audit.html, audit.json and plots; raises RunError where the folder cannot be written."""
    metrics = audit.metrics
    notes = tuple(f"{name}: not measured, {why}." for name, why in audit.not_measured.items())
    chapters = [
        Chapter(
            "Spoilt texts",
            grids.conditions(audit),
            notes=(
                "Differences are on the same items, with a 95 % interval; p is McNemar's mid-p, corrected after Holm "
                "for all conditions together. Texts that a condition leaves as they are count as they are.",
                *notes,
            ),
            figure=conditions_plot(metrics.accuracy, audit.conditions) if audit.conditions else None,
            caption="Accuracy of clean and spoilt texts, and what each condition costs",
        ),
        Chapter(f"By length, in {audit.length_unit}", grids.parts(audit.lengths, audit.length_unit)),
        Chapter(
            "By class",
            grids.parts(audit.classes, "class"),
            figure=parts_plot(audit.classes, "class", metrics.accuracy.value),
            caption="Share of each class's items that are right; the dashed line is that of all items",
        ),
    ]
    calibration = f"ECE {metrics.ece_uncalibrated:.4f} as trained, {metrics.ece:.4f} at T = {metrics.temperature:.3f}."
    lead = [f"Audited on {audit.evaluated_on}.", calibration, *grids.left_out(audit)]
    return write_page(folder, "audit", title="Audit", lead=lead, chapters=chapters, content=audit.as_dict())
