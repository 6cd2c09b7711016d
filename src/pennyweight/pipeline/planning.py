"""From a recipe to a plan, before anything is loaded or downloaded but a config.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pennyweight.budget.allot import (
    assign_ranks,
    fill_rank,
    head_parameters,
    largest_uniform_rank,
    most_for_ranks,
    scaled_matrices,
    work_per_token,
)
from pennyweight.budget.backbones import read_config
from pennyweight.budget.known import architecture_of
from pennyweight.budget.memory import backbone_bytes, state_bytes
from pennyweight.budget.plan import Plan, PlannedMatrix, PlannedPrompt
from pennyweight.budget.selectors import Matrix, select_all, values_by_matrix
from pennyweight.budget.shapes import Architecture
from pennyweight.errors import InputError
from pennyweight.recipe import Adapters, Recipe

PROMPTED = ("bert", "roberta", "xlm-roberta", "camembert")
"""Model types whose word vectors are as wide as their hidden states and can have others put before them."""


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


def plan_architecture(
    recipe: Recipe, architecture: Architecture, *, classes: int, ranks: Mapping[str, int] | None = None
) -> Plan:
    """As `plan_recipe`, for an architecture whose shapes are known.

    Args:
        recipe: what is to be trained.
        architecture: the shapes of its backbone.
        classes: number of labels.
        ranks: where ``rank = "sensitivity"``, what was found: a rank for each matrix by name, without those that get no
            pair. None: not found yet; the plan then says how much they may take.
    """
    adapters, budget = recipe.adapters, recipe.budget.parameters
    prompt = _prompt(recipe, architecture)
    _require_positions(recipe, architecture)
    _require_weights(recipe, classes)
    head = head_parameters(
        recipe.head.kind,
        hidden=architecture.hidden,
        classes=classes,
        rank=recipe.head.rank,
        stock=architecture.stock_head,
    )
    attends = recipe.windows.count > 1 and recipe.windows.pooling == "attention"
    windows = architecture.hidden if attends else 0
    scaled = scaled_matrices(_chosen_for_vectors(adapters, architecture))
    spent = head + windows + sum(one.parameters for one in scaled) + (prompt.parameters if prompt else 0)
    pairs, largest, undecided = _pairs(adapters, architecture, budget=budget, spent=spent, ranks=ranks)
    planned = (*pairs, *scaled)
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
            prompted=prompt is not None,
        ),
        largest_rank=largest,
        windows=windows,
        prompt=prompt,
        undecided=undecided,
        backbone_bytes=backbone_bytes(architecture.total, architecture.matrices),
        optimizer_bytes=state_bytes(
            recipe.training.optimizer,
            planned,
            others=(head, windows, prompt.parameters if prompt else 0),
            undecided=undecided,
        ),
    )


def _pairs(
    adapters: Adapters, architecture: Architecture, *, budget: int, spent: int, ranks: Mapping[str, int] | None
) -> tuple[tuple[PlannedMatrix, ...], int | None, int]:
    """The pairs of factors, their largest uniform rank, and what is still undecided."""
    kind = adapters.pairs
    if kind is None:
        return (), None, 0
    targets = chosen_matrices(adapters, architecture)
    context = {"matrices": targets, "prefix": architecture.prefix}
    given = values_by_matrix(adapters.rank_pattern, flag="adapters.rank_pattern", **context)  # type: ignore[arg-type]
    alphas = values_by_matrix(adapters.alpha_pattern, flag="adapters.alpha_pattern", **context)  # type: ignore[arg-type]
    largest = largest_uniform_rank(targets, room=budget - spent, fixed_ranks=given, kind=kind)
    rank = adapters.rank
    if rank == "sensitivity":
        if ranks is None:
            return (), largest, most_for_ranks(targets, budget=budget, head=spent, kind=kind)
        given, rank = dict(ranks), 1
        targets = [matrix for matrix in targets if matrix.name in given]
    if rank == "fill":
        rank = fill_rank(targets, budget=budget, head=spent, fixed_ranks=given, kind=kind)
    if kind == "adalora" and (adapters.final_rank or rank // 2 or rank) >= rank:
        raise InputError(
            f"adapters.kind = 'adalora' prunes down from rank {rank}, which fills the budget: it has to be above "
            f"adapters.final_rank and 1; take fewer targets or a larger budget"
        )
    full = min((min(matrix.fan_in, matrix.fan_out) for matrix in targets), default=0)
    if adapters.init != "default" and max([rank, *given.values()]) > full:
        raise InputError(
            f"adapters.init = {adapters.init!r} takes ranks up to {full}, the smallest side of a target; lower the rank"
        )
    planned = assign_ranks(
        targets, rank=rank, alpha=adapters.alpha, rank_by_name=given, alpha_by_name=alphas, kind=kind
    )
    return planned, largest, 0


def _prompt(recipe: Recipe, architecture: Architecture) -> PlannedPrompt | None:
    """The vectors before the text; raises InputError where the architecture takes none."""
    length = recipe.adapters.prompt_vectors
    if length and architecture.model_type not in PROMPTED:
        raise InputError(
            f"adapters.kind = {recipe.adapters.kind!r}: a {architecture.model_type} encoder takes no prompt here, only "
            f"{', '.join(PROMPTED)}; take another kind (--set adapters.kind=lora)"
        )
    return PlannedPrompt(length, architecture.hidden) if length else None


def _require_positions(recipe: Recipe, architecture: Architecture) -> None:
    length, positions = recipe.text.max_length, architecture.positions
    prompt = recipe.adapters.prompt_vectors
    if positions is not None and length + prompt > positions:
        beside, most = f" beside a prompt of {prompt}" if prompt else "", positions - prompt
        raise InputError(
            f"text.max_length = {length}: backbone {recipe.backbone.name} takes {most} tokens at most{beside} "
            f"(--set text.max_length={most})"
        )


def _require_weights(recipe: Recipe, classes: int) -> None:
    weights = recipe.objective.class_weights
    if isinstance(weights, tuple) and len(weights) != classes:
        raise InputError(
            f"objective.class_weights names {len(weights)} numbers and there are {classes} classes; give one for each, "
            f"in the order of the labels, or 'balanced'"
        )


def _chosen_for_vectors(adapters: Adapters, architecture: Architecture) -> Sequence[Matrix]:
    """The matrices that get a scaling vector; raises InputError where a selector matches nothing."""
    if not adapters.scales:
        return ()
    chosen = adapters.ia3_targets or ("key", "value", "layer.*.output.dense")
    return select_all(chosen, architecture.matrices, flag="adapters.ia3_targets", prefix=architecture.prefix)


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
