"""Trains one recipe with several seeds, and says what the result owes to chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pennyweight.console import Speaker
from pennyweight.errors import InputError
from pennyweight.evaluation.comparison import Bench
from pennyweight.evaluation.intervals import Interval
from pennyweight.evaluation.joint import JointCounts
from pennyweight.evaluation.significance import OverSeeds, over_seeds
from pennyweight.files import write_json
from pennyweight.manifest import read_manifest
from pennyweight.pipeline.judging.contenders import Recorded
from pennyweight.pipeline.outcome import Outcome
from pennyweight.pipeline.run import train_recipe
from pennyweight.pipeline.seed_folders import SEEDS, check_seeds_folder, folder_of
from pennyweight.recipe import Recipe

_LAST_SEED = 2**31 - 1
_NO_METRICS = {"examples", "temperature", "skipped"}
_BEYOND_ONE = {"log_loss", "log_loss_uncalibrated", "coverage", "labels_per_item"}
"""Metrics that may be greater than 1."""


@dataclass(frozen=True)
class Pooled:
    """All seeds on the same items."""

    items: int
    accuracy: Interval
    """Mean over seeds; the interval is for other items and other seeds."""
    macro_f1: Interval
    agreement: float
    """Share of items that two seeds give the same label, a mean over pairs of seeds."""
    always_right: float
    """Share of items that every seed gets right."""
    never_right: float
    """Share of items that no seed gets right."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**vars(self), "accuracy": vars(self.accuracy).copy(), "macro_f1": vars(self.macro_f1).copy()}


@dataclass(frozen=True)
class SeedsOutcome:
    """Finished runs of one recipe with several seeds."""

    folder: Path
    seeds: tuple[int, ...]
    outcomes: tuple[Outcome, ...]
    """One for each seed."""
    metrics: Mapping[str, OverSeeds]
    """Each figure of the evaluations over seeds; empty in the processes beside the first, which do not judge."""
    pooled: Pooled | None
    """All seeds on the same items; none where each was judged on a validation split of its own."""

    def as_dict(self) -> dict[str, Any]:
        """What ``train --seeds --json`` prints, and ``seeds.json`` holds."""
        judgement = self.outcomes[0].judgement
        return {
            "folder": str(self.folder),
            "seeds": list(self.seeds),
            "trainable": self.outcomes[0].plan.trainable,
            "evaluated_on": judgement.evaluated_on if judgement else None,
            "metrics": {name: {**vars(one), "values": list(one.values)} for name, one in self.metrics.items()},
            "pooled": self.pooled.as_dict() if self.pooled else None,
        }


def train_seeds(
    recipe: Recipe,
    out: str | Path,
    *,
    seeds: int,
    resume: bool = False,
    speaker: Speaker | None = None,
    cpu: bool = False,
) -> SeedsOutcome:
    """Train a recipe with several seeds, one after the other, into ``out/seed-N``.

    Seeds count upwards from the recipe's own. What of the work does not depend on the seed (tokens, the frozen layers'
    output) comes from the cache after the first run.

    Args:
        recipe: what to do.
        out: folder for all runs; new or empty, unless resuming.
        seeds: number of runs, at least 2.
        resume: pass over what is finished and go on with what is not; more seeds than before may be asked for.
        speaker: where progress goes; none: stderr.
        cpu: stay on the CPU even where there is an accelerator.

    Raises:
        InputError: fewer than two seeds, or anything that `train_recipe` refuses.
        BudgetError: the plan is over its budget.
        RunError: the machine failed.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was saved.
    """
    folder, first = Path(out), recipe.training.seed
    if not isinstance(seeds, int) or seeds < 2:
        raise InputError(f"--seeds {seeds!r:.60}: give two or more; a single run takes no --seeds")
    if first + seeds - 1 > _LAST_SEED:
        raise InputError(f"--seeds {seeds}: from training.seed = {first} on they run beyond {_LAST_SEED}")
    check_seeds_folder(folder, resume=resume)
    speaker = speaker or Speaker()
    numbers = tuple(range(first, first + seeds))
    outcomes = []
    for place, seed in enumerate(numbers, start=1):
        speaker.say(f"seed {seed}, {place} of {seeds}")
        chosen = recipe.model_copy(update={"training": recipe.training.model_copy(update={"seed": seed})})
        outcomes.append(train_recipe(chosen, folder_of(folder, seed), resume=resume, speaker=speaker, cpu=cpu))
    outcome = SeedsOutcome(folder, numbers, tuple(outcomes), _metrics(outcomes), _pooled(outcomes, recipe))
    if outcome.metrics:
        write_json(folder / SEEDS, outcome.as_dict())
    return outcome


def _metrics(outcomes: Sequence[Outcome]) -> dict[str, OverSeeds]:
    """Every figure that all evaluations have, over seeds."""
    figures = [_figures(one.judgement.metrics.as_dict()) for one in outcomes if one.judgement is not None]
    if len(figures) < len(outcomes):
        return {}
    return {
        name: over_seeds([one[name] for one in figures], least=0, most=math.inf if name in _BEYOND_ONE else 1)
        for name in figures[0]
    }


def _figures(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The single numbers among an evaluation's metrics."""
    values = {name: one.get("value") if isinstance(one, Mapping) else one for name, one in metrics.items()}
    return {name: float(one) for name, one in values.items() if isinstance(one, float) and name not in _NO_METRICS}


def _pooled(outcomes: Sequence[Outcome], recipe: Recipe) -> Pooled | None:
    """All seeds on the items that they were judged on, where these are the same and have one label each."""
    problem: str = read_manifest(outcomes[0].folder).problem
    if problem != "single-label" or any(one.judgement is None for one in outcomes):
        return None
    tables = [Recorded(one.folder / "report" / "predictions.parquet") for one in outcomes]
    first = tables[0]
    if any((one.rows, one.truth) != (first.rows, first.truth) for one in tables):
        return None
    for table in tables:
        table.adopt(first.labels)
    examples = first.examples(first.labels)
    texts = [example.text for example in examples]
    truth = np.array([example.label for example in examples])
    predicted = np.column_stack([table.answer(examples, texts).logits.argmax(axis=1) for table in tables])
    joint = JointCounts(len(first.labels), len(tables))
    joint.update(truth, predicted)
    bench = Bench(joint, ["all seeds"], [range(len(tables))], resamples=recipe.evaluation.bootstrap)
    right = predicted == truth[:, None]
    same = [joint.agreement(i, j) for i in range(len(tables)) for j in range(i)]
    return Pooled(
        items=joint.items,
        accuracy=bench.standing(0, "accuracy"),
        macro_f1=bench.standing(0, "macro_f1"),
        agreement=float(np.mean(same)),
        always_right=float(right.all(axis=1).mean()),
        never_right=float((~right).all(axis=1).mean()),
    )
