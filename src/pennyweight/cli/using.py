"""Commands that use a classifier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pennyweight.cli.flags import BackboneName, BadRow, Copies, Folder, Precision, Source, TextColumns, listed
from pennyweight.cli.printing import opened


def predict(  # noqa: PLR0913, PLR0917 - one for each flag
    classifier: Folder,
    data: Source,
    out: Annotated[Path, typer.Option("--out", help="File to write: .csv, .tsv, .jsonl or .parquet.")],
    columns: Annotated[
        str | None,
        typer.Option(
            help="NAME=FIELD,…: index, row, text, label, label_id, confidence, probabilities, logits, "
            "column:NAME of the data."
        ),
    ] = None,
    backbone: BackboneName = None,
    text: TextColumns = None,
    on_bad_row: BadRow = "stop",
    precision: Precision = None,
    copies: Copies = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with what a stopped or killed run left in OUT.partial.")
    ] = False,
) -> None:
    """Predict a file as a stream, in order.

    Ctrl-C or SIGTERM stops after the rows in hand; the same command with --resume goes on.
    """
    from pennyweight.data.writers import check_format
    from pennyweight.pipeline.predicting import parse_columns, predict_source

    check_format(out)
    chosen = None if columns is None else parse_columns(columns)
    loaded = opened(classifier, backbone, precision, copies=copies)
    done = predict_source(loaded, data, out, columns=chosen, text=listed(text), on_bad_row=on_bad_row, resume=resume)
    skipped = f", {done.skipped:,} skipped" if done.skipped else ""
    earlier = f", {done.resumed_after:,} of them before" if done.resumed_after else ""
    speed = f"{done.seconds:.1f} s, {done.rows_per_second:,.0f} rows/s"
    typer.echo(f"{done.rows:,} rows predicted{earlier}{skipped} in {speed}: {out}", err=True)
