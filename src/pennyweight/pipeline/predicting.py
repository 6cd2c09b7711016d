"""Predicts a source as a stream: rows in, one row out for each, in order, memory constant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pennyweight.classifier import WINDOW, Classifier
from pennyweight.data.examples import Example, Schema, stream_examples
from pennyweight.data.sources import stream_rows
from pennyweight.data.windows import windows
from pennyweight.data.writers import Kind, open_table
from pennyweight.errors import InputError

FIELDS = {
    "index": "number of the row, from 0",
    "row": "number of the row, from 1",
    "text": "the text as it was read",
    "label": "name of the predicted label",
    "label_id": "index of the predicted label",
    "confidence": "probability of the predicted label",
    "probabilities": "one column p_LABEL for each label",
}
DEFAULT_COLUMNS = ("row", "label", "confidence", "probabilities")


@dataclass(frozen=True)
class Column:
    """One column of the output: its name, and what stands in it (one of `FIELDS`, or a column of the source)."""

    name: str
    field: str
    source_column: bool = False


@dataclass(frozen=True)
class Predicted:
    """What was written."""

    rows: int
    skipped: tuple[int, ...]
    """Rows without a usable text that were passed over."""


def parse_columns(text: str) -> tuple[Column, ...]:
    """Read ``NAME=FIELD,…`` where FIELD is one of `FIELDS` or ``column:NAME``; a FIELD alone names itself.

    Raises:
        InputError: an unknown field, or a name given twice.
    """
    columns = []
    for part in text.split(","):
        name, equals, field = part.strip().partition("=")
        field = field if equals else name
        own = field.startswith("column:")
        source = field.removeprefix("column:")
        if not source or not name or not (own or field in FIELDS):
            known = ", ".join(FIELDS)
            raise InputError(
                f"--columns: {part.strip()!r} is no column; write NAME=FIELD, FIELD one of {known}, or column:NAME"
            )
        columns.append(Column(name=source if own and not equals else name, field=source, source_column=own))
    names = [column.name for column in columns]
    if len(set(names)) != len(names):
        raise InputError(f"--columns: a name is given twice in {text!r}")
    return tuple(columns)


def predict_source(
    classifier: Classifier,
    source: str,
    out: Path,
    *,
    columns: Sequence[Column] | None = None,
    text: Sequence[str] | None = None,
    on_bad_row: Literal["stop", "skip"] = "stop",
) -> Predicted:
    """Predict every row of a source into a CSV, TSV, JSONL or Parquet file.

    Args:
        classifier: the classifier.
        source: ``starter``, ``hub:<id>[:config]`` or a file; of a source with splits, the test split.
        out: file to write, whole or not at all; its suffix says the format.
        columns: columns of the output; none: row, label, confidence and all probabilities.
        text: text column(s) of the source; none: those of training.
        on_bad_row: stop at a row without a usable text, or skip it; row numbers are those of the source either way.

    Raises:
        InputError: unknown format or column, or a bad row.
        RunError: the file cannot be written.
    """
    chosen = tuple(columns or (Column(field, field) for field in DEFAULT_COLUMNS))
    skipped: list[int] = []
    schema = Schema(text=tuple(text or classifier.manifest.text.columns), label=None, on_bad_row=on_bad_row)
    examples = stream_examples(stream_rows(source, split="test"), schema, skipped=skipped, source=source)
    count = 0
    with open_table(out, _kinds(chosen, classifier.labels)) as write:
        for window in windows(examples, WINDOW):
            write(list(_rows(classifier, window, chosen)))
            count += len(window)
    return Predicted(count, tuple(skipped))


def _kinds(columns: Sequence[Column], labels: Sequence[str]) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    own: dict[str, Kind] = {"index": "int", "row": "int", "label_id": "int", "confidence": "float"}
    for column in columns:
        if column.field == "probabilities" and not column.source_column:
            added: dict[str, Kind] = {f"p_{label}": "float" for label in labels}
        else:
            added = {column.name: "text" if column.source_column else own.get(column.field, "text")}
        twice = kinds.keys() & added.keys()
        if twice:
            raise InputError(f"--columns: two columns would be named {min(twice)!r}; name one of them otherwise")
        kinds |= added
    return kinds


def _rows(classifier: Classifier, window: list[Example], columns: Sequence[Column]) -> Iterator[dict[str, Any]]:
    probabilities = classifier.predict_proba([example.text for example in window])
    for example, shares in zip(window, probabilities, strict=True):
        yield _row(classifier.labels, example, shares, columns)


def _row(labels: Sequence[str], example: Example, shares: np.ndarray, columns: Sequence[Column]) -> dict[str, Any]:
    best = int(shares.argmax())
    fields = {
        "index": example.row - 1,
        "row": example.row,
        "text": example.text,
        "label": labels[best],
        "label_id": best,
        "confidence": float(shares[best]),
    }
    row: dict[str, Any] = {}
    for column in columns:
        if column.source_column:
            row[column.name] = _source_value(example, column.field)
        elif column.field == "probabilities":
            row |= {f"p_{label}": float(share) for label, share in zip(labels, shares, strict=True)}
        else:
            row[column.name] = fields[column.field]
    return row


def _source_value(example: Example, column: str) -> str | None:
    if column not in example.values:
        raise InputError(f"--columns: the source has no column {column!r}; it has: {', '.join(example.values)}")
    value = example.values[column]
    return None if value is None else str(value)
