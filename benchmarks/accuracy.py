"""Accuracy of the ``ag-news`` recipe on the ``minilm`` backbone, by number of training items and seed.

``python -m benchmarks.accuracy [--quick] [--json]`` with PENNYWEIGHT_DATA naming the folder of data sets. Each run is a
folder under ``runs/accuracy``; what this code finished is read, not trained again. The result is written to
``benchmarks/results/accuracy.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import runs_of
from pennyweight.environment import git_state, versions
from pennyweight.files import write_json
from pennyweight.pipeline.outcome import Outcome
from pennyweight.pipeline.run import train_recipe
from pennyweight.recipe_files import load_recipe

RESULTS = Path(__file__).parent / "results" / "accuracy.json"
RUNS: dict[str, tuple[int | None, tuple[int, ...]]] = {"first 10,000": (10_000, (0, 1, 2)), "all 65,999": (None, (0,))}
QUICK: dict[str, tuple[int | None, tuple[int, ...]]] = {"first 1,000": (1_000, (0,))}


def main() -> None:
    """Train what is not trained yet, then print and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one small run, to see that it works; nothing is kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args()
    data = os.environ.get("PENNYWEIGHT_DATA")
    if not data:
        sys.exit("benchmarks.accuracy: PENNYWEIGHT_DATA must name the folder of data sets")
    runs = QUICK if options.quick else RUNS
    content = {
        "recipe": "ag-news on minilm",
        "versions": versions(),
        "git": git_state(),
        "rows": [measure(name, limit, seeds, Path(data).resolve()) for name, (limit, seeds) in runs.items()],
    }
    if not options.quick:
        write_json(RESULTS, content)
    if options.json:
        print(json.dumps(content))
        return
    for row in content["rows"]:
        print(
            f"{row['items']}: mean accuracy {100 * row['mean']:.2f} %, seeds {[run['accuracy'] for run in row['runs']]}"
        )


def measure(name: str, limit: int | None, seeds: tuple[int, ...], data: Path) -> dict[str, Any]:
    """One row: a run for every seed, and their mean."""
    runs = [describe(seed, train(name, limit, seed, data)) for seed in seeds]
    return {"items": name, "mean": statistics.mean(run["accuracy"]["value"] for run in runs), "runs": runs}


def train(name: str, limit: int | None, seed: int, data: Path) -> Outcome:
    """Train one run, or read it where it is finished."""
    changes = [
        'backbone.name="minilm"',
        f"data.source={json.dumps(str(data / 'agnews' / 'train.parquet'))}",
        f"data.test={json.dumps(str(data / 'agnews' / 'test.parquet'))}",
        f"training.seed={seed}",
        *([f"data.limit={limit}"] if limit else []),
    ]
    folder = runs_of("accuracy") / f"{name.replace(' ', '-').replace(',', '')}-seed{seed}"
    return train_recipe(load_recipe("ag-news", changes=changes), folder, resume=True)


def describe(seed: int, outcome: Outcome) -> dict[str, Any]:
    """What one run gave."""
    assert outcome.judgement is not None
    return {
        "seed": seed,
        "accuracy": vars(outcome.judgement.metrics.accuracy),
        "macro_f1": outcome.judgement.metrics.macro_f1.value,
        "test_items": outcome.judgement.metrics.examples,
        "trainable": outcome.plan.trainable,
        "seconds": outcome.fitted.seconds,
    }


if __name__ == "__main__":
    main()
