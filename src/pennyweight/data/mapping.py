"""Labels of one data set in the words of another: ``their label → ours``."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pennyweight.data.label_sets import canonical_set
from pennyweight.data.labels import canonical, listed
from pennyweight.data.readers import Row
from pennyweight.errors import InputError


def read_label_map(text: str) -> dict[str, str]:
    """Read what ``--map`` says: the path of a TOML file of ``"their label" = "our label"``, or ``THEIRS=OURS,…``.

    Raises:
        InputError: no such file, not such a table, or nothing in it.
    """
    found = _read_table(Path(text)) if text.endswith(".toml") else _split_pairs(text)
    if not found:
        raise InputError(f"--map {text}: names no label; write THEIRS=OURS,…, or give a .toml file of such lines")
    return found


def _read_table(path: Path) -> dict[str, str]:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"--map {path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"--map {path}: cannot be read as TOML: {error}") from None
    for theirs, ours in table.items():
        if not isinstance(ours, str):
            raise InputError(f'--map {path}: {theirs} = {ours!r:.60}: write "their label" = "our label", one a line')
    return {theirs.strip(): ours.strip() for theirs, ours in table.items()}


def _split_pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in filter(str.strip, text.split(",")):
        theirs, equals, ours = (piece.strip() for piece in part.partition("="))
        if not (theirs and equals and ours):
            raise InputError(f"--map: {part.strip()!r} maps nothing; write THEIRS=OURS, or give a .toml file")
        if theirs in pairs:
            raise InputError(f"--map: {theirs!r} is mapped twice; keep one of the two")
        pairs[theirs] = ours
    return pairs


def require_known(mapping: Mapping[str, str], labels: Sequence[str]) -> None:
    """Raises InputError where something is mapped to what is none of our labels."""
    for theirs, ours in mapping.items():
        if ours not in labels:
            raise InputError(
                f"--map {theirs}={ours}: the classifier has no label {ours!r}; it has: {listed(tuple(labels))}"
            )


def mapped_rows(
    rows: Iterator[Row],
    column: str,
    mapping: Mapping[str, str],
    dropped: Counter[str],
    *,
    separator: str | None = None,
) -> Iterator[Row]:
    """Rows with their labels in our words; rows whose label is not mapped are left out and counted by that label.

    Of several labels those that are not mapped are taken off the row, and a row that loses all of them is left out. A
    row without a label passes as it is: what to do with it is decided where rows become examples.

    Args:
        rows: the rows.
        column: name of the label column; rows that lack it pass as they are.
        mapping: their label → ours; integers by their digits.
        dropped: where to count the labels that are left out.
        separator: of several labels per row what stands between them in a text; none: a row has one label.

    Raises:
        InputError: every row was left out.
    """
    kept = False
    for row in rows:
        theirs = _written(row.values.get(column), separator)
        if theirs is None or not theirs:
            kept = True
            yield row
            continue
        dropped.update(label for label in theirs if label not in mapping)
        ours = [mapping[label] for label in theirs if label in mapping]
        if ours:
            kept = True
            yield Row(row.number, {**row.values, column: ours[0] if separator is None else ours})
    if dropped and not kept:
        seen = listed([name for name, _ in dropped.most_common()])
        raise InputError(f"--map: maps none of the labels in the data; these are: {seen}")


def _written(value: Any, separator: str | None) -> list[str] | None:
    """A row's labels as `canonical` reads them, as texts; none where they are missing or can be no labels."""
    try:
        found = (canonical(value),) if separator is None else canonical_set(value, separator)
    except TypeError:
        return None
    return None if found is None or None in found else [str(label) for label in found]
