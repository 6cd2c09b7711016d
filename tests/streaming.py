"""What the tests of predicting share: a source of many small windows, and what comes out of it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tiny import sentences, write_csv

from pennyweight.classifier import Classifier
from pennyweight.data.batches import TokenTable
from pennyweight.pipeline import partial, predicting
from pennyweight.pipeline.predicting import Predicted, parse_columns, predict_source

WINDOW = 16
ROWS = 75
FORMATS = (".csv", ".tsv", ".jsonl", ".parquet")
COLUMNS = "row,id=column:id,text,label,confidence,probabilities"


def small_windows(patch: pytest.MonkeyPatch, size: int = WINDOW) -> None:
    """Let a few rows be a window, and save each of them at once."""
    patch.setattr(predicting, "WINDOW", size)
    patch.setattr(partial, "SECONDS_BETWEEN_JOURNALS", 0.0)


def stopping(patch: pytest.MonkeyPatch, after: int, number: signal.Signals = signal.SIGINT) -> None:
    """Stand for a person who presses Ctrl-C while the window after so many others is computed."""
    done: list[TokenTable] = []
    really = Classifier.logits_of

    def logits_of(self: Classifier, tokens: TokenTable) -> Any:
        done.append(tokens)
        if len(done) == after + 1:
            signal.raise_signal(number)
        return really(self, tokens)

    patch.setattr(Classifier, "logits_of", logits_of)


def make_table(path: Path, rows: int = ROWS) -> Path:
    """A source of texts with ids."""
    return write_csv(path, [(f"T{n}", text) for n, (text, _) in enumerate(sentences(rows, seed=5))], ("id", "text"))


def table_with_holes(path: Path) -> Path:
    """A source of 100 rows, of which every third, from the first on, has no text."""
    return write_csv(path, [(f"T{n}", "" if n % 3 == 0 else "A ship.") for n in range(100)], ("id", "text"))


def predict(classifier: Classifier, source: Path | str, out: Path, **options: Any) -> Predicted:
    """Predict with all kinds of columns."""
    options = {"columns": parse_columns(COLUMNS)} | options
    return predict_source(classifier, str(source), out, **options)


def content(out: Path) -> Any:
    """The bytes of an output; of a Parquet file the rows."""
    return pq.read_table(out).to_pylist() if out.suffix == ".parquet" else out.read_bytes()


def names(folder: Path) -> list[str]:
    """What is in a folder."""
    return [path.name for path in folder.iterdir()]
