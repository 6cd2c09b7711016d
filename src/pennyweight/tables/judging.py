"""What comparing, auditing, choosing and training with several seeds print for people on stdout."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pennyweight.evaluation import grids

if TYPE_CHECKING:
    from pennyweight.evaluation.audit import Audit
    from pennyweight.evaluation.choice import Choice
    from pennyweight.evaluation.comparison import Comparison
    from pennyweight.pipeline.seeds import SeedsOutcome

_WIDTH = 200
_IN_PER_CENT = {"accuracy", "macro_precision", "macro_recall", "macro_f1"}


def _console() -> Console:
    """On a terminal as wide as it is; elsewhere wide enough that no table is folded."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=_WIDTH)


def print_grid(console: Console, grid: grids.Grid) -> None:
    """A grid as a table."""
    table = Table()
    for index, name in enumerate(grid.columns):
        table.add_column(Text(name), justify="left" if grid.is_word(index) else "right", overflow="fold")
    for row in grid.rows:
        table.add_row(*map(Text, row))
    console.print(table)


def _say(console: Console, line: str) -> None:
    console.print(line, soft_wrap=True)


def comparison_table(comparison: Comparison, page: Path | None) -> None:
    """A comparison: the standing of each, then all pairs."""
    console = _console()
    _say(console, f"on {comparison.evaluated_on}")
    for line in grids.left_out(comparison):
        _say(console, line)
    print_grid(console, grids.standings(comparison))
    print_grid(console, grids.pairs(comparison.pairs))
    if page is not None:
        _say(console, f"page: {page}")


def audit_table(audit: Audit, page: Path | None) -> None:
    """An audit: conditions, then parts of the items."""
    console = _console()
    _say(console, f"on {audit.evaluated_on}")
    for line in grids.left_out(audit):
        _say(console, line)
    metrics = audit.metrics
    _say(console, f"ECE {metrics.ece_uncalibrated:.4f} as trained, {metrics.ece:.4f} at T = {metrics.temperature:.3f}")
    print_grid(console, grids.conditions(audit))
    for name, why in audit.not_measured.items():
        _say(console, f"{name}: not measured, {why}")
    print_grid(console, grids.parts(audit.lengths, audit.length_unit))
    print_grid(console, grids.parts(audit.classes, "class"))
    if page is not None:
        _say(console, f"page: {page}")


def choice_table(choice: Choice) -> None:
    """A choice: why, then the candidates, then every cell."""
    console = _console()
    _say(console, choice.why)
    for source, count in choice.left_out.items():
        if count:
            _say(console, f"{source}: {count:,} rows left out")
    for name, why in choice.not_measured.items():
        _say(console, f"{name}: not measured, {why}")
    print_grid(console, grids.candidates(choice))
    print_grid(console, grids.cells(choice))


def seeds_summary(outcome: SeedsOutcome) -> None:
    """Runs of several seeds: each metric's mean with its interval, then what all seeds have in common."""
    console = _console()
    judgement = outcome.outcomes[0].judgement
    assert judgement is not None
    _say(console, f"classifiers: {outcome.folder}/seed-{outcome.seeds[0]} to seed-{outcome.seeds[-1]}")
    _say(console, f"on {judgement.evaluated_on}, {outcome.outcomes[0].plan.trainable:,} trainable parameters")
    columns = ("metric", "mean (95 % t-interval over seeds)", "deviation", *(f"seed {seed}" for seed in outcome.seeds))
    rows = []
    for name, one in outcome.metrics.items():
        scale, unit, digits = (100, " %", 2) if name in _IN_PER_CENT else (1, "", 4)
        mean, low, high, spread, *values = (
            f"{scale * number:.{digits}f}" for number in (one.mean, one.low, one.high, one.deviation, *one.values)
        )
        rows.append((name.replace("_", " "), f"{mean}{unit} ({low}–{high})", spread, *values))
    print_grid(console, grids.Grid(columns, tuple(rows)))
    pooled = outcome.pooled
    if pooled is None:
        _say(console, "only the means: each seed was judged on a validation split of its own, or on several labels")
        return
    _say(console, f"for other items and other seeds: accuracy {grids.percent(pooled.accuracy)}")
    _say(
        console,
        f"two seeds agree on {100 * pooled.agreement:.2f} % of {pooled.items:,} items; all are right on "
        f"{100 * pooled.always_right:.2f} %, none on {100 * pooled.never_right:.2f} %",
    )
