"""Labelled sentences in the labels and the file layout that the measurements take."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from tiny import FILLERS, WORDS

from benchmarks.items import LABELS, Items

OWN = [*WORDS.values(), "comet orbit lens crater probe moon rocket meteor dust star eclipse signal"]


def items(count: int, *, seed: int = 0) -> Items:
    """Distinct sentences of 4 to 24 words, classes in turn."""
    generator = random.Random(seed)
    texts: dict[str, int] = {}
    while len(texts) < count:
        label = len(texts) % len(LABELS)
        words = [
            generator.choice(OWN[label].split() if generator.random() < 0.5 else FILLERS.split())
            for _ in range(generator.randint(4, 24))
        ]
        texts.setdefault(" ".join([*words, generator.choice(OWN[label].split())]), label)
    return Items(tuple(texts), tuple(texts.values()))


def write_data(folder: Path, *, train: int, test: int) -> Path:
    """A folder of data sets with AG News' layout and none of its texts."""
    (folder / "agnews").mkdir(parents=True)
    for split, count, seed in (("train", train, 0), ("test", test, 1)):
        made = items(count, seed=seed)
        table = pa.table({"text": list(made.texts), "label": list(made.labels)})
        pq.write_table(table, folder / "agnews" / f"{split}.parquet")
    return folder
