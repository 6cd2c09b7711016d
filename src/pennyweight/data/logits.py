"""Logits of a data set, kept in a Parquet file: a column for each label, and one that says which row they are of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.data.labels import listed
from pennyweight.errors import InputError

_NUMBERED = {"row": 1, "index": 0}
"""Columns that may say which row the logits are of, each with the number of the first row."""


def logit_columns(path: Path, labels: Sequence[str]) -> list[str]:
    """Names of the columns to read: that of the rows' numbers, then one for each label; only the header is read.

    Raises:
        InputError: not a Parquet file, or a label has no column, or there is none for the rows' numbers.
    """
    import pyarrow.parquet as pq

    try:
        there = pq.read_schema(path).names
    except (OSError, ValueError) as error:  # pyarrow's own errors are such
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a Parquet file of logits ({reason})") from None
    missing = next((label for label in labels if label not in there), None)
    if missing is not None:
        raise InputError(
            f"{path}: has no column for the label {missing!r}; it has: {listed(there)}; name the columns as the labels"
        )
    number = next((name for name in _NUMBERED if name in there and name not in labels), None)
    if number is None:
        raise InputError(f"{path}: has no column row (from 1) or index (from 0); without it no item is known")
    return [number, *labels]


def read_logits(path: Path, labels: Sequence[str], rows: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """The logits of some rows, fp32 [rows, labels], in the order of ``rows`` and ``labels``.

    Args:
        path: a Parquet file; other columns in it are of no interest.
        labels: names of the columns to read.
        rows: numbers of the rows that are wanted, from 1; a row may be wanted twice.

    Raises:
        InputError: as `logit_columns`; a column holds no numbers, or one that is not finite; a row is there twice or
            is missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    number, *names = logit_columns(path, labels)
    try:
        table = pq.read_table(path, columns=[number, *names])
        present = np.asarray(table[number].cast(pa.int64())) - _NUMBERED[number] + 1
        logits = np.stack([np.asarray(table[name].cast(pa.float64())) for name in names], axis=1)
    except (OSError, ValueError, TypeError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: its columns {listed([number, *names])} are not all numbers ({reason})") from None
    order = np.argsort(present, kind="stable")
    present = present[order]
    twice = present[1:][present[1:] == present[:-1]]
    if len(twice):
        raise InputError(f"{path}: row {twice[0]} is there twice; give the logits of each row once")
    places = np.searchsorted(present, rows)
    found = np.take(present, places, mode="clip") == rows if len(present) else np.zeros(len(rows), dtype=bool)
    if not found.all():
        first, count = rows[np.flatnonzero(~found)[0]], int((~found).sum())
        raise InputError(
            f"{path}: no logits of row {first} of the training data ({count:,} of {len(rows):,} items are missing); "
            f"write them with `pennyweight predict … --columns row,logits`"
        )
    wanted = logits[order[places]]
    broken = np.flatnonzero(~np.isfinite(wanted).all(axis=1))
    if len(broken):
        raise InputError(f"{path}: a logit of row {rows[broken[0]]} is missing or not finite; correct it")
    return np.asarray(wanted, dtype=np.float32)
