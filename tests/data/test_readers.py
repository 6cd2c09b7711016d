from __future__ import annotations

import csv
import datetime
import gzip
import json
import random
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from pennyweight.data.readers import Row, read_rows
from pennyweight.errors import InputError

ROWS = [
    {"text": "Shares rose, then fell", "label": "Business"},
    {"text": 'A "quoted" word\nand a second line', "label": "World"},
    {"text": "Zoë, a naïve café, 東京", "label": "Sports"},
]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def delimited(delimiter: str) -> str:
    import io

    out = io.StringIO()
    writer = csv.DictWriter(out, ["text", "label"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return out.getvalue()


def plain(kind: str) -> bytes:
    if kind in ("csv", "tsv"):
        return delimited("," if kind == "csv" else "\t").encode()
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def error_of(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        list(read_rows(path))
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "ndjson", "CSV"])
@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_text_formats_give_the_same_rows(tmp_path, kind, compression, mark):
    content = mark + plain(kind.lower())
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[compression]
    path = write(tmp_path / f"news.{kind}{compression}", pack(content))
    assert list(read_rows(path)) == [Row(number, row) for number, row in enumerate(ROWS, start=1)]


@pytest.mark.parametrize("compression", ["zstd", "snappy", "none"])
def test_parquet_gives_the_same_rows_with_their_types(tmp_path, compression):
    table = pa.Table.from_pylist(
        [{**row, "n": number, "day": datetime.date(2024, 1, 2)} for number, row in enumerate(ROWS)]
    )
    pq.write_table(table, tmp_path / "news.parquet", compression=compression)
    rows = list(read_rows(tmp_path / "news.parquet"))
    assert [row.number for row in rows] == [1, 2, 3]
    assert [row.values for row in rows] == table.to_pylist()


def test_numbers_run_on_across_parquet_batches(tmp_path):
    pq.write_table(pa.table({"n": range(1, 5001)}), tmp_path / "n.parquet", row_group_size=700)
    assert all(row.number == row.values["n"] for row in read_rows(tmp_path / "n.parquet"))


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_concatenated_compressed_members_are_read_on(tmp_path, pack):
    suffix = ".gz" if pack is gzip.compress else ".zst"
    path = write(tmp_path / f"n.csv{suffix}", pack(b"text\na\n") + pack(b"b\n"))
    assert [row.values["text"] for row in read_rows(path)] == ["a", "b"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_every_system(tmp_path, end):
    path = write(tmp_path / "n.csv", end.join(["text,label", "a,1", "b,2", ""]))
    assert [row.values for row in read_rows(path)] == [{"text": "a", "label": "1"}, {"text": "b", "label": "2"}]


def test_separators_that_only_unicode_calls_line_ends_stay_in_the_text(tmp_path):
    text = "one\u2028two\x0bthree\x85four"
    path = write(tmp_path / "n.jsonl", json.dumps({"text": text}, ensure_ascii=False) + "\n")
    assert next(read_rows(path)).values["text"] == text
    path = write(tmp_path / "n.csv", f"text,label\n{text},1\n")
    assert next(read_rows(path)).values["text"] == text


def test_fields_over_the_csv_modules_own_limit_pass(tmp_path):
    long = "word " * 250_000
    path = write(tmp_path / "n.csv", f'text,label\n"{long}",1\nb,2\n')
    rows = list(read_rows(path))
    assert rows[0].values["text"] == long
    assert rows[1].values == {"text": "b", "label": "2"}


def test_reading_is_lazy(tmp_path):
    path = write(tmp_path / "n.csv", "text,label\n" + "a,1\n" * 100_000 + "ragged\n")
    rows = read_rows(path)
    assert next(rows).number == 1


def test_blank_lines_are_passed_over(tmp_path):
    path = write(tmp_path / "n.csv", "\ntext,label\n\na,1\n\nb,2\n\n")
    assert [(row.number, row.values["text"]) for row in read_rows(path)] == [(1, "a"), (2, "b")]
    path = write(tmp_path / "n.jsonl", '\n{"text": "a"}\n   \n{"text": "b"}\n\n')
    assert [(row.number, row.values["text"]) for row in read_rows(path)] == [(1, "a"), (2, "b")]


def test_in_one_column_a_blank_line_between_rows_is_an_empty_value(tmp_path):
    path = write(tmp_path / "n.csv", "text\na\n\nb\n\n\n")
    assert [row.values["text"] for row in read_rows(path)] == ["a", "", "b"]


def test_missing_file_folder_and_unreadable_name(tmp_path):
    assert "no such file" in error_of(tmp_path / "none.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a folder" in error_of(tmp_path / "folder.csv")
    with pytest.raises(InputError, match="cannot be opened"):
        read_rows(Path("x" * 5000 + ".csv"))
    with pytest.raises(InputError, match="cannot be opened"):
        read_rows(Path("nul\0.csv"))


@pytest.mark.parametrize("name", ["news.xlsx", "news", "news.gz", "news.parquet.gz", "news.csv.bz2", "news.json"])
def test_unknown_format_lists_the_known_ones_at_once(tmp_path, name):
    path = write(tmp_path / name, "text\na\n")
    with pytest.raises(InputError, match=r"unknown format.*\.csv, \.tsv, \.jsonl.*\.parquet"):
        read_rows(path)


@pytest.mark.parametrize("name", ["n.csv", "n.tsv", "n.jsonl", "n.csv.gz", "n.csv.zst"])
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_empty_file(tmp_path, name, content):
    assert "no rows" in error_of(write(tmp_path / name, b"" if name.endswith(("gz", "zst")) else content))


def test_header_without_rows_and_empty_parquet(tmp_path):
    assert "no rows" in error_of(write(tmp_path / "n.csv", "text,label\n"))
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "n.parquet")
    assert "no rows" in error_of(tmp_path / "n.parquet")


@pytest.mark.parametrize(
    ("name", "before"), [("n.csv", b"text,label\na,1\n"), ("n.jsonl", b'{"text": "a"}\n{"text": "b"}\n')]
)
def test_undecodable_bytes_name_line_and_byte(tmp_path, name, before):
    message = error_of(write(tmp_path / name, before + "caf\xe9,2\n".encode("latin-1")))
    assert "line 3: byte 0xE9" in message
    assert "save the file as UTF-8" in message


def test_undecodable_bytes_far_into_the_file_are_placed_exactly(tmp_path):
    path = write(tmp_path / "n.csv", b"text\n" + b"abcdefgh\n" * 50_000 + b"\xff\n")
    assert "line 50002: byte 0xFF" in error_of(path)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf_16_says_save_as_utf_8(tmp_path, encoding):
    assert "UTF-8" in error_of(write(tmp_path / "n.csv", "text,label\na,1\n".encode(encoding)))


@pytest.mark.parametrize(("line", "fields"), [("b", "1 field"), ("b,2,3", "3 fields"), ('"b, c",2,x', "3 fields")])
def test_ragged_csv_names_row_line_and_widths(tmp_path, line, fields):
    message = error_of(write(tmp_path / "n.csv", f'text,label\n"a\nb",1\n\n{line}\nz,9\n'))
    assert f"row 2 (line 5) has {fields}, the header has 2" in message


def test_ragged_tsv(tmp_path):
    assert "row 1 (line 2) has 1 field" in error_of(write(tmp_path / "n.tsv", "text\tlabel\na 1\n"))


def test_header_faults(tmp_path):
    assert "two columns are named 'text'" in error_of(write(tmp_path / "n.csv", "text,label,text\na,b,c\n"))
    assert "column 1 has no name" in error_of(write(tmp_path / "n.csv", ",text\n0,a\n"))
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(table, tmp_path / "n.parquet")
    assert "two columns are named 'text'" in error_of(tmp_path / "n.parquet")


@pytest.mark.parametrize("body", ['a,1\n"b" c,2\n', 'a,1\n"never closed,2\nc,3\n'])
def test_broken_quotes_name_the_line(tmp_path, body):
    message = error_of(write(tmp_path / "n.csv", "text,label\n" + body))
    assert "line 3" in message or "line 4" in message
    assert "quote" in message


@pytest.mark.parametrize(
    "line", ["{", "text: a", "{'text': 'a'}", '{"text": ' + "[" * 100_000, '{"n": ' + "9" * 5000 + "}"]
)
def test_malformed_json_names_the_line(tmp_path, line):
    assert "line 3 is not JSON" in error_of(write(tmp_path / "n.jsonl", '{"text": "a"}\n\n' + line + "\n"))


@pytest.mark.parametrize("line", ["[1, 2]", '"text"', "3", "null"])
def test_json_that_is_no_object_names_the_line(tmp_path, line):
    assert "line 2 is not a JSON object" in error_of(write(tmp_path / "n.jsonl", '{"text": "a"}\n' + line + "\n"))


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("cut", [-5, -1, 12])
def test_truncated_compression_is_noticed(tmp_path, suffix, cut):
    pack = gzip.compress if suffix == ".gz" else zstandard.compress
    body = b"text\n" + b"".join(b"row %d of many\n" % number for number in range(20_000))
    assert "damaged" in error_of(write(tmp_path / f"n.csv{suffix}", pack(body)[:cut]))


@pytest.mark.parametrize("name", ["n.csv.gz", "n.jsonl.zst", "n.parquet"])
def test_files_that_are_not_what_they_say(tmp_path, name):
    assert "damaged" in error_of(write(tmp_path / name, b"this is no such file at all, whatever its name"))


@pytest.mark.parametrize("position", [0.2, 0.5, 0.8])
def test_altered_gzip_and_truncated_parquet(tmp_path, position):
    packed = bytearray(gzip.compress(b"text\n" + b"".join(b"row %d\n" % number for number in range(20_000))))
    packed[int(len(packed) * position)] ^= 0xFF
    assert error_of(write(tmp_path / "n.csv.gz", bytes(packed)))
    pq.write_table(pa.table({"text": [f"row {number}" for number in range(5000)]}), tmp_path / "n.parquet")
    content = (tmp_path / "n.parquet").read_bytes()
    assert "damaged" in error_of(write(tmp_path / "n.parquet", content[: int(len(content) * position)]))


def test_parquet_text_that_is_not_utf_8(tmp_path):
    array = pa.array([b"good", b"caf\xe9"]).view(pa.string())
    pq.write_table(pa.table({"text": array}), tmp_path / "n.parquet")
    assert "rows 1 to 2" in error_of(tmp_path / "n.parquet")


def large(path: Path, rows: int) -> Path:
    """A file of rows of a kilobyte that compress badly; in Parquet all of them are one row group."""
    generator = random.Random(0)
    texts = [generator.randbytes(500).hex() for _ in range(rows)]
    if path.suffix == ".parquet":
        pq.write_table(pa.table({"text": texts}), path)
        return path
    lines = [json.dumps({"text": text}) for text in texts] if ".jsonl" in path.suffixes else ["text", *texts]
    pack = {".gz": gzip.compress, ".zst": zstandard.compress}.get(path.suffix, bytes)
    return write(path, pack("\n".join(lines).encode()))


def peak(path: Path) -> int:
    """Most bytes held at a time, by Python or by Arrow, while a file is read."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        for _row in read_rows(path):
            pass
        return max(tracemalloc.get_traced_memory()[1], pool.max_memory())
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)


@pytest.mark.parametrize("name", ["n.csv", "n.tsv.gz", "n.jsonl", "n.jsonl.zst", "n.parquet"])
def test_no_file_is_read_whole(name, tmp_path):
    for folder in ("small", "large"):
        (tmp_path / folder).mkdir()
    small, more = large(tmp_path / "small" / name, 8_000), large(tmp_path / "large" / name, 24_000)
    assert peak(more) < 1.1 * peak(small) < 0.25 * more.stat().st_size
