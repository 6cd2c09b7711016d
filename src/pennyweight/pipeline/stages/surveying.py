"""Where texts lie before the network learns: the clusters that they form in what it makes of them, their neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from pennyweight.console import Speaker
from pennyweight.pipeline.folder import SURVEYED
from pennyweight.pipeline.keeping import Arrays, in_parts, kept
from pennyweight.pipeline.preparation import Collected
from pennyweight.pipeline.workbench import Workbench
from pennyweight.recipe.fields import NeighboursBy
from pennyweight.training.likeness import Neighbours, neighbours_by_meaning, neighbours_by_words
from pennyweight.training.mixture import mixture_logits
from pennyweight.training.pseudo_labels import Probabilities

_MIXTURE, _NEIGHBOURS = SURVEYED


@dataclass
class Survey:
    """Of the texts without labels and the labelled items of a workbench whose network is untrained.

    What was found is kept in the run's folder until the run is done, and read where it is there. Raises as
    `pennyweight.pipeline.keeping.kept`.
    """

    bench: Workbench
    collected: Collected
    """Its items before any text was labelled."""
    folder: Path
    speaker: Speaker
    _vectors: np.ndarray | None = field(default=None, init=False)

    def mixture(self, shares: Probabilities | None) -> np.ndarray:
        """Logits of the texts by the clusters that they form, [texts, classes]; ``shares`` as of `mixture_logits`."""

        def compute(go_on: Callable[[], None]) -> Arrays:
            vectors = self._features(go_on)
            texts, items = np.split(vectors, [len(vectors) - len(self._labels)])
            classes = len(self.collected.label_names)
            return {"logits": mixture_logits(texts, items, self._labels, classes=classes, shares=shares)}

        return self._kept(_MIXTURE, compute, what="finding clusters")["logits"]

    def neighbours(self, sense: NeighboursBy, count: int) -> Neighbours:
        """Of each text without a label, among these texts and, counted on behind them, the labelled items."""
        texts, what = len(self.collected.unlabelled), f"finding neighbours by {sense}"

        def compute(go_on: Callable[[], None]) -> Arrays:
            find = (
                partial(neighbours_by_words, self.bench.table.take(self._items))
                if sense == "words"
                else partial(neighbours_by_meaning, self._features(go_on))
            )
            with self.speaker.bar(what, texts) as bar:

                def progress(done: int) -> None:
                    bar.update(done, "")
                    go_on()

                return vars(find(texts, count, progress=progress))

        return Neighbours(**self._kept(_NEIGHBOURS.replace("*", sense), compute, what=what))

    def given(self) -> Probabilities:
        """The classes of the labelled items, [items, classes]."""
        return np.asarray(np.eye(len(self.collected.label_names))[self._labels])

    @property
    def _labels(self) -> np.ndarray:
        return np.asarray(self.collected.labels[self.collected.learnt])

    @property
    def _items(self) -> np.ndarray:
        """The texts and, behind them, the labelled items."""
        return np.concatenate([self.collected.unlabelled, self.collected.learnt])

    def _kept(self, name: str, compute: Callable[..., Arrays], *, what: str) -> Arrays:
        return kept(self.folder / name, compute, accelerator=self.bench.accelerator, what=what)

    def _features(self, go_on: Callable[[], None]) -> np.ndarray:
        """[texts + items, hidden], computed once."""
        if self._vectors is None:
            self._vectors = in_parts(
                self.bench.features, self._items, speaker=self.speaker, what="looking where texts lie", go_on=go_on
            )
        return self._vectors
