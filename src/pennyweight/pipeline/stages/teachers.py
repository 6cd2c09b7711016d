"""Teachers: whatever gives logits over a student's labels, a classifier folder or a file of logits."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pennyweight.cache import Cache
from pennyweight.data.labels import listed
from pennyweight.data.logits import logit_columns, read_logits
from pennyweight.errors import InputError, RunError
from pennyweight.evaluation.decisions import Problem
from pennyweight.manifest import Card, file_digest, prediction_digest
from pennyweight.manifest.ensemble import read_either
from pennyweight.opening import load
from pennyweight.predictor import WINDOW, Predictor
from pennyweight.recipe import Recipe

KIND = "logits"

_FORMAT = "logits 1"  # a new one whenever the layout of the payload means something else

Progress = Callable[[int], None]
"""Told how many of the texts are done; what it raises ends the work."""


@dataclass(frozen=True)
class Teacher(ABC):
    """Gives logits over the labels of a student."""

    source: str
    """As the recipe names it."""
    labels: tuple[str, ...]
    """The student's label names, in its order."""

    @property
    @abstractmethod
    def digest(self) -> str:
        """SHA-256 of all that its logits follow from, texts and machine aside."""

    @abstractmethod
    def logits(
        self, texts: Sequence[str], rows: np.ndarray, *, device: str, cache: Cache, progress: Progress
    ) -> np.ndarray:
        """Logits of items, fp32 [items, labels], in the order of the student's labels.

        Args:
            texts: raw texts, [items].
            rows: row of each in the student's data, from 1, [items].
            device: where to compute.
            cache: where what was computed is kept.
            progress: told of what is done.
        """


@dataclass(frozen=True)
class Folder(Teacher):
    """A folder of a classifier or an ensemble: it cleans and tokenises the texts by itself."""

    manifest: Card

    @property
    def digest(self) -> str:
        """SHA-256 of what its predictions follow from."""
        return prediction_digest(self.manifest)

    def logits(
        self, texts: Sequence[str], rows: np.ndarray, *, device: str, cache: Cache, progress: Progress
    ) -> np.ndarray:
        """As `Teacher.logits`, window by window from the cache where they are in it; raises as `Classifier.load`."""
        classifier = load(self.source, device=device)
        order = [self.manifest.labels.index(label) for label in self.labels]
        found = np.empty((len(texts), len(order)), dtype=np.float32)
        for start in range(0, len(texts), WINDOW):
            window = texts[start : start + WINDOW]
            found[start : start + WINDOW] = self._window(classifier, window, cache)[:, order]
            progress(start + len(window))
        return found

    def _window(self, classifier: Predictor, texts: Sequence[str], cache: Cache) -> np.ndarray:
        import torch

        settings = f"{_FORMAT}\n{self.digest}\n{classifier.computing}\n{torch.__version__}\n{len(texts)}\n"
        key = hashlib.sha256(settings.encode())
        key.update("\0".join(map(str, map(len, texts))).encode())
        for text in texts:
            key.update(text.encode("utf-8", "surrogatepass"))
        kept = _kept(cache, key.hexdigest())
        if kept is not None:
            return kept.reshape(len(texts), -1)
        logits = classifier.logits(texts)
        cache.write(KIND, key.hexdigest(), logits.astype("<f4"))
        return logits


@dataclass(frozen=True)
class File(Teacher):
    """A Parquet file of logits."""

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        return file_digest(Path(self.source))

    def logits(
        self, texts: Sequence[str], rows: np.ndarray, *, device: str, cache: Cache, progress: Progress
    ) -> np.ndarray:
        """As `Teacher.logits`, read by the rows' numbers; raises as `read_logits`."""
        found = read_logits(Path(self.source), self.labels, rows)
        progress(len(texts))
        return found


def teachers_of(recipe: Recipe, labels: tuple[str, ...]) -> tuple[Teacher, ...]:
    """Look whether a recipe's teachers are all there and know every label; nothing is computed yet.

    Raises:
        InputError: a teacher is neither a classifier folder nor a Parquet file of logits, or a label is unknown to it,
            or it gives a text one class and the student several labels or the other way round, or a file of logits is
            to label texts that it has none of.
    """
    found = tuple(_find(source, labels, problem=recipe.data.task) for source in recipe.teachers.sources)
    file = next((teacher for teacher in found if isinstance(teacher, File)), None)
    if file is not None and recipe.unlabelled.labeller == "teachers":
        raise InputError(
            f"unlabelled.labeller = 'teachers': {file.source} holds logits of the training data alone; give classifier "
            f"folders in teachers.sources"
        )
    return found


def _find(source: str, labels: tuple[str, ...], *, problem: Problem = "single-label") -> Teacher:
    path = Path(source).expanduser()
    if path.is_file():
        logit_columns(path, labels)
        return File(str(path), labels)
    if not path.exists():
        raise InputError(f"teachers.sources: {source}: there is no such classifier folder or Parquet file of logits")
    manifest = read_either(path)
    if manifest.problem != problem:
        given = {"single-label": "one class", "multi-label": "several labels"}
        raise InputError(
            f"teachers.sources: {source} gives a text {given[manifest.problem]}, the student {given[problem]}; a "
            "teacher has to do the same as its student"
        )
    missing = next((label for label in labels if label not in manifest.labels), None)
    if missing is not None:
        raise InputError(
            f"teachers.sources: {source} does not know the label {missing!r}, it knows: {listed(manifest.labels)}; a "
            f"teacher has to know every label, by the same name"
        )
    return Folder(str(path), labels, manifest)


def _kept(cache: Cache, key: str) -> np.ndarray | None:
    entry = cache.read(KIND, key)
    if entry is None:
        return None
    try:
        with entry:
            return np.frombuffer(entry.read_all(), dtype="<f4").astype(np.float32)
    except RunError as error:  # torn away since it was looked at: as good as missing
        cache.trouble = cache.trouble or str(error)
        return None
