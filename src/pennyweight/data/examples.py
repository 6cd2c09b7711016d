"""From rows to examples: the text columns joined, the label as a class index, bad rows named or skipped."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pennyweight.data.labels import LabelEncoder, canonical, discover, is_unicode, listed, shorten
from pennyweight.data.readers import Row
from pennyweight.data.sources import Split, stream_rows
from pennyweight.errors import InputError

if TYPE_CHECKING:
    import datasets

_NAMED_ROWS = 5
_TEXT_REMEDY = "--text (train: --set data.text=<column>)"
_LABEL_REMEDY = "--label (train: --set data.label=<column>)"
_LOOK_AHEAD = 1000
_CLOSING = "\"'\u201d\u2019\u00bb)]}*_"
_SENTENCE_ENDS = ".!?:;\u2026\u3002\uff01\uff1f\uff1a\uff1b"


@dataclass(frozen=True)
class Schema:
    """Which columns mean what."""

    text: tuple[str, ...]
    """Text columns, joined in this order."""
    label: str | None
    """Label column; none: the data has no labels, or they are of no interest."""
    labels: tuple[str, ...] | None = None
    """Label names in index order; none: not known yet."""
    first_label: int = 0
    """Integer that stands for the first of `labels` in the data."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """What to do with a row whose text is empty or no text, or whose label is missing."""
    mapping: Mapping[str, str] | None = None
    """The data's labels in the words of `labels`, for `pennyweight.data.mapping`; none: they are the same."""


class Example(NamedTuple):
    """One text with its class."""

    row: int
    """Number of the row it came from, from 1."""
    text: str
    """The text, not cleaned."""
    label: int | None
    """Class index; None where the schema has no label column."""
    values: dict[str, Any]
    """All columns of the row."""


@dataclass(frozen=True)
class Loaded:
    """A source, read whole."""

    dataset: datasets.Dataset
    """Columns ``row`` (int64, from 1), ``text`` (string), ``label`` (int64, class index)."""
    labels: tuple[str, ...]
    """Label names in index order."""
    skipped: tuple[int, ...]
    """Numbers of the bad rows that were passed over."""


_Labelled = tuple[int, str, Any]
"""Row number, text, and label: class index where the classes are known, else an integer or a name."""


class _Usable(NamedTuple):
    row: Row
    text: str
    label: Any


def stream_examples(
    rows: Iterator[Row], schema: Schema, *, skipped: list[int] | None = None, source: str = "data"
) -> Iterator[Example]:
    """Turn rows into examples, one by one.

    Several text columns are joined by ". ", or by a space where the left part ends a sentence itself; empty parts are
    left out. A row is bad if its text is empty, null, not a string or not valid Unicode, or if its label is missing.
    A label outside the known set always stops: it means that the classes are not those of the data.

    Args:
        rows: the rows.
        schema: which columns mean what; with a label column, `Schema.labels` has to be known.
        skipped: where to note the numbers of the bad rows that are passed over.
        source: what to call the data in errors.

    Raises:
        InputError: a column is missing, a row is bad, or a label is outside the known set.
        ValueError: the schema has a label column but no label names.
    """
    if schema.label is not None and schema.labels is None:
        raise ValueError("label names have to be known before examples are streamed; load_examples discovers them")
    encoder = LabelEncoder(schema.labels or (), schema.first_label) if schema.label is not None else None
    return (
        Example(
            row.number,
            text,
            None if encoder is None else encoder.encode(label, where=f"{source}, row {row.number}"),
            row.values,
        )
        for row, text, label in _usable(rows, schema, [] if skipped is None else skipped, source)
    )


def load_examples(
    source: str, schema: Schema, *, split: Split, limit: int | None = None, limit_per_class: int | None = None
) -> Loaded:
    """Read a source whole, and discover its label names where the schema has none.

    Discovered integers are numbered in numeric order and named by their digits, names are sorted. Reading stops as
    soon as ``limit`` is reached, so that only the labels up to there are discovered.

    Args:
        source: see `pennyweight.data.sources.stream_rows`.
        schema: which columns mean what; it needs a label column.
        split: the split to read where the source has several; ``train`` asks for two classes at least.
        limit: number of good rows taken from the start.
        limit_per_class: number of good rows taken from the start of each class, within ``limit``.

    Raises:
        InputError: as `stream_examples`; also if no row is left, or all are of one class.
        RunError: the Hub cannot be reached.
    """
    if schema.label is None:
        raise InputError(f"{source}: no label column is named; name it with --set data.label=<column>")
    skipped: list[int] = []
    encoder = None if schema.labels is None else LabelEncoder(schema.labels, schema.first_label)
    usable = _usable(stream_rows(source, split=split), schema, skipped, source)
    labelled = (
        (row.number, text, _label(value, encoder, f"{source}, row {row.number}")) for row, text, value in usable
    )
    classes = None if encoder is None else len(encoder.names)
    kept = list(_within(labelled, classes, limit=limit, limit_per_class=limit_per_class))
    numbers, texts, found = (list(column) for column in zip(*kept, strict=True)) if kept else ([], [], [])
    names = discover(found) if encoder is None else encoder.names
    index = {name: position for position, name in enumerate(names)}
    labels = [index[str(label)] for label in found] if encoder is None else found
    _check_classes(source, [names[label] for label in labels], skipped, 2 if split == "train" or encoder is None else 1)
    return Loaded(_dataset(numbers, texts, labels), names, tuple(skipped))


