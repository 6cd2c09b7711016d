"""What several classifiers predict for the same items, counted; and those counts drawn anew, all classifiers together.

Paired statistics depend on the items through one table alone: how often each combination of the true class and
everybody's prediction occurs. It is kept while the items stream past, and holds no more than the combinations that did.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from pennyweight.evaluation.intervals import ratio
from pennyweight.evaluation.label_codes import LabelCodes

_Floats = NDArray[np.float64]
_Counts = NDArray[np.int64]

_CELLS_PER_DRAW = 2_000_000
"""Most numbers of resampled tables held at once (16 MB)."""


class JointCounts:
    """How often each combination of the true class and the members' predictions occurs."""

    def __init__(self, classes: int, members: int, *, codes: LabelCodes | None = None) -> None:
        """Start from nothing.

        Args:
            classes: number of classes.
            members: number of classifiers, or of ways to ask one.
            codes: where an item may have several labels: what gives its set of them the number that stands for a class.
        """
        self.classes, self.members = classes, members
        self.codes = codes
        self._counts: Counter[bytes] = Counter()
        self._cells: tuple[_Counts, _Counts, _Counts] | None = None

    @property
    def items(self) -> int:
        """Items seen so far."""
        return self._counts.total()

    def update(self, truth: ArrayLike, predicted: ArrayLike) -> None:
        """Add items: the true class of each, [n], and what every member predicted, [n, members].

        Raises:
            ValueError: shapes or classes that do not fit.
        """
        rows = np.column_stack([np.asarray(truth), np.asarray(predicted)])
        if rows.shape[1] != self.members + 1:
            raise ValueError(f"predictions of {rows.shape[1] - 1} members, but there are {self.members}")
        known = self.classes if self.codes is None else len(self.codes)
        if rows.size and not (rows.min() >= 0 and rows.max() < known):
            raise ValueError(f"classes from {rows.min()} to {rows.max()}, but there are {known}")
        distinct, counts = np.unique(rows.astype(np.int32), axis=0, return_counts=True)
        for row, count in zip(distinct, counts.tolist(), strict=True):
            self._counts[row.tobytes()] += count
        self._cells = None

    def cells(self) -> tuple[_Counts, _Counts, _Counts]:
        """The combinations in a fixed order: true class [c], predictions [c, members], how often [c]."""
        if self._cells is None:
            keys = sorted(self._counts)
            rows = np.frombuffer(b"".join(keys), dtype=np.int32).reshape(len(keys), self.members + 1).astype(np.int64)
            self._cells = rows[:, 0], rows[:, 1:], np.array([self._counts[key] for key in keys], dtype=np.int64)
        return self._cells

    def labels(self) -> NDArray[np.bool_]:
        """Which labels a number in `cells` stands for, [numbers, classes]: of one class per item, that class."""
        return np.eye(self.classes, dtype=bool) if self.codes is None else self.codes.table()

    def right(self) -> _Counts:
        """How many items each member gets right, of several labels all of them, [members]."""
        truth, predicted, counts = self.cells()
        total: _Counts = counts @ (predicted == truth[:, None])
        return total

    def only_right(self, first: int, second: int) -> tuple[int, int]:
        """Items that only the first of two members gets right, and items that only the second does."""
        truth, predicted, counts = self.cells()
        one, other = predicted[:, first] == truth, predicted[:, second] == truth
        return int(counts[one & ~other].sum()), int(counts[other & ~one].sum())

    def agreement(self, first: int, second: int) -> float:
        """Share of items that two members give the same label."""
        _, predicted, counts = self.cells()
        return float(counts[predicted[:, first] == predicted[:, second]].sum() / counts.sum())


@dataclass(frozen=True)
class Scores:
    """Accuracy and macro F1 of every member, on the items themselves or on resampled ones.

    Of several labels per item accuracy is the share of items whose labels are all right.
    """

    accuracy: _Floats
    """[…, members]."""
    macro_f1: _Floats
    """[…, members]."""

    def of(self, metric: str) -> _Floats:
        """One of the two by name."""
        return self.accuracy if metric == "accuracy" else self.macro_f1


def score(joint: JointCounts) -> Scores:
    """Accuracy and macro F1 of each member, [members]; a class that never occurs has an F1 of 0."""
    tally = _Tally(joint)
    _, _, counts = joint.cells()
    estimate = tally.scores(counts[None, :], present=None)
    return Scores(estimate.accuracy[0], estimate.macro_f1[0])


def resample(joint: JointCounts, *, resamples: int, seed: int = 0) -> Scores:
    """Scores of resampled items, [resamples, members]; in each resample all members meet the same items.

    Resampling n items with replacement makes the table of combinations a draw from a multinomial over its cells, so
    the tables are drawn directly. A class that a resample misses is left out of its macro F1 instead of counting 0, as
    in `pennyweight.evaluation.intervals.bootstrap_f1`.

    Args:
        joint: the counts, not all zero.
        resamples: number of draws.
        seed: of the draws; same seed and counts, same scores.
    """
    tally = _Tally(joint)
    _, _, counts = joint.cells()
    generator = np.random.default_rng(seed)
    step = max(1, _CELLS_PER_DRAW // (len(counts) + joint.members * joint.classes))
    parts = []
    for start in range(0, resamples, step):
        draws = generator.multinomial(counts.sum(), counts / counts.sum(), size=min(step, resamples - start))
        parts.append(tally.scores(draws, present=tally.present))
    return Scores(np.concatenate([one.accuracy for one in parts]), np.concatenate([one.macro_f1 for one in parts]))


class _Tally:
    """Sums over cells, as products with matrices of zeros and ones."""

    def __init__(self, joint: JointCounts) -> None:
        truth, predicted, counts = joint.cells()
        self._classes = joint.classes
        labels = joint.labels()
        true, given = labels[truth][:, None, :], labels[predicted]
        self._support, self._predicted = _by_class(true), _by_class(given)
        self._hits = _by_class(true & given)
        self._right = (predicted == truth[:, None]).astype(np.int64)
        self.present = self._defined(counts[None, :]).mean(axis=2)[0]
        """Share of the classes that occur in truth or prediction, [members]."""

    def _sums(self, draws: _Counts, matrix: sparse.csr_array) -> _Counts:
        """Counts by class, [draws, members, classes]."""
        summed: _Counts = np.asarray(draws @ matrix)
        return summed.reshape(len(draws), -1, self._classes)

    def _defined(self, draws: _Counts) -> NDArray[np.bool_]:
        occurring: NDArray[np.bool_] = self._sums(draws, self._support) + self._sums(draws, self._predicted) > 0
        return occurring

    def scores(self, draws: _Counts, *, present: _Floats | None) -> Scores:
        """Scores by draw and member.

        Args:
            draws: how often each cell was drawn, [draws, cells].
            present: share of the classes that count at all, [members], with the mean taken over those that a draw
                holds; none: the mean is taken over all classes.
        """
        hits = self._sums(draws, self._hits)
        occurring = self._sums(draws, self._support) + self._sums(draws, self._predicted)
        f1 = ratio(2 * hits, occurring)
        macro = (
            f1.mean(axis=2)
            if present is None
            else f1.sum(axis=2) / np.maximum((occurring > 0).sum(axis=2), 1) * present
        )
        return Scores(draws @ self._right / draws.sum(axis=1, keepdims=True), macro)


def _by_class(flags: NDArray[np.bool_]) -> sparse.csr_array:
    """Flags [cells, members, classes] as a matrix to sum counts of cells with, [cells, members · classes]."""
    return sparse.csr_array(flags.reshape(len(flags), -1)).astype(np.int64)
