"""What a teacher brings to a small student, and texts without labels to a network with few labels.

``python -m benchmarks.teaching [--quick] [--json] [--only NAME]`` with PENNYWEIGHT_DATA naming the folder of data sets.
Every row trains the same network on the same labelled items of AG News twice, without and with the technique, and
judges both on all test items; seeds draw the items. Where a row does not say otherwise, adapters are in the upper half
of the layers of MiniLM, and the lower half is computed once. Each run is a folder under ``runs/teaching``; what this
code finished is read, not trained again. The result is written to ``benchmarks/results/teaching.json``.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import RESULTS, data_folder, keep, layers_of, runs_of, surroundings, tell
from benchmarks.items import LABELS, agnews_file
from benchmarks.paired import compared

NAME = "teaching"
LINEAR = ("query", "key", "value", "intermediate.dense", "output.dense")
Changes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Row:
    """One technique: what is learnt without it, and what changes with it."""

    labels: int
    """Labelled items of each class."""
    seeds: int
    base: Changes
    """Changes of the recipe, both without the technique and with it."""
    on: Changes = field(default_factory=dict)
    recipe: str = "ag-news"
    texts: int = 0
    """Texts without labels."""
    teacher: int = 0
    """Items of each class that the student's teacher has learnt from, none of them the student's; 0: no teacher."""
    named: tuple[tuple[str, ...], ...] = ()
    """Texts for each class that say what it is about, learnt from beside the labelled items; none: no such texts."""
    together: int = 1
    """Networks of different seeds that are averaged into one classifier, with the technique alone."""


THOUSAND: Changes = {
    "data": {"labels": list(LABELS), "validation": 0},
    "adapters": {"targets": "all-linear", "rank": 8},
    "training": {"epochs": 6, "keep": "last"},
}
"""A thousand labels are enough for all layers, and too few to hold any out."""

SMOOTHED: Changes = {**THOUSAND, "training": {**THOUSAND["training"], "label_smoothing": 0.2}}

EIGHT: Changes = {"data": {"labels": list(LABELS)}, "text": {"cleaning": ["html", "backslashes", "newlines"]}}

WORDS = (
    ("World politics", "War and peace", "Governments and elections", "International news"),
    (
        "Sports",
        "Football, baseball and basketball games",
        "Athletes, teams and coaches",
        "Championships and the Olympics",
    ),
    ("Business", "Companies and markets", "Stocks and the economy", "Oil prices, profits and jobs"),
    (
        "Science and technology",
        "Computers and software",
        "The internet and mobile phones",
        "Space, research and devices",
    ),
)
"""What somebody who knows the classes' names would say that they are about, without having read an item."""

ROWS = {
    "a student of 75,000 parameters and its teacher": Row(
        labels=1250,
        seeds=3,
        base={"budget": {"parameters": 75_000}, "training": {"epochs": 3}},
        on={"teachers": {"temperature": 2.0, "mixture": 0.9}},
        teacher=3750,
    ),
    "the same student, and 20,000 texts that its teacher labels": Row(
        labels=1250,
        seeds=3,
        base={"budget": {"parameters": 75_000}, "training": {"epochs": 3}},
        on={
            "teachers": {"temperature": 2.0, "mixture": 0.9},
            "unlabelled": {"labeller": "teachers", "strength": 0.0},
        },
        teacher=3750,
        texts=20_000,
    ),
    "1,000 labels, smoothed": Row(
        labels=250,
        seeds=3,
        base=THOUSAND,
        on={"training": {"label_smoothing": 0.2}},
    ),
    "1,000 labels, smoothed, three networks together": Row(
        labels=250,
        seeds=3,
        base=THOUSAND,
        on={"training": {"label_smoothing": 0.2}},
        together=3,
    ),
    "1,000 labels and 65,000 texts": Row(
        labels=250,
        seeds=3,
        base=SMOOTHED,
        on={"unlabelled": {"labellers": 3, "neighbours": 20, "alignment": True, "strength": 0.0, "epochs": 3}},
        texts=70_000,  # no class has a fourth of these: all that are left
    ),
    "8 labels a class, and texts that say what it is about": Row(
        labels=8,
        seeds=10,
        recipe="few-labels",
        base=EIGHT,
        on={"objective": {"contrastive_epochs": 5}},
        named=WORDS,
    ),
    "8 labels a class and 8,000 texts": Row(
        labels=8,
        seeds=10,
        recipe="few-labels",
        base=EIGHT,
        on={
            "objective": {"contrastive_epochs": 0},
            "head": {"start": "random"},
            "unlabelled": {
                "labeller": "mixture",
                "neighbours": 20,
                "alignment": True,
                "epochs": 1,
                "learning_rate": 1e-3,
                "strength": 0.0,
            },
        },
        texts=8000,
    ),
}


