"""From a recipe to a plan, before anything is loaded or downloaded but a config.json."""

from __future__ import annotations

from collections.abc import Sequence

from pennyweight.budget.allot import assign_ranks, fill_rank, head_parameters, largest_uniform_rank, work_per_token
from pennyweight.budget.backbones import read_config
from pennyweight.budget.known import architecture_of
from pennyweight.budget.plan import Plan
from pennyweight.budget.selectors import Matrix, select_all, values_by_matrix
from pennyweight.budget.shapes import Architecture
from pennyweight.errors import InputError
from pennyweight.recipe import Adapters, Recipe


def plan_recipe(recipe: Recipe) -> Plan:
    """Count what a recipe would train.

    Where ``data.labels`` is ``auto`` the training source is read to learn the number of classes.

    Raises:
        InputError: unknown backbone, a selector that matches nothing, labels that cannot be discovered, or inputs
            longer than the backbone takes.
        BudgetError: ``rank = "fill"`` and not even rank 1 fits. A plan merely over budget is returned, not raised.
    """
    classes = len(label_names(recipe))
    config = read_config(recipe.backbone.name, revision=recipe.backbone.revision)
    return plan_architecture(recipe, architecture_of(config, classes=classes), classes=classes)


def plan_architecture(recipe: Recipe, architecture: Architecture, *, classes: int) -> Plan:
    """As `plan_recipe`, for an architecture whose shapes are known."""
    _require_positions(recipe, architecture)
    _require_weights(recipe, classes)
    adapters = recipe.adapters
    targets = chosen_matrices(adapters, architecture)
    context = {"matrices": targets, "prefix": architecture.prefix}
    ranks = values_by_matrix(adapters.rank_pattern, flag="adapters.rank_pattern", **context)  # type: ignore[arg-type]
    alphas = values_by_matrix(adapters.alpha_pattern, flag="adapters.alpha_pattern", **context)  # type: ignore[arg-type]
    head = head_parameters(
        recipe.head.kind,
        hidden=architecture.hidden,
        classes=classes,
        rank=recipe.head.rank,
        stock=architecture.stock_head,
    )
    attends = recipe.windows.count > 1 and recipe.windows.pooling == "attention"
    windows = architecture.hidden if attends else 0
    budget = recipe.budget.parameters
    rank = adapters.rank
    if rank == "fill":
        rank = fill_rank(targets, budget=budget, head=head + windows, fixed_ranks=ranks)
    planned = assign_ranks(targets, rank=rank, alpha=adapters.alpha, rank_by_name=ranks, alpha_by_name=alphas)
    return Plan(
        backbone=recipe.backbone.name,
        budget=budget,
        head=head,
        matrices=planned,
        work=work_per_token(
            planned,
            architecture.matrices,
            hidden=architecture.hidden,
            layers=architecture.layers,
            length=recipe.text.max_length,
            repeats=architecture.repeats,
        ),
        largest_rank=largest_uniform_rank(targets, room=budget - head - windows, fixed_ranks=ranks),
        windows=windows,
    )


def _require_positions(recipe: Recipe, architecture: Architecture) -> None:
    length, positions = recipe.text.max_length, architecture.positions
    if positions is not None and length > positions:
        raise InputError(
            f"text.max_length = {length}: backbone {recipe.backbone.name} takes {positions} tokens at most "
            f"(--set text.max_length={positions})"
        )


def _require_weights(recipe: Recipe, classes: int) -> None:
    weights = recipe.objective.class_weights
    if isinstance(weights, tuple) and len(weights) != classes:
        raise InputError(
            f"objective.class_weights names {len(weights)} numbers and there are {classes} classes; give one for each, "
            f"in the order of the labels, or 'balanced'"
        )


def chosen_matrices(adapters: Adapters, architecture: Architecture) -> Sequence[Matrix]:
    """The matrices that a recipe's targets mean; raises InputError where a selector matches nothing."""
    if adapters.targets == "all-linear":
        inside = [matrix for matrix in architecture.matrices if matrix.layer is not None]
        if not inside:
            raise InputError(
                f"adapters.targets: a {architecture.model_type} encoder has no linear matrix in its layers"
            )
        return inside
    return select_all(adapters.targets, architecture.matrices, flag="adapters.targets", prefix=architecture.prefix)


def label_names(recipe: Recipe) -> tuple[str, ...]:
    """The label names in index order: the recipe's own, else those found in its training source."""
    if recipe.data.labels != "auto":
        return recipe.data.labels
    from pennyweight.data.examples import load_examples
    from pennyweight.pipeline.preparation import schema_of

    data = recipe.data
    loaded = load_examples(
        data.source, schema_of(data), split="train", limit=data.limit, limit_per_class=data.limit_per_class
    )
    return loaded.labels
