"""Adapters within a million parameters against the same backbone with everything trained, on all of AG News.

``python -m benchmarks.full_tuning [--quick] [--json] [--seeds N] [--only WAY]`` with PENNYWEIGHT_DATA naming the folder
of data sets. `adapters` is the recipe ``ag-news`` on ``minilm`` with nothing held out: 996,868 trainable parameters.
`full` is Transformers' Trainer with every weight trained: AdamW at 1e-4 (a rate that was not searched for), a hundred
steps of warm-up, linear decay, the backbone's dropout, batches grouped by length, bf16 autocast where the machine has
it. Both learn all training items three times, cleaned alike, keep their last weights and are judged on all test items,
seed by seed. A run takes half an hour or more: which test items it got right is kept with the result in
``benchmarks/results/full_tuning.json``, and runs that are kept are not trained again; ``--again`` forgets them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.answers import origin, packed, unpacked
from benchmarks.halves import interval
from benchmarks.harness import (
    RESULTS,
    SOURCE,
    backbone_folder,
    data_folder,
    float_format,
    keep,
    runs_of,
    surroundings,
    tell,
)
from benchmarks.items import LABELS, Items, agnews, agnews_file
from benchmarks.paired import compared

NAME = "full_tuning"
WAYS = ("adapters", "full")
LEARNING_RATE = 1e-4
WARMUP_STEPS = 100
"""Both of `full`."""
EPOCHS = 3
QUICK = 480
"""Items that ``--quick`` learns from."""

Run = Mapping[str, Any]
"""``right``, which test items, `packed`; ``seconds`` of training, ``trainable``, `settings_of`, ``origin``."""
Runs = dict[str, dict[str, Run]]
"""By way, then by seed."""


def main() -> None:
    """Train what is not trained yet, then compare, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few items, one seed, to see that it works; nothing kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each way")
    parser.add_argument("--only", choices=WAYS, help="train this way alone")
    parser.add_argument("--again", action="store_true", help="train anew what is kept")
    options = parser.parse_args()
    data, limit = data_folder(), QUICK if options.quick else None
    test = agnews(data, "test", count=96 if options.quick else None)
    ways = WAYS if options.only is None else (options.only,)
    runs: Runs = {way: {} for way in WAYS} if options.quick else kept()
    if options.again:
        runs.update({way: {} for way in ways})
    for seed in range(1 if options.quick else options.seeds):
        for way in ways:
            trained = str(seed) in runs[way]
            if not trained:
                runs[way][str(seed)] = learnt(way, data, test, limit=limit, seed=seed)
            tell(f"{way}, seed {seed}: {run_in_words(runs[way][str(seed)], len(test.texts))}")
            if not trained and not options.quick:
                keep(NAME, content_of(runs, len(test.texts)))
    content = content_of(runs, len(test.texts))
    print(json.dumps(content) if options.json else "\n".join(lines(content)))


def content_of(runs: Runs, items: int) -> dict[str, Any]:
    """All that is told and kept."""
    return {"benchmark": NAME, **surroundings(), **summary(runs, items), "runs": runs}


def kept() -> Runs:
    """The runs of earlier sittings that were trained as this one would train them."""
    path = RESULTS / f"{NAME}.json"
    found = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else {}
    return {
        way: {seed: run for seed, run in found.get(way, {}).items() if run["settings"] == settings_of(way)}
        for way in WAYS
    }


def settings_of(way: str) -> dict[str, Any]:
    """What a run follows from beside its seed, as far as it can be named."""
    settings: dict[str, Any] = {"epochs": EPOCHS, "format": float_format()}
    if way == "full":
        return {**settings, "learning_rate": LEARNING_RATE, "warmup_steps": WARMUP_STEPS}
    recipe = (SOURCE / "recipes" / "ag-news.toml").read_bytes()
    return {**settings, "recipe_sha256": hashlib.sha256(recipe).hexdigest(), "validation": 0, "keep": "last"}