def main() -> None:
    """Train what is not trained yet, then compare, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few items, one seed, to see that it works; nothing kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--only", choices=list(ROWS), action="append", help="this row; none given: all")
    options = parser.parse_args()
    data = data_folder()
    path = RESULTS / f"{NAME}.json"
    found = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() and not options.quick else {}
    for name in options.only or ROWS:
        found[name] = measure(name, ROWS[name], data, quick=options.quick)
        tell(line(name, found[name]))
        if not options.quick:
            keep(NAME, {"benchmark": NAME, **surroundings(), "rows": found})
    content = {"benchmark": NAME, **surroundings(), "rows": found}
    print(json.dumps(content) if options.json else "\n".join(line(name, one) for name, one in found.items()))


def measure(name: str, row: Row, data: Path, *, quick: bool) -> dict[str, Any]:
    """Both ways of one row, seed by seed, compared on the same test items."""
    folder = runs_of(NAME) / (name.replace(",", "").replace(" ", "-") + "-quick" * quick)
    runs = [
        both(row, data, folder / f"seed{seed}", seed=seed, quick=quick) for seed in range(1 if quick else row.seeds)
    ]
    off, on, truth = (np.stack([run[way] for run in runs]) for way in ("off", "on", "truth"))
    return {
        **asdict(compared(off, on, truth[0])),
        "seeds": [[float((one == true).mean()) for one, true in zip(way, truth, strict=True)] for way in (off, on)],
        "test_items": truth.shape[1],
        "settings": asdict(row),
    }


def both(row: Row, data: Path, folder: Path, *, seed: int, quick: bool) -> dict[str, NDArray[Any]]:
    """Predictions without and with the technique, and the truth, each [test items]."""
    divided = 25 if quick else 1
    sizes = {
        "labelled": max(8, row.labels // divided),
        "texts": row.texts // divided // 4,
        "teacher": row.teacher // divided,
    }
    files = draw(agnews_file(data, "train"), folder, sizes, seed=seed)
    base = merged(common(data, files["labelled"], seed=seed), row.base)
    on = dict(row.on)
    if row.teacher:
        learnt = merged(common(data, files["teacher"], seed=seed), {"training": {"epochs": 2}})
        predicted("ag-news", learnt, folder / "teacher")
        on = merged(on, {"teachers": {"sources": [str(folder / "teacher")]}})
    if row.named:
        on = merged(on, {"data": {"source": str(with_names(files["labelled"], row.named))}})
    if row.texts:
        on = merged(on, {"unlabelled": {"source": str(files["texts"])}})
    off, truth = predicted(row.recipe, base, folder / "off")
    on = merged(base, on)
    found = together(row, on, folder, data) if row.together > 1 else predicted(row.recipe, on, folder / "on")[0]
    return {"off": off, "on": found, "truth": truth}


def draw(source: Path, folder: Path, sizes: Mapping[str, int], *, seed: int) -> dict[str, Path]:
    """Files of so many items of each class that share none; a file of texts has no labels."""
    import pyarrow.parquet as pq

    table = pq.read_table(source, columns=["text", "label"])
    labels, generator = table["label"].to_numpy(), np.random.default_rng(seed)
    classes = [generator.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    files, first = {}, 0
    for name, count in sizes.items():
        rows = generator.permutation(np.concatenate([one[first : first + count] for one in classes]))
        files[name] = folder / f"{name}.parquet"
        folder.mkdir(parents=True, exist_ok=True)
        part = table.take(rows)
        pq.write_table(part.drop_columns("label") if name == "texts" else part, files[name])
        first += count
    return files


def with_names(labelled: Path, named: tuple[tuple[str, ...], ...]) -> Path:
    """A file of labelled items and, after them, of texts that say what each class is about."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    items = pq.read_table(labelled)
    added = [(text, label) for label, texts in enumerate(named) for text in texts]
    texts, labels = zip(*added, strict=True)
    table = pa.table({"text": pa.array(texts, items.schema.field("text").type), "label": labels})
    path = labelled.with_name("named.parquet")
    pq.write_table(pa.concat_tables([items, table.cast(items.schema)]), path)
    return path


def common(data: Path, source: Path, *, seed: int) -> dict[str, dict[str, Any]]:
    """What all runs share, as changes of their recipe."""
    half = layers_of("minilm") // 2
    return {
        "backbone": {"name": "minilm"},
        "data": {"source": str(source), "test": str(agnews_file(data, "test"))},
        "adapters": {"targets": [f"{target}@{-half}:" for target in LINEAR]},
        "training": {"seed": seed},
    }


def merged(one: Changes, other: Changes) -> dict[str, dict[str, Any]]:
    """Changes with others on top, key by key."""
    return {name: {**one.get(name, {}), **other.get(name, {})} for name in [*one, *(set(other) - set(one))]}


def predicted(recipe: str, changes: Changes, folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Train a run, or read it where it is finished; its predictions and the truth, [test items]."""
    import pyarrow.parquet as pq

    from pennyweight import train

    train(recipe, folder, resume=True, **changes)
    table = pq.read_table(folder / "report" / "predictions.parquet", columns=["label", "predicted"])
    return table["predicted"].to_numpy(zero_copy_only=False), table["label"].to_numpy(zero_copy_only=False)


def together(row: Row, changes: Changes, folder: Path, data: Path) -> NDArray[Any]:
    """Labels that an ensemble of networks of different seeds gives the test items, by the mean of probabilities."""
    import pyarrow.parquet as pq

    from pennyweight import load
    from pennyweight.pipeline.combining.ensembling import make_ensemble

    members = [folder / f"member{number}" for number in range(row.together)]
    for number, member in enumerate(members):
        predicted(
            row.recipe, merged(changes, {"training": {"seed": changes["training"]["seed"] + 100 * number}}), member
        )
    shutil.rmtree(folder / "on", ignore_errors=True)  # of an interrupted measurement
    classifier = load(make_ensemble(members, folder / "on").folder)
    texts = pq.read_table(agnews_file(data, "test"), columns=["text"])["text"].to_pylist()
    return np.array(classifier.predict(texts), dtype=object)


def line(name: str, found: Mapping[str, Any]) -> str:
    """One row for people."""
    off, on, by, low, high = (100 * found[key] for key in ("off", "on", "difference", "low", "high"))
    apart = f"{by:+.2f} points ({low:+.2f} to {high:+.2f}), p {found['p']:.2g}"
    return f"{name}: {off:.2f} % without, {on:.2f} % with, {apart}"


if __name__ == "__main__":
    main()
