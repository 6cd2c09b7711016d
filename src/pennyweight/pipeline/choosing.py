"""Chooses one of several classifiers by how they bear several data sets and conditions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from pennyweight.errors import InputError
from pennyweight.evaluation.choice import By, Cell, Choice, choose
from pennyweight.evaluation.comparison import Bench, Metric
from pennyweight.evaluation.perturbations import Perturbation
from pennyweight.pipeline.auditing import chosen_perturbations
from pennyweight.pipeline.comparing import RESAMPLES, members_of, schema_of_contenders
from pennyweight.pipeline.contenders import Contender, Opener, open_contenders
from pennyweight.pipeline.examining import CLEAN, Examined, examine
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
        InputError: fewer than two classifiers, a data set given twice, or anything of it that cannot be used.
    """
    rule, columns = rule or Rule(), columns or Columns()
    perturbations = chosen_perturbations(conditions)
    cells = _cells([source for source, _ in fields], [CLEAN, *(one.name for one in perturbations)], rule)
    if len(paths) < 2:
        raise InputError("there is nothing to choose from; give two classifiers or more")
    contenders = open_contenders(paths, opener=opener)
    found, left_out, scores, drawn = {}, {}, [], []
    for number, field in enumerate(fields):
        source, _ = field
        found[source], left_out[source] = _examined(contenders, field, columns, perturbations, seed)
        bench = _bench(contenders, found[source], seed=number, resamples=resamples)
        shape = (len(contenders), 1 + len(perturbations))
        scores.append(bench.means[rule.metric].reshape(shape))
        drawn.append(bench.drawn[rule.metric].reshape(resamples, *shape))
    return choose(
        [one.name for one in contenders],
        np.concatenate(scores, axis=1),
        np.concatenate(drawn, axis=2),
        cells=cells,
        by=rule.by,
        metric=rule.metric,
        items={source: one.joint.items for source, one in found.items()},
        left_out=left_out,
    )


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
