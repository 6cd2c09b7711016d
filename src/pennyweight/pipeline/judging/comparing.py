"""Several classifiers on the same data, in one pass: a table, all pairs, a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from pennyweight.data.examples import Example, Schema
from pennyweight.data.labels import listed
from pennyweight.errors import InputError
from pennyweight.evaluation.comparison import Bench, Comparison, Pair, Standing, all_pairs
from pennyweight.pipeline.judging.contenders import Contender, Opened, Opener, Recorded, open_contenders
from pennyweight.pipeline.judging.examining import Examined, examine
from pennyweight.pipeline.preparation import schema_of_card, stream_source

RESAMPLES = 2000
"""Bootstrap resamples of comparisons: the least p that they can give is 0.001."""
_FOR_EACH_PAIR = 100
"""Resamples, where there are many pairs: corrected for all of them, the least p is 0.02."""
_MOST = 20_000
"""Of them, for the time and memory that they take."""


def compare_sources(
    paths: Sequence[str | Path],
    source: str | None,
    *,
    opener: Opener,
    text: tuple[str, ...] | None = None,
    label: str | None = None,
    mapping: dict[str, str] | None = None,
    on_bad_row: Literal["stop", "skip"] = "stop",
    resamples: int | None = None,
) -> Comparison:
    """Compare classifiers, folders of seeds and written predictions on the same items.

    Args:
        paths: what to compare, see `pennyweight.pipeline.judging.contenders.open_contenders`; two at least.
        source: labelled data; may be left out where all contenders are written predictions.
        opener: opens a classifier folder.
        text: text column(s) of the data; none: those of training.
        label: label column of the data; none: that of training.
        mapping: the data's labels in the classifiers' words.
        on_bad_row: stop at a row without a usable text or label, or skip it.
        resamples: bootstrap resamples; none: 2,000, more where more than twenty pairs are compared.

    Raises:
        InputError: what is given cannot be compared, or the data cannot be used.
    """
    if len(paths) < 2:
        raise InputError("there is nothing to compare with; give two classifiers or more")
    contenders = open_contenders(paths, opener=opener)
    labels = contenders[0].members[0].labels
    skipped: list[int] = []
    unmapped: Counter[str] = Counter()
    columns: tuple[str, ...] = ()
    if source is None:
        examples, what = _recorded_examples(contenders)
    else:
        schema = schema_of_contenders(contenders, text=text, label=label, mapping=mapping, on_bad_row=on_bad_row)
        examples = stream_source(source, schema, skipped=skipped, unmapped=unmapped)
        what, columns = source, schema.text
    found = examine(contenders, examples, labels=labels, columns=columns)
    enough = min(max(RESAMPLES, _FOR_EACH_PAIR * len(all_pairs(len(contenders)))), _MOST)
    standings, pairs = _standings(contenders, found, resamples or enough)
    return Comparison(
        standings=standings,
        pairs=pairs,
        evaluated_on=judged_on(what, found),
        items=found.joint.items,
        left_out=found.left_out,
        skipped=len(skipped),
        unmapped=None if mapping is None else dict(unmapped.most_common()),
    )


def schema_of_contenders(
    contenders: Sequence[Contender],
    *,
    text: tuple[str, ...] | None,
    label: str | None,
    mapping: dict[str, str] | None,
    on_bad_row: Literal["stop", "skip"],
) -> Schema:
    """The columns to read the data by; raises InputError where the classifiers were trained on different ones."""
    predictors = [one.predictor for each in contenders for one in each.members if isinstance(one, Opened)]
    if not predictors:
        return Schema(
            text=text or ("text",),
            label=label or "label",
            labels=contenders[0].members[0].labels,
            on_bad_row=on_bad_row,
            mapping=mapping,
        )
    records = [one.manifest.text for one in predictors]
    if text is None and len({one.columns for one in records}) > 1:
        ways = sorted({"+".join(one.columns) for one in records})
        raise InputError(f"the classifiers read different text columns ({listed(ways)}); say which with --text")
    if label is None and len({one.label_column for one in records}) > 1:
        ways = sorted({one.label_column for one in records})
        raise InputError(
            f"the classifiers learnt from different label columns ({listed(ways)}); say which with --label"
        )
    return schema_of_card(predictors[0].manifest, text=text, label=label, on_bad_row=on_bad_row, mapping=mapping)


def _recorded_examples(contenders: Sequence[Contender]) -> tuple[Iterable[Example], str]:
    """The items of the first table of predictions, where nothing else is compared."""
    first = contenders[0].members[0]
    if not all(isinstance(one, Recorded) for each in contenders for one in each.members):
        raise InputError("--data is missing: only written predictions can be compared without data")
    assert isinstance(first, Recorded)
    return first.examples(first.labels), "the rows of their predictions"


def _standings(
    contenders: Sequence[Contender], found: Examined, resamples: int
) -> tuple[tuple[Standing, ...], tuple[Pair, ...]]:
    groups = members_of(contenders)
    bench = Bench(found.joint, [one.name for one in contenders], groups, resamples=resamples)
    metrics = [one[0].result() for one in found.metrics]
    standings = tuple(
        Standing(
            name=contender.name,
            seeds=len(group),
            accuracy=bench.standing(number, "accuracy"),
            macro_f1=bench.standing(number, "macro_f1"),
            ece=float(np.mean([metrics[member].ece for member in group])),
            seconds_per_thousand=contender.seconds_per_thousand,
            trainable=contender.trainable,
        )
        for number, (contender, group) in enumerate(zip(contenders, groups, strict=True))
    )
    return standings, bench.pairs(all_pairs(len(contenders)))


def judged_on(what: str, found: Examined) -> str:
    """Which data, as a phrase; of several labels per item, with what accuracy means there."""
    several = "" if found.joint.codes is None else "; right are those of which all labels are"
    return f"{what}, {found.joint.items:,} items{several}"


def members_of(contenders: Sequence[Contender]) -> list[list[int]]:
    """Numbers of each contender's members where all members are counted through."""
    groups: list[list[int]] = []
    for contender in contenders:
        start = sum(map(len, groups))
        groups.append(list(range(start, start + len(contender.members))))
    return groups
