"""Ranks by sensitivity without a run: the command `pennyweight allot`."""

from __future__ import annotations

from pennyweight.budget.backbones import read_config
from pennyweight.budget.plan import Plan
from pennyweight.budget.shapes import read_architecture
from pennyweight.cache import default_cache
from pennyweight.console import Speaker
from pennyweight.pipeline.gathering import collect_all
from pennyweight.pipeline.planning import plan_architecture
from pennyweight.pipeline.processes import start_process
from pennyweight.pipeline.stages.allotting import Surroundings, find_ranks, with_ranks
from pennyweight.pipeline.workbench import machine_for
from pennyweight.recipe import Recipe


def allot_recipe(recipe: Recipe, *, speaker: Speaker | None = None) -> Plan:
    """The plan of a recipe with the ranks that its gradients ask for; nothing is trained.

    Raises:
        InputError: anything wrong with recipe or data.
        BudgetError: no rank of any matrix fits.
    """
    speaker = speaker or Speaker()
    collected, _ = collect_all(recipe, speaker)
    classes = len(collected.label_names)
    config = read_config(recipe.backbone.name, revision=recipe.backbone.revision)
    architecture = read_architecture(config, classes=classes)
    plan = plan_architecture(recipe, architecture, classes=classes)
    accelerator = start_process()
    machine = machine_for(recipe, architecture, accelerator.device)
    around = Surroundings(architecture, collected, accelerator, machine, default_cache(), speaker)
    return with_ranks(recipe, architecture, find_ranks(recipe, plan, around), classes=classes)
