"""Examples of several labels, and groups that come along with them."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pennyweight.data.examples import Schema, load_examples, stream_examples
from pennyweight.data.readers import Row
from pennyweight.errors import InputError

SEVERAL = Schema(text=("text",), label="labels", several=True)
KNOWN = Schema(text=("text",), label="labels", labels=("a", "b", "c"), several=True)


def written(path, *rows: dict) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def items(*labels) -> list[dict]:
    return [{"text": f"text {number}", "labels": value} for number, value in enumerate(labels)]


def test_lists_are_read_and_an_empty_one_is_a_label_set_too():
    rows = [Row(number, row) for number, row in enumerate(items(["b", "a"], [], "c|a", 1), start=1)]
    assert [example.label for example in stream_examples(iter(rows), KNOWN)] == [(0, 1), (), (0, 2), (1,)]


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_a_missing_list_is_a_bad_row(missing, tmp_path):
    rows = [Row(number, row) for number, row in enumerate(items(["a"], missing), start=1)]
    with pytest.raises(InputError, match="row 2: the label is missing"):
        list(stream_examples(iter(rows), KNOWN))


def test_names_are_discovered_from_lists_and_from_text(tmp_path):
    path = written(tmp_path / "a.jsonl", *items(["pear", "apple"], [], ["fig"]))
    loaded = load_examples(path, SEVERAL, split="train")
    assert loaded.labels == ("apple", "fig", "pear")
    assert loaded.dataset["label"][:] == [[0, 2], [], [1]]
    csv = tmp_path / "a.csv"
    csv.write_text('text,labels\none,pear|apple\ntwo,\nthree,"fig| pear"\n')
    loaded = load_examples(str(csv), SEVERAL, split="train")
    assert loaded.labels == ("apple", "fig", "pear")
    assert loaded.dataset["label"][:] == [[0, 2], [], [1, 2]]


def test_integers_in_parquet_lists_are_numbered_in_numeric_order(tmp_path):
    table = pa.table({"text": ["x", "y", "z"], "labels": [[10, 2], [2], []]})
    pq.write_table(table, tmp_path / "a.parquet")
    loaded = load_examples(str(tmp_path / "a.parquet"), SEVERAL, split="train")
    assert loaded.labels == ("2", "10")
    assert loaded.dataset["label"][:] == [[0, 1], [0], []]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([[], []], r"no label occurs in the 2 items"),
        ([["a"], ["a"], []], r"only the label a occurs in the 3 items"),
        ([["a", "b"], ["b", "a"]], r"all 2 items read have the same labels \(a, b\)"),
        ([["a"], [["b"]]], r"row 2: label \['b'\] is neither a name nor a whole number"),
        ([["a"], ["b", None]], r"row 2: the labels .* hold an empty one"),
        ([["a"], ["b|c"]], r"'b\|c' holds '\|'"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_refused(labels, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load_examples(written(tmp_path / "a.jsonl", *items(*labels)), SEVERAL, split="train")


def test_lists_where_one_class_is_expected_name_the_task(tmp_path):
    schema = Schema(text=("text",), label="labels")
    with pytest.raises(InputError, match=r"data\.task=multi-label"):
        load_examples(written(tmp_path / "a.jsonl", *items(["a"], ["b"])), schema, split="train")


def test_a_limit_per_class_takes_items_while_one_of_their_labels_is_short(tmp_path):
    path = written(tmp_path / "a.jsonl", *items(["a"], ["a"], ["a", "b"], [], [], ["b"], ["c"], ["c"]))
    loaded = load_examples(path, SEVERAL, split="train", limit_per_class=1)
    assert loaded.dataset["row"][:] == [1, 3, 4, 7]
    known = load_examples(path, KNOWN, split="train", limit_per_class=1)
    assert known.dataset["row"][:] == [1, 3, 4, 7]
    assert load_examples(path, SEVERAL, split="train", limit=6).dataset.num_rows == 6


def test_groups_come_along_and_their_column_has_to_be_there(tmp_path):
    rows = [{**row, "lang": lang} for row, lang in zip(items(["a"], ["b"], []), ("de", None, " fr "), strict=True)]
    path = written(tmp_path / "a.jsonl", *rows)
    schema = Schema(text=("text",), label="labels", several=True, groups="lang")
    assert load_examples(path, schema, split="train").dataset["group"][:] == ["de", "(none)", "fr"]
    with pytest.raises(InputError, match=r"no column 'language'.*--by"):
        load_examples(path, Schema(("text",), "labels", several=True, groups="language"), split="train")
