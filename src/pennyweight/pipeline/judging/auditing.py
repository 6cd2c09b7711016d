"""Audits one classifier: the same items clean and spoilt, by length and by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pennyweight.data.examples import Schema
from pennyweight.evaluation.audit import Audit, Condition, by_class, by_length
from pennyweight.evaluation.comparison import Bench
from pennyweight.evaluation.perturbations import Perturbation
from pennyweight.pipeline.judging.comparing import RESAMPLES, judged_on
from pennyweight.pipeline.judging.contenders import Contender, Opened
from pennyweight.pipeline.judging.examining import Examined, examine
from pennyweight.pipeline.judging.spoiling import check_conditions, conditions_for
from pennyweight.pipeline.preparation import schema_of_card, stream_source
from pennyweight.predictor import Predictor


def audit_source(
    classifier: Predictor,
    source: str,
    *,
    schema: Schema | None = None,
    conditions: Sequence[str] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Audit:
    """Judge a classifier on a source as it is, and as the world would spoil it.

    Args:
        classifier: what is judged.
        source: ``starter``, ``hub:<id>[:config]`` or a file; of a source with splits, the test split.
        schema: columns and labels; none: those of training.
        conditions: names of `PERTURBATIONS`, and ``synonyms``; none: all.
        seed: of what the conditions draw.
        resamples: bootstrap resamples behind the intervals of macro F1.

    Raises:
        InputError: an unknown condition, or data that cannot be used.
    """
    check_conditions(conditions)
    chosen, not_measured = conditions_for(conditions, [classifier])
    schema = schema or schema_of_card(classifier.manifest)
    member = Opened(classifier)
    member.adopt(classifier.labels)
    skipped: list[int] = []
    unmapped: Counter[str] = Counter()
    found = examine(
        [Contender("classifier", (member,))],
        stream_source(source, schema, skipped=skipped, unmapped=unmapped),
        labels=classifier.labels,
        columns=schema.text,
        perturbations=chosen,
        seed=seed,
    )
    metrics = found.metrics[0][0].result()
    return Audit(
        evaluated_on=judged_on(source, found),
        metrics=metrics,
        conditions=_conditions(found, chosen, resamples),
        lengths=by_length(np.concatenate(found.lengths), np.concatenate(found.right)),
        length_unit="tokens" if found.in_tokens else "words",
        classes=by_class(metrics),
        not_measured=not_measured,
        seed=seed,
        skipped=len(skipped),
        unmapped=None if schema.mapping is None else dict(unmapped.most_common()),
    )


def _conditions(found: Examined, perturbations: Sequence[Perturbation], resamples: int) -> tuple[Condition, ...]:
    columns = range(len(found.conditions))
    bench = Bench(found.joint, found.conditions, [[column] for column in columns], resamples=resamples)
    metrics = [one.result() for one in found.metrics[0]]
    pairs = bench.pairs([(column, 0) for column in columns[1:]])
    return tuple(
        Condition(
            name=perturbation.name,
            meaning=perturbation.meaning,
            changed=int(found.changed[column]),
            accuracy=metrics[column].accuracy,
            macro_f1=metrics[column].macro_f1.value,
            ece=metrics[column].ece,
            against_clean=pair,
        )
        for column, perturbation, pair in zip(columns[1:], perturbations, pairs, strict=True)
    )
