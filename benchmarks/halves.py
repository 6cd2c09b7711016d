"""What leaving the lower half of the layers without adapters costs in accuracy.

``python -m benchmarks.halves [--quick] [--json]`` with PENNYWEIGHT_DATA naming the folder of data sets. The contenders
`pennyweight` and `upper_half` of `benchmarks.training`, trained for three epochs on the first 10,000 items of AG News
with three seeds, and judged on all of its test items. The interval of the difference is from a bootstrap over the test
items, on each of which the seeds are averaged. Each run is a folder under ``runs/halves``; what this code finished
is read, not trained again. The result is written to ``benchmarks/results/halves.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from benchmarks.contenders import recipe_for, upper_half
from benchmarks.harness import data_folder, keep, layers_of, runs_of, surroundings, tell
from benchmarks.items import Items, agnews, agnews_file
from benchmarks.peers import TARGETS

NAME = "halves"
LEARNING_RATE = 2e-3
EPOCHS = 3
SEEDS = (0, 1, 2)
ITEMS = 10_000


def main() -> None:
    """Train what is not trained yet, then judge, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="few items, one seed, to see that it works; nothing is kept"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    options = parser.parse_args()
    data = data_folder()
    test = agnews(data, "test", count=96 if options.quick else None)
    items, seeds = (256, SEEDS[:1]) if options.quick else (ITEMS, SEEDS)
    right = {
        name: np.stack([judged(name, targets, data, test, items=items, seed=seed) for seed in seeds])
        for name, targets in {"everywhere": TARGETS, "upper_half": upper_half(layers_of("minilm"))}.items()
    }
    content = {"benchmark": NAME, **surroundings(), **summary(right, items=items)}
    if not options.quick:
        keep(NAME, content)
    print(json.dumps(content) if options.json else "\n".join(lines(content)))


def judged(
    name: str, targets: tuple[str, ...], data: Path, test: Items, *, items: int, seed: int
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Train one classifier, or open it where it is finished; which test items it gets right, [test items]."""
    from pennyweight import Classifier
    from pennyweight.pipeline.run import train_recipe

    recipe = recipe_for(
        "minilm",
        agnews_file(data, "train"),
        items=items,
        learning_rate=LEARNING_RATE,
        targets=targets,
        epochs=EPOCHS,
        seed=seed,
    )
    folder = runs_of(NAME) / f"{name}-{items}-seed{seed}"
    train_recipe(recipe, folder, resume=True)
    right = Classifier.load(folder).logits(test.texts).argmax(axis=1) == np.asarray(test.labels)
    tell(f"{name}, seed {seed}: {100 * right.mean():.2f} %")
    return np.asarray(right)


def summary(right: Mapping[str, np.ndarray[Any, Any]], *, items: int) -> dict[str, Any]:
    """Accuracies, and the difference with its interval; ``right`` is [seeds, test items] for each contender."""
    shares = {name: found.mean(axis=0) for name, found in right.items()}
    difference = shares["upper_half"] - shares["everywhere"]
    return {
        "settings": {"items": items, "epochs": EPOCHS, "learning_rate": LEARNING_RATE, "test_items": len(difference)},
        "difference": {"mean": float(difference.mean()), **interval(difference)},
        "contenders": {
            name: {
                "accuracy": float(shares[name].mean()),
                **interval(shares[name]),
                "seeds": [float(one.mean()) for one in found],
            }
            for name, found in right.items()
        },
    }


def interval(values: np.ndarray[Any, Any]) -> dict[str, float]:
    """95 % of the mean by a percentile bootstrap over the items."""
    if not np.ptp(values):
        return {"low": float(values.mean()), "high": float(values.mean())}
    found = bootstrap((values,), np.mean, method="percentile", n_resamples=5000, batch=100, rng=0).confidence_interval
    return {"low": float(found.low), "high": float(found.high)}


def lines(content: Mapping[str, Any]) -> list[str]:
    """For people."""
    told = [
        f"{name}: {100 * one['accuracy']:.2f} % ({100 * one['low']:.2f}–{100 * one['high']:.2f}), seeds "
        + ", ".join(f"{100 * seed:.2f}" for seed in one["seeds"])
        for name, one in content["contenders"].items()
    ]
    one = content["difference"]
    return [*told, f"difference: {100 * one['mean']:+.2f} points ({100 * one['low']:+.2f} to {100 * one['high']:+.2f})"]


if __name__ == "__main__":
    main()
