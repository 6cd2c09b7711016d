"""Chooses one of several classifiers by how they bear several data sets and conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from pennyweight.errors import InputError, require_one_of
from pennyweight.evaluation.choice import By, Cell, Choice, choose
from pennyweight.evaluation.comparison import Bench, Metric
from pennyweight.evaluation.perturbations import Perturbation
from pennyweight.pipeline.judging.comparing import RESAMPLES, members_of, schema_of_contenders
from pennyweight.pipeline.judging.contenders import Contender, Opened, Opener, open_contenders
from pennyweight.pipeline.judging.examining import CLEAN, Examined, examine
from pennyweight.pipeline.judging.spoiling import CONDITIONS, check_conditions, conditions_for
from pennyweight.pipeline.preparation import stream_source

Field = tuple[str, dict[str, str] | None]
"""A data set to choose on, and its labels in the classifiers' words; none: they are the same."""


class Columns(NamedTuple):
    """How the data sets are to be read, where that is not as in training."""

    text: tuple[str, ...] | None = None
    label: str | None = None
    on_bad_row: Literal["stop", "skip"] = "stop"


class Rule(NamedTuple):
    """What makes a classifier the best."""

    by: By = "worst"
    metric: Metric = "accuracy"
    weights: Mapping[str, float] | None = None
    """By the name of a condition or a data set, for ``weighted``; what is not named weighs 1."""


def choose_classifier(
    paths: Sequence[str | Path],
    fields: Sequence[Field],
    *,
    opener: Opener,
    rule: Rule | None = None,
    conditions: Sequence[str] | None = None,
    columns: Columns | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Choice:
    """Choose one of several classifiers.

    Args:
        paths: classifier folders, and folders that ``train --seeds`` wrote.
        fields: labelled data sets; none of them may be one that a classifier was trained on.
        opener: opens a classifier folder.
        rule: what makes the best; none: the best worst-case accuracy.
        conditions: ways of spoiling the texts besides leaving them as they are; none: all.
        columns: how to read the data; none: as in training.
        seed: of what the conditions draw.
        resamples: bootstrap resamples.

    Raises:
        InputError: fewer than two classifiers, a data set given twice, a rule that is not known, or anything of it that
            cannot be used.
    """
    rule, columns = rule or Rule(), columns or Columns()
    require_one_of("by", rule.by, get_args(By))
    require_one_of("metric", rule.metric, get_args(Metric))
    check_conditions(conditions)
    sources, asked = [source for source, _ in fields], conditions if conditions is not None else CONDITIONS
    _cells(sources, [CLEAN, *asked], rule)  # before anything is opened
    if len(paths) < 2:
        raise InputError("there is nothing to choose from; give two classifiers or more")
    contenders = open_contenders(paths, opener=opener)
    predictors = [one.predictor for each in contenders for one in each.members if isinstance(one, Opened)]
    perturbations, not_measured = conditions_for(conditions, predictors)
    cells = _cells(sources, [CLEAN, *(one.name for one in perturbations)], rule)
    found = [_examined(contenders, field, columns, perturbations, seed) for field in fields]
    benches = [_bench(contenders, one, seed=number, resamples=resamples) for number, (one, _) in enumerate(found)]
    shape = (len(contenders), 1 + len(perturbations))
    choice = choose(
        [one.name for one in contenders],
        np.concatenate([one.means[rule.metric].reshape(shape) for one in benches], axis=1),
        np.concatenate([one.drawn[rule.metric].reshape(resamples, *shape) for one in benches], axis=2),
        cells=cells,
        by=rule.by,
        metric=rule.metric,
        items={source: one.joint.items for source, (one, _) in zip(sources, found, strict=True)},
        left_out={source: count for source, (_, count) in zip(sources, found, strict=True)},
    )
    return replace(choice, not_measured=not_measured)


def _cells(sources: Sequence[str], conditions: Sequence[str], rule: Rule) -> list[Cell]:
    """Every data set in every condition, with its weight."""
    if not sources:
        raise InputError("--data is missing: give labelled data to choose on")
    if len(set(sources)) < len(sources):
        raise InputError("--data: the same data set is given twice; name each once")
    weights = dict(rule.weights or {})
    if (rule.by == "weighted") != bool(weights):
        raise InputError("--weights belongs to --by weighted: give both, or neither")
    for name, weight in weights.items():
        if name not in (*sources, *conditions):
            known = ", ".join((*conditions, *sources))
            raise InputError(f"--weights {name}={weight:g}: no such condition or data set; there are {known}")
        if not 0 <= weight < float("inf"):
            raise InputError(f"--weights {name}={weight:g}: a weight is a number of at least 0")
    cells = [
        Cell(source, condition, weights.get(source, 1.0) * weights.get(condition, 1.0))
        for source in sources
        for condition in conditions
    ]
    if not any(cell.weight for cell in cells):
        raise InputError("--weights: all weights are 0, so nothing is left to choose by")
    return cells


def _examined(
    contenders: Sequence[Contender],
    field: Field,
    columns: Columns,
    perturbations: Sequence[Perturbation],
    seed: int,
) -> tuple[Examined, int]:
    """What one data set shows, and how many of its rows were passed over."""
    source, mapping = field
    skipped: list[int] = []
    unmapped: Counter[str] = Counter()
    schema = schema_of_contenders(
        contenders, text=columns.text, label=columns.label, mapping=mapping, on_bad_row=columns.on_bad_row
    )
    found = examine(
        contenders,
        stream_source(source, schema, skipped=skipped, unmapped=unmapped),
        labels=contenders[0].members[0].labels,
        columns=schema.text,
        perturbations=perturbations,
        seed=seed,
    )
    return found, len(skipped) + unmapped.total()


def _bench(contenders: Sequence[Contender], found: Examined, *, seed: int, resamples: int) -> Bench:
    """Every contender in every condition, [contender · condition]; in all of them it draws the same of its seeds."""
    groups, names, keys = [], [], []
    for number, members in enumerate(members_of(contenders)):
        for condition, name in enumerate(found.conditions):
            groups.append([found.column(member, condition) for member in members])
            names.append(f"{contenders[number].name}, {name}")
            keys.append(number)
    return Bench(found.joint, names, groups, resamples=resamples, keys=keys, seed=seed)
