"""Tables of CSV, TSV, JSONL or Parquet, written window by window in constant memory: in one go, or appended to."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple

from pennyweight.errors import InputError
from pennyweight.files import atomic_writer

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["int", "float", "text", "ints", "texts"]
Rows = Sequence[Mapping[str, Any]]
WriteRows = Callable[[Rows], object]

_BATCHES_PER_GROUP = 64
_BYTES_PER_GROUP = 64 * 2**20


class Encoding(NamedTuple):
    """A table as bytes that grow at their end alone: it can be cut off behind any rows, and gone on with from there."""

    header: bytes
    """What comes before the first row."""
    encode: Callable[[Rows], bytes]
    """Turns rows, each a mapping with exactly the columns, into the bytes to append."""
    convert: Callable[[Path, Path], None] | None
    """Writes a file of such bytes as the table that was asked for; none: it is that already."""


def encoding_of(path: Path, columns: Mapping[str, Kind]) -> Encoding:
    """The appendable form of a table of the format that the suffix of ``path`` says.

    CSV, TSV and JSONL are their own. A Parquet file has its directory at its end, so it is made at last, batch by
    batch, from a stream of Arrow's record batches.

    Args:
        path: ends in .csv, .tsv, .jsonl or .parquet.
        columns: name → kind of value, in order.

    Raises:
        InputError: the suffix names no known format, or ``path`` is a folder.
    """
    check_format(path)
    return _ENCODINGS[path.suffix.lower()](columns)


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
    encoding = encoding_of(path, columns)
    with atomic_writer(path) as file:
        if path.suffix.lower() != ".parquet":
            file.write(encoding.header)
            yield lambda rows: file.write(encoding.encode(rows))
            return
        schema = _schema(columns)
        with _row_groups(file, schema) as write:
            yield lambda rows: write(_batch(rows, schema))


def check_format(path: Path) -> None:
    """Raises InputError where `open_table` would have to refuse ``path``, before any work is done."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file")
    if path.suffix.lower() not in _ENCODINGS:
        raise InputError(f"{path}: unknown format {path.suffix!r}; write to one of {', '.join(_ENCODINGS)}")


def _delimited(columns: Mapping[str, Kind], *, delimiter: str) -> Encoding:
    def encode(rows: Rows, *, header: bool = False) -> bytes:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(columns), delimiter=delimiter, lineterminator="\n")
        if header:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode("utf-8")

    return Encoding(encode([], header=True), encode, None)


def _json_lines(_columns: Mapping[str, Kind]) -> Encoding:
    def encode(rows: Rows) -> bytes:
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode("utf-8")

    return Encoding(b"", encode, None)


def _arrow_stream(columns: Mapping[str, Kind]) -> Encoding:
    schema = _schema(columns)

    def encode(rows: Rows) -> bytes:
        return bytes(_batch(rows, schema).serialize())

    return Encoding(bytes(schema.serialize()), encode, _as_parquet)


def _as_parquet(stream: Path, target: Path) -> None:
    import pyarrow as pa

    with (
        stream.open("rb") as file,
        pa.ipc.open_stream(file) as batches,
        _row_groups(target, batches.schema) as write,
    ):
        for batch in batches:
            write(batch)


@contextlib.contextmanager
def _row_groups(target: Path | IO[bytes], schema: pa.Schema) -> Iterator[Callable[[pa.RecordBatch], None]]:
    """Open a Parquet file; yields a function that appends a batch.

    A row group is 64 batches, or fewer where these hold 64 MiB: many small groups are slow to read and compress badly,
    and a group is kept in memory until it is written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept: list[pa.RecordBatch] = []
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:

        def flush() -> None:
            if kept:
                writer.write_table(pa.Table.from_batches(kept, schema))
                kept.clear()

        def write(batch: pa.RecordBatch) -> None:
            kept.append(batch)
            if len(kept) >= _BATCHES_PER_GROUP or sum(one.nbytes for one in kept) >= _BYTES_PER_GROUP:
                flush()

        yield write
        flush()


def _schema(columns: Mapping[str, Kind]) -> pa.Schema:
    import pyarrow as pa

    types = {"int": pa.int64(), "float": pa.float64(), "text": pa.string()}
    types |= {"ints": pa.list_(pa.int64()), "texts": pa.list_(pa.string())}
    return pa.schema([(name, types[kind]) for name, kind in columns.items()])


def _batch(rows: Rows, schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pylist(list(rows), schema=schema)


_ENCODINGS: dict[str, Callable[[Mapping[str, Kind]], Encoding]] = {
    ".csv": partial(_delimited, delimiter=","),
    ".tsv": partial(_delimited, delimiter="\t"),
    ".jsonl": _json_lines,
    ".parquet": _arrow_stream,
}
