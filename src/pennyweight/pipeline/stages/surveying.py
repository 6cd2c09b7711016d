"""Where texts lie in what the network makes of them before it learns: the clusters that they form, their neighbours."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pennyweight.pipeline.keeping import kept
from pennyweight.pipeline.preparation import Collected
from pennyweight.pipeline.workbench import Workbench
from pennyweight.training.mixture import mixture_logits
from pennyweight.training.propagation import Neighbours, find_neighbours
from pennyweight.training.pseudo_labels import Probabilities

_MIXTURE = "mixture.safetensors"
_NEIGHBOURS = "neighbours.safetensors"


@dataclass(frozen=True)
class Survey:
    """Of the texts without labels and the labelled items of a workbench whose network is untrained.

    What was found is kept in the run's folder until the run is done, and read where it is there. Raises as
    `pennyweight.pipeline.keeping.kept`.
    """

    bench: Workbench
    collected: Collected
    """Its items before any text was labelled."""
    folder: Path

    def mixture(self, shares: Probabilities | None) -> np.ndarray:
        """Logits of the texts by the clusters that they form, [texts, classes]; ``shares`` as of `mixture_logits`."""
        labels, classes = self._labels, len(self.collected.label_names)

        def compute() -> np.ndarray:
            texts, items = np.split(self._features, [len(self._features) - len(labels)])
            return mixture_logits(texts, items, labels, classes=classes, shares=shares)

        return kept(
            self.folder / _MIXTURE,
            lambda go_on: {"logits": compute()},
            accelerator=self.bench.accelerator,
            what="finding clusters",
        )["logits"]

    def neighbours(self, count: int) -> Neighbours:
        """Of each text without a label and, behind them, of each labelled item."""
        found = kept(
            self.folder / _NEIGHBOURS,
            lambda go_on: vars(find_neighbours(self._features, count, go_on=go_on)),
            accelerator=self.bench.accelerator,
            what="finding neighbours",
        )
        return Neighbours(**found)

    def given(self) -> Probabilities:
        """The classes of the labelled items, [items, classes]."""
        return np.asarray(np.eye(len(self.collected.label_names))[self._labels])

    @property
    def _labels(self) -> np.ndarray:
        return np.asarray(self.collected.labels[self.collected.learnt])

    @functools.cached_property
    def _features(self) -> np.ndarray:
        """[texts + items, hidden]."""
        return self.bench.features(np.concatenate([self.collected.unlabelled, self.collected.learnt]))