def _within(
    labelled: Iterator[_Labelled], classes: int | None, *, limit: int | None, limit_per_class: int | None
) -> Iterator[_Labelled]:
    """Pass on what the limits admit, and read no further than they need."""
    counts: Counter[int | str] = Counter()
    full = 0
    for item in labelled:
        if limit_per_class is not None and counts[item[2]] >= limit_per_class:
            continue
        yield item
        counts[item[2]] += 1
        full += counts[item[2]] == limit_per_class
        if counts.total() == limit or full == classes:
            return


def _label(value: Any, encoder: LabelEncoder | None, where: str) -> int | str:
    """Class index where the classes are known, else the label as the data has it; never missing in a usable row."""
    if encoder is None:
        try:
            label = canonical(value)
        except TypeError as error:
            raise InputError(f"{where}: {error}; correct it, or name another column with data.label") from None
    else:
        label = encoder.encode(value, where=where)
    assert label is not None
    return label


def _check_classes(source: str, labels: list[str], skipped: list[int], at_least: int) -> None:
    if not labels:
        raise InputError(f"{source}: no usable row, {len(skipped)} skipped; check the text and the label column")
    if len(set(labels)) < at_least:
        raise InputError(
            f"{source}: all {len(labels)} items read are of one class ({labels[0]}); give data with several classes "
            "(a file sorted by class needs a larger data.limit, or data.limit_per_class instead)"
        )


def _dataset(numbers: list[int], texts: list[str], labels: list[Any]) -> datasets.Dataset:
    import datasets

    columns = {"row": numbers, "text": texts, "label": labels}
    features = {"row": datasets.Value("int64"), "text": datasets.Value("string"), "label": datasets.Value("int64")}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def _usable(rows: Iterator[Row], schema: Schema, skipped: list[int], source: str) -> Iterator[_Usable]:
    """Yield the good rows; note the bad ones, or stop at them."""
    rows = iter(rows)
    first = True
    for row in rows:
        if first:
            _check_columns(source, row, schema)
            first = False
        text = join_texts([row.values.get(column) for column in schema.text])
        fault = _fault(row, text, schema)
        if fault is None:
            yield _Usable(row, str(text), row.values.get(schema.label) if schema.label is not None else None)
        elif schema.on_bad_row == "skip":
            skipped.append(row.number)
        else:
            raise InputError(_bad_rows(source, row, fault, rows, schema))


def join_texts(parts: list[Any]) -> str | None:
    """Join the text columns of a row, or return None if one of them holds something that is not a text.

    A missing part (null or NaN) counts as empty.
    """
    joined = ""
    for part in parts:
        if part is None or (isinstance(part, float) and math.isnan(part)):
            continue
        if not isinstance(part, str):
            return None
        right = part.strip()
        if joined and right:
            # A few characters are enough to see through closing quotes and brackets.
            end = joined[-8:].rstrip(_CLOSING)[-1:]
            joined += " " if end and end in _SENTENCE_ENDS else ". "
        joined += right
    return joined


def _check_columns(source: str, row: Row, schema: Schema) -> None:
    wanted = [(column, _TEXT_REMEDY) for column in schema.text]
    if schema.label is not None:
        wanted.append((schema.label, _LABEL_REMEDY))
    if schema.label in schema.text:
        raise InputError(
            f"{source}: column {schema.label!r} cannot be both the text and the label; name another text column"
        )
    for column, remedy in wanted:
        if column not in row.values:
            there = listed(tuple(map(str, row.values))) or "none"
            raise InputError(f"{source} has no column {column!r}; it has: {there}; name one with {remedy}")


def _fault(row: Row, text: str | None, schema: Schema) -> str | None:
    if text is None:
        value = next(value for column in schema.text if join_texts([value := row.values.get(column)]) is None)
        return f"the text is not a string but {shorten(value)}"
    if not text:
        return "the text is empty"
    if not is_unicode(text):
        return "the text holds half of a surrogate pair, which is not valid Unicode"
    if schema.label is not None and _is_missing(row.values.get(schema.label)):
        return "the label is missing"
    return None


def _is_missing(label: Any) -> bool:
    try:
        return canonical(label) is None
    except TypeError:
        return False


def _bad_rows(source: str, row: Row, fault: str, rows: Iterator[Row], schema: Schema) -> str:
    """Describe a bad row, and name those that follow within the next thousand."""
    numbers = [row.number]
    for later in islice(rows, _LOOK_AHEAD):
        text = join_texts([later.values.get(column) for column in schema.text])
        if _fault(later, text, schema) is not None:
            numbers.append(later.number)
        if len(numbers) == _NAMED_ROWS:
            break
    remedy = "correct it, or pass over such rows with --on-bad-row skip"
    if len(numbers) == 1:
        return f"{source}, row {row.number}: {fault}; {remedy}"
    others = ", ".join(map(str, numbers[1:]))
    return f"{source}, row {row.number}: {fault}, and rows {others} cannot be used either; {remedy}"
