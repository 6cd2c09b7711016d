"""From rows to examples: the text columns joined, the label as a class index, bad rows named or skipped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pennyweight.data.faults import check_columns, describe_bad_rows, fault_of, join_texts
from pennyweight.data.group_names import group_name
from pennyweight.data.label_sets import SEPARATOR, LabelSetEncoder, canonical_set, membership, require_apart
from pennyweight.data.labels import LabelEncoder, canonical, discover
from pennyweight.data.readers import Row
from pennyweight.data.sources import Split, stream_rows
from pennyweight.errors import InputError

if TYPE_CHECKING:
    import datasets


@dataclass(frozen=True)
class Schema:
    """Which columns mean what."""

    text: tuple[str, ...]
    """Text columns, joined in this order."""
    label: str | None
    """Label column; none: the data has no labels, or they are of no interest."""
    labels: tuple[str, ...] | None = None
    """Label names in index order; none: not known yet."""
    first_label: int | None = 0
    """Integer that stands for the first of `labels` in the data; none: integers stand for none of them."""
    on_bad_row: Literal["stop", "skip"] = "stop"
    """What to do with a row whose text is empty or no text, or whose label is missing."""
    mapping: Mapping[str, str] | None = None
    """The data's labels in the words of `labels`, for `pennyweight.data.mapping`; none: they are the same."""
    several: bool = False
    """Whether an item has any number of labels, none included, instead of one class."""
    separator: str = SEPARATOR
    """What stands between the labels of an item where they are one text."""
    groups: str | None = None
    """Column by whose values results are told apart; none: there is no such column."""


class Example(NamedTuple):
    """One text with its class."""

    row: int
    """Number of the row it came from, from 1."""
    text: str
    """The text, not cleaned."""
    label: int | tuple[int, ...] | None
    """Class index; of several labels the class indices, ascending; None where the schema has no label column."""
    values: dict[str, Any]
    """All columns of the row."""


@dataclass(frozen=True)
class Loaded:
    """A source, read whole."""

    dataset: datasets.Dataset
    """Columns ``row`` (int64, from 1), ``text`` (string), ``label`` (int64, class index; of several labels a list of
    them), and ``group`` (string) where the schema names a column for it."""
    labels: tuple[str, ...]
    """Label names in index order."""
    skipped: tuple[int, ...]
    """Numbers of the bad rows that were passed over."""


_Encoder = LabelEncoder | LabelSetEncoder


class _Labelled(NamedTuple):
    row: int
    text: str
    label: Any
    """Class index where the classes are known, else an integer or a name; of several labels a tuple of such."""
    group: str


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
    encoder = _encoder(schema)
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
    encoder = _encoder(schema)
    labelled = (
        _Labelled(
            row.number,
            text,
            _label(value, encoder, schema, f"{source}, row {row.number}"),
            "" if schema.groups is None else group_name(row.values.get(schema.groups)),
        )
        for row, text, value in _usable(stream_rows(source, split=split), schema, skipped, source)
    )
    classes = None if encoder is None else len(encoder.names)
    kept = list(_within(labelled, classes, limit=limit, limit_per_class=limit_per_class))
    found = [item.label for item in kept]
    if not found:
        raise InputError(f"{source}: no usable row, {len(skipped)} skipped; check the text and the label column")
    names = _discovered(found, schema) if encoder is None else encoder.names
    index = {name: position for position, name in enumerate(names)}
    labels: list[Any] = [_indices(label, index) for label in found] if encoder is None else found
    at_least = 2 if split == "train" or encoder is None else 1
    (_check_labels if schema.several else _check_classes)(source, labels, names, at_least)
    return Loaded(_dataset(kept, labels, schema), names, tuple(skipped))


def _encoder(schema: Schema) -> _Encoder | None:
    """What turns labels into class indices; none where there is no label column, or the classes are not known yet."""
    if schema.label is None or schema.labels is None:
        return None
    if schema.several:
        return LabelSetEncoder(schema.labels, schema.first_label, schema.separator)
    return LabelEncoder(schema.labels, schema.first_label)


