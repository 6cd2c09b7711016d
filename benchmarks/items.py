"""The items that contenders are measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLASSES = 4
MAX_LENGTH = 128
LABELS = ("World", "Sports", "Business", "Sci/Tech")


@dataclass(frozen=True)
class Items:
    """Labelled texts."""

    texts: tuple[str, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.texts)

    def every(self, step: int) -> Items:
        """Each ``step``-th item."""
        return Items(self.texts[::step], self.labels[::step])


def agnews_file(data: Path, split: str) -> Path:
    """AG News' ``train`` or ``test`` file."""
    return data / "agnews" / f"{split}.parquet"


def agnews(data: Path, split: str, *, count: int | None = None) -> Items:
    """The first ``count`` items of AG News' ``train`` or ``test`` file; none: all of them."""
    import pyarrow.parquet as pq

    table: Any = pq.read_table(agnews_file(data, split), columns=["text", "label"])
    part = table.slice(0, count).to_pydict()
    return Items(tuple(part["text"]), tuple(part["label"]))
