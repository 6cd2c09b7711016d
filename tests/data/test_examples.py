from __future__ import annotations

import json
import math
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pennyweight.data.examples import Schema, load_examples, stream_examples
from pennyweight.data.faults import join_texts
from pennyweight.data.readers import Row
from pennyweight.data.sources import stream_rows
from pennyweight.errors import InputError

NEWS = ("World", "Sports", "Business", "Sci/Tech")
KNOWN = Schema(text=("text",), label="label", labels=NEWS)
UNKNOWN = Schema(text=("text",), label="label")


def rows_of(*values: dict) -> list[Row]:
    return [Row(number, row) for number, row in enumerate(values, start=1)]


def labelled(*pairs) -> list[Row]:
    return rows_of(*({"text": text, "label": label} for text, label in pairs))


def jsonl(path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def error_of(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_examples_carry_row_text_label_and_all_columns():
    rows = rows_of({"id": 7, "text": " a ", "label": "Sports"}, {"id": 8, "text": "b", "label": 3})
    examples = list(stream_examples(iter(rows), KNOWN))
    assert [(e.row, e.text, e.label, e.values) for e in examples] == [
        (1, "a", 1, rows[0].values),
        (2, "b", 3, rows[1].values),
    ]


def test_without_a_label_column_labels_are_none():
    examples = stream_examples(iter(rows_of({"text": "a"}, {"text": "b", "label": []})), Schema(("text",), None))
    assert [example.label for example in examples] == [None, None]


@pytest.mark.parametrize(
    ("parts", "joined"),
    [
        (["Title", "Text"], "Title. Text"),
        (["Title.", "Text"], "Title. Text"),
        (["Really?", "Text"], "Really? Text"),
        (['He said "go."', "Text"], 'He said "go." Text'),
        (["(Reuters)", "Text"], "(Reuters). Text"),
        (["題名。", "本文"], "題名。 本文"),
        (["", "Text"], "Text"),
        (["Title", None, "Text"], "Title. Text"),
        (["Title", "  ", math.nan], "Title"),
        ([" a ", " b ", "c!", "d"], "a. b. c! d"),
        (["()", "b"], "(). b"),
        ([None, ""], ""),
        (["a", 3], None),
        ([["a"]], None),
    ],
)
def test_joining(parts, joined):
    assert join_texts(parts) == joined


def test_joining_a_megabyte_of_closing_quotes_is_fine():
    assert join_texts(['"' * 1_000_000, "b"]) == '"' * 1_000_000 + ". b"


def test_a_text_of_a_megabyte_is_an_example_like_any_other():
    text = "word " * 200_001
    (example,) = stream_examples(iter(labelled((text, 0))), KNOWN)
    assert example.text == text.strip()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the text is empty"),
        (" \n\t\u00a0", "the text is empty"),
        (None, "the text is empty"),
        (math.nan, "the text is empty"),
        (12, "not a string but 12"),
        (["a"], "not a string but"),
        ("half \ud83d", "not valid Unicode"),
    ],
)
def test_a_bad_text_stops_with_its_row_or_is_skipped(text, reason):
    rows = labelled(("good", 0), (text, 1), ("good", 2))
    message = error_of(lambda: list(stream_examples(iter(rows), KNOWN, source="news.csv")))
    assert message.startswith("news.csv, row 2: ")
    assert reason in message
    assert "--on-bad-row skip" in message
    skipped: list[int] = []
    lenient = Schema(("text",), "label", NEWS, on_bad_row="skip")
    assert [e.row for e in stream_examples(iter(rows), lenient, skipped=skipped)] == [1, 3]
    assert skipped == [2]


@pytest.mark.parametrize("label", [None, math.nan, "", "  "])
def test_a_missing_label_is_a_bad_row(label):
    rows = labelled(("a", 0), ("b", label))
    assert "row 2: the label is missing" in error_of(lambda: list(stream_examples(iter(rows), KNOWN)))
    skipped: list[int] = []
    list(stream_examples(iter(rows), Schema(("text",), "label", NEWS, on_bad_row="skip"), skipped=skipped))
    assert skipped == [2]


