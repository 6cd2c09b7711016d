"""What stages that compare the texts of a batch with one another have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pennyweight.console import Speaker
from pennyweight.errors import InputError
from pennyweight.pipeline.workbench import Workbench
from pennyweight.training.contrastive import contrastive
from pennyweight.training.feeding import Course
from pennyweight.training.fit import Fit


def compare_texts(
    bench: Workbench, folder: Path, speaker: Speaker, *, stage: Callable[[Workbench, Path], Fit], key: str, what: str
) -> Course:
    """Conduct a stage; it keeps its own checkpoint, its last one with the end state, to be resumed or started from.

    Args:
        bench: whose network's adapters are trained.
        folder: where the stage keeps its checkpoint.
        speaker: where progress goes.
        stage: makes the training run, to be conducted in the folder.
        key: of the recipe, which asks for the stage.
        what: what the stage is called while it goes on.

    Returns:
        The stage in numbers.

    Raises:
        InputError: there are several processes, each of which would see pairs of its own share alone.
        Interrupted: SIGINT or SIGTERM came; a checkpoint was saved.
    """
    if bench.accelerator.num_processes > 1:
        raise InputError(f"{key} compares all texts of a batch, so it runs in one process; start one, or set {key}=0")
    folder.mkdir(parents=True, exist_ok=True)
    fit = stage(bench, folder)
    course = fit.feeder.course
    with speaker.bar(what, course.total_steps) as bar:

        def listen(report: Any, progress: Any) -> None:
            bar.update(progress.next_step, f"loss {report.loss:.3f}")

        fit.run(listen)
    return course


def comparing(fit: Fit, *, temperature: float, **fed: Any) -> Fit:
    """A training run by the contrastive loss alone, its feeder altered where ``fed`` says so."""
    # A batch is one forward pass, whatever it holds: in parts there would be no pairs between the parts.
    feeder = replace(fit.feeder, forward_tokens=sys.maxsize, **fed)
    return replace(fit, objective=contrastive(temperature=temperature), feeder=feeder)
