"""What classifiers lost or won by being merged, each on data of its own."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from pennyweight.data.examples import Example
from pennyweight.data.labels import listed
from pennyweight.evaluation.judged import AnyMetrics
from pennyweight.evaluation.metrics import Interval
from pennyweight.manifest import Manifest, read_manifest
from pennyweight.opening import load
from pennyweight.pipeline.preparation import schema_of_card, stream_source
from pennyweight.predictor import Predictor

_READING = ("cleaning", "language", "max_length", "windows", "add_prefix_space")


@dataclass(frozen=True)
class Judged:
    """One classifier on its data, before it was merged and after."""

    name: str
    data: str
    examples: int
    before: Interval
    """Accuracy; of several labels per text the share of texts whose labels are all right."""
    after: Interval

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "before": vars(self.before), "after": vars(self.after)}


def notes_on_reading(before: Sequence[Path], after: Sequence[Path]) -> list[str]:
    """One line where classifiers that became one had cleaned or cut texts in different ways."""
    manifests = [read_manifest(folder) for folder in before]
    keys = [key for key in _READING if len({getattr(one.text, key) for one in manifests}) > 1]
    if len({one.copies for one in manifests}) > 1:
        keys.append("number of altered copies")
    if len(after) > 1 or not keys:
        return []
    return [f"texts are read as {before[0]} reads them; the others were trained with another {listed(keys)}"]


def judge_members(
    classifiers: Sequence[Path], sources: Sequence[str], *, backbone: str | None = None
) -> list[AnyMetrics]:
    """Judge each classifier on its own data; raises as reading them does, with nothing merged yet."""
    opened = (load(folder, backbone=backbone) for folder in classifiers)
    manifests = map(read_manifest, classifiers)
    return [_judged(*one) for one in zip(opened, manifests, sources, strict=True)]


def compare_merged(
    classifiers: Sequence[Path],
    before: Sequence[AnyMetrics],
    after: Sequence[Path],
    sources: Sequence[str],
    *,
    backbone: str | None = None,
) -> list[Judged]:
    """Judge what classifiers were merged into on the data that each of them was judged on ``before``."""
    rows = []
    merged = list(after) * (len(classifiers) if len(after) == 1 else 1)
    opened = lru_cache(maxsize=1)(partial(load, backbone=backbone))  # what all were merged into is opened once
    for folder, first, whole, source in zip(classifiers, before, merged, sources, strict=True):
        second = _judged(opened(whole), read_manifest(folder), source)
        rows.append(Judged(folder.resolve().name, source, first.examples, first.accuracy, second.accuracy))
    return rows


def _judged(predictor: Predictor, own: Manifest, source: str) -> AnyMetrics:
    """A classifier on data that are read as ``own`` says: labels go by name, for their numbers may be others."""
    texts, labelled = itertools.tee(stream_source(source, schema_of_card(own), skipped=[]))
    return predictor.evaluate((one.text for one in texts), _names(own.labels, labelled), resamples=100)


def _names(labels: Sequence[str], examples: Iterable[Example]) -> Iterator[str | list[str]]:
    for one in examples:
        if isinstance(one.label, tuple):
            yield [labels[index] for index in one.label]
        elif one.label is not None:
            yield labels[one.label]
