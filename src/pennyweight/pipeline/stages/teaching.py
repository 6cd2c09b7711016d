"""Asks a run's teachers what they think of its items, once, before it trains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pennyweight.cache import Cache
from pennyweight.console import Speaker
from pennyweight.evaluation.decisions import Decision
from pennyweight.pipeline.keeping import kept
from pennyweight.pipeline.stages.teachers import Teacher
from pennyweight.pipeline.workbench import Workbench
from pennyweight.training.distillation import SOFT_TARGETS, soft_targets

FILE = "teachers.safetensors"


def teach(
    bench: Workbench, teachers: Sequence[Teacher], *, folder: Path, cache: Cache, speaker: Speaker
) -> list[dict[str, Any]]:
    """Give the training items of a workbench their teachers' opinion, from now on part of the objective.

    Args:
        bench: the workbench; without teachers it stays as it is.
        teachers: whom to ask.
        folder: where the teachers' logits are kept until the run is done.
        cache: where each teacher's are kept beyond that.
        speaker: told what the teachers know.

    Returns:
        For each teacher its source and the share of the training labels that it agrees with; of several labels per text
        each label of each text is one, and the teacher gives those of probability a half or more.

    Raises:
        Interrupted: SIGINT or SIGTERM came; what was computed is in the cache.
        InputError: a teacher cannot be opened, or its file lacks an item.
        RunError: the file cannot be written, or is damaged.
    """
    if not teachers:
        return []
    collected, chosen = bench.collected, bench.recipe.teachers
    items = collected.training
    logits = ask(bench, teachers, items, path=folder / FILE, cache=cache, speaker=speaker)
    problem = bench.recipe.data.task
    targets = softened(logits, chosen.weights, Decision(problem, chosen.temperature))
    bench.extras = spread(
        soft_targets(targets, mixture=chosen.mixture, temperature=chosen.temperature), items, count=len(collected.texts)
    )
    records = []
    for teacher, one in zip(teachers, logits, strict=True):
        decision = Decision(problem)
        agreement = float((decision.decide(decision.probabilities(one)) == collected.labels[items]).mean())
        speaker.say(f"teacher {teacher.source}: agrees with {100 * agreement:.2f} % of the training labels")
        records.append({"source": teacher.source, "agreement": agreement})
    return records


def ask(
    bench: Workbench, teachers: Sequence[Teacher], items: np.ndarray, *, path: Path, cache: Cache, speaker: Speaker
) -> list[np.ndarray]:
    """Logits of each teacher, fp32 [items, classes], kept in the file ``path``; raises as `teach`."""
    collected, device = bench.collected, str(bench.machine.device)
    texts = [collected.texts[item] for item in items.tolist()]

    def one(teacher: Teacher, go_on: Callable[[], None]) -> np.ndarray:
        with speaker.bar(f"asking {teacher.source}", len(texts)) as bar:

            def progress(done: int) -> None:
                bar.update(done, "")
                go_on()

            return teacher.logits(texts, collected.rows[items], device=device, cache=cache, progress=progress)

    def all_of_them(go_on: Callable[[], None]) -> dict[str, np.ndarray]:
        return {str(number): one(teacher, go_on) for number, teacher in enumerate(teachers)}

    found = kept(path, all_of_them, accelerator=bench.accelerator, what="asking the teachers")
    return [found[str(number)] for number in range(len(teachers))]


def softened(
    logits: Sequence[np.ndarray], weights: Sequence[float] = (), decision: Decision | None = None
) -> np.ndarray:
    """Weighted mean of the probabilities of several logits, [items, classes].

    Args:
        logits: of each teacher, [items, classes].
        weights: of each teacher; none: all alike.
        decision: problem and temperature; none: one class per item, at temperature 1.
    """
    shares = [(decision or Decision()).probabilities(one) for one in logits]
    return np.asarray(np.average(shares, axis=0, weights=weights or None))


def spread(rows: Mapping[str, np.ndarray], items: np.ndarray, *, count: int) -> dict[str, np.ndarray]:
    """Extras of some of ``count`` items as extras of all; the others learn from their labels alone."""
    targets = np.full((count, rows[SOFT_TARGETS].shape[1]), 1 / rows[SOFT_TARGETS].shape[1])
    whole = soft_targets(targets, mixture=0.0, temperature=1.0)
    for name, own in rows.items():
        whole[name][items] = own
    return whole
