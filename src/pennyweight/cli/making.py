"""Commands that plan and train."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.flags import AsJson, BackboneName, BadRowInstead, BudgetSize, Changes, RecipeName, changes_of
from pennyweight.cli.printing import print_json

if TYPE_CHECKING:
    from pennyweight.recipe import Recipe


def plan(
    recipe: RecipeName,
    backbone: BackboneName = None,
    budget: BudgetSize = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Count what a recipe would train, before anything is downloaded; exit 1 if it is over budget."""
    from pennyweight.pipeline.planning import plan_recipe
    from pennyweight.recipe_files import load_recipe
    from pennyweight.startup import uncollected

    with uncollected():
        counted = plan_recipe(load_recipe(recipe, changes=changes_of(changes, backbone=backbone, budget=budget)))
    if as_json:
        print_json(counted.as_dict())
    else:
        from pennyweight.tables.runs import plan_table

        plan_table(counted)
    counted.require_within_budget()


def train(  # noqa: PLR0913, PLR0917 - one for each flag
    recipe: RecipeName,
    out: Annotated[Path, typer.Option("--out", help="New folder for the classifier.")],
    data: Annotated[str | None, typer.Option("--data", help="Train on this source instead of the recipe's.")] = None,
    backbone: BackboneName = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    seeds: Annotated[
        int | None, typer.Option("--seeds", help="Train so many times, with a seed of its own each, into --out/seed-N.")
    ] = None,
    on_bad_row: BadRowInstead = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Train a recipe into a classifier folder."""
    from pennyweight.recipe_files import load_recipe

    extra = changes_of(changes, backbone=backbone, data=data, on_bad_row=on_bad_row)
    chosen = load_recipe(recipe, changes=extra)

    from pennyweight.startup import load_libraries

    load_libraries()
    if seeds is not None:
        _train_seeds(chosen, out, seeds, resume=resume, as_json=as_json)
        return
    from pennyweight.pipeline.run import train_recipe

    outcome = train_recipe(chosen, out, resume=resume)
    if outcome.judgement is None:
        return
    if as_json:
        print_json(outcome.as_dict())
    else:
        from pennyweight.tables.runs import training_summary

        training_summary(outcome)


def _train_seeds(recipe: Recipe, out: Path, seeds: int, *, resume: bool, as_json: bool) -> None:
    from pennyweight.pipeline.seeds import train_seeds

    outcome = train_seeds(recipe, out, seeds=seeds, resume=resume)
    if not outcome.metrics:
        return
    if as_json:
        print_json(outcome.as_dict())
    else:
        from pennyweight.tables.judging import seeds_summary

        seeds_summary(outcome)


def recipes(as_json: AsJson = False) -> None:
    """List the shipped recipes."""
    from pennyweight.recipe_files import shipped_recipes

    known = shipped_recipes()
    if as_json:
        print_json({"recipes": [{"name": name, "description": text} for name, text in known.items()]})
        return
    width = max(map(len, known))
    for name, text in known.items():
        typer.echo(f"{name:{width}}  {text}")
