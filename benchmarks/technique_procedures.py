"""Techniques that are more than keys of a recipe: teachers, unlabelled texts, ensembles, merging."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from benchmarks.harness import runs_of
from benchmarks.technique_arms import NAME, Answer, Changes, Items, answer, merged, predictions, trained
from benchmarks.technique_rows import EMOTIONS, FEWER, NEWS, Technique

SMALL: Changes = {"budget": {"parameters": 75_000}, "adapters": {"targets": "all-linear", "rank": "fill"}}
TEACHER: Changes = {
    "budget": {"parameters": 1_000_000},
    "adapters": {"targets": "all-linear", "rank": 24},
    "training": {"learning_rate": 1e-3},
}
LEARNT = 20_000
"""Items that a teacher learns from."""

Arm = Callable[[int], Answer]


def procedures() -> tuple[Technique, ...]:
    """Their rows."""
    room = "Combining"
    half: Changes = {"evaluation": {"thresholds": "half"}}
    return (
        Technique("thresholds tuned", "Tasks", {}, half, EMOTIONS),
        Technique("distillation", "Teachers", SMALL, SMALL, NEWS, distilled),
        Technique("pseudo-labels", "Teachers", {}, {}, FEWER, self_trained),
        *(
            Technique(f"ensemble of three, {how}", room, {}, {}, NEWS, combined(how))
            for how in ("mean", "weighted", "stacked")
        ),
        Technique("ensemble of three, distilled", room, {}, {}, NEWS, distilled_ensemble(texts=False)),
        Technique("ensemble of three, few labels", room, {}, {}, FEWER, combined("mean")),
        Technique(
            "ensemble of three, few labels, distilled with texts", room, {}, {}, FEWER, distilled_ensemble(texts=True)
        ),
        *(
            Technique(f"merging two, {how}", room, {}, {}, NEWS, blended(how))
            for how in ("linear", "ties", "dare_ties")
        ),
    )


def part(data: Path, name: str, *, first: int, count: int) -> Path:
    """A file of some of AG News' training items."""
    import pyarrow.parquet as pq

    path = runs_of(NAME) / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pq.read_table(data / "agnews" / "train.parquet").slice(first, count), path)
    return path.resolve()


def distilled(_technique: Technique, items: Items, changes: Changes, data: Path) -> Arm:
    """A small student of a large teacher that has learnt from more items."""
    learnt = replace(NEWS, name="more", limit=min(LEARNT, 4 * (items.limit or LEARNT)))

    def arm(seed: int) -> Answer:
        teacher, _, _ = trained(learnt, TEACHER, data, seed=0)
        taught: Changes = {"teachers": {"sources": [str(teacher.resolve())]}}
        return answer(items, merged(changes, taught), data, seed=seed)

    return arm


def self_trained(_technique: Technique, items: Items, changes: Changes, data: Path) -> Arm:
    """A recipe with texts that nobody has labelled."""
    added: Changes = {"unlabelled": {"source": str(unlabelled(items, data)), "epochs": 3}}
    return lambda seed: answer(items, merged(changes, added), data, seed=seed)


def unlabelled(items: Items, data: Path) -> Path:
    """Eight times as many texts as there are items; the recipe leaves their labels alone."""
    return part(data, "unlabelled", first=30_000, count=8 * (items.limit or 1_000))


def combined(method: Literal["mean", "weighted", "stacked"]) -> Any:
    """An ensemble of three seeds."""

    def procedure(_technique: Technique, items: Items, changes: Changes, data: Path) -> Arm:
        return lambda seed: _answer(*_ensemble(items, changes, data, method=method, seed=seed), items, data)

    return procedure


def distilled_ensemble(*, texts: bool) -> Any:
    """One classifier that three have taught; with texts that nobody has labelled it learns what they say of these."""

    def procedure(_technique: Technique, items: Items, changes: Changes, data: Path) -> Arm:
        added: dict[str, Any] = {}
        if texts:
            source = str(unlabelled(items, data))
            added["unlabelled"] = {"source": source, "labeller": "teachers", "strength": 0.0, "epochs": 3}

        def arm(seed: int) -> Answer:
            folder, _, _ = _ensemble(items, changes, data, method="mean", seed=seed)
            taught: Changes = {"teachers": {"sources": [str(folder.resolve())]}}
            return answer(items, merged(changes, taught, added), data, seed=seed)

        return arm

    return procedure


def blended(method: Literal["linear", "ties", "dare_ties"]) -> Any:
    """The merged adapters of two seeds."""

    def procedure(_technique: Technique, items: Items, changes: Changes, data: Path) -> Arm:
        def arm(seed: int) -> Answer:
            from pennyweight.pipeline.combining.merging import Blend, merge_classifiers

            members = [trained(items, changes, data, seed=one) for one in (seed, seed + 10)]
            out = _emptied(runs_of(NAME) / f"merged-{method}-{items.name}-{items.limit}-{seed}")
            [folder] = merge_classifiers([one[0] for one in members], out, Blend(method))
            return _answer(folder, sum(one[1] for one in members), members[0][2], items, data)

        return arm

    return procedure


def _ensemble(
    items: Items, changes: Changes, data: Path, *, method: Literal["mean", "weighted", "stacked"], seed: int
) -> tuple[Path, float, int]:
    """Folder, seconds and trainable parameters of three seeds together."""
    from pennyweight.pipeline.combining.ensembling import make_ensemble

    members = [trained(items, changes, data, seed=10 * one + seed) for one in range(3)]
    held_out = None if method == "mean" else str(part(data, "held-out", first=60_000, count=1_000))
    out = _emptied(runs_of(NAME) / f"ensemble-{method}-{items.name}-{items.limit}-{seed}")
    folder = make_ensemble([one[0] for one in members], out, method=method, data=held_out).folder
    return folder, sum(one[1] for one in members), sum(one[2] for one in members)


def _emptied(folder: Path) -> Path:
    """A folder of an earlier, perhaps interrupted, measurement is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def _answer(folder: Path, seconds: float, trainable: int, items: Items, data: Path) -> Answer:
    return Answer(predictions(folder, items, data, fresh=True), seconds, trainable)
