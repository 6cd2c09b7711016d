"""The flags that commands have in common, and how they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

RecipeName = Annotated[str, typer.Argument(metavar="RECIPE", help="A shipped recipe's name or a .toml file.")]
Folder = Annotated[Path, typer.Argument(metavar="CLASSIFIER", help="A classifier folder.")]
Changes = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change section.key of the recipe.")
]
BackboneName = Annotated[str | None, typer.Option("--backbone", help="Alias, Hub id or folder.")]
BudgetSize = Annotated[int | None, typer.Option("--budget", help="Most trainable parameters.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Source = Annotated[
    str, typer.Option("--data", help="starter, hub:<id>[:config], or a CSV, TSV, JSONL or Parquet file.")
]
_ON_BAD_ROW = typer.Option("--on-bad-row", help="At an empty text or a missing label.")
BadRow = Annotated[Literal["stop", "skip"], _ON_BAD_ROW]
BadRowInstead = Annotated[Literal["stop", "skip"] | None, _ON_BAD_ROW]
"""The same where a recipe says it, too."""
TextColumns = Annotated[
    str | None, typer.Option("--text", metavar="COLUMN[,COLUMN]", help="Text column(s) of the data.")
]
LabelColumn = Annotated[str | None, typer.Option("--label", metavar="COLUMN", help="Label column of the data.")]
LabelMap = Annotated[
    str | None,
    typer.Option(
        "--map", metavar="FILE.toml|THEIRS=OURS,…", help="The data's labels in the classifier's words; others drop out."
    ),
]
GroupColumn = Annotated[
    str | None, typer.Option("--by", metavar="COLUMN", help="Also judge each value of this column by itself.")
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "int8", "nf4"] | None,
    typer.Option(
        "--precision",
        help="Number format to compute in, instead of training's; int8 is for CPUs, nf4 saves memory.",
    ),
]
Copies = Annotated[
    int | None,
    typer.Option("--copies", min=0, help="Average over so many altered copies of each text, instead of training's."),
]


def changes_of(
    changes: list[str] | None,
    *,
    backbone: str | None = None,
    budget: int | None = None,
    data: str | None = None,
    on_bad_row: str | None = None,
) -> list[str]:
    """Flags as changes of the recipe, before those of --set, which win."""
    flags: dict[str, Any] = {
        "backbone.name": backbone,
        "budget.parameters": budget,
        "data.source": data,
        "data.on_bad_row": on_bad_row,
    }
    given = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in flags.items() if value is not None]
    if data is not None:
        given.append("data.test=none")  # the recipe's own test data belongs to its own source
    return given + (changes or [])


def listed(text: str | None) -> tuple[str, ...] | None:
    """Names behind one flag, with commas between them."""
    return None if text is None else tuple(text.split(","))


def mapping_of(text: str | None) -> dict[str, str] | None:
    """What --map says; raises InputError as `read_label_map` does."""
    if text is None:
        return None
    from pennyweight.data.mapping import read_label_map

    return read_label_map(text)
