"""What predicts: texts in, labels and calibrated probabilities out, however the logits come about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np

from pennyweight.data.label_sets import LabelSetEncoder, membership
from pennyweight.data.labels import LabelEncoder, is_unicode
from pennyweight.data.windows import windows
from pennyweight.errors import InputError
from pennyweight.evaluation.decisions import Decision
from pennyweight.evaluation.judged import AnyMetrics, Streaming
from pennyweight.manifest import Card

WINDOW = 2048
"""Texts that are taken in hand at a time where many are read as a stream."""


class Predictor(ABC):
    """Texts in, labels and calibrated probabilities out."""

    manifest: Card

    @property
    @abstractmethod
    def precision(self) -> str:
        """The number format that the encoder's matrices are computed in, on this machine."""

    @property
    @abstractmethod
    def computing(self) -> str:
        """Where and how it computes, as one line for the user."""

    @abstractmethod
    def tokenise(self, texts: Sequence[str]) -> Any:
        """Clean and tokenise texts, the first half of `logits`; InputError where one of the texts is none."""

    @abstractmethod
    def logits_of(self, tokens: Any) -> np.ndarray:
        """Compute the second half of `logits`, from what `tokenise` made; fp32 [texts, classes]."""

    @property
    def decision(self) -> Decision:
        """How logits become probabilities and labels."""
        return Decision(self.manifest.problem, self.manifest.temperature, self.manifest.thresholds)

    @property
    def copies(self) -> int:
        """Altered copies of a text over which its probabilities are averaged, with its own."""
        return 0

    def with_copies(self, count: int) -> Predictor:
        """The same, averaging over ``count`` altered copies of each text; 0: none.

        Raises:
            InputError: it cannot average over copies.
        """
        raise InputError(f"--copies {count}: this averages over no copies of a text; leave it out")

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in index order."""
        return self.manifest.labels

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Raw logits, fp32 [texts, classes], before the temperature; InputError where one of the texts is none."""
        return self.logits_of(self.tokenise(texts))

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated probabilities, float64 [texts, classes]; a row sums to 1, but not of several labels per text."""
        return self.probabilities(self.logits(texts))

    def predict(self, texts: Sequence[str]) -> list[Any]:
        """The most probable label of each text; of several labels those given to it, as a tuple that may be empty."""
        logits = self.logits(texts)
        if not self.decision.several:
            return [self.labels[index] for index in logits.argmax(axis=1)]
        given = self.decision.decide(self.probabilities(logits))
        return [tuple(self.labels[index] for index in np.flatnonzero(row)) for row in given]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities at the classifier's temperature, [n, classes]: softmax, or of several labels a sigmoid each."""
        return self.decision.probabilities(logits)

    def evaluate(self, texts: Iterable[str], labels: Iterable[Any], *, resamples: int = 1000) -> AnyMetrics:
        """Metrics over labelled texts, read as a stream.

        Args:
            texts: raw texts.
            labels: the true label of each, read as a label column is: names, or integers from the classifier's
                ``first_label`` on, unless its labels were discovered; of several labels a list of such, or a text with
                the label separator between them.
            resamples: bootstrap resamples behind the intervals of F1.

        Raises:
            InputError: a label that this classifier does not know, or no text at all.
        """
        if isinstance(texts, Sized) and isinstance(labels, Sized) and len(texts) != len(labels):
            raise InputError(f"{len(texts)} texts but {len(labels)} labels: give one label for every text")
        if isinstance(texts, str) or isinstance(labels, str):
            raise InputError("give a list of texts and a list of labels: evaluate([text], [label])")
        metrics = Streaming(self.labels, self.decision, resamples=resamples)
        for window in windows(_paired(texts, labels), WINDOW):
            truth = self._encoded([label for _, label in window])
            metrics.update(self.logits([text for text, _ in window]), truth)
        return metrics.result()

    def _encoded(self, labels: Sequence[Any]) -> np.ndarray:
        """Class indices [n], or of several labels which ones apply, bool [n, classes]."""
        text = self.manifest.text
        if self.decision.several:
            sets = LabelSetEncoder(self.labels, text.first_label, text.label_separator)
            return membership([_known(sets.encode(label, where="labels")) for label in labels], len(self.labels))
        encoder = LabelEncoder(self.labels, text.first_label)
        return np.array([_known(encoder.encode(label, where="labels")) for label in labels])


T = TypeVar("T")


def _known(label: T | None) -> T:
    if label is None:
        raise InputError("labels: one is missing; give a label for every text")
    return label


def _paired(texts: Iterable[str], labels: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    """Each text with its label; raises InputError where one of the streams ends before the other."""
    ended = object()
    for number, (text, label) in enumerate(zip_longest(texts, labels, fillvalue=ended)):
        if text is ended or label is ended:
            which = "texts" if text is ended else "labels"
            raise InputError(f"the {which} end after {number:,}: give one label for every text")
        yield text, label  # type: ignore[misc]


def checked_texts(texts: Iterable[str]) -> Iterator[str]:
    """Texts as they are given; raises InputError at what is none."""
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise InputError("give a list of texts, not one text: predict([text])")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts[{index}] is {text!r:.60}, not a text; leave it out, or give it as str")
        if not is_unicode(text):
            raise InputError(
                f"texts[{index}] is not valid Unicode: it holds half of a surrogate pair; decode it from its bytes anew"
            )
        yield text
