"""The command that finds ranks alone."""

from __future__ import annotations

from typing import Annotated

import typer

from pennyweight.cli.flags import AsJson, BackboneName, BudgetSize, Changes, RecipeName, changes_of
from pennyweight.cli.printing import print_json


def allot(
    recipe: RecipeName,
    data: Annotated[str | None, typer.Option("--data", help="Training data, instead of the recipe's.")] = None,
    backbone: BackboneName = None,
    budget: BudgetSize = None,
    changes: Changes = None,
    as_json: AsJson = False,
) -> None:
    """Find a rank for each matrix by its gradient on training texts, until the budget is full; train nothing."""
    from pennyweight.recipe_files import load_recipe

    own = ["adapters.rank=sensitivity", "adapters.rank_pattern={}"]
    chosen = load_recipe(recipe, changes=own + changes_of(changes, backbone=backbone, budget=budget, data=data))

    from pennyweight.startup import load_libraries

    load_libraries()
    from pennyweight.evaluation.toml_text import as_toml
    from pennyweight.pipeline.allotment import allot_recipe

    plan = allot_recipe(chosen)
    ranks = {matrix.name: matrix.rank for matrix in plan.matrices if matrix.rank}
    section = {"targets": list(ranks), "rank_pattern": ranks}
    if as_json:
        print_json({"backbone": plan.backbone, "trainable": plan.trainable, "budget": plan.budget, **section})
        return
    typer.echo(f"# {plan.trainable:,} of {plan.budget:,} trainable parameters; for a recipe:")
    typer.echo(as_toml({"adapters": section}), nl=False)
