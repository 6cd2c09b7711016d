"""Ranks by sensitivity: found before training begins, from the gradients of training batches."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pennyweight.budget.allot import ranks_by_gain
from pennyweight.budget.plan import Plan
from pennyweight.budget.shapes import Architecture
from pennyweight.cache import Cache
from pennyweight.console import Speaker
from pennyweight.errors import InputError
from pennyweight.files import write_json
from pennyweight.manifest import Manifest
from pennyweight.model.device import Machine
from pennyweight.pipeline.folder import RANKS, TRAINING
from pennyweight.pipeline.planning import chosen_matrices, plan_architecture
from pennyweight.pipeline.preparation import Collected
from pennyweight.pipeline.unpacking import objective_of
from pennyweight.pipeline.workbench import Workbench, set_up
from pennyweight.recipe import Recipe
from pennyweight.training.batch import StepBatches
from pennyweight.training.sensitivity import gradient_spectra


@dataclass(frozen=True)
class Surroundings:
    """What finding ranks needs beside the recipe."""

    architecture: Architecture
    collected: Collected
    accelerator: Any
    machine: Machine
    cache: Cache
    speaker: Speaker = field(default_factory=lambda: Speaker(enabled=False))


def decide_ranks(recipe: Recipe, plan: Plan, around: Surroundings, out: Path) -> Plan:
    """The plan with all its ranks: as it is, with those found now, or with those of the run in ``out``, if it goes on.

    Raises:
        InputError: the run's record of its ranks is damaged.
    """
    if not plan.undecided:
        return plan
    path = out / TRAINING / RANKS
    ranks = _read(path) if path.exists() else find_ranks(recipe, plan, around)
    return with_ranks(recipe, around.architecture, ranks, classes=len(around.collected.label_names))


def keep_ranks(plan: Plan, out: Path) -> None:
    """Note a run's ranks in its folder, so that going on with it does not find them anew."""
    path = out / TRAINING / RANKS
    if not path.exists():
        write_json(path, {matrix.name: matrix.rank for matrix in plan.matrices if matrix.rank})


def found_ranks(manifest: Manifest) -> dict[str, int]:
    """The ranks of a finished classifier by matrix, as its plan tells them."""
    return {matrix["name"]: matrix["rank"] for matrix in manifest.plan["modules"] if matrix["rank"]}


def find_ranks(recipe: Recipe, plan: Plan, around: Surroundings) -> dict[str, int]:
    """A rank for each matrix that is worth one, by name, so that they fill the budget to the last whole rank."""
    architecture, kind = around.architecture, recipe.adapters.pairs
    assert kind is not None
    targets = chosen_matrices(recipe.adapters, architecture)
    least = with_ranks(
        recipe, architecture, {matrix.name: 1 for matrix in targets}, classes=len(around.collected.label_names)
    )
    bench = set_up(
        recipe,
        around.collected,
        plan=least,
        architecture=architecture,
        accelerator=around.accelerator,
        machine=around.machine,
        cache=around.cache,
    )
    spectra = _spectra(bench, around.speaker)
    return ranks_by_gain(targets, spectra, room=plan.undecided, kind=kind)


def with_ranks(recipe: Recipe, architecture: Architecture, ranks: Mapping[str, int], *, classes: int) -> Plan:
    """The plan of a recipe whose ranks were found."""
    return plan_architecture(recipe, architecture, classes=classes, ranks=ranks)


def _spectra(bench: Workbench, speaker: Speaker) -> dict[str, list[float]]:
    """By name within the base model, what each further rank of a target promises; the same in all processes."""
    recipe, network = bench.recipe, bench.network
    base = network.encoder.get_base_model().base_model
    pairs = [matrix.name for matrix in bench.plan.matrices if matrix.rank]
    matrices = {name: base.get_submodule(name).get_base_layer().weight for name in pairs}
    head = {
        name: parameter
        for name, parameter in network.trainable().items()
        if name.startswith("head.") or ".modules_to_save." in name
    }
    feeder = replace(bench.feeder(), process=0, processes=1)
    total = min(recipe.adapters.sensitivity_steps, feeder.course.total_steps)
    with speaker.bar("finding ranks", total) as bar:

        def steps() -> Iterator[StepBatches]:
            for number, content in itertools.islice(feeder.steps(), total):
                bar.update(number + 1, "")
                yield content

        objective = objective_of(recipe, feeder, classes=len(bench.collected.label_names))
        return gradient_spectra(network, matrices, objective, steps(), head=head, warmup=total // 2)


def _read(path: Path) -> dict[str, int]:
    try:
        ranks = TypeAdapter(dict[str, int]).validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise InputError(f"{path}: cannot be read ({reason}); train anew into another folder") from None
    return ranks
