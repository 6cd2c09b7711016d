"""Commands that take classifiers over from elsewhere, or hand them over."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pennyweight.cli.flags import AsJson, BackboneName, Folder, LabelColumn, TextColumns, listed
from pennyweight.cli.printing import print_json
from pennyweight.errors import InputError


def adopt(  # noqa: PLR0913, PLR0917 - one for each flag
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="Folder of a PEFT adapter with its head.")],
    out: Annotated[Path | None, typer.Option("--out", help="New folder for the classifier.")] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", metavar="NAME,…", help="Label names, in the order of training.")
    ] = None,
    backbone: BackboneName = None,
    max_length: Annotated[int, typer.Option("--max-length", min=4, max=8192, help="Most tokens of a text.")] = 512,
    text: TextColumns = None,
    label: LabelColumn = None,
    add_prefix_space: Annotated[
        bool, typer.Option("--add-prefix-space", help="It was trained with that setting of RoBERTa's tokenizer.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what is in it and write nothing; needs no weights of the backbone.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a classifier folder out of a published PEFT adapter of a text classifier."""
    if not dry_run and (out is None or labels is None):
        raise InputError("adopt: give --out and --labels, or --dry-run to see what is in the adapter")
    from pennyweight.startup import load_libraries

    load_libraries()
    from pennyweight.pipeline.combining.adopting import adopt, describe_adapter
    from pennyweight.pipeline.combining.published import require_labels
    from pennyweight.tables.runs import plan_table

    names = listed(labels)
    if dry_run or out is None or names is None:
        described = describe_adapter(adapter, backbone=backbone, max_length=max_length)
        if names is not None:
            require_labels(described.published, names, classes=described.classes)
    else:
        described = adopt(
            adapter,
            out,
            labels=names,
            backbone=backbone,
            max_length=max_length,
            columns=listed(text) or ("text",),
            label_column=label or "label",
            add_prefix_space=add_prefix_space,
        )
    if as_json:
        print_json({**described.as_dict(), "folder": None if dry_run else str(out)})
        return
    plan_table(described.plan, budgeted=False)
    typer.echo(f"{described.classes} classes" if dry_run else f"classifier: {out}")


def fold(
    classifier: Folder,
    out: Annotated[Path, typer.Option("--out", help="New folder for the Transformers model.")],
    backbone: BackboneName = None,
    as_json: AsJson = False,
) -> None:
    """Write a classifier as a plain Transformers folder, its adapters folded in, for use without Pennyweight."""
    from pennyweight.manifest import read_manifest
    from pennyweight.startup import load_libraries

    read_manifest(classifier)
    load_libraries()
    from pennyweight.pipeline.combining.exporting import export_folded

    exported = export_folded(classifier, out, backbone=backbone)
    if as_json:
        print_json({"folder": str(out), "class": exported.name, "notes": list(exported.notes)})
        return
    typer.echo(f"{exported.name}: {out}")
    for note in exported.notes:
        typer.echo(note)
