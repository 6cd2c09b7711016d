"""Predicting as a stream: what comes out, and what is left when a stage of it fails."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from streaming import FORMATS, ROWS, WINDOW, make_table, names, predict, small_windows, table_with_holes
from tiny import write_csv

from pennyweight.ahead import THREAD_NAME
from pennyweight.classifier import Classifier
from pennyweight.data.readers import Row, read_rows
from pennyweight.data.sources import Opened
from pennyweight.errors import InputError
from pennyweight.pipeline import partial, predicting
from pennyweight.pipeline.predicting import parse_columns


@pytest.fixture(autouse=True)
def _small_windows(monkeypatch):
    small_windows(monkeypatch)


@pytest.fixture(autouse=True)
def _nothing_runs_on():
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


@pytest.fixture(scope="module")
def classifier(trained) -> Classifier:
    return Classifier.load(trained, device="cpu")


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return make_table(tmp_path_factory.mktemp("source") / "source.csv")


@pytest.fixture(params=FORMATS)
def out(request, tmp_path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / f"p{request.param}"


def test_one_row_out_for_each_row_in_and_in_order(classifier, source, out):
    done = predict(classifier, source, out)
    assert (done.rows, done.skipped, done.resumed_after) == (ROWS, 0, 0)
    assert done.rows_per_second == pytest.approx(ROWS / done.seconds)
    written = [row.values for row in read_rows(out)]
    texts = [row.values["text"] for row in read_rows(source)]
    assert [row["text"] for row in written] == texts
    assert [int(row["row"]) for row in written] == list(range(1, ROWS + 1))
    assert [row["id"] for row in written] == [f"T{number}" for number in range(ROWS)]
    labels = [label for start in range(0, ROWS, WINDOW) for label in classifier.predict(texts[start : start + WINDOW])]
    assert [row["label"] for row in written] == labels
    assert names(out.parent) == [out.name]


def test_the_halves_of_logits_are_logits(classifier, source):
    texts = [row.values["text"] for row in read_rows(source)]
    whole = classifier.logits(texts)
    assert whole.shape == (ROWS, 3)
    assert (classifier.logits_of(classifier.tokenise(texts)) == whole).all()


def test_bad_rows_are_passed_over_and_counted(classifier, tmp_path):
    source = table_with_holes(tmp_path / "holes.csv")
    done = predict(classifier, source, tmp_path / "p.csv", on_bad_row="skip", columns=parse_columns("row"))
    assert (done.rows, done.skipped) == (66, 34)
    assert (tmp_path / "p.csv").read_text().split() == ["row", *(str(n + 1) for n in range(100) if n % 3)]


@pytest.mark.parametrize("stage", ["reading", "tokenising", "computing", "writing"])
def test_a_stage_that_fails_stops_the_others(stage, classifier, source, out, monkeypatch):
    """The very exception comes out, and what was saved before can be gone on with."""
    error, calls = ZeroDivisionError(stage), []

    def failing(really):
        def call(*arguments, **options):
            calls.append(arguments)
            if len(calls) == 4:
                raise error
            return really(*arguments, **options)

        return call

    places = {"tokenising": (Classifier, "tokenise"), "computing": (Classifier, "logits_of")}
    with monkeypatch.context() as patch:
        if stage == "reading":
            really = predicting.open_source

            def opened(*arguments, **options):
                rows, fingerprint = really(*arguments, **options)
                step = failing(lambda row: row)
                return Opened((step(row) if row.number % WINDOW == 0 else row for row in rows), fingerprint)

            patch.setattr(predicting, "open_source", opened)
        elif stage == "writing":
            patch.setattr(partial.Partial, "write", failing(partial.Partial.write))
        else:
            patch.setattr(*places[stage], failing(getattr(*places[stage])))
        with pytest.raises(ZeroDivisionError) as caught:
            predict(classifier, source, out)
    assert caught.value is error
    assert not out.exists()
    assert predict(classifier, source, out, resume=True).rows == ROWS


def test_a_bad_row_leaves_nothing(classifier, source, out, tmp_path):
    rows = [(row.values["id"], row.values["text"]) for row in read_rows(source)]
    bad = write_csv(tmp_path / "bad.csv", [*rows, ("T", ""), *rows], ("id", "text"))
    with pytest.raises(InputError, match=f"row {ROWS + 1}: the text is empty"):
        predict(classifier, bad, out)
    assert names(out.parent) == []


def test_a_column_that_cannot_be_written_is_named(classifier, tmp_path):
    source = tmp_path / "half.jsonl"
    source.write_text('{"text": "a ship", "id": "\\ud83d"}\n')
    for suffix in FORMATS:
        with pytest.raises(InputError, match="row 1, column 'id' holds half of a surrogate pair"):
            predict(classifier, source, tmp_path / f"p{suffix}")
    assert names(tmp_path) == ["half.jsonl"]


def test_reading_does_not_run_away(classifier, source, tmp_path, monkeypatch):
    """However slow the computing, only a few windows wait for it."""
    read, written = [], []
    really = partial.Partial.write

    def rows():
        for number in range(1, 100 * WINDOW + 1):
            read.append(number)
            yield Row(number, {"text": "A ship at the quay.", "id": str(number)})

    def write(self, rows):
        written.extend(rows)
        assert len(read) - len(written) <= 8 * WINDOW
        really(self, rows)

    monkeypatch.setattr(predicting, "open_source", lambda _source, split: Opened(rows(), lambda: "endless"))
    monkeypatch.setattr(partial.Partial, "write", write)
    assert predict(classifier, source, tmp_path / "p.csv").rows == len(read) == len(written) == 100 * WINDOW
