"""Judges a classifier on labelled examples, as a stream: metrics, the worst mistakes, the predictions file."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pennyweight.data.examples import Example, Schema, truth_of
from pennyweight.data.group_names import group_name
from pennyweight.data.windows import windows
from pennyweight.data.writers import Kind, open_table
from pennyweight.evaluation.agreement import Agreement, StreamingAgreement
from pennyweight.evaluation.groups import Groups, StreamingGroups
from pennyweight.evaluation.judged import AnyMetrics, Streaming
from pennyweight.evaluation.mistakes import Mistake, WorstMistakes
from pennyweight.evaluation.report import ReportContents, write_report
from pennyweight.pipeline.answers import Answers
from pennyweight.pipeline.preparation import Collected, schema_of_card, stream_source
from pennyweight.predictor import WINDOW, Predictor
from pennyweight.recipe import Recipe


@dataclass(frozen=True)
class Compared:
    """One classifier in two number formats, on the same items."""

    precision: str
    """The format that was judged."""
    reference: str
    """The format that it was compared with."""
    agreement: Agreement

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"precision": self.precision, "reference": self.reference, **self.agreement.as_dict()}


@dataclass(frozen=True)
class Judgement:
    """What an evaluation found."""

    metrics: AnyMetrics
    mistakes: tuple[Mistake, ...]
    """The most confident ones first."""
    evaluated_on: str
    """Which data, as a phrase: ``starter, 120 items``."""
    skipped: int = 0
    """Rows passed over because they had no usable text or label."""
    report: Path | None = None
    """The page, where one was written."""
    compared: Compared | None = None
    """The same items in another number format, where that was asked for."""
    unmapped: Mapping[str, int] | None = None
    """Rows left out by a label mapping, by their label; none where there is no mapping."""
    groups: Groups | None = None
    """The same metrics for each group of items, where a column was named for it."""

    def as_dict(self) -> dict[str, Any]:
        """The metrics as ``evaluate --json`` prints them, with the data named."""
        compared = {} if self.compared is None else {"compared": self.compared.as_dict()}
        unmapped = {} if self.unmapped is None else {"unmapped": dict(self.unmapped)}
        groups = {} if self.groups is None else {"groups": self.groups.as_dict()}
        told = {"evaluated_on": self.evaluated_on, "skipped": self.skipped, **unmapped}
        return {**told, **self.metrics.as_dict(), **compared, **groups}


def evaluate_source(
    classifier: Predictor,
    source: str,
    *,
    out: Path | None = None,
    schema: Schema | None = None,
    reference: Predictor | None = None,
    resamples: int = 1000,
) -> Judgement:
    """Judge a classifier on a source, as a stream.

    Args:
        classifier: what is judged.
        source: ``starter``, ``hub:<id>[:config]`` or a file; of a source with splits, the test split.
        out: folder for a report; none: no report is written.
        schema: columns and labels, what the data's labels mean where they are others, and where groups are to be told
            apart their column; none: those of training.
        reference: the same classifier in the number format to compare with; none: no comparison.
        resamples: bootstrap resamples behind the intervals of F1.

    Raises:
        InputError: the source cannot be read, lacks a column, has a bad row, or a label the classifier does not know.
        RunError: the report cannot be written.
    """
    skipped: list[int] = []
    unmapped: Counter[str] = Counter()
    schema = schema or schema_of_card(classifier.manifest)
    examples = stream_source(source, schema, skipped=skipped, unmapped=unmapped)
    judgement = judge(
        classifier,
        examples,
        what=source,
        folder=out,
        by=schema.groups,
        reference=reference,
        resamples=resamples,
    )
    judgement = replace(
        judgement, skipped=len(skipped), unmapped=None if schema.mapping is None else dict(unmapped.most_common())
    )
    if out is None:
        return judgement
    manifest = classifier.manifest
    contents = report_contents(judgement, plan=manifest.plan, recipe=manifest.recipe, environment=manifest.environment)
    return replace(judgement, report=write_report(out, contents))


def judge(
    classifier: Predictor,
    examples: Iterable[Example],
    *,
    what: str,
    folder: Path | None,
    by: str | None = None,
    reference: Predictor | None = None,
    resamples: int,
) -> Judgement:
    """Metrics and mistakes of a stream of examples.

    Into ``folder`` goes predictions.parquet, where one is given; groups are told apart by the column ``by``;
    ``reference``, where given, is compared with.
    """
    decision, answers = classifier.decision, Answers(classifier.labels, classifier.decision)
    agreement = StreamingAgreement()
    metrics = Streaming(classifier.labels, decision, resamples=resamples)
    groups = None if by is None else StreamingGroups(by, classes=len(classifier.labels))
    mistakes = WorstMistakes()
    with _predictions(folder, answers) as write:
        for window in windows(examples, WINDOW):
            tokens = classifier.tokenise([example.text for example in window])
            logits = classifier.logits_of(tokens)
            truth = truth_of(window, len(classifier.labels), several=decision.several)
            probabilities = classifier.probabilities(logits)
            decided = decision.decide(probabilities)
            metrics.update(logits, truth)
            if reference is not None:
                expected = reference.probabilities(reference.logits_of(tokens))
                agreement.add(decided, decision.decide(expected), truth)
            if groups is not None and by is not None:
                groups.update([group_name(example.values.get(by)) for example in window], truth, decided)
            write(_predicted(answers, window, truth, probabilities))
            _offer(mistakes, answers, window, truth, probabilities)
    result = metrics.result()
    compared = None if reference is None else Compared(classifier.precision, reference.precision, agreement.result())
    found = None if groups is None else groups.result()
    averaged = f", each averaged with {classifier.copies} altered copies" if classifier.copies else ""
    what = f"{what}, {result.examples:,} items{averaged}"
    return Judgement(result, tuple(mistakes.ranked()), what, compared=compared, groups=found)


def judge_run(classifier: Predictor, recipe: Recipe, collected: Collected, folder: Path) -> Judgement:
    """Judge a freshly trained classifier: on its recipe's test data, else its validation split, else what it learnt."""
    data, resamples = recipe.data, recipe.evaluation.bootstrap
    skipped: list[int] = []
    if data.test is not None:
        schema = schema_of_card(classifier.manifest, on_bad_row=data.on_bad_row, groups=data.groups)
        examples, what = stream_source(data.test, schema, skipped=skipped), f"test data {data.test}"
    elif len(collected.validation):
        examples, what = collected.examples(collected.validation), f"validation split of {data.source}"
    else:
        examples = collected.examples(collected.learnt)
        what = f"training items of {data.source} themselves, no others were given"
    judgement = judge(classifier, examples, what=what, folder=folder, by=data.groups, resamples=resamples)
    return replace(judgement, skipped=len(skipped))


