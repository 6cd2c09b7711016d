"""What predicts: texts in, labels and calibrated probabilities out, however the logits come about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

import numpy as np

from pennyweight.data.labels import LabelEncoder, is_unicode
from pennyweight.data.windows import windows
from pennyweight.errors import InputError
from pennyweight.evaluation.metrics import Metrics, StreamingMetrics, log_softmax
from pennyweight.manifest import Manifest

WINDOW = 2048
"""Texts that are taken in hand at a time where many are read as a stream."""


class Predictor(ABC):
    """Texts in, labels and calibrated probabilities out."""

    manifest: Manifest

    @abstractmethod
    def tokenise(self, texts: Sequence[str]) -> Any:
        """Clean and tokenise texts, the first half of `logits`; InputError where one of the texts is none."""

    @abstractmethod
    def logits_of(self, tokens: Any) -> np.ndarray:
        """Compute the second half of `logits`, from what `tokenise` made; fp32 [texts, classes]."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in index order."""
        return self.manifest.labels

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """Raw logits, fp32 [texts, classes], before the temperature; InputError where one of the texts is none."""
        return self.logits_of(self.tokenise(texts))

    def predict_proba(self, texts: Sequence[str]) -> np.ndarray:
        """Calibrated probabilities, float64 [texts, classes]; each row sums to 1."""
        return self.probabilities(self.logits(texts))

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The most probable label of each text."""
        return [self.labels[index] for index in self.logits(texts).argmax(axis=1)]

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Softmax of logits at the classifier's temperature, [n, classes]."""
        return np.exp(log_softmax(logits, self.manifest.temperature))

    def evaluate(self, texts: Iterable[str], labels: Iterable[str | int], *, resamples: int = 1000) -> Metrics:
        """Metrics over labelled texts, read as a stream.

        Args:
            texts: raw texts.
            labels: the true label of each, read as a label column is: names, or integers from the classifier's
                ``first_label`` on.
            resamples: bootstrap resamples behind the intervals of F1.

        Raises:
            InputError: a label that this classifier does not know, or no text at all.
        """
        if isinstance(texts, Sized) and isinstance(labels, Sized) and len(texts) != len(labels):
            raise InputError(f"{len(texts)} texts but {len(labels)} labels: give one label for every text")
        metrics = StreamingMetrics(self.labels, temperature=self.manifest.temperature)
        encoder = LabelEncoder(self.labels, self.manifest.text.first_label)
        for window in windows(zip(texts, labels, strict=True), WINDOW):
            indices = np.array([_known(encoder.encode(label, where="labels")) for _, label in window])
            metrics.update(self.logits([text for text, _ in window]), indices)
        return metrics.result(resamples=resamples)


def _known(index: int | None) -> int:
    if index is None:
        raise InputError("labels: one is missing; give a label for every text")
    return index


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
