"""Adapters within a million parameters against the same backbone with everything trained, on all of AG News.

``python -m benchmarks.full_tuning [--quick] [--json] [--seeds N] [--only WAY]`` with PENNYWEIGHT_DATA naming the folder
of data sets. `adapters` is the recipe ``ag-news`` on ``minilm`` with nothing held out: 996,868 trainable parameters.
`full` is Transformers' Trainer with every weight trained: AdamW at 1e-4 (a rate that was not searched for), a hundred
steps of warm-up, linear decay, the backbone's dropout, batches grouped by length, bf16 autocast where the machine has
it. Both learn all training items three times, cleaned alike, keep their last weights and are judged on all test items,
seed by seed. Each run is a file, of `adapters` a folder too, under ``runs/full_tuning``; what this code finished is
read, not trained again. The result is written to ``benchmarks/results/full_tuning.json`` once both ways are trained;
``--only`` trains one way and compares nothing.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.halves import interval
from benchmarks.harness import backbone_folder, data_folder, keep, runs_of, surroundings, tell
from benchmarks.items import LABELS, Items, agnews, agnews_file
from benchmarks.paired import compared
from pennyweight.files import write_json

NAME = "full_tuning"
WAYS = ("adapters", "full")
LEARNING_RATE = 1e-4
"""Of `full`."""
EPOCHS = 3
QUICK = 480
"""Items that ``--quick`` learns from."""

Run = Mapping[str, Any]
"""``predicted`` [test items], ``seconds`` of training and ``trainable`` parameters."""


def main() -> None:
    """Train what is not trained yet, then compare, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few items, one seed, to see that it works; nothing kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each way")
    parser.add_argument("--only", choices=WAYS, help="train this way alone")
    options = parser.parse_args()
    data, limit = data_folder(), QUICK if options.quick else None
    test = agnews(data, "test", count=96 if options.quick else None)
    runs: dict[str, list[Run]] = {way: [] for way in WAYS}
    for seed in range(1 if options.quick else options.seeds):
        for way in WAYS if options.only is None else (options.only,):
            runs[way].append(learnt(way, data, test, limit=limit, seed=seed))
    if options.only:
        return
    content = {"benchmark": NAME, **surroundings(), **summary(runs, np.asarray(test.labels))}
    if not options.quick:
        keep(NAME, content)
    print(json.dumps(content) if options.json else "\n".join(lines(content)))


def learnt(way: str, data: Path, test: Items, *, limit: int | None, seed: int) -> Run:
    """Train one way with one seed, or read what it gave."""
    name = f"{way}-{limit or 'all'}-seed{seed}"
    kept = runs_of(NAME) / f"{name}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        way_of = {"adapters": adapters, "full": full}[way]
        write_json(kept, way_of(data, test, folder=kept.with_suffix(""), limit=limit, seed=seed))
    run: Run = json.loads(kept.read_text(encoding="utf-8"))
    tell(f"{name}: {100 * (np.asarray(run['predicted']) == test.labels).mean():.2f} % after {run['seconds']:.0f} s")
    return run


def adapters(data: Path, test: Items, *, folder: Path, limit: int | None, seed: int) -> Run:
    """The recipe ``ag-news``."""
    from pennyweight import load, train

    outcome = train("ag-news", folder, resume=True, **changes(data, limit=limit, seed=seed))
    predicted = load(folder).logits(test.texts).argmax(axis=1)
    return {
        "predicted": predicted.tolist(),
        "seconds": outcome.fitted.seconds,
        "trainable": outcome.plan.trainable,
    }


def changes(data: Path, *, limit: int | None, seed: int) -> dict[str, dict[str, Any]]:
    """What `adapters` changes of its recipe."""
    return {
        "backbone": {"name": "minilm"},
        "data": {
            "source": str(agnews_file(data, "train")),
            "labels": list(LABELS),
            "limit": limit,
            "validation": 0,
        },
        "training": {"seed": seed, "epochs": EPOCHS, "keep": "last"},
    }


def cleaned(items: Items) -> Items:
    """The items as the recipe cleans them."""
    from pennyweight.data.cleaning import clean
    from pennyweight.recipe_files import load_recipe

    steps = load_recipe("ag-news").text.cleaning
    return Items(tuple(clean(text, steps) for text in items.texts), items.labels)


def full(data: Path, test: Items, *, folder: Path, limit: int | None, seed: int) -> Run:
    """Trainer with everything trained."""
    import torch

    from benchmarks.peers import (
        TUNED,
        build_model,
        load_tokenizer,
        make_trainer,
        model_logits,
        on_this_machine,
        quieten,
    )

    quieten()
    torch.manual_seed(seed)
    flags = on_this_machine(replace(TUNED, adapters=False, attention="eager"))
    flags = replace(flags, arguments={**flags.arguments, "seed": seed, "warmup_steps": 100})
    place = backbone_folder("minilm")
    model, tokenizer = build_model(place, flags), load_tokenizer(place)
    items, texts = cleaned(agnews(data, "train", count=limit)), cleaned(test).texts
    trainer = make_trainer(model, tokenizer, items, flags, learning_rate=LEARNING_RATE, epochs=EPOCHS)
    begun = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - begun
    predicted = model_logits(model, tokenizer, texts, bf16=bool(flags.arguments.get("bf16"))).argmax(axis=1)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"predicted": predicted.tolist(), "seconds": seconds, "trainable": trainable}


def summary(runs: Mapping[str, list[Run]], truth: NDArray[np.int64]) -> dict[str, Any]:
    """Accuracies with intervals over the test items, seeds averaged on each, and what the adapters have ahead."""
    predicted = {way: np.array([one["predicted"] for one in runs[way]]) for way in WAYS}
    ways = {}
    for way in WAYS:
        right = predicted[way] == truth
        ways[way] = {
            "accuracy": float(right.mean()),
            **interval(right.mean(axis=0)),
            "seeds": right.mean(axis=1).tolist(),
            "seconds": [one["seconds"] for one in runs[way]],
            "trainable": runs[way][0]["trainable"],
        }
    difference = compared(predicted["full"], predicted["adapters"], truth)
    within = ways["full"]["low"] <= ways["adapters"]["accuracy"] <= ways["full"]["high"]
    return {"ways": ways, "difference": asdict(difference), "within": within, "test_items": len(truth)}


def lines(content: Mapping[str, Any]) -> list[str]:
    """For people."""
    told = [
        f"{way}: {100 * one['accuracy']:.2f} % ({100 * one['low']:.2f}–{100 * one['high']:.2f}), "
        f"{one['trainable']:,} parameters, seeds " + ", ".join(f"{100 * seed:.2f}" for seed in one["seeds"])
        for way, one in content["ways"].items()
    ]
    by, low, high = (100 * content["difference"][key] for key in ("difference", "low", "high"))
    where = "within" if content["within"] else "outside"
    return [*told, f"adapters: {by:+.2f} points ({low:+.2f} to {high:+.2f}), {where} the interval of the full tuning"]


if __name__ == "__main__":
    main()