def report_contents(
    judgement: Judgement,
    *,
    plan: Mapping[str, Any],
    recipe: Mapping[str, Any],
    environment: Mapping[str, Any],
    history: Iterable[Mapping[str, Any]] = (),
    data: Mapping[str, Any] | None = None,
) -> ReportContents:
    """What the report page is made of."""
    return ReportContents(
        title=f"{plan['backbone']} with {plan['trainable']:,} trainable parameters",
        metrics=judgement.metrics,
        groups=judgement.groups,
        evaluated_on=judgement.evaluated_on,
        mistakes=judgement.mistakes,
        plan=plan,
        history=tuple(history),
        data=data,
        recipe=recipe,
        environment=environment,
    )


@contextlib.contextmanager
def _predictions(folder: Path | None, answers: Answers) -> Any:
    if folder is None:
        yield _discard
        return
    name: Kind = answers.kinds["label"]
    shares = {f"p_{label}": "float" for label in answers.labels}
    columns: dict[str, Any] = {"row": "int", "label": name, "predicted": name, "confidence": "float", **shares}
    with open_table(folder / "predictions.parquet", columns) as write:
        yield write


def _discard(_rows: Any) -> None: ...


def _predicted(
    answers: Answers, window: list[Example], truth: np.ndarray, probabilities: np.ndarray
) -> list[dict[str, Any]]:
    names = [f"p_{label}" for label in answers.labels]
    given = answers.of(probabilities)
    return [
        {
            "row": example.row,
            "label": answers.named(true),
            "predicted": answer["label"],
            "confidence": answer["confidence"],
            **dict(zip(names, row.tolist(), strict=True)),
        }
        for example, true, answer, row in zip(window, truth, given, probabilities, strict=True)
    ]


def _offer(
    mistakes: WorstMistakes, answers: Answers, window: list[Example], truth: np.ndarray, probabilities: np.ndarray
) -> None:
    """Offer the wrong ones among some items; of several labels, the surest wrong one says how sure the mistake was."""
    decision = answers.decision
    decided = decision.decide(probabilities)
    if decision.several:
        sure = np.where(decided == truth, 0.0, np.where(decided, probabilities, 1 - probabilities)).max(axis=1)
    else:
        sure = decision.confidence(probabilities, decided)
    words = Answers(answers.labels, decision, ", ")
    for place in np.flatnonzero(~decision.right(decided, truth)):
        mistakes.offer(
            row=window[place].row,
            text=window[place].text,
            label=words.named(truth[place]) or "(none)",
            predicted=words.named(decided[place]) or "(none)",
            confidence=float(sure[place]),
        )
