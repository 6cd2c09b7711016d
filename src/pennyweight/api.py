"""The commands as Python functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, overload

from pennyweight.budget.plan import Plan
from pennyweight.errors import InputError
from pennyweight.pipeline.planning import plan_recipe
from pennyweight.recipe import Recipe
from pennyweight.recipe_files import build_recipe, load_recipe

if TYPE_CHECKING:
    from pennyweight.evaluation.audit import Audit
    from pennyweight.evaluation.choice import By, Choice
    from pennyweight.evaluation.comparison import Comparison, Metric
    from pennyweight.pipeline.outcome import Outcome
    from pennyweight.pipeline.seeds import SeedsOutcome
    from pennyweight.predictor import Predictor


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


def compare(
    classifiers: Sequence[str | Path],
    data: str | Path | None = None,
    *,
    text: Sequence[str] | None = None,
    label: str | None = None,
    mapping: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare classifiers on the same items.

    Args:
        classifiers: classifier folders, folders of several seeds, predictions.parquet files; two at least.
        data: labelled data; may be left out where all are predictions.parquet files.
        text: text column(s) of the data; none: those of training.
        label: label column of the data; none: that of training.
        mapping: the data's labels in the classifiers' words; none: they are the same.

    Raises:
        InputError: what is given cannot be compared, or the data cannot be used.
    """
    from pennyweight.pipeline.judging.comparing import compare_sources

    return compare_sources(
        _listed(classifiers),
        None if data is None else str(data),
        opener=_open,
        text=_names(text),
        label=label,
        mapping=None if mapping is None else dict(mapping),
    )


def audit(
    classifier: str | Path,
    data: str | Path,
    *,
    conditions: Sequence[str] | None = None,
    text: Sequence[str] | None = None,
    label: str | None = None,
    mapping: Mapping[str, str] | None = None,
    seed: int = 0,
) -> Audit:
    """Judge a classifier on data as they are, and as the world would spoil them.

    Args:
        classifier: its folder.
        data: labelled data.
        conditions: ways of spoiling the texts by name; none: all.
        text: text column(s) of the data; none: those of training.
        label: label column of the data; none: that of training.
        mapping: the data's labels in the classifier's words; none: they are the same.
        seed: of what the conditions draw.

    Raises:
        InputError: the folder or the data cannot be used, or there is no such condition.
    """
    from pennyweight.pipeline.judging.auditing import audit_source
    from pennyweight.pipeline.preparation import schema_of_card

    opened = _open(Path(classifier))
    schema = schema_of_card(opened.manifest, text=_names(text), label=label, mapping=mapping)
    return audit_source(opened, str(data), schema=schema, conditions=_names(conditions), seed=seed)


def choose(
    classifiers: Sequence[str | Path],
    data: Sequence[str | Path],
    *,
    by: By = "worst",
    metric: Metric = "accuracy",
    weights: Mapping[str, float] | None = None,
    conditions: Sequence[str] | None = None,
    mappings: Mapping[str, Mapping[str, str]] | None = None,
) -> Choice:
    """Choose one of several classifiers by how it bears several data sets and conditions.

    Args:
        classifiers: classifier folders, and folders of several seeds; two at least.
        data: labelled data sets.
        by: what makes the best: its worst score, its mean, or its weighted mean.
        metric: what is scored.
        weights: of conditions and data sets by name, for ``weighted``; what is not named weighs 1.
        conditions: ways of spoiling the texts besides leaving them as they are; none: all.
        mappings: by data set, its labels in the classifiers' words, where they are others.

    Raises:
        InputError: what is given cannot be chosen from or by, or the data cannot be used.
    """
    from pennyweight.pipeline.judging.choosing import Rule, choose_classifier

    maps = {source: dict(one) for source, one in (mappings or {}).items()}
    return choose_classifier(
        _listed(classifiers),
        [(str(source), maps.get(str(source))) for source in _listed(data)],
        opener=_open,
        rule=Rule(by, metric, weights),
        conditions=_names(conditions),
    )


def _open(folder: Path) -> Predictor:
    from pennyweight.opening import load

    return load(folder)


def _listed(one_or_more: str | Path | Sequence[str | Path]) -> list[str | Path]:
    """Paths or names; a single one may be given by itself."""
    return [one_or_more] if isinstance(one_or_more, str | Path) else list(one_or_more)


def _names(columns: Sequence[str] | None) -> tuple[str, ...] | None:
    """Column names; a single one may be given by itself."""
    return None if columns is None else (columns,) if isinstance(columns, str) else tuple(columns)


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
        table[section] = {**table.get(section, {}), **{key: _plain(value) for key, value in keys.items()}}
    return build_recipe(table)


def _plain(value: Any) -> Any:
    """A value as TOML would hold it: a path as text, NumPy's whole numbers as Python's."""
    if isinstance(value, PurePath):
        return str(value)
    return value if isinstance(value, int) or not isinstance(value, Integral) else int(value)
