"""One training run on a workbench, said and shown while it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pennyweight.console import Speaker
from pennyweight.pipeline.stages.contrasting import contrast
from pennyweight.pipeline.stages.probing import probe
from pennyweight.pipeline.workbench import Workbench
from pennyweight.training.fit import Fitted

_SCORES = {"accuracy": "accuracy", "micro_f1": "micro F1"}
"""The first score of a validation, by what it is."""


def train_network(bench: Workbench, folder: Path, speaker: Speaker, *, what: str = "training") -> Fitted:
    """Train the workbench's network to the chosen weights, by way of the stages before; raises as these and `Fit.run`.

    Args:
        bench: network and items.
        folder: where checkpoint and log are kept; a run that was begun there is gone on with.
        speaker: told of steps and validations.
        what: what the training is called.
    """
    contrast(bench, folder, speaker)
    probe(bench)
    fit = bench.fit(folder)
    course = fit.feeder.course
    trained = sum(parameter.numel() for parameter in bench.network.trainable().values())
    speaker.say(
        f"{what}: {course.items:,} items, {course.total_steps:,} steps, {trained:,} of "
        f"{bench.recipe.budget.parameters:,} parameters, {bench.machine.line()}{bench.savings()}"
    )
    with speaker.bar(what, course.total_steps) as bar:

        def listen(event: Any, progress: Any) -> None:
            if isinstance(event, Mapping):
                epoch = course.epochs_after(progress.next_step)
                first = "micro_f1" if "micro_f1" in event else "accuracy"
                bar.say(
                    f"epoch {epoch:.2f}: validation loss {event['loss']:.4f}, "
                    f"{_SCORES[first]} {100 * event[first]:.2f} %, macro F1 {100 * event['macro_f1']:.2f} %"
                )
                return
            bar.update(progress.next_step, f"loss {event.loss:.3f}, {event.items / event.seconds:.0f} examples/s")

        return fit.run(listen)
