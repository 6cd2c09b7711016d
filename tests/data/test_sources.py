from __future__ import annotations

import hashlib
import os
from collections import Counter

import pytest

from pennyweight.data.sources import Place, open_source, parse_source, stream_rows
from pennyweight.errors import InputError


@pytest.mark.parametrize(
    ("source", "place"),
    [
        ("starter", Place("starter", "starter")),
        ("starter@train", Place("starter", "starter", split="train")),
        ("hub:ag_news", Place("hub", "ag_news")),
        ("hub:owner/name:config", Place("hub", "owner/name", "config")),
        ("hub:owner/name:config@test", Place("hub", "owner/name", "config", "test")),
        ("hub:owner/name@validation", Place("hub", "owner/name", split="validation")),
        ("news.csv", Place("file", "news.csv")),
        ("mail@home.csv", Place("file", "mail@home.csv")),
        ("starters.csv", Place("file", "starters.csv")),
        ("a:b.csv", Place("file", "a:b.csv")),
    ],
)
def test_sources_are_taken_apart(source, place):
    assert parse_source(source) == place


def test_a_folder_may_hold_the_marks_in_its_name(tmp_path):
    folder = tmp_path / "a:b@c"
    folder.mkdir()
    assert parse_source(f"hub:{folder}") == Place("hub", str(folder))
    assert parse_source(f"hub:{folder}@test") == Place("hub", str(folder), split="test")
    assert parse_source(f"hub:{folder}:config@test") == Place("hub", str(folder), "config", "test")


@pytest.mark.parametrize("source", ["hub:", "hub:@test", "hub:name@", "hub:name:", "", "  "])
def test_incomplete_sources(source):
    with pytest.raises(InputError):
        parse_source(source)


def test_overlong_names_are_no_folders():
    assert parse_source("hub:" + "x" * 5000).kind == "hub"


@pytest.mark.parametrize(("split", "items"), [("train", 480), ("test", 120)])
def test_the_starter_set_is_balanced(split, items):
    rows = list(stream_rows("starter", split=split))
    assert [row.number for row in rows] == list(range(1, items + 1))
    assert Counter(row.values["label"] for row in rows) == dict.fromkeys(
        ["World", "Sports", "Business", "Sci/Tech"], items // 4
    )
    assert all(isinstance(row.values["text"], str) and row.values["text"].strip() for row in rows)


def test_a_named_split_goes_before_the_one_asked_for():
    assert len(list(stream_rows("starter@test", split="train"))) == 120


def test_an_unknown_starter_split_names_the_splits():
    with pytest.raises(InputError, match="train and test"):
        stream_rows("starter@validation", split="train")


def test_files_are_read_whole_whatever_the_split(tmp_path):
    path = tmp_path / "n@train.csv"
    path.write_text("text\na\nb\n")
    for split in ("train", "test"):
        assert [row.values["text"] for row in stream_rows(str(path), split=split)] == ["a", "b"]


def test_a_missing_file_is_reported_before_any_row_is_asked_for():
    with pytest.raises(InputError, match="no such file"):
        stream_rows("starter.csv", split="train")


def test_a_fingerprint_is_that_of_the_content(tmp_path):
    """Not of the name, nor of the time; every byte counts."""
    first, copy, other = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "c.csv"
    first.write_text("text\na\nb\n")
    copy.write_text("text\na\nb\n")
    os.utime(copy, (1, 1))
    other.write_text("text\na\nc\n")
    prints = [open_source(str(path), split="test").fingerprint() for path in (first, copy, other)]
    assert prints[0] == prints[1] != prints[2]
    assert prints[0] == f"SHA-256 {hashlib.sha256(first.read_bytes()).hexdigest()}"
    starter = [open_source(f"starter@{split}", split="test").fingerprint() for split in ("train", "test")]
    assert starter[0] != starter[1] == open_source("starter", split="test").fingerprint()
