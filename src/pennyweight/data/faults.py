"""What is wrong with a row, and how a row's text columns become one text."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from pennyweight.data.label_sets import canonical_set
from pennyweight.data.labels import canonical, is_unicode, listed, shorten
from pennyweight.data.readers import Row
from pennyweight.errors import InputError

if TYPE_CHECKING:
    from pennyweight.data.examples import Schema

_NAMED_ROWS = 5
_TEXT_REMEDY = "--text (train: --set data.text=<column>)"
_LABEL_REMEDY = "--label (train: --set data.label=<column>)"
_GROUPS_REMEDY = "--by (train: --set data.groups=<column>)"
_LOOK_AHEAD = 1000
_CLOSING = "\"'\u201d\u2019\u00bb)]}*_"
_SENTENCE_ENDS = ".!?:;\u2026\u3002\uff01\uff1f\uff1a\uff1b"


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


def check_columns(source: str, row: Row, schema: Schema) -> None:
    """Raises InputError where a source, by its first row, lacks a column that the schema names."""
    wanted = [(column, _TEXT_REMEDY) for column in schema.text]
    if schema.label is not None:
        wanted.append((schema.label, _LABEL_REMEDY))
    if schema.groups is not None:
        wanted.append((schema.groups, _GROUPS_REMEDY))
    if schema.label in schema.text:
        raise InputError(
            f"{source}: column {schema.label!r} cannot be both the text and the label; name another text column"
        )
    for column, remedy in wanted:
        if column not in row.values:
            there = listed(tuple(map(str, row.values))) or "none"
            raise InputError(f"{source} has no column {column!r}; it has: {there}; name one with {remedy}")


def fault_of(row: Row, text: str | None, schema: Schema) -> str | None:
    """What is wrong with a row whose text columns, joined, are ``text``; none: nothing."""
    if text is None:
        value = next(value for column in schema.text if join_texts([value := row.values.get(column)]) is None)
        return f"the text is not a string but {shorten(value)}"
    if not text:
        return "the text is empty"
    if not is_unicode(text):
        return "the text holds half of a surrogate pair, which is not valid Unicode"
    if schema.label is not None and _is_missing(row.values.get(schema.label), schema):
        return "the label is missing"
    return None


def _is_missing(label: Any, schema: Schema) -> bool:
    try:
        return (canonical_set(label, schema.separator) if schema.several else canonical(label)) is None
    except TypeError:
        return False


def describe_bad_rows(source: str, row: Row, fault: str, rows: Iterator[Row], schema: Schema) -> str:
    """Describe a bad row, and name those that follow within the next thousand."""
    numbers = [row.number]
    for later in islice(rows, _LOOK_AHEAD):
        text = join_texts([later.values.get(column) for column in schema.text])
        if fault_of(later, text, schema) is not None:
            numbers.append(later.number)
        if len(numbers) == _NAMED_ROWS:
            break
    remedy = "correct it, or pass over such rows with --on-bad-row skip"
    if len(numbers) == 1:
        return f"{source}, row {row.number}: {fault}; {remedy}"
    others = ("row " if len(numbers) == 2 else "rows ") + ", ".join(map(str, numbers[1:]))
    return f"{source}, row {row.number}: {fault}, and {others} cannot be used either; {remedy}"