def test_a_column_that_later_rows_lack_is_a_bad_row():
    rows = rows_of({"text": "a", "label": 0}, {"label": 1}, {"text": "c"})
    assert "row 2: the text is empty, and row 3 " in error_of(lambda: list(stream_examples(iter(rows), KNOWN)))


def test_the_first_five_bad_rows_are_named():
    rows = labelled(("a", 0), *[("" if number % 3 == 0 else "b", 0) for number in range(40)])
    assert "row 2: the text is empty, and rows 5, 8, 11, 14 " in error_of(
        lambda: list(stream_examples(iter(rows), KNOWN))
    )


def test_looking_ahead_ends_somewhere():
    def endless():
        yield Row(1, {"text": "", "label": 0})
        number = 1
        while True:
            number += 1
            yield Row(number, {"text": "good", "label": 0})

    assert "row 1: the text is empty; " in error_of(lambda: next(stream_examples(endless(), KNOWN)))


def test_a_missing_column_lists_those_there_are():
    rows = rows_of({"headline": "a", "class": 1, "id": 3})
    assert "no column 'text'; it has: headline, class, id" in error_of(lambda: list(stream_examples(iter(rows), KNOWN)))
    schema = Schema(("headline",), "label", NEWS)
    message = error_of(lambda: list(stream_examples(iter(rows), schema)))
    assert "no column 'label'" in message
    assert "--set data.label=" in message


@pytest.mark.parametrize("on_bad_row", ["stop", "skip"])
def test_an_unknown_label_always_stops(on_bad_row):
    rows = labelled(("a", 1), ("b", "Weather"))
    schema = Schema(("text",), "label", NEWS, on_bad_row=on_bad_row)
    message = error_of(lambda: list(stream_examples(iter(rows), schema, source="news.csv")))
    assert message.startswith("news.csv, row 2: label 'Weather' is none of the known ones: World, Sports,")


def test_classes_counted_from_one_are_noticed_and_understood():
    rows = labelled(*((f"text {number}", 1 + number % 4) for number in range(8)))
    assert "--set data.first_label=1" in error_of(lambda: list(stream_examples(iter(rows), KNOWN)))
    shifted = Schema(("text",), "label", NEWS, first_label=1)
    assert [example.label for example in stream_examples(iter(rows), shifted)] == [0, 1, 2, 3] * 2


def test_streaming_with_a_label_column_needs_the_names():
    with pytest.raises(ValueError, match="known before"):
        stream_examples(iter(labelled(("a", 0))), UNKNOWN)


def test_streaming_is_lazy():
    examples = stream_examples(iter(labelled(("a", 0), ("", 0))), Schema(("text",), None))
    assert next(examples).text == "a"


# -- whole sources ----------------------------------------------------------------------------------------------------


def test_a_csv_of_names_is_loaded_with_sorted_names(tmp_path):
    path = tmp_path / "n.csv"
    path.write_text("text,label\na,World\nb,Sports\nc,World\n")
    loaded = load_examples(str(path), UNKNOWN, split="train")
    assert loaded.labels == ("Sports", "World")
    assert loaded.dataset.to_dict() == {"row": [1, 2, 3], "text": ["a", "b", "c"], "label": [1, 0, 1]}
    assert {name: feature.dtype for name, feature in loaded.dataset.features.items()} == {
        "row": "int64",
        "text": "string",
        "label": "int64",
    }
    assert loaded.skipped == ()


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 9, 10], ("9", "10")),
        ([1.0, 0.0, 1.0], ("0", "1")),
        (["1", "0", "1"], ("0", "1")),
        ([True, False, True], ("False", "True")),
        (["b", "a", "b"], ("a", "b")),
    ],
)
def test_discovery_from_every_type_of_column(tmp_path, values, names):
    pq.write_table(pa.table({"text": ["x", "y", "z"], "label": values}), tmp_path / "n.parquet")
    loaded = load_examples(str(tmp_path / "n.parquet"), UNKNOWN, split="train")
    assert loaded.labels == names
    assert loaded.dataset["label"][:] == [1, 0, 1]


