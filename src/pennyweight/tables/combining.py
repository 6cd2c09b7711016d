"""What commands that combine classifiers print for people on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pathlib import Path

    from pennyweight.evaluation.metrics import Interval
    from pennyweight.pipeline.combining.ensembling import Combined
    from pennyweight.pipeline.combining.merged import Judged


def ensemble_summary(done: Combined) -> None:
    """An ensemble: where it is, its members, and what they were fitted to."""
    console = Console(highlight=False, markup=False)
    manifest, fitted = done.manifest, done.manifest.fitted
    console.print(
        f"ensemble of {len(manifest.members)}, {manifest.method}: {done.folder}", soft_wrap=True, markup=False
    )
    table = Table()
    table.add_column("member")
    if manifest.method != "stacked":
        table.add_column("weight", justify="right")
    if fitted:
        table.add_column("log loss", justify="right")
    for place, member in enumerate(manifest.members):
        weight = [] if manifest.method == "stacked" else [f"{member.weight:.3f}"]
        loss = [f"{fitted.member_log_loss[place]:.4f}"] if fitted else []
        table.add_row(member.name, *weight, *loss)
    console.print(table)
    if fitted:
        console.print(
            f"together {fitted.log_loss:.4f} at temperature {manifest.temperature:.3f}, on the {fitted.examples:,} "
            f"items of {fitted.data} that it was fitted to",
            soft_wrap=True,
            markup=False,
        )


def merge_summary(written: list[Path], rows: list[Judged], notes: list[str]) -> None:
    """What merging wrote, and what each task lost or won by it."""
    console = Console(highlight=False, markup=False)
    for folder in written:
        console.print(f"classifier: {folder}", soft_wrap=True)
    for note in notes:
        console.print(note, soft_wrap=True)
    if not rows:
        return
    table = Table()
    for name in ("classifier", "data", "items", "accuracy before", "after"):
        table.add_column(name, justify="left" if name in ("classifier", "data") else "right")
    for row in rows:
        table.add_row(row.name, row.data, f"{row.examples:,}", _percent(row.before), _percent(row.after))
    console.print(table)


def _percent(interval: Interval) -> str:
    return f"{100 * interval.value:.2f} % ({100 * interval.low:.2f}–{100 * interval.high:.2f})"
