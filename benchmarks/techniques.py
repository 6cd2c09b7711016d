"""What every technique gives: trained without and with it on the same items, from the same seeds, judged in pairs.

``python -m benchmarks.techniques [--quick] [--json] [--only NAME] [--list]`` with PENNYWEIGHT_DATA naming the folder of
data sets. Most rows learn from the first 5,000 items of AG News and are judged on all of its test items; the others say
on what. Each training is a folder under ``runs/techniques``; what this code finished is read, not trained again, so
that a stopped measurement goes on. The result is written to ``benchmarks/results/techniques.json`` row by row.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control

from benchmarks.answers import origin
from benchmarks.harness import RESULTS, data_folder, float_format, surroundings, tell
from benchmarks.paired import Difference, accuracy, compared, macro_f1
from benchmarks.technique_arms import NAME, Answer, Items, answer, judged_items
from benchmarks.technique_procedures import procedures
from benchmarks.technique_rows import Technique, chosen, rows
from pennyweight.files import write_json

PATH = RESULTS / f"{NAME}.json"
SEEDS = (0, 1, 2)

Arm = Callable[[int], Answer]
"""Answers with one seed."""


def main() -> None:
    """Measure what is not measured yet, then print and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few items, one seed, to see that it works; nothing kept")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.add_argument("--only", metavar="NAME", action="append", help="this technique alone; may be given again")
    parser.add_argument("--again", action="store_true", help="measure anew what the results have already")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    options = parser.parse_args()
    data = data_folder()
    known = {one.name: one for one in all_techniques()}
    if options.list:
        print("\n".join(f"{one.room}: {name}" for name, one in known.items()))
        return
    try:
        names = chosen(options.only, known)
    except ValueError as error:
        sys.exit(f"benchmarks.{NAME}: {error}")
    done = {} if options.quick or not PATH.exists() else read(PATH)
    for name in names:
        if name in done and not options.again:
            continue
        done[name] = measured(known[name], data, quick=options.quick)
        tell(line(done[name]))
        if not options.quick:
            write_json(PATH, content(done, list(known)))
    found = content(done, list(known))
    print(json.dumps(found) if options.json else "\n".join(line(one) for one in found["techniques"]))


def all_techniques() -> tuple[Technique, ...]:
    """Every row."""
    return (*rows(), *procedures())


def technique_names() -> list[tuple[str, str]]:
    """(room, name) of every row."""
    return [(one.room, one.name) for one in all_techniques()]


def read(path: Path) -> dict[str, dict[str, Any]]:
    """The rows that were measured before, by name."""
    return {one["name"]: one for one in json.loads(path.read_text(encoding="utf-8"))["techniques"]}


def measured(technique: Technique, data: Path, *, quick: bool) -> dict[str, Any]:
    """One row."""
    items = technique.items.few() if quick else technique.items
    seeds = SEEDS[:1] if quick else SEEDS
    off, on = (
        [arm(technique, items, changes, data)(seed) for seed in seeds]
        for arm, changes in ((plain, technique.off), (technique.procedure or plain, technique.on))
    )
    _, truth = judged_items(items, data)
    found = compared(
        np.stack([one.predicted for one in off]),
        np.stack([one.predicted for one in on]),
        truth,
        statistic=accuracy if items.task == "single-label" else macro_f1,
    )
    return described(technique, items, found, off, on)


def plain(technique: Technique, items: Items, changes: Mapping[str, Any], data: Path) -> Arm:
    """An arm that is a recipe and no more."""
    return lambda seed: answer(items, changes, data, seed=seed)


def described(
    technique: Technique, items: Items, found: Difference, off: list[Answer], on: list[Answer]
) -> dict[str, Any]:
    """A row as it is kept."""
    return {
        "name": technique.name,
        "room": technique.room,
        "items": items.described(),
        "statistic": "accuracy" if items.task == "single-label" else "macro F1",
        **asdict(found),
        "seeds": len(on),
        "seconds": float(np.median([one.seconds for one in on])),
        "seconds_off": float(np.median([one.seconds for one in off])),
        "trainable": on[0].trainable,
        "trainable_off": off[0].trainable,
        "format": float_format(),
        "origin": origin(),
        "changes": {"on": technique.on, "off": technique.off},
    }


def content(done: Mapping[str, dict[str, Any]], order: list[str]) -> dict[str, Any]:
    """All rows in order, with p corrected for their number (Benjamini and Hochberg 1995)."""
    listed = [done[name] for name in order if name in done]
    corrected = false_discovery_control([one["p"] for one in listed]).tolist() if listed else []
    techniques = [{**one, "p_corrected": p} for one, p in zip(listed, corrected, strict=True)]
    return {"benchmark": NAME, **surroundings(), "techniques": techniques}


def line(row: Mapping[str, Any]) -> str:
    """One row for people."""
    return (
        f"{row['name']} ({row['items']}): {100 * row['off']:.2f} → {100 * row['on']:.2f}, "
        f"{100 * row['difference']:+.2f} ({100 * row['low']:+.2f} to {100 * row['high']:+.2f}), p {row['p']:.3f}, "
        f"{row['seconds_off']:.0f} → {row['seconds']:.0f} s"
    )


if __name__ == "__main__":
    main()