def test_known_names_fix_the_order(tmp_path):
    source = jsonl(tmp_path / "n.jsonl", [{"text": "a", "label": "Sports"}, {"text": "b", "label": "World"}])
    loaded = load_examples(source, KNOWN, split="train")
    assert loaded.labels == NEWS
    assert loaded.dataset["label"][:] == [1, 0]


@pytest.mark.parametrize("schema", [KNOWN, UNKNOWN])
def test_limits(tmp_path, schema):
    rows = [{"text": f"text {number}", "label": NEWS[number % 3]} for number in range(30)]
    source = jsonl(tmp_path / "n.jsonl", rows)

    def numbers(**limits):
        return load_examples(source, schema, split="train", **limits).dataset["row"][:]

    assert numbers(limit=7) == [1, 2, 3, 4, 5, 6, 7]
    assert numbers(limit_per_class=2) == [1, 2, 3, 4, 5, 6]
    assert numbers(limit_per_class=2, limit=5) == [1, 2, 3, 4, 5]
    assert numbers(limit=100, limit_per_class=100) == list(range(1, 31))


def test_limit_counts_good_rows_and_reads_no_further(tmp_path):
    path = tmp_path / "n.csv"
    path.write_text("text,label\na,x\n,y\nb,y\nc,x\nragged\n")
    schema = Schema(("text",), "label", on_bad_row="skip")
    loaded = load_examples(str(path), schema, split="train", limit=3)
    assert loaded.dataset["row"][:] == [1, 3, 4]
    assert loaded.skipped == (2,)


def test_full_classes_end_the_reading(tmp_path):
    path = tmp_path / "n.csv"
    path.write_text("text,label\na,x\nb,y\nc,x\nragged\n")
    schema = Schema(("text",), "label", ("x", "y"))
    assert len(load_examples(str(path), schema, split="train", limit_per_class=1).dataset) == 2
    with pytest.raises(InputError, match="row 4"):
        load_examples(str(path), UNKNOWN, split="train", limit_per_class=1)


def test_one_class_only_is_refused_for_training(tmp_path):
    source = jsonl(tmp_path / "n.jsonl", [{"text": text, "label": "World"} for text in "abc"])
    for schema in (KNOWN, UNKNOWN):
        message = error_of(lambda schema=schema: load_examples(source, schema, split="train"))
        assert "all 3 items read are of one class (World)" in message
    assert len(load_examples(source, KNOWN, split="test").dataset) == 3


def test_nothing_left_after_skipping(tmp_path):
    source = jsonl(tmp_path / "n.jsonl", [{"text": "", "label": "World"}] * 3)
    schema = Schema(("text",), "label", on_bad_row="skip")
    assert "no usable row, 3 skipped" in error_of(lambda: load_examples(source, schema, split="train"))


@pytest.mark.parametrize("label", [0.5, [1], {"a": 1}])
def test_what_is_no_label_names_the_row(tmp_path, label):
    source = jsonl(tmp_path / "n.jsonl", [{"text": "a", "label": 1}, {"text": "b", "label": label}])
    message = error_of(lambda: load_examples(source, UNKNOWN, split="train"))
    assert "n.jsonl, row 2: label " in message


def test_a_label_column_is_asked_for(tmp_path):
    source = jsonl(tmp_path / "n.jsonl", [{"text": "a"}])
    assert "data.label" in error_of(lambda: load_examples(source, Schema(("text",), None), split="train"))


def test_the_starter_set():
    loaded = load_examples("starter", UNKNOWN, split="train")
    assert loaded.labels == tuple(sorted(NEWS))
    assert Counter(loaded.dataset["label"][:]) == dict.fromkeys(range(4), 120)
    for row in stream_rows("starter", split="train"):
        item = loaded.dataset[row.number - 1]
        assert (item["row"], item["text"]) == (row.number, row.values["text"].strip())
        assert loaded.labels[item["label"]] == row.values["label"]
