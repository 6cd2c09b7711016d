"""The commands as Python functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, overload

from pennyweight.budget.plan import Plan
from pennyweight.errors import InputError
from pennyweight.pipeline.planning import plan_recipe
from pennyweight.recipe import Recipe
from pennyweight.recipe_files import build_recipe, load_recipe

if TYPE_CHECKING:
    from pennyweight.pipeline.outcome import Outcome
    from pennyweight.pipeline.seeds import SeedsOutcome


def plan(recipe: str | Path | Recipe, **changes: Mapping[str, Any]) -> Plan:
    """Count what a recipe would train, before any weight is read.

    Args:
        recipe: a shipped name, a path of a TOML file, or a `Recipe`.
        changes: by section, what to change: ``adapters={"rank": 4}``.

    Raises:
        InputError: unknown recipe, key, backbone or matrix.
        BudgetError: ``rank = "fill"`` and not even rank 1 fits. Ask ``.within_budget`` of the plan returned.
    """
    return plan_recipe(changed(recipe, changes))


@overload
def train(
    recipe: str | Path | Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    seeds: None = None,
    **changes: Mapping[str, Any],
) -> Outcome: ...


@overload
def train(
    recipe: str | Path | Recipe, out: str | Path, *, resume: bool = False, seeds: int, **changes: Mapping[str, Any]
) -> SeedsOutcome: ...


def train(
    recipe: str | Path | Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    seeds: int | None = None,
    **changes: Mapping[str, Any],
) -> Outcome | SeedsOutcome:
    """Train a recipe into the classifier folder ``out``.

    Args:
        recipe: a shipped name, a path of a TOML file, or a `Recipe`.
        out: new or empty folder, unless resuming.
        resume: go on with the run that ``out`` holds.
        seeds: train so many times, counting the seed upwards from the recipe's, into ``out/seed-N``; none: once.
        changes: by section, what to change: ``data={"source": "mine.csv", "test": None}``.

    Raises:
        InputError: anything given that cannot be used.
        BudgetError: the plan is over its budget; nothing was loaded.
        RunError: the machine failed.
        Interrupted: Ctrl-C or SIGTERM; a checkpoint was saved.
    """
    chosen = changed(recipe, changes)
    if seeds is not None:
        from pennyweight.pipeline.seeds import train_seeds

        return train_seeds(chosen, out, seeds=seeds, resume=resume)
    from pennyweight.pipeline.run import train_recipe

    return train_recipe(chosen, out, resume=resume)


def changed(recipe: str | Path | Recipe, changes: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """A recipe with some keys changed, validated anew; raises InputError as reading one does."""
    if not isinstance(recipe, str | Path | Recipe):
        raise InputError(
            f"a recipe is a shipped name, the path of a TOML file or a Recipe, not a {type(recipe).__name__}"
        )
    base = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    table = base.model_dump(mode="json")
    for section, keys in changes.items():
        if not isinstance(keys, Mapping):
            raise InputError(f'{section}={keys!r:.60}: a section is changed by key, such as training={{"epochs": 5}}')
        plain = {key: str(value) if isinstance(value, PurePath) else value for key, value in keys.items()}
        table[section] = {**table.get(section, {}), **plain}
    return build_recipe(table)
