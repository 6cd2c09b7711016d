"""How time and memory grow: of ``train`` and ``predict`` with the items, of ``plan`` with the backbone's layers.

``python -m benchmarks.growth [--quick] [--json]`` with PENNYWEIGHT_DATA naming the folder of data sets. ``train`` is
one epoch of the ``ag-news`` recipe on ``minilm`` over the first items of AG News, ``predict`` the classifier of such a
run over its texts, repeated where there are not enough. ``plan`` counts a BERT of so many layers, whose shapes the
package has no record of. Every run is a process of its own with an empty cache; sizes take turns, small ones more
often, and seconds are medians. The result is written to ``benchmarks/results/growth.json``.

The exponent is the slope of a least-squares line through log(seconds) against log(items), both less those of the start:
a run that is small enough to be hardly more than starting up. For time that is linear in the items it is 1, whatever
starting costs. Starting is most of ``plan``: there a second process starts up by planning the smallest backbone, and
times the other alone.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import RESULTS, data_folder, surroundings, tell
from benchmarks.processes import PENNYWEIGHT, Ran, run
from pennyweight.files import write_json

NAME = "growth"
PLAN_ALONE = """
import sys, time
from pennyweight import plan
plan("quickstart", backbone={"name": sys.argv[1]})
begun = time.perf_counter()
plan("quickstart", backbone={"name": sys.argv[2]})
print(time.perf_counter() - begun)
"""

Turn = Callable[[int], Ran]
"""Runs a command on so many items."""


@dataclass(frozen=True)
class Sizes:
    """How often each number of items is measured; the smallest is the start, which the others are less by."""

    train: Mapping[int, int]
    predict: Mapping[int, int]
    plan: Mapping[int, int]


FULL = Sizes(
    train={64: 3, 1_000: 3, 10_000: 2, 66_000: 1},
    predict={64: 3, 1_000: 3, 10_000: 3, 66_000: 1, 200_000: 1},
    plan={1: 5, 6: 5, 12: 5, 24: 5, 48: 5},
)
QUICK = Sizes(
    train={64: 1, 200: 1, 1_000: 1, 2_000: 1},
    predict={64: 1, 200: 1, 1_000: 1, 2_000: 1},
    plan={1: 1, 6: 1, 12: 1, 24: 1, 48: 1},
)


def main() -> None:
    """Measure, print, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works; nothing is kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args()
    content = measure(QUICK if options.quick else FULL, data_folder() / "agnews" / "train.parquet")
    if not options.quick:
        write_json(RESULTS / f"{NAME}.json", content)
    if options.json:
        print(json.dumps(content))
        return
    for command in ("train", "predict", "plan"):
        grown = content[command]
        for row in [grown["start"], *grown["rows"]]:
            size = f"{row['items']:>8,} {'layers' if command == 'plan' else 'items'}"
            print(f"{command:8} {size} {row['seconds']:8.2f} s {row['peak_rss_bytes'] / 1e6:8,.0f} MB")
        print(
            f"{command:8} exponent {grown['exponent']}, memory last over second {grown['memory_last_over_second']:.3f}"
        )


def measure(sizes: Sizes, source: Path) -> dict[str, Any]:
    """All three commands; what is recorded of the machine comes last, since asking for it takes memory."""
    with tempfile.TemporaryDirectory(prefix="pennyweight-growth-") as made:
        folder = Path(made)
        texts = texts_of(source)
        trained = grow("train", partial(train, source, folder), sizes.train, limit=len(texts))
        classifier = folder / f"classifier-{min(sizes.train)}"
        predicted = grow("predict", partial(predict, classifier, texts, folder), sizes.predict)
        planned = grow("plan", partial(plan, folder), sizes.plan, alone=partial(plan_alone, folder, min(sizes.plan)))
    return {"benchmark": NAME, **surroundings(), "train": trained, "predict": predicted, "plan": planned}


