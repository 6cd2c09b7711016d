"""What windows bring to documents that are longer than the network reads at once.

``python -m benchmarks.windows [--per-class N] [--test N] [--only WAY] [--json]`` with PENNYWEIGHT_DATA naming the
folder of data sets. The recipe ``long-documents`` learns the same documents of 20 newsgroups in every way, cut at its
128 tokens or in four windows of as many, and all ways are judged on the same documents; each way against the first by
McNemar's exact test. Each run is a folder under ``runs/windows``; what this code finished is read, not trained again.
The result is written to ``benchmarks/results/windows.json``, where neither documents nor ways were limited.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import data_folder, keep, runs_of, surroundings, tell
from pennyweight.evaluation.significance import mcnemar, paired_difference

NAME = "windows"
WAYS: dict[str, dict[str, Any]] = {
    "cut": {"windows": {"count": 1, "pooling": "mean"}},
    "mean": {"windows": {"pooling": "mean"}},
    "max": {"windows": {"pooling": "max"}},
    "attention": {"windows": {"pooling": "attention"}},
}
"""Changes of the recipe; the first is what the others are compared with."""


def main() -> None:
    """Train what is not trained yet, then compare, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--per-class", type=int, help="documents of each class to learn from; none given: all")
    parser.add_argument("--test", type=int, help="documents to judge on, drawn at random; none given: all")
    parser.add_argument("--only", choices=list(WAYS)[1:], action="append", help="this way; none given: all")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args()
    source = data_folder() / "newsgroups20"
    folder = runs_of(NAME) / f"{options.per_class or 'all'}-{options.test or 'all'}"
    test = drawn(source / "test.parquet", folder / "test.parquet", options.test)
    ways = ["cut", *(options.only or list(WAYS)[1:])]
    told = {name: learnt(name, folder / name, source / "train.parquet", test, options.per_class) for name in ways}
    rows = {name: against(told["cut"], told[name]) for name in ways[1:]}
    for name, row in rows.items():
        tell(line(name, row))
    content = {"benchmark": NAME, **surroundings(), "per_class": options.per_class, "rows": rows}
    if not (options.per_class or options.test or options.only):
        keep(NAME, content)
    print(json.dumps(content) if options.json else "\n".join(line(name, row) for name, row in rows.items()))


def drawn(source: Path, path: Path, count: int | None) -> Path:
    """A file of ``count`` random rows of ``source``, in its order; ``source`` itself where there is no count."""
    import pyarrow.parquet as pq

    if count is None:
        return source
    table = pq.read_table(source, columns=["text", "label"])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.take(np.sort(np.random.default_rng(0).permutation(len(table))[:count])), path)
    return path


def changes_of(name: str, source: Path, test: Path, per_class: int | None) -> dict[str, dict[str, Any]]:
    """One way as changes of the recipe ``long-documents``."""
    return {"data": {"source": str(source), "test": str(test), "limit_per_class": per_class}, **WAYS[name]}


def learnt(name: str, folder: Path, source: Path, test: Path, per_class: int | None) -> NDArray[np.bool_]:
    """Train one way, or read it where it is finished: which of the test documents it gets right."""
    import pyarrow.parquet as pq

    from pennyweight import train

    train("long-documents", folder, resume=True, **changes_of(name, source, test, per_class))
    table = pq.read_table(folder / "report" / "predictions.parquet", columns=["label", "predicted"])
    label, predicted = (table[column].to_numpy(zero_copy_only=False) for column in ("label", "predicted"))
    return np.asarray(label == predicted)


def against(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, float]:
    """Accuracies of two ways on the same documents, and what the second has ahead, with its 95 % interval."""
    ahead, behind = int((second & ~first).sum()), int((first & ~second).sum())
    difference = paired_difference(ahead, behind, len(first))
    return {
        "documents": len(first),
        "cut": float(first.mean()),
        "windows": float(second.mean()),
        "difference": difference.value,
        "low": difference.low,
        "high": difference.high,
        "right_only_with_windows": ahead,
        "right_only_when_cut": behind,
        "p": mcnemar(ahead, behind).exact,
    }


def line(name: str, row: Mapping[str, float]) -> str:
    """One way for people."""
    cut, windows, by, low, high = (100 * row[key] for key in ("cut", "windows", "difference", "low", "high"))
    apart = f"{by:+.2f} points ({low:+.2f} to {high:+.2f}), p {row['p']:.2g}"
    return f"{name}: {windows:.2f} % in windows, {cut:.2f} % cut, {apart}, {row['documents']:,} documents"


if __name__ == "__main__":
    main()