def learnt(way: str, data: Path, test: Items, *, limit: int | None, seed: int) -> Run:
    """Train one way with one seed."""
    folder = runs_of(NAME) / f"{way}-{limit or 'all'}-seed{seed}"
    if way == "adapters":
        predicted, run = adapters(data, test, folder=folder, limit=limit, seed=seed)
    else:
        predicted, run = full(data, test, limit=limit, seed=seed)
    right = packed(predicted == np.asarray(test.labels))
    return {"right": right, **run, "settings": settings_of(way), "origin": origin()}


def run_in_words(run: Run, items: int) -> str:
    """For people."""
    return f"{100 * unpacked(run['right'], items).mean():.2f} % after {run['seconds']:.0f} s"


def adapters(
    data: Path, test: Items, *, folder: Path, limit: int | None, seed: int
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """The recipe ``ag-news``: predicted classes, [test items], seconds and trainable parameters."""
    from pennyweight import load, train

    outcome = train("ag-news", folder, resume=True, **changes(data, limit=limit, seed=seed))
    predicted = load(folder).logits(test.texts).argmax(axis=1)
    return predicted, {"seconds": outcome.fitted.seconds, "trainable": outcome.plan.trainable}


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


def full(data: Path, test: Items, *, limit: int | None, seed: int) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Trainer with everything trained: as `adapters`, but nothing of it is left on disk."""
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
    flags = replace(flags, arguments={**flags.arguments, "seed": seed, "warmup_steps": WARMUP_STEPS})
    place = backbone_folder("minilm")
    model, tokenizer = build_model(place, flags), load_tokenizer(place)
    items, texts = cleaned(agnews(data, "train", count=limit)), cleaned(test).texts
    trainer = make_trainer(model, tokenizer, items, flags, learning_rate=LEARNING_RATE, epochs=EPOCHS)
    begun = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - begun
    predicted = model_logits(model, tokenizer, texts, bf16=bool(flags.arguments.get("bf16"))).argmax(axis=1)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return predicted, {"seconds": seconds, "trainable": trainable}


def summary(runs: Runs, items: int) -> dict[str, Any]:
    """What is known: accuracies with intervals over the test items, seeds averaged on each, and the difference.

    Of seeds that both ways have; a way that has none has no accuracy, and there is no difference then.
    """
    shared = [seed for seed in runs["adapters"] if seed in runs["full"]]
    ways, answers = {}, {}
    for way in WAYS:
        chosen = {seed: runs[way][seed] for seed in shared or runs[way]}
        if not chosen:
            continue
        answers[way] = right = np.array([unpacked(one["right"], items) for one in chosen.values()])
        ways[way] = {
            "accuracy": float(right.mean()),
            **interval(right.mean(axis=0)),
            "seeds": right.mean(axis=1).tolist(),
            "seconds": [one["seconds"] for one in chosen.values()],
            "trainable": next(iter(chosen.values()))["trainable"],
        }
    told = {"ways": ways, "test_items": items}
    if not shared:
        return told
    difference = compared(answers["full"], answers["adapters"], np.ones(items, dtype=bool))
    within = ways["full"]["low"] <= ways["adapters"]["accuracy"] <= ways["full"]["high"]
    return {**told, "difference": asdict(difference), "within": within}


def lines(content: Mapping[str, Any]) -> list[str]:
    """For people."""
    told = [
        f"{way}: {100 * one['accuracy']:.2f} % ({100 * one['low']:.2f}–{100 * one['high']:.2f}), "
        f"{one['trainable']:,} parameters, seeds " + ", ".join(f"{100 * seed:.2f}" for seed in one["seeds"])
        for way, one in content["ways"].items()
    ]
    if "difference" not in content:
        return told
    by, low, high = (100 * content["difference"][key] for key in ("difference", "low", "high"))
    where = "within" if content["within"] else "outside"
    return [*told, f"adapters: {by:+.2f} points ({low:+.2f} to {high:+.2f}), {where} the interval of the full tuning"]


if __name__ == "__main__":
    main()
