"""A first stage for few labels: adapters learn which texts belong together, before the head learns to name classes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pennyweight.console import Speaker
from pennyweight.data.contrasting import contrasting_batches
from pennyweight.errors import InputError
from pennyweight.pipeline.folder import CONTRASTIVE
from pennyweight.pipeline.workbench import Workbench
from pennyweight.training.contrastive import contrastive
from pennyweight.training.fit import Fit


def contrast(bench: Workbench, folder: Path, speaker: Speaker) -> None:
    """Train a workbench's adapters by supervised contrastive learning, if its recipe wants that.

    The stage keeps its own checkpoint beside the run's, its last one with the end state, so that a resumed run goes on
    with it or starts from its end.

    Args:
        bench: its network's adapters are trained; the head stays as it is.
        folder: where the run keeps what it needs to be resumed.
        speaker: where progress goes.

    Raises:
        InputError: there are several processes, each of which would see pairs of its own share alone.
        Interrupted: SIGINT or SIGTERM came; a checkpoint was saved.
    """
    if not bench.recipe.objective.contrastive_epochs:
        return
    if bench.accelerator.num_processes > 1:
        raise InputError(
            "objective.contrastive_epochs compares all texts of a batch, so it runs in one process; start one, or set "
            "objective.contrastive_epochs=0"
        )
    (folder / CONTRASTIVE).mkdir(parents=True, exist_ok=True)
    stage = _stage(bench, folder / CONTRASTIVE)
    with speaker.bar("contrasting", stage.feeder.course.total_steps) as bar:
        stage.run(showing(bar))
    speaker.say(f"contrastive stage: {stage.feeder.course.total_steps:,} steps done, the head learns next")


def _stage(bench: Workbench, folder: Path) -> Fit:
    settings, items = bench.recipe.objective, bench.labelled()
    brief = bench.briefly(
        items, epochs=settings.contrastive_epochs, learning_rate=settings.contrastive_learning_rate
    ).fit(folder, prunes=False)
    course = replace(brief.feeder.course, accumulation=1)
    deal = partial(_deal, brief.feeder.labels, course.batch_size, course.seed)
    # A batch is one forward pass, whatever it holds: in parts there would be no pairs between the parts.
    feeder = replace(brief.feeder, course=course, deal=deal, forward_tokens=sys.maxsize)
    return replace(brief, objective=contrastive(temperature=settings.contrastive_temperature), feeder=feeder)


def _deal(labels: Any, batch_size: int, seed: int, epoch: int) -> Any:
    return contrasting_batches(labels, batch_size=batch_size, seed=seed, epoch=epoch)


def showing(bar: Any) -> Callable[[Any, Any], None]:
    """A listener to `Fit.run` that moves a bar and shows the loss."""

    def listen(report: Any, progress: Any) -> None:
        bar.update(progress.next_step, f"loss {report.loss:.3f}")

    return listen
