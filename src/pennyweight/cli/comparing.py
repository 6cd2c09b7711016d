"""Commands that set classifiers side by side, try them on spoilt texts, and choose among them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pennyweight.cli.flags import (
    AsJson,
    BackboneName,
    BadRow,
    Folder,
    LabelColumn,
    LabelMap,
    Precision,
    Source,
    TextColumns,
    listed,
    mapping_of,
)
from pennyweight.cli.printing import opened, print_json
from pennyweight.errors import InputError

PageFolder = Annotated[Path | None, typer.Option("--out", help="Folder for a page, its numbers and its plots.")]
Conditions = Annotated[
    str | None,
    typer.Option("--conditions", metavar="NAME[,NAME]|none", help="Ways of spoiling the texts; all, if not given."),
]
Contenders = Annotated[
    list[str],
    typer.Argument(metavar="CLASSIFIER...", help="Classifier folders, and folders that `train --seeds` wrote."),
]
Draw = Annotated[int, typer.Option("--seed", min=0, help="Seed of what the conditions draw.")]


def compare(  # noqa: PLR0913, PLR0917 - one for each flag
    classifiers: Annotated[
        list[str],
        typer.Argument(
            metavar="CLASSIFIER...", help="Classifier folders, folders of `train --seeds`, predictions.parquet files."
        ),
    ],
    data: Annotated[
        str | None, typer.Option("--data", help="Labelled data; not needed for predictions.parquet files alone.")
    ] = None,
    out: PageFolder = None,
    backbone: BackboneName = None,
    text: TextColumns = None,
    label: LabelColumn = None,
    label_map: LabelMap = None,
    on_bad_row: BadRow = "stop",
    precision: Precision = None,
    as_json: AsJson = False,
) -> None:
    """Compare classifiers on the same items: accuracies, all differences, and which are more than chance."""
    from pennyweight.pipeline.judging.comparing import compare_sources

    comparison = compare_sources(
        classifiers,
        data,
        opener=lambda folder: opened(folder, backbone, precision),
        text=listed(text),
        label=label,
        mapping=mapping_of(label_map),
        on_bad_row=on_bad_row,
    )
    page = None
    if out is not None:
        from pennyweight.pipeline.judging.pages import write_comparison

        page = write_comparison(out, comparison)
    if as_json:
        print_json(comparison.as_dict())
    else:
        from pennyweight.tables.judging import comparison_table

        comparison_table(comparison, page)


def audit(  # noqa: PLR0913, PLR0917 - one for each flag
    classifier: Folder,
    data: Source,
    out: PageFolder = None,
    conditions: Conditions = None,
    seed: Draw = 0,
    backbone: BackboneName = None,
    text: TextColumns = None,
    label: LabelColumn = None,
    label_map: LabelMap = None,
    on_bad_row: BadRow = "stop",
    precision: Precision = None,
    as_json: AsJson = False,
) -> None:
    """Try a classifier on spoilt texts, and show by length and by class where it is weak."""
    mapping, chosen = mapping_of(label_map), _conditions(conditions)
    loaded = opened(classifier, backbone, precision)
    from pennyweight.pipeline.judging.auditing import audit_source
    from pennyweight.pipeline.preparation import schema_of_card

    schema = schema_of_card(loaded.manifest, text=listed(text), label=label, on_bad_row=on_bad_row, mapping=mapping)
    found = audit_source(loaded, data, schema=schema, conditions=chosen, seed=seed)
    page = None
    if out is not None:
        from pennyweight.pipeline.judging.pages import write_audit

        page = write_audit(out, found)
    if as_json:
        print_json(found.as_dict())
    else:
        from pennyweight.tables.judging import audit_table

        audit_table(found, page)


def choose(  # noqa: PLR0913, PLR0917 - one for each flag
    classifiers: Contenders,
    data: Annotated[list[str] | None, typer.Option("--data", help="Labelled data; several may be given.")] = None,
    by: Annotated[
        Literal["worst", "mean", "weighted"], typer.Option("--by", help="What makes the best one.")
    ] = "worst",
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="NAME=NUMBER,…", help="Of conditions and data sets; others: 1.")
    ] = None,
    metric: Annotated[
        Literal["accuracy", "macro_f1"], typer.Option("--metric", help="What is measured in each of them.")
    ] = "accuracy",
    conditions: Conditions = None,
    seed: Draw = 0,
    backbone: BackboneName = None,
    text: TextColumns = None,
    label: LabelColumn = None,
    label_map: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FILE.toml|THEIRS=OURS,…|none", help="As of evaluate; one for each --data."),
    ] = None,
    on_bad_row: BadRow = "stop",
    precision: Precision = None,
    as_json: AsJson = False,
) -> None:
    """Choose the classifier that is best in the worst case, or on the mean, over data sets and conditions."""
    from pennyweight.pipeline.judging.choosing import Columns, Rule, choose_classifier

    choice = choose_classifier(
        classifiers,
        _fields(data or [], label_map or []),
        opener=lambda folder: opened(folder, backbone, precision),
        rule=Rule(by, metric, _weights(weights)),
        conditions=_conditions(conditions),
        columns=Columns(listed(text), label, on_bad_row),
        seed=seed,
    )
    if as_json:
        print_json(choice.as_dict())
    else:
        from pennyweight.tables.judging import choice_table

        choice_table(choice)


def _conditions(text: str | None) -> tuple[str, ...] | None:
    """What --conditions says: none of them for the word ``none``, all where it is not given."""
    return () if text == "none" else listed(text)


def _fields(sources: list[str], maps: list[str]) -> list[tuple[str, dict[str, str] | None]]:
    if maps and len(maps) != len(sources):
        raise InputError(f"--map is given {len(maps)} times for {len(sources)} --data; give one for each, or none")
    words = maps or ["none"] * len(sources)
    return [(source, None if word == "none" else mapping_of(word)) for source, word in zip(sources, words, strict=True)]


def _weights(text: str | None) -> dict[str, float] | None:
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        name, equals, number = part.rpartition("=")
        try:
            found[name.strip()] = float(number)
        except ValueError:
            equals = ""
        if not (equals and name.strip()):
            raise InputError(f"--weights: {part.strip()!r} is no weight; write NAME=NUMBER,…")
    return found
