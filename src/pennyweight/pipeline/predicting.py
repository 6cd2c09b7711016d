"""Predicts a source as a stream: rows in, one row out for each, in order, memory constant.

Reading, tokenising, computing and writing overlap: each but the computing has a thread of its own, a window or two
ahead of it or behind it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pennyweight.ahead import ahead, behind
from pennyweight.data.examples import Example, Schema, stream_examples
from pennyweight.data.labels import is_unicode
from pennyweight.data.sources import Opened, open_source
from pennyweight.data.windows import windows
from pennyweight.data.writers import Kind, encoding_of
from pennyweight.errors import InputError, Interrupted
from pennyweight.manifest import prediction_digest
from pennyweight.pipeline.answers import Answers
from pennyweight.pipeline.partial import Partial, open_partial
from pennyweight.predictor import WINDOW, Predictor
from pennyweight.signals import stop_requests

FIELDS = {
    "index": "number of the row, from 0",
    "row": "number of the row, from 1",
    "text": "the text as it was read",
    "label": "name of the predicted label; of several a list, in CSV and TSV one text",
    "label_id": "index of the predicted label, or of each of several",
    "confidence": "probability of the predicted label; of several that exactly these apply, were they independent",
    "probabilities": "one column p_LABEL for each label",
    "logits": "one column LABEL for each label, before the temperature",
}
DEFAULT_COLUMNS = ("row", "label", "confidence", "probabilities")


@dataclass(frozen=True)
class Column:
    """One column of the output: its name, and what stands in it (one of `FIELDS`, or a column of the source)."""

    name: str
    field: str
    source_column: bool = False


@dataclass(frozen=True)
class Predicted:
    """What was written."""

    rows: int
    """Rows of the output."""
    skipped: int
    """Rows without a usable text that were passed over."""
    resumed_after: int
    """Rows that an earlier run had already written."""
    seconds: float
    """Time of this run, from opening the source to the finished file."""

    @property
    def rows_per_second(self) -> float:
        """Speed of this run."""
        return (self.rows - self.resumed_after) / self.seconds


def parse_columns(text: str) -> tuple[Column, ...]:
    """Read ``NAME=FIELD,…`` where FIELD is one of `FIELDS` or ``column:NAME``; a FIELD alone names itself.

    Raises:
        InputError: an unknown field, or a name given twice.
    """
    columns = []
    for part in text.split(","):
        name, equals, field = part.strip().partition("=")
        field = field if equals else name
        own = field.startswith("column:")
        source = field.removeprefix("column:")
        if not source or not name or not (own or field in FIELDS):
            known = ", ".join(FIELDS)
            raise InputError(
                f"--columns: {part.strip()!r} is no column; write NAME=FIELD, FIELD one of {known}, or column:NAME"
            )
        columns.append(Column(name=source if own and not equals else name, field=source, source_column=own))
    names = [column.name for column in columns]
    if len(set(names)) != len(names):
        raise InputError(f"--columns: a name is given twice in {text!r}")
    return tuple(columns)


def predict_source(
    classifier: Predictor,
    source: str,
    out: Path,
    *,
    columns: Sequence[Column] | None = None,
    text: Sequence[str] | None = None,
    on_bad_row: Literal["stop", "skip"] = "stop",
    resume: bool = False,
) -> Predicted:
    """Predict every row of a source into a CSV, TSV, JSONL or Parquet file.

    Until the file is complete, its rows grow in a folder beside it (see `pennyweight.pipeline.partial`), from where a
    run that was stopped or killed can be gone on with.

    Args:
        classifier: what predicts.
        source: ``starter``, ``hub:<id>[:config]`` or a file; of a source with splits, the test split.
        out: file to write, whole or not at all; its suffix says the format.
        columns: columns of the output; none: row, label, confidence and all probabilities.
        text: text column(s) of the source; none: those of training.
        on_bad_row: stop at a row without a usable text, or skip it; row numbers are those of the source either way.
        resume: go on with what an earlier run left; the output is the same as that of a run that was not disturbed.

    Raises:
        InputError: unknown format or column, a bad row, or an unfinished output that is not to be gone on with, or
            cannot be, because something that it depends on has changed.
        RunError: the file cannot be written.
        Interrupted: SIGINT or SIGTERM came; what is done is saved.
    """
    started = time.perf_counter()
    chosen = tuple(columns or (Column(field, field) for field in DEFAULT_COLUMNS))
    answers = _answers(classifier, out)
    encoding = encoding_of(out, _kinds(chosen, answers))
    schema = Schema(text=tuple(text or classifier.manifest.text.columns), label=None, on_bad_row=on_bad_row)
    if out.exists() and Path(source).exists() and out.samefile(source):
        raise InputError(f"--out {out}: is the data itself, which would be lost; give another file")
    opened = open_source(source, split="test")
    with open_partial(out, encoding, _command(classifier, opened, schema, chosen), resume=resume) as partial:
        before = partial.journal.rows
        if partial.journal.skipped is None:
            skipped: list[int] = []
            examples = stream_examples(opened.rows, schema, skipped=skipped, source=source)
            _predict(classifier, answers, itertools.islice(examples, before, None), chosen, partial)
            partial.save(skipped=len(skipped))
    done = partial.journal
    return Predicted(done.rows, done.skipped or 0, before, time.perf_counter() - started)


def _answers(classifier: Predictor, out: Path) -> Answers:
    """How labels are written into a file of this format."""
    delimited = out.suffix.lower() in (".csv", ".tsv")
    separator = classifier.manifest.text.label_separator if delimited else None
    return Answers(classifier.labels, classifier.decision, separator)


def _predict(
    classifier: Predictor, answers: Answers, examples: Iterator[Example], columns: Sequence[Column], partial: Partial
) -> None:
    """Predict examples window by window; raises Interrupted, all finished windows saved, when asked to stop."""

    def tokenised(read: Iterator[list[Example]]) -> Iterator[tuple[list[Example], Any]]:
        for window in read:
            yield window, classifier.tokenise([example.text for example in window])

    def write(computed: tuple[list[Example], np.ndarray, np.ndarray]) -> None:
        items = zip(*computed, answers.of(computed[2]), strict=True)
        partial.write([_row(answers.labels, *item, columns=columns) for item in items])

    stopped = False
    with (
        stop_requests() as requested,
        ahead(windows(examples, WINDOW)) as read,
        ahead(tokenised(read)) as ready,
        behind(write) as hand_over,
    ):
        for window, tokens in ready:
            if requested:  # only here, where there is a window left to compute
                stopped = True
                break
            logits = classifier.logits_of(tokens)
            hand_over((window, logits, classifier.probabilities(logits)))
    if stopped:
        partial.save()
        done = partial.journal.rows
        raise Interrupted(f"stopped after {done:,} rows; they are saved: the same command with --resume goes on")


def _command(classifier: Predictor, opened: Opened, schema: Schema, columns: Sequence[Column]) -> dict[str, str]:
    """What the output depends on, by a name for the user."""
    written = [f"{column.name}={'column:' * column.source_column}{column.field}" for column in columns]
    return {
        "the data": opened.fingerprint(),
        "the choice of text columns": ",".join(schema.text),
        "--columns": ",".join(written),
        "--on-bad-row": schema.on_bad_row,
        "the number format": classifier.precision,
        "the machine's device, number format or attention": classifier.computing,
        "the classifier": prediction_digest(classifier.manifest),
        "Pennyweight's version": metadata.version("pennyweight"),
        "PyTorch's version": metadata.version("torch"),
    }


def _kinds(columns: Sequence[Column], answers: Answers) -> dict[str, Kind]:
    kinds: dict[str, Kind] = {}
    own: dict[str, Kind] = {"index": "int", "row": "int", **answers.kinds}
    for column in columns:
        added: dict[str, Kind]
        if column.field == "probabilities" and not column.source_column:
            added = {f"p_{label}": "float" for label in answers.labels}
        elif column.field == "logits" and not column.source_column:
            added = dict.fromkeys(answers.labels, "float")
        else:
            added = {column.name: "text" if column.source_column else own.get(column.field, "text")}
        twice = kinds.keys() & added.keys()
        if twice:
            raise InputError(f"--columns: two columns would be named {min(twice)!r}; name one of them otherwise")
        kinds |= added
    return kinds


def _row(
    labels: Sequence[str],
    example: Example,
    logits: np.ndarray,
    shares: np.ndarray,
    answer: dict[str, Any],
    *,
    columns: Sequence[Column],
) -> dict[str, Any]:
    fields = {"index": example.row - 1, "row": example.row, "text": example.text, **answer}
    row: dict[str, Any] = {}
    for column in columns:
        if column.source_column:
            row[column.name] = _source_value(example, column.field)
        elif column.field == "probabilities":
            row |= {f"p_{label}": float(share) for label, share in zip(labels, shares, strict=True)}
        elif column.field == "logits":
            row |= {label: float(logit) for label, logit in zip(labels, logits, strict=True)}
        else:
            row[column.name] = fields[column.field]
    return row


def _source_value(example: Example, column: str) -> str | None:
    if column not in example.values:
        raise InputError(f"--columns: the source has no column {column!r}; it has: {', '.join(example.values)}")
    value = example.values[column]
    if value is None:
        return None
    if not is_unicode(str(value)):
        raise InputError(
            f"--columns: row {example.row}, column {column!r} holds half of a surrogate pair, which is not valid "
            f"Unicode; correct it, or leave the column out"
        )
    return str(value)