def _within(
    labelled: Iterator[_Labelled], classes: int | None, *, limit: int | None, limit_per_class: int | None
) -> Iterator[_Labelled]:
    """Pass on what the limits admit, and read no further than they need.

    An item of several labels is admitted as long as one of them is short of its limit; without a label it counts as of
    a class of its own.
    """
    counts: Counter[int | str | None] = Counter()
    items = full = 0
    for item in labelled:
        own = (item.label or (None,)) if isinstance(item.label, tuple) else (item.label,)
        if limit_per_class is not None and all(counts[label] >= limit_per_class for label in own):
            continue
        yield item
        items += 1
        counts.update(own)
        full += sum(counts[label] == limit_per_class for label in own if label is not None)
        if items == limit or full == classes:
            return


def _label(value: Any, encoder: _Encoder | None, schema: Schema, where: str) -> Any:
    """Class indices where the classes are known, else the label as the data has it; never missing in a usable row."""
    if encoder is None:
        try:
            label = canonical_set(value, schema.separator) if schema.several else canonical(value)
        except TypeError as error:
            several = isinstance(value, list | tuple) and not schema.several
            remedy = "--set data.task=multi-label reads lists of labels" if several else "correct it"
            raise InputError(f"{where}: {error}; {remedy}, or name another column with data.label") from None
    else:
        label = encoder.encode(value, where=where)
    assert label is not None
    return label


def _discovered(found: Sequence[Any], schema: Schema) -> tuple[str, ...]:
    if not schema.several:
        return discover(found)
    names = discover(label for labels in found for label in labels)
    require_apart(names, schema.separator)
    return names


def _indices(label: Any, index: dict[str, int]) -> int | tuple[int, ...]:
    """Class indices of a label as the data has it."""
    if isinstance(label, tuple):
        return tuple(sorted(index[str(one)] for one in label))
    return index[str(label)]


def _check_classes(source: str, labels: Sequence[int], names: Sequence[str], at_least: int) -> None:
    if len(set(labels)) < at_least:
        raise InputError(
            f"{source}: all {len(labels)} items read are of one class ({names[labels[0]]}); give data with several "
            "classes (a file sorted by class needs a larger data.limit, or data.limit_per_class instead)"
        )


def _check_labels(source: str, labels: Sequence[tuple[int, ...]], names: Sequence[str], at_least: int) -> None:
    """Refuses data that nothing can be learnt from: too few labels known, or the same ones for every item."""
    if len(names) < 2:
        known = f"only the label {names[0]}" if names else "no label"
        raise InputError(f"{source}: {known} occurs in the {len(labels)} items read; give data with two or more")
    if len(set(labels)) < at_least:
        same = ", ".join(names[index] for index in labels[0]) or "none"
        raise InputError(f"{source}: all {len(labels)} items read have the same labels ({same}); give others as well")


def _dataset(kept: Sequence[_Labelled], labels: list[Any], schema: Schema) -> datasets.Dataset:
    import datasets

    number, text = datasets.Value("int64"), datasets.Value("string")
    columns: dict[str, list[Any]] = {"row": [one.row for one in kept], "text": [one.text for one in kept]}
    features: dict[str, Any] = {"row": number, "text": text}
    columns["label"], features["label"] = labels, datasets.List(number) if schema.several else number
    if schema.groups is not None:
        columns["group"], features["group"] = [one.group for one in kept], text
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def _usable(rows: Iterator[Row], schema: Schema, skipped: list[int], source: str) -> Iterator[_Usable]:
    """Yield the good rows; note the bad ones, or stop at them."""
    rows = iter(rows)
    first = True
    for row in rows:
        if first:
            check_columns(source, row, schema)
            first = False
        text = join_texts([row.values.get(column) for column in schema.text])
        fault = fault_of(row, text, schema)
        if fault is None:
            yield _Usable(row, str(text), row.values.get(schema.label) if schema.label is not None else None)
        elif schema.on_bad_row == "skip":
            skipped.append(row.number)
        else:
            raise InputError(describe_bad_rows(source, row, fault, rows, schema))


def truth_of(examples: Sequence[Example], classes: int, *, several: bool) -> NDArray[Any]:
    """Labels as an array: class indices int [n], or of ``several`` labels which ones apply, bool [n, classes]."""
    if several:
        return membership([example.label for example in examples if isinstance(example.label, tuple)], classes)
    return np.array([example.label for example in examples], dtype=np.int64)