def grow(
    name: str, turn: Turn, times: Mapping[int, int], *, limit: int | None = None, alone: Turn | None = None
) -> dict[str, Any]:
    """One command at all its sizes.

    Args:
        name: of the command, for lines of progress.
        turn: runs it on so many items.
        times: how often at each size; the smallest is the start.
        limit: most items that there are.
        alone: runs it so that it prints the seconds that it took besides starting; none: they are taken to be those
            beyond the start's.
    """
    runs: dict[int, list[Ran]] = {size: [] for size in times}
    inner: dict[int, list[float]] = {size: [] for size in times}
    for number in range(max(times.values())):
        for size in (size for size, wanted in times.items() if number < wanted):
            ran = turn(size)
            runs[size].append(ran)
            if alone is not None:
                inner[size].append(float(alone(size).stdout))
            tell(f"{name} {size:,}: {ran.seconds:.2f} s, {ran.peak_rss_bytes / 1e6:,.0f} MB")
    start, *rows = [row_of(min(size, limit or size), runs[size]) for size in sorted(times)]
    beyond = [row["items"] - start["items"] for row in rows]
    grown = {"start": start, "rows": rows, "memory_last_over_second": memory_growth(rows)}
    if alone is None:
        seconds = [row["seconds"] - start["seconds"] for row in rows]
        cpu_seconds = [row["cpu_seconds"] - start["cpu_seconds"] for row in rows]
        return {
            **grown,
            "exponent": exponent(beyond, seconds),
            "exponent_of_cpu_seconds": exponent(beyond, cpu_seconds),
        }
    for row in rows:
        row["seconds_without_start"] = statistics.median(inner[row["items"]])
    return {
        **grown,
        "exponent": exponent([row["items"] for row in rows], [row["seconds_without_start"] for row in rows]),
    }


def row_of(items: int, runs: Sequence[Ran]) -> dict[str, Any]:
    """What is reported of one size: medians, and the seconds of every run."""
    return {
        "items": items,
        "seconds": statistics.median(ran.seconds for ran in runs),
        "cpu_seconds": statistics.median(ran.cpu_seconds for ran in runs),
        "peak_rss_bytes": int(statistics.median(ran.peak_rss_bytes for ran in runs)),
        "runs": [ran.seconds for ran in runs],
    }


def memory_growth(rows: Sequence[Mapping[str, Any]]) -> float:
    """Peak memory at the largest size over that at the second one."""
    return float(rows[-1]["peak_rss_bytes"] / rows[1]["peak_rss_bytes"])


def exponent(items: Sequence[float], seconds: Sequence[float]) -> float | None:
    """The k of seconds = c · itemsᵏ by least squares on logarithms; none where some size took no time to speak of."""
    if min(seconds) <= 0:
        return None
    return statistics.linear_regression([math.log(n) for n in items], [math.log(s) for s in seconds]).slope


def train(source: Path, folder: Path, items: int) -> Ran:
    """One epoch over the first items; the first classifier of each size is kept."""
    out = folder / f"classifier-{items}"
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        return run(
            [
                *(*PENNYWEIGHT, "train", "ag-news", "--backbone", "minilm", "--data", source),
                *("--set", f"data.limit={items}", "--set", "training.epochs=1"),
                *("--out", Path(scratch) / "classifier" if out.exists() else out),
            ],
            environment=empty_cache(scratch),
        )


def predict(classifier: Path, texts: Sequence[str], folder: Path, items: int) -> Ran:
    """Predict so many texts into a CSV file."""
    data = folder / f"texts-{items}.parquet"
    if not data.exists():
        write_texts(data, [texts[number % len(texts)] for number in range(items)])
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        out = Path(scratch) / "predicted.csv"
        return run(
            [*PENNYWEIGHT, "predict", classifier, "--data", data, "--out", out], environment=empty_cache(scratch)
        )


def plan(folder: Path, layers: int) -> Ran:
    """Count what the quickstart recipe would train of a BERT of so many layers."""
    backbone = backbone_of(folder, layers)
    return run([*PENNYWEIGHT, "plan", "quickstart", "--backbone", backbone, "--budget", 10**9])


def plan_alone(folder: Path, start: int, layers: int) -> Ran:
    """The same after starting up; prints its seconds."""
    return run([sys.executable, "-c", PLAN_ALONE, backbone_of(folder, start), backbone_of(folder, layers)])


def backbone_of(folder: Path, layers: int) -> Path:
    """The config.json of a BERT of base size but for its number of layers, which is all that planning reads."""
    backbone = folder / f"bert-{layers}"
    write_json(backbone / "config.json", {"model_type": "bert", "num_hidden_layers": layers})
    return backbone


def empty_cache(scratch: str) -> dict[str, str]:
    """Where a run keeps what it might find again, so that no size profits from another."""
    return {"PENNYWEIGHT_CACHE": str(Path(scratch) / "cache")}


def texts_of(source: Path) -> list[str]:
    """All texts of AG News' training file."""
    import pyarrow.parquet as pq

    texts: list[str] = pq.read_table(source, columns=["text"])["text"].to_pylist()
    return texts


def write_texts(path: Path, texts: Sequence[str]) -> None:
    """A Parquet file with one column, ``text``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"text": list(texts)}), path)


if __name__ == "__main__":
    main()
