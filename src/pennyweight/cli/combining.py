"""Commands that make one classifier out of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pennyweight.cli.flags import AsJson, BackboneName, BadRow, LabelColumn, TextColumns, listed
from pennyweight.cli.printing import print_json
from pennyweight.errors import InputError

Folders = Annotated[list[Path], typer.Argument(metavar="CLASSIFIER...", help="Classifier folders.")]


def ensemble(  # noqa: PLR0913, PLR0917 - one for each flag
    classifiers: Folders,
    out: Annotated[Path, typer.Option("--out", help="New folder for the ensemble.")],
    method: Annotated[
        Literal["mean", "weighted", "stacked"], typer.Option("--method", help="How the members are combined.")
    ] = "mean",
    data: Annotated[
        str | None, typer.Option("--data", help="Labelled items, new to all members, to fit the combination to.")
    ] = None,
    backbone: BackboneName = None,
    text: TextColumns = None,
    label: LabelColumn = None,
    on_bad_row: BadRow = "stop",
    as_json: AsJson = False,
) -> None:
    """Combine classifiers of the same labels into one folder that predicts as one classifier does."""
    from pennyweight.manifest import read_manifest
    from pennyweight.startup import load_libraries

    first = read_manifest(classifiers[0])
    load_libraries()
    from pennyweight.pipeline.combining.ensembling import make_ensemble
    from pennyweight.pipeline.preparation import schema_of_card

    schema = schema_of_card(first, text=listed(text), label=label, on_bad_row=on_bad_row)
    done = make_ensemble(classifiers, out, method=method, data=data, schema=schema, backbone=backbone)
    if as_json:
        print_json(done.as_dict())
    else:
        from pennyweight.tables.combining import ensemble_summary

        ensemble_summary(done)


def merge(  # noqa: PLR0913, PLR0917 - one for each flag
    classifiers: Folders,
    out: Annotated[Path, typer.Option("--out", help="New folder for the merged classifier, or for one for each task.")],
    method: Annotated[
        Literal["linear", "ties", "dare_linear", "dare_ties", "cat", "svd"],
        typer.Option("--method", help="How adapters are merged."),
    ] = "linear",
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="NUMBER,…", help="Of each classifier; the same for all, if not given."),
    ] = None,
    density: Annotated[
        float | None, typer.Option("--density", help="Share of elements that ties and dare keep; half, if not given.")
    ] = None,
    rank: Annotated[int | None, typer.Option("--rank", min=1, help="Rank that svd cuts to.")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of what dare drops.")] = 0,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", help="Labelled data of each classifier, in their order, to judge before and after."),
    ] = None,
    backbone: BackboneName = None,
    as_json: AsJson = False,
) -> None:
    """Merge the adapters of classifiers on one backbone, and their heads where they have the same labels."""
    from pennyweight.manifest import read_manifest
    from pennyweight.startup import load_libraries

    labels = {frozenset(read_manifest(folder).labels) for folder in classifiers}
    sources = _one_for_each(data, count=len(classifiers), alike=len(labels) == 1)
    load_libraries()
    from pennyweight.pipeline.combining.merged import compare_merged, judge_members, notes_on_reading
    from pennyweight.pipeline.combining.merging import blend_of, merge_classifiers

    blend = blend_of(method, weights=_numbers(weights), density=density, rank=rank, seed=seed)
    before = judge_members(classifiers, sources, backbone=backbone) if sources else []
    written = merge_classifiers(classifiers, out, blend, backbone=backbone)
    notes = notes_on_reading(classifiers, written)
    rows = compare_merged(classifiers, before, written, sources, backbone=backbone) if sources else []
    if as_json:
        judged = [row.as_dict() for row in rows]
        print_json({"folders": [str(one) for one in written], "judged": judged, "notes": notes})
    else:
        from pennyweight.tables.combining import merge_summary

        merge_summary(written, rows, notes)


def _numbers(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(one) for one in text.split(","))
    except ValueError:
        raise InputError(f"--weights {text}: give numbers with commas between them, such as 0.5,0.5") from None


def _one_for_each(data: list[str] | None, *, count: int, alike: bool) -> list[str]:
    """A source for each classifier; one given stands for all, where their labels are alike."""
    if data and len(data) == 1 < count and not alike:
        raise InputError(f"--data: these classifiers have different labels; give --data for each of the {count}")
    if data and len(data) not in (1, count):
        raise InputError(f"--data: {len(data)} are given for {count} classifiers; give one for each, or one for all")
    return (data or []) * count if data and len(data) == 1 else data or []
