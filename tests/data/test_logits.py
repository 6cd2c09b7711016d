from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pennyweight.data.logits import read_logits
from pennyweight.errors import InputError

LABELS = ("no", "yes")


def write(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(("number", "first"), [("row", 1), ("index", 0)])
def test_rows_are_found_by_number_and_labels_by_name(number, first, tmp_path):
    numbers = np.array([3, 0, 2, 1]) + first
    path = write(tmp_path / "l.parquet", yes=[3.0, 0.0, 2.0, 1.0], **{number: numbers}, no=[-3.0, 0.0, -2.0, -1.0])
    found = read_logits(path, LABELS, np.array([2, 4, 2, 1]))
    assert found.dtype == np.float32
    assert found.tolist() == [[-1, 1], [-3, 3], [-1, 1], [0, 0]]


def test_a_label_named_row_leaves_the_numbers_to_index(tmp_path):
    path = write(tmp_path / "l.parquet", row=[1.0, 2.0], column=[3.0, 4.0], index=[1, 0])
    assert read_logits(path, ("row", "column"), np.array([1, 2])).tolist() == [[2, 4], [1, 3]]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"row": [1, 2], "no": [0.0, 1.0]}, "no column for the label 'yes'; it has: row, no"),
        ({"no": [0.0], "yes": [1.0]}, r"no column row \(from 1\) or index"),
        ({"row": [1, 2], "no": [0.0, 1.0], "yes": ["a", "b"]}, "not all numbers"),
        ({"row": ["a", "b"], "no": [0.0, 1.0], "yes": [0.0, 1.0]}, "not all numbers"),
        ({"row": [1, 1], "no": [0.0, 1.0], "yes": [0.0, 1.0]}, "row 1 is there twice"),
        ({"row": [1, 3], "no": [0.0, 1.0], "yes": [0.0, 1.0]}, r"no logits of row 2 .*1 of 2 items are missing"),
        ({"row": [1, 2], "no": [0.0, float("nan")], "yes": [0.0, 1.0]}, "row 2 is missing or not finite"),
        ({"row": [1, 2], "no": [0.0, None], "yes": [0.0, 1.0]}, "row 2 is missing or not finite"),
        (
            {"row": pa.array([], pa.int64()), "no": pa.array([], pa.float32()), "yes": pa.array([], pa.float32())},
            "of 2",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(columns, message, tmp_path):
    path = write(tmp_path / "l.parquet", **columns)
    with pytest.raises(InputError, match=message) as caught:
        read_logits(path, LABELS, np.array([1, 2]))
    assert "\n" not in str(caught.value)


def test_what_is_no_parquet_file_is_refused(tmp_path):
    path = tmp_path / "l.parquet"
    path.write_text("row,no,yes\n1,0,1\n")
    with pytest.raises(InputError, match="cannot be read as a Parquet file of logits"):
        read_logits(path, LABELS, np.array([1]))
