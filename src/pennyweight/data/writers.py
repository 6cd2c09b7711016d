"""Tables written row by row to CSV, TSV, JSONL or Parquet: whole or not at all, memory constant."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal

from pennyweight.errors import InputError
from pennyweight.files import atomic_writer

Kind = Literal["int", "float", "text"]
WriteRows = Callable[[Sequence[Mapping[str, Any]]], None]


@contextlib.contextmanager
def open_table(path: Path, columns: Mapping[str, Kind]) -> Iterator[WriteRows]:
    """Open a table for writing; its suffix says the format.

    Args:
        path: ends in .csv, .tsv, .jsonl or .parquet; takes this name only when the table is complete.
        columns: name → kind of value, in order.

    Yields:
        A function that appends rows, each a mapping with exactly ``columns``.

    Raises:
        InputError: the suffix names no known format, or ``path`` is a folder.
        RunError: the file cannot be written.
    """
    check_format(path)
    opener = _FORMATS[path.suffix.lower()]
    with atomic_writer(path) as file, opener(file, columns) as write:
        yield write


def check_format(path: Path) -> None:
    """Raises InputError where `open_table` would have to refuse ``path``, before any work is done."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"{path}: unknown format {path.suffix!r}; write to one of {', '.join(_FORMATS)}")


@contextlib.contextmanager
def _delimited(file: IO[bytes], columns: Mapping[str, Kind], delimiter: str) -> Iterator[WriteRows]:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.DictWriter(text, fieldnames=list(columns), delimiter=delimiter, lineterminator="\n")
    writer.writeheader()
    yield writer.writerows
    text.flush()
    text.detach()


def _csv(file: IO[bytes], columns: Mapping[str, Kind]) -> contextlib.AbstractContextManager[WriteRows]:
    return _delimited(file, columns, ",")


def _tsv(file: IO[bytes], columns: Mapping[str, Kind]) -> contextlib.AbstractContextManager[WriteRows]:
    return _delimited(file, columns, "\t")


@contextlib.contextmanager
def _jsonl(file: IO[bytes], _columns: Mapping[str, Kind]) -> Iterator[WriteRows]:
    def write(rows: Sequence[Mapping[str, Any]]) -> None:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode("utf-8") + b"\n")

    yield write


@contextlib.contextmanager
def _parquet(file: IO[bytes], columns: Mapping[str, Kind]) -> Iterator[WriteRows]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {"int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    schema = pa.schema([(name, types[kind]) for name, kind in columns.items()])
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        yield lambda rows: writer.write_table(pa.Table.from_pylist(list(rows), schema=schema))


_FORMATS = {".csv": _csv, ".tsv": _tsv, ".jsonl": _jsonl, ".parquet": _parquet}
