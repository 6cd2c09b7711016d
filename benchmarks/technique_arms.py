"""What `benchmarks.techniques` compares: recipes trained on a set of items, judged on that set's test items."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import runs_of, tell
from pennyweight.files import write_json

NAME = "techniques"
Changes = Mapping[str, Mapping[str, Any]]
"""Keys of a recipe by section."""

BASE: Changes = {
    "backbone": {"name": "minilm"},
    "text": {"max_length": 128},
    "adapters": {"targets": ["query@-3:", "value@-3:"], "rank": 8},
    "head": {"kind": "linear", "pooling": "mean"},
    "training": {"epochs": 3, "batch_size": 32, "learning_rate": 2e-3, "schedule": "cosine"},
}
"""What every arm shares: adapters in the upper half, so that the lower half is computed once for all of them."""


@dataclass(frozen=True)
class Items:
    """What an arm learns and what it is judged on."""

    name: str
    folder: str
    """Within the folder of data sets."""
    limit: int | None
    """First items that are learnt from; none: all."""
    labels: tuple[str, ...] | str | None = None
    """Label names, or the key that they have in ``labels.json`` of the data; none: discovered."""
    label: str = "label"
    task: str = "single-label"
    test: str | None = None
    """Folder whose test items are used, where this one has none."""
    skew: bool = False
    """Keep a tenth of every second class, to have classes of unequal size."""
    per_class: int | None = None
    """Items of each class that are learnt from, for files in order of class; none: `limit` alone counts."""
    judged: int | None = None
    """Test items that are judged, drawn at random; none: all."""
    changes: Changes = field(default_factory=dict)
    """What recipes on these items change."""

    def described(self) -> str:
        """Their name and how many are learnt from."""
        if self.per_class is not None:
            return f"{self.name}, {self.per_class} of a class"
        return f"{self.name}, {'all' if self.limit is None else format(self.limit, ',')}"

    def few(self) -> Items:
        """As few of them as show that a row works."""
        return replace(self, limit=240) if self.per_class is None else replace(self, per_class=12, judged=96)

    def names(self, data: Path) -> tuple[str, ...] | None:
        """Label names in index order."""
        if isinstance(self.labels, str):
            return tuple(json.loads((data / "labels.json").read_text(encoding="utf-8"))[self.labels])
        return self.labels

    def sources(self, data: Path) -> tuple[Path, Path]:
        """Files of the items to learn and of the test items."""
        train = data / self.folder / "train.parquet"
        if self.skew:
            train = skewed(train, count=self.limit)
        return train, data / (self.test or self.folder) / "test.parquet"


@dataclass(frozen=True)
class Answer:
    """What one arm gave with one seed."""

    predicted: NDArray[Any]
    """Class numbers [items], or many-hot [items, classes]."""
    seconds: float
    trainable: int


def merged(*changes: Changes) -> dict[str, dict[str, Any]]:
    """Changes one upon another."""
    table: dict[str, dict[str, Any]] = {}
    for one in changes:
        for section, keys in one.items():
            table[section] = {**table.get(section, {}), **keys}
    return table


def recipe_table(items: Items, changes: Changes, data: Path, *, seed: int) -> dict[str, dict[str, Any]]:
    """The recipe of an arm, as a table."""
    own: dict[str, Any] = {"source": str(items.sources(data)[0]), "label": items.label, "validation": 0.1}
    if items.limit is not None and not items.skew:
        own["limit"] = items.limit
    if items.per_class is not None:
        own["limit_per_class"] = items.per_class
    if (names := items.names(data)) is not None:
        own["labels"] = list(names)
    if items.task != "single-label":
        own["task"] = items.task
    seeded: Changes = {"data": own, "training": {"seed": seed}}
    return merged(BASE, seeded, items.changes, changes)


def trained(items: Items, changes: Changes, data: Path, *, seed: int) -> tuple[Path, float, int]:
    """Train an arm, or find it trained; its folder, seconds of training and trainable parameters."""
    from pennyweight.pipeline.run import train_recipe
    from pennyweight.recipe_files import build_recipe

    table = recipe_table(items, changes, data, seed=seed)
    told = hashlib.sha256(json.dumps(table, sort_keys=True).encode()).hexdigest()[:16]
    folder = runs_of(NAME) / f"{items.name}-{told}"
    outcome = train_recipe(build_recipe(table), folder, resume=True)
    return folder, outcome.fitted.seconds, outcome.plan.trainable


def answer(items: Items, changes: Changes, data: Path, *, seed: int) -> Answer:
    """Train an arm and predict the test items, or read what it predicted before."""
    folder, seconds, trainable = trained(items, changes, data, seed=seed)
    return Answer(predictions(folder, items, data), seconds, trainable)


def predictions(folder: Path, items: Items, data: Path, *, fresh: bool = False) -> NDArray[Any]:
    """What a classifier folder predicts for the test items; kept beside it."""
    from pennyweight import load

    kept = folder / "test_predictions.json"
    if kept.exists() and not fresh:
        return np.array(json.loads(kept.read_text(encoding="utf-8")))
    texts, _ = judged_items(items, data)
    predictor = load(folder)
    found = predictor.decision.decide(predictor.probabilities(predictor.logits(texts)))
    write_json(kept, found.tolist())
    tell(f"predicted: {folder.name}")
    return np.asarray(found)


def judged_items(items: Items, data: Path) -> tuple[list[str], NDArray[Any]]:
    """Texts and truth: class numbers [items], or many-hot [items, classes]."""
    import pyarrow.parquet as pq

    table = pq.read_table(items.sources(data)[1])
    if items.judged is not None:
        table = table.take(np.sort(np.random.default_rng(0).permutation(len(table))[: items.judged]))
    texts = table.column("text").to_pylist()
    if items.task == "single-label":
        return texts, np.array(table.column("label").to_pylist())
    lists = table.column("labels").to_pylist()
    classes = len(items.names(data) or ())
    return texts, np.array([[index in found for index in range(classes)] for found in lists])


def skewed(source: Path, *, count: int | None) -> Path:
    """A file of the first items, of every second class a tenth only."""
    import pyarrow.parquet as pq

    table = pq.read_table(source).slice(0, count)
    labels = np.array(table.column("label").to_pylist())
    order = np.arange(len(labels))
    rare = labels % 2 == 1
    ranks = np.zeros(len(labels), dtype=int)
    for label in np.unique(labels):
        ranks[labels == label] = np.arange((labels == label).sum())
    path = runs_of(NAME) / "skewed.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.take(order[~rare | (ranks % 10 == 0)]), path)
    return path.resolve()
