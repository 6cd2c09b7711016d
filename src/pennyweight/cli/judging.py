"""Commands that say how good a classifier is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pennyweight.cli.flags import (
    AsJson,
    BackboneName,
    BadRow,
    Copies,
    Folder,
    GroupColumn,
    LabelColumn,
    LabelMap,
    Precision,
    Source,
    TextColumns,
    listed,
    mapping_of,
)
from pennyweight.cli.printing import opened, opened_classifier, print_json


def evaluate(  # noqa: PLR0913, PLR0917 - one for each flag
    classifier: Folder,
    data: Source,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for a report.")] = None,
    backbone: BackboneName = None,
    text: TextColumns = None,
    label: LabelColumn = None,
    label_map: LabelMap = None,
    by: GroupColumn = None,
    on_bad_row: BadRow = "stop",
    precision: Precision = None,
    copies: Copies = None,
    as_json: AsJson = False,
) -> None:
    """Judge a classifier on labelled data; in int8, beside what it is in its own number format."""
    mapping = mapping_of(label_map)
    loaded = opened(classifier, backbone, precision, copies=copies)
    from pennyweight.pipeline.judging.judgement import evaluate_source
    from pennyweight.pipeline.preparation import schema_of_card

    schema = schema_of_card(
        loaded.manifest, text=listed(text), label=label, on_bad_row=on_bad_row, mapping=mapping, groups=by
    )
    reference = opened(classifier, backbone, copies=copies) if precision == "int8" else None
    judgement = evaluate_source(loaded, data, out=out, schema=schema, reference=reference)
    if as_json:
        print_json(judgement.as_dict())
    else:
        from pennyweight.tables.runs import metrics_table

        metrics_table(judgement)


def quantise(
    classifier: Folder,
    data: Source,
    backbone: BackboneName = None,
    text: TextColumns = None,
    label: LabelColumn = None,
    on_bad_row: BadRow = "stop",
    as_json: AsJson = False,
) -> None:
    """Measure on labelled data what int8 costs a classifier, and keep the answer in its folder."""
    own = opened_classifier(classifier, backbone)
    from pennyweight.pipeline.judging.measuring import measure_int8
    from pennyweight.pipeline.preparation import schema_of_card

    schema = schema_of_card(own.manifest, text=listed(text), label=label, on_bad_row=on_bad_row)
    record = measure_int8(classifier, data, reference=own, backbone=backbone, schema=schema)
    if as_json:
        print_json({"folder": str(classifier), "int8": record.model_dump()})
    else:
        from pennyweight.tables.runs import int8_summary

        int8_summary(classifier, record)
