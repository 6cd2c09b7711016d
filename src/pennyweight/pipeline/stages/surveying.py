"""Where texts lie before the network learns: the clusters that they form in what it makes of them, their neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pennyweight.console import Speaker
from pennyweight.errors import InputError
from pennyweight.pipeline.folder import MIXTURE, NEIGHBOURS
from pennyweight.pipeline.keeping import Arrays, in_parts, kept
from pennyweight.pipeline.preparation import Collected
from pennyweight.pipeline.workbench import Workbench
from pennyweight.recipe.fields import NeighboursBy
from pennyweight.training.likeness import Neighbours, comparisons, neighbours_by_meaning, neighbours_by_words
from pennyweight.training.mixture import mixture_logits
from pennyweight.training.pseudo_labels import Probabilities
from pennyweight.training.words import word_vectors

if TYPE_CHECKING:
    from scipy.sparse import csr_array


@dataclass
class Survey:
    """Of the texts without labels and the labelled items of a workbench whose network has learnt no label.

    What was found is kept in the run's folder until the run is done, and read where it is there. Both raise
    as `pennyweight.pipeline.keeping.kept`.
    """

    bench: Workbench
    collected: Collected
    """Its items before any text was labelled."""
    folder: Path
    speaker: Speaker
    _vectors: np.ndarray | None = field(default=None, init=False)

    def mixture(self, shares: Probabilities | None) -> np.ndarray:
        """Logits of the texts by the clusters that they form, [texts, classes]; ``shares`` as of `mixture_logits`.

        Raises:
            InputError: a class has no labelled item, by which its cluster would be known.
        """
        names = self.collected.label_names
        for name, count in zip(names, np.bincount(self._labels, minlength=len(names)).tolist(), strict=True):
            if not count:
                raise InputError(
                    f"unlabelled.labeller = 'mixture' needs a labelled item of each class, and {name} has none; give "
                    f"some, or leave {name} out of data.labels"
                )

        def compute(go_on: Callable[[], None]) -> Arrays:
            vectors = self._features(go_on)
            texts, items = np.split(vectors, [len(vectors) - len(self._labels)])
            return {"logits": mixture_logits(texts, items, self._labels, classes=len(names), shares=shares)}

        return self._kept(MIXTURE, compute, what="finding clusters")["logits"]

    def neighbours(self, sense: NeighboursBy, count: int) -> Neighbours:
        """Of each text without a label, among these texts and, counted on behind them, the labelled items."""
        texts, what = len(self.collected.unlabelled), f"finding neighbours by {sense}"

        def compute(go_on: Callable[[], None]) -> Arrays:
            find = (
                partial(neighbours_by_words, self._words())
                if sense == "words"
                else partial(neighbours_by_meaning, self._features(go_on))
            )
            with self.speaker.bar(what, comparisons(len(self._items), texts)) as bar:

                def progress(done: int) -> None:
                    bar.update(done, "")
                    go_on()

                return vars(find(texts, count, progress=progress))

        return Neighbours(**self._kept(NEIGHBOURS.format(sense), compute, what=what))

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

    def _words(self) -> csr_array:
        """[texts + items, terms]."""
        tokenizer = self.bench.tokenizer
        return word_vectors(
            self.bench.table.take(self._items),
            special=self.bench.special_ids(),
            unknown=tokenizer.unk_token_id,
            overlap=self.bench.recipe.windows.overlap,
        )

    def _features(self, go_on: Callable[[], None]) -> np.ndarray:
        """[texts + items, hidden], computed once."""
        if self._vectors is None:
            self._vectors = in_parts(
                self.bench.features, self._items, speaker=self.speaker, what="looking where texts lie", go_on=go_on
            )
        return self._vectors
