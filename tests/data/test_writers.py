from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pennyweight.data.readers import read_rows
from pennyweight.data.writers import check_format, encoding_of, open_table
from pennyweight.errors import InputError

COLUMNS = {"row": "int", "label": "text", "share": "float"}
ROWS = [
    {"row": 1, "label": 'A "quoted", name\nof two lines', "share": 1 / 3},
    {"row": 2, "label": "Zoë 東京", "share": 1e-17},
    {"row": 3, "label": None, "share": 0.0},
]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet", ".CSV"])
@pytest.mark.parametrize("windows", [[], [ROWS], [ROWS[:1], ROWS[1:]], [[], ROWS]])
def test_rows_come_back_as_they_were(suffix, windows, tmp_path):
    path = tmp_path / f"table{suffix}"
    with open_table(path, COLUMNS) as write:
        for rows in windows:
            write(rows)
        assert not path.exists()
    expected = [row for rows in windows for row in rows]
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    elif suffix == ".parquet":
        rows = pq.read_table(path).to_pylist()
    else:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t" if suffix == ".tsv" else ","))
        expected = [{key: "" if value is None else str(value) for key, value in row.items()} for row in expected]
    assert rows == expected
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_the_header_is_there_without_rows_and_the_types_too(tmp_path):
    for suffix in (".csv", ".parquet"):
        with open_table(tmp_path / f"a{suffix}", COLUMNS):
            pass
    assert (tmp_path / "a.csv").read_text() == "row,label,share\n"
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert [(field.name, field.type) for field in schema] == [
        ("row", pa.int64()),
        ("label", pa.string()),
        ("share", pa.float64()),
    ]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_what_is_written_can_be_read_as_data(suffix, tmp_path):
    path = tmp_path / f"a{suffix}"
    with open_table(path, COLUMNS) as write:
        write(ROWS)
    assert [row.values["label"] or None for row in read_rows(path)] == [row["label"] for row in ROWS]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_broken_off_nothing_is_left(suffix, tmp_path):
    with pytest.raises(ZeroDivisionError), open_table(tmp_path / f"a{suffix}", COLUMNS) as write:
        write(ROWS)
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.xlsx", "a", "a.csv.gz"])
def test_an_unknown_format_lists_those_there_are(name, tmp_path):
    for attempt in (check_format, lambda path: open_table(path, COLUMNS).__enter__()):
        with pytest.raises(InputError, match=r"unknown format .*\.csv, \.tsv, \.jsonl, \.parquet"):
            attempt(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("windows", [[], [ROWS], [ROWS[:1], ROWS[1:]], [[], ROWS]])
def test_encoded_piece_by_piece_it_is_the_same_table(suffix, windows, tmp_path):
    path, pieces, whole = tmp_path / f"a{suffix}", tmp_path / "pieces", tmp_path / f"b{suffix}"
    encoding = encoding_of(path, COLUMNS)
    pieces.write_bytes(b"".join([encoding.header, *map(encoding.encode, windows)]))
    if encoding.convert is not None:
        encoding.convert(pieces, path)
    else:
        pieces.rename(path)
    with open_table(whole, COLUMNS) as write:
        for rows in windows:
            write(rows)
    assert path.read_bytes() == whole.read_bytes()


def row_groups(path) -> list[int]:
    """Rows of each row group of a Parquet file."""
    metadata = pq.read_metadata(path)
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def written(rows: list[list[dict[str, object]]], folder) -> list[Path]:
    """The same batches as Parquet, written and converted."""
    whole, pieces, converted = folder / "a.parquet", folder / "pieces", folder / "b.parquet"
    encoding = encoding_of(converted, COLUMNS)
    with open_table(whole, COLUMNS) as write, pieces.open("wb") as file:
        file.write(encoding.header)
        for batch in rows:
            write(batch)
            file.write(encoding.encode(batch))
    encoding.convert(pieces, converted)
    return [whole, converted]


def test_a_row_group_is_of_many_batches(tmp_path):
    rows = [[{"row": 3 * number + one, "label": "a", "share": 0.5} for one in range(3)] for number in range(150)]
    for path in written(rows, tmp_path):
        assert row_groups(path) == [192, 192, 66]
        assert pq.read_table(path).to_pylist() == [row for batch in rows for row in batch]


def test_a_row_group_of_long_texts_is_smaller(tmp_path):
    rows = [[{"row": number, "label": "a" * 5_000_000, "share": 0.5}] for number in range(20)]
    for path in written(rows, tmp_path):
        assert row_groups(path) == [14, 6]
