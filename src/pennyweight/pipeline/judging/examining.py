"""Asks several contenders the same examples, as they are and spoilt, in one pass over the data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.data.examples import Example, truth_of
from pennyweight.data.faults import join_texts
from pennyweight.data.windows import windows
from pennyweight.errors import InputError
from pennyweight.evaluation.joint import JointCounts
from pennyweight.evaluation.judged import Streaming
from pennyweight.evaluation.label_codes import LabelCodes
from pennyweight.evaluation.perturbations import NO_TITLE, Perturbation
from pennyweight.pipeline.judging.contenders import Answer, Contender, Member
from pennyweight.predictor import WINDOW

CLEAN = "clean"
"""The condition in which texts stay as they are."""

_RESAMPLES = 500  # behind the intervals that each evaluation by itself comes with


@dataclass
class Examined:
    """What all members of all contenders predicted, in all conditions."""

    labels: tuple[str, ...]
    conditions: tuple[str, ...]
    """`CLEAN` first."""
    joint: JointCounts
    """Of every member in every condition; `Examined.columns` says where."""
    metrics: list[list[Streaming]]
    """[member][condition]."""
    changed: NDArray[np.int64]
    """Items whose text a condition changes, [conditions]."""
    left_out: int = 0
    """Items that not all members could answer."""
    lengths: list[NDArray[np.int64]] = field(default_factory=list)
    """Tokens, or where these are not known words, of each text, window by window."""
    right: list[NDArray[np.bool_]] = field(default_factory=list)
    """Whether the first member is right on the text as it is, of several labels on all, window by window."""
    in_tokens: bool = True
    """Whether lengths are tokens."""

    def numbers(self, decided: NDArray[Any]) -> NDArray[np.int64]:
        """What `joint` counts: class indices as they are, of several labels the number of their set."""
        codes = self.joint.codes
        return np.asarray(decided, dtype=np.int64) if codes is None else codes.encode(decided)

    def column(self, member: int, condition: int) -> int:
        """Where a member's predictions in a condition stand in `joint`."""
        return member * len(self.conditions) + condition


def examine(
    contenders: Sequence[Contender],
    examples: Iterable[Example],
    *,
    labels: tuple[str, ...],
    columns: tuple[str, ...] = (),
    perturbations: Sequence[Perturbation] = (),
    seed: int = 0,
) -> Examined:
    """Ask all contenders the same examples.

    A text that a condition leaves as it is is not computed again.

    Args:
        contenders: who is asked.
        examples: what; their labels are in the order of ``labels``.
        labels: the order of labels that the contenders' members have adopted.
        columns: text columns that the examples' texts are joined of.
        perturbations: conditions besides the clean one.
        seed: of what the perturbations draw.

    Raises:
        InputError: there is no example that all can answer, or written predictions are asked about changed texts, or
            disagree with the data about an item's label.
    """
    members = [member for contender in contenders for member in contender.members]
    conditions = (CLEAN, *(one.name for one in perturbations))
    codes = LabelCodes(len(labels)) if members[0].decision.several else None
    found = Examined(
        labels=labels,
        conditions=conditions,
        joint=JointCounts(len(labels), len(members) * len(conditions), codes=codes),
        metrics=[[Streaming(labels, one.decision, resamples=_RESAMPLES) for _ in conditions] for one in members],
        changed=np.zeros(len(conditions), dtype=np.int64),
    )
    for window in windows(examples, WINDOW):
        known = np.logical_and.reduce([member.knows(window) for member in members])
        found.left_out += int((~known).sum())
        kept = [example for example, keep in zip(window, known, strict=True) if keep]
        if kept:
            _ask(found, members, kept, _versions(kept, columns, perturbations, seed))
    if not found.joint.items:
        raise InputError("there is no item that all of them have a prediction of; evaluate them on the same data")
    return found


def _versions(
    examples: Sequence[Example], columns: tuple[str, ...], perturbations: Sequence[Perturbation], seed: int
) -> list[list[str]]:
    """The texts in every condition, [conditions][examples].

    What a condition does not change, or would leave empty, is the same object as the text.
    """
    texts = [example.text for example in examples]
    versions = [texts]
    for one in perturbations:
        if one.name == NO_TITLE and len(columns) > 1:
            made = [join_texts([example.values.get(column) for column in columns[1:]]) for example in examples]
        else:
            made = [one(text, seed=seed) for text in texts]
        pairs = zip(made, texts, strict=True)
        versions.append([new if new and new.strip() and new != old else old for new, old in pairs])
    return versions


def _ask(
    found: Examined, members: Sequence[Member], examples: Sequence[Example], versions: Sequence[Sequence[str]]
) -> None:
    """Add one window's examples to what was found."""
    truth = truth_of(examples, len(found.labels), several=found.joint.codes is not None)
    true = found.numbers(truth)
    texts = versions[0]
    changes = [
        np.flatnonzero([new is not old for new, old in zip(version, texts, strict=True)]) for version in versions
    ]
    found.changed += [len(one) for one in changes]
    predicted = np.empty((len(examples), found.joint.members), dtype=np.int64)
    for number, member in enumerate(members):
        clean = member.answer(examples, texts)
        for condition, version in enumerate(versions):
            logits = clean.logits
            if len(changes[condition]):
                some = changes[condition].tolist()
                spoilt = member.answer([examples[index] for index in some], [version[index] for index in some])
                logits = logits.copy()
                logits[some] = spoilt.logits
            found.metrics[number][condition].update(logits, truth)
            decided = member.decision.decide(member.decision.probabilities(logits))
            predicted[:, found.column(number, condition)] = found.numbers(decided)
        if number == 0:
            _note_lengths(found, clean, texts)
    found.right.append(predicted[:, 0] == true)
    found.joint.update(true, predicted)


def _note_lengths(found: Examined, answer: Answer, texts: Sequence[str]) -> None:
    if answer.lengths is None:
        found.in_tokens = False
        found.lengths.append(np.array([len(text.split()) for text in texts], dtype=np.int64))
    else:
        found.lengths.append(np.asarray(answer.lengths, dtype=np.int64))
