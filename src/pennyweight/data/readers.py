"""Rows out of a file, one after the other: CSV, TSV, JSON Lines and Parquet, in constant memory."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pennyweight.data.labels import is_unicode
from pennyweight.errors import InputError

Format = Literal["csv", "tsv", "jsonl", "parquet"]
Compression = Literal["gzip", "zstd"]

_FORMATS: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_COMPRESSIONS: dict[str, Compression] = {".gz": "gzip", ".zst": "zstd"}
_KNOWN = ".csv, .tsv, .jsonl (or .ndjson), each also with .gz or .zst behind it, and .parquet"
_BATCH = 1024
_BUFFER = 256 * 1024
# A field beyond this is a quote that was never closed: the rest of the file would be read into memory as one text.
_FIELD_LIMIT = 64 * 1024 * 1024


class Row(NamedTuple):
    """One row of a source."""

    number: int
    """Position among the data rows, from 1; a header is not counted."""
    values: dict[str, Any]
    """The row's values by column name."""


def read_rows(path: Path) -> Iterator[Row]:
    """Stream the rows of a file whose suffix names its format.

    CSV and TSV need a header line; text is UTF-8, with or without a byte order mark. Values of CSV and TSV are
    strings; those of JSON Lines and Parquet keep their types. Blank lines are passed over, except in a CSV or TSV of
    one column, where a blank line between others is a row with an empty value.

    Raises:
        InputError: at once, if there is no such file or its format is unknown; while reading, if the file is damaged,
            empty, not UTF-8, ragged, or not what its suffix says. The message names the line or the row.
    """
    path = Path(path)
    _check_readable(path)
    file_format, compression = format_of(path)
    return _at_least_one(path, _translated(path, _READERS[file_format](path, compression)))


def format_of(path: Path) -> tuple[Format, Compression | None]:
    """Tell a file's format and compression by its suffixes, in either case.

    Raises:
        InputError: the suffix is none of those known; the message lists them.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = _COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    inner = suffixes[-2:-1] if compression else suffixes[-1:]
    file_format = _FORMATS.get(inner[0]) if inner else None
    if file_format is None or (file_format == "parquet" and compression is not None):
        raise InputError(f"{path}: unknown format; known are {_KNOWN}")
    return file_format, compression


def _check_readable(path: Path) -> None:
    if not is_unicode(str(path)):
        raise InputError(f"{str(path)!a}: the file's name is not UTF-8; rename it")
    try:
        with path.open("rb"):
            return
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file; check the spelling of the path") from error
    except IsADirectoryError as error:
        raise InputError(f"{path} is a folder; name one file in it ({_KNOWN})") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be opened: {reason}; check the path and its permissions") from error


def _at_least_one(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    row = None
    for row in rows:
        yield row
    if row is None:
        raise InputError(f"{path} holds no rows; give a file with at least one row of data")


def _translated(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    """Turn what the decompressors and Arrow raise into words about the file."""
    number = 0
    try:
        for number, values in rows:
            yield Row(number, values)
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: damaged after row {number} ({reason}); copy or download the file again") from error


def _lines(path: Path, compression: Compression | None) -> Iterator[str]:
    """Yield the lines of a text file with their ends kept, checking that each is UTF-8."""
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(pa.input_stream(str(path), compression=compression))
        # Bytes that are no UTF-8 come through as lone surrogates, so that the line they stand in can be named.
        text = stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline=""))
        for number, line in enumerate(text, start=1):
            if not line.isascii():
                _check_encoding(path, number, line)
            elif number == 1 and "\0" in line:
                raise InputError(f"{path}: looks like UTF-16; save it as UTF-8")
            yield line


def _check_encoding(path: Path, number: int, line: str) -> None:
    try:
        line.encode("utf-8")
    except UnicodeEncodeError as error:
        byte = ord(line[error.start]) - 0xDC00
        raise InputError(f"{path}, line {number}: byte 0x{byte:02X} is not UTF-8; save the file as UTF-8") from error


def _read_delimited(path: Path, compression: Compression | None, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), _FIELD_LIMIT))
    reader = csv.reader(_lines(path, compression), delimiter=delimiter, strict=True)
    try:
        header = next((fields for fields in reader if fields), None)
        if header is None:
            return
        _check_header(path, header)
        for number, fields in enumerate(_without_blanks(reader, len(header)), start=1):
            if len(fields) != len(header):
                raise InputError(
                    f"{path}, row {number} (line {reader.line_num}) has {_count(len(fields), 'field')}, the header has "
                    f'{len(header)}; put a text that holds the separator or a line break in "double quotes"'
                )
            yield Row(number, dict(zip(header, fields, strict=True)))
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: {error}; check the quotes there "
            '(a quote inside a quoted text is doubled: "")'
        ) from error


def _without_blanks(records: Iterable[list[str]], width: int) -> Iterator[list[str]]:
    """Drop blank lines; in a file of one column only those at its end, since one between rows is an empty text."""
    pending = 0
    for fields in records:
        if not fields:
            pending += width == 1
            continue
        for _ in range(pending):
            yield [""]
        pending = 0
        yield fields


def _check_header(path: Path, header: list[str]) -> None:
    for position, name in enumerate(header, start=1):
        if not name.strip():
            raise InputError(
                f"{path}: column {position} has no name in the header; name it, or leave the column out "
                "(pandas: to_csv(..., index=False))"
            )
    _check_distinct(path, header)


def _check_distinct(path: Path, names: list[str]) -> None:
    repeated = next((name for position, name in enumerate(names) if name in names[:position]), None)
    if repeated is not None:
        raise InputError(f"{path}: two columns are named {repeated!r}; give every column a name of its own")


def _read_csv(path: Path, compression: Compression | None) -> Iterator[Row]:
    return _read_delimited(path, compression, ",")


def _read_tsv(path: Path, compression: Compression | None) -> Iterator[Row]:
    return _read_delimited(path, compression, "\t")


def _read_jsonl(path: Path, compression: Compression | None) -> Iterator[Row]:
    number = 0
    for line_number, line in enumerate(_lines(path, compression), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", None) or str(error)
            raise InputError(
                f"{path}, line {line_number} is not JSON ({reason}); write one JSON object on each line"
            ) from error
        if not isinstance(values, dict):
            raise InputError(
                f'{path}, line {line_number} is not a JSON object; write each line as {{"column": value, ...}}'
            )
        number += 1
        yield Row(number, values)


def _read_parquet(path: Path, _compression: Compression | None) -> Iterator[Row]:
    number = 0
    # pre_buffer would hold the compressed bytes of every column of a row group at once, and without a buffer's size
    # those of one column would be: a row group may be the whole file. Threads would each keep memory of their own.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER) as file:
        _check_distinct(path, file.schema_arrow.names)
        for batch in file.iter_batches(batch_size=_BATCH, use_threads=False):
            try:
                records = batch.to_pylist()
            except (ValueError, OverflowError) as error:
                raise InputError(
                    f"{path}: rows {number + 1} to {number + batch.num_rows} hold a value that cannot be read "
                    f"({error}); write the file again with plain columns and text as UTF-8"
                ) from error
            for values in records:
                number += 1
                yield Row(number, values)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_READERS: dict[Format, Callable[[Path, Compression | None], Iterator[Row]]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
}
