"""A first stage for few labels: adapters learn which texts belong together, before the head learns to name classes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pennyweight.console import Speaker
from pennyweight.data.contrasting import contrasting_batches
from pennyweight.pipeline.folder import CONTRASTIVE
from pennyweight.pipeline.stages.comparing import compare_texts, comparing
from pennyweight.pipeline.workbench import Workbench
from pennyweight.training.fit import Fit


def contrast(bench: Workbench, folder: Path, speaker: Speaker) -> None:
    """Train a workbench's adapters by supervised contrastive learning, if its recipe wants that.

    Args:
        bench: its network's adapters are trained; the head stays as it is.
        folder: where the run keeps what it needs to be resumed.
        speaker: where progress goes.

    Raises:
        InputError, Interrupted: as `compare_texts`.
    """
    if not bench.recipe.objective.contrastive_epochs:
        return
    course = compare_texts(
        bench,
        folder / CONTRASTIVE,
        speaker,
        stage=_stage,
        key="objective.contrastive_epochs",
        what="contrasting",
    )
    speaker.say(f"contrastive stage: {course.total_steps:,} steps done, the head learns next")


def _stage(bench: Workbench, folder: Path) -> Fit:
    settings, items = bench.recipe.objective, bench.labelled()
    brief = bench.briefly(
        items, epochs=settings.contrastive_epochs, learning_rate=settings.contrastive_learning_rate
    ).fit(folder, prunes=False)
    course = replace(brief.feeder.course, accumulation=1)
    deal = partial(_deal, brief.feeder.labels, course.batch_size, course.seed)
    return comparing(brief, temperature=settings.contrastive_temperature, course=course, deal=deal)


def _deal(labels: Any, batch_size: int, seed: int, epoch: int) -> Any:
    return contrasting_batches(labels, batch_size=batch_size, seed=seed, epoch=epoch)
