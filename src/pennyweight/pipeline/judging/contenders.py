"""What can be compared: classifier folders, folders of several seeds, and predictions that were written before."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pennyweight.data.examples import Example
from pennyweight.data.labels import listed
from pennyweight.errors import InputError
from pennyweight.evaluation.decisions import Decision
from pennyweight.pipeline.seed_folders import SEEDS, seed_folders
from pennyweight.predictor import Predictor

Opener = Callable[[Path], Predictor]
"""Opens a classifier folder to predict with."""

_LEAST_SHARE = 1e-300  # of which a logarithm can still be taken


class Answer(NamedTuple):
    """What a member makes of some texts."""

    logits: NDArray[np.floating]
    """[texts, classes], in the order of the labels agreed on."""
    lengths: NDArray[np.int64] | None
    """Tokens of each text before any is cut off, [texts]; none where they are not known."""


class Member(ABC):
    """One source of predictions: an open classifier, or a table of what one predicted."""

    labels: tuple[str, ...]
    """Label names in the member's own order."""
    decision: Decision
    """How its logits become labels, in the order of the labels agreed on."""
    trainable: int | None
    seconds: float | None = None
    """Time spent on predicting so far; none where nothing is computed."""
    asked: int = 0
    """Texts predicted so far."""

    def adopt(self, labels: Sequence[str]) -> None:
        """Give answers in the order of these labels, which are the member's own in whatever order."""
        self._order = [self.labels.index(label) for label in labels]
        own = self.decision.thresholds
        if own is not None:
            self.decision = replace(self.decision, thresholds=tuple(own[place] for place in self._order))

    @abstractmethod
    def answer(self, examples: Sequence[Example], texts: Sequence[str]) -> Answer:
        """Logits of texts that were made of examples."""

    def knows(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        """Which of the examples the member can answer, [examples]."""
        return np.ones(len(examples), dtype=bool)


class Opened(Member):
    """An open classifier."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.labels, self.decision = predictor.labels, predictor.decision
        self.trainable = predictor.manifest.plan.get("trainable")
        self.seconds = 0.0

    def answer(self, examples: Sequence[Example], texts: Sequence[str]) -> Answer:
        """Tokenise and compute, and take the time."""
        started = time.perf_counter()
        tokens = self.predictor.tokenise(texts)
        logits = self.predictor.logits_of(tokens)[:, self._order]
        assert self.seconds is not None
        self.seconds += time.perf_counter() - started
        self.asked += len(texts)
        lengths = getattr(tokens, "full_lengths", None)
        # Where a text is judged together with others made of it, the table tells no length of it alone.
        return Answer(logits, lengths if lengths is not None and len(lengths) == len(texts) else None)


class Recorded(Member):
    """The predictions.parquet of an earlier evaluation, found again by row."""

    def __init__(self, path: Path) -> None:
        table = _read_predictions(path)
        names = [name for name in table.column_names if name.startswith("p_")]
        self.path = path
        self.labels = tuple(name.removeprefix("p_") for name in names)
        self.decision, self.trainable = Decision(), None  # the probabilities were scaled already
        self.rows: list[int] = table["row"].to_pylist()
        self.truth: list[str] = table["label"].to_pylist()
        self._place = {row: place for place, row in enumerate(self.rows)}
        shares = np.column_stack([table[name].to_numpy() for name in names])
        self._logits = np.log(np.maximum(shares, _LEAST_SHARE))
        self._check(shares)

    def _check(self, shares: NDArray[np.floating]) -> None:
        if len(self._place) < len(self.rows):
            raise InputError(f"{self.path}: row {Counter(self.rows).most_common(1)[0][0]} stands in it twice")
        unknown = next((label for label in self.truth if label not in self.labels), None)
        if unknown is not None:
            raise InputError(f"{self.path}: label {unknown!r} has no column p_{unknown}; evaluate with labelled data")
        if not (np.isfinite(shares).all() and (shares >= 0).all()):
            raise InputError(f"{self.path}: holds probabilities that are none; evaluate anew")

    def adopt(self, labels: Sequence[str]) -> None:
        """Give answers in the order of these labels, and know the truth by it."""
        super().adopt(labels)
        self._true = [labels.index(label) for label in self.truth]

    def knows(self, examples: Sequence[Example]) -> NDArray[np.bool_]:
        """Which rows stand in the table."""
        return np.array([example.row in self._place for example in examples], dtype=bool)

    def answer(self, examples: Sequence[Example], texts: Sequence[str]) -> Answer:
        """Look the rows up.

        Raises:
            InputError: the texts are not those of the rows, but were changed, of which the table knows nothing; or an
                item has another label here than there.
        """
        if any(text is not example.text for text, example in zip(texts, examples, strict=True)):
            raise InputError(f"{self.path}: written predictions answer no changed texts; give the classifier's folder")
        places = np.array([self._place[example.row] for example in examples], dtype=np.int64)
        for place, example in zip(places.tolist(), examples, strict=True):
            if self._true[place] != example.label:
                raise InputError(
                    f"{self.path}: row {example.row} has another label than in the data compared on; evaluate all on "
                    f"the same data"
                )
        return Answer(self._logits[places][:, self._order], None)

    def examples(self, labels: Sequence[str]) -> list[Example]:
        """The table's rows as examples without their texts."""
        return [Example(row, "", labels.index(truth), {}) for row, truth in zip(self.rows, self.truth, strict=True)]


def _read_predictions(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; check the spelling of the path") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())})") from None
    shares = [name for name in table.column_names if name.startswith("p_")]
    needed = {"row": pa.types.is_integer, "label": pa.types.is_string, **dict.fromkeys(shares, pa.types.is_floating)}
    for name, fits in needed.items():
        if name not in table.column_names or not fits(table.schema.field(name).type) or table[name].null_count:
            raise InputError(
                f"{path}: column {name!r} is not that of a single-label evaluation's predictions.parquet; write one "
                f"with `pennyweight evaluate CLASSIFIER --data LABELLED --out DIR`"
            )
    if len(shares) < 2 or not len(table):
        raise InputError(f"{path}: holds no predictions of two classes or more")
    return table


@dataclass(frozen=True)
class Contender:
    """One side of a comparison: a single classifier, or one recipe trained with several seeds."""

    name: str
    members: tuple[Member, ...]

    @property
    def trainable(self) -> int | None:
        """Trained parameters, where they are known."""
        return self.members[0].trainable

    @property
    def seconds_per_thousand(self) -> float | None:
        """Mean time of its members to predict 1,000 texts; none where nothing was computed."""
        rates = [1000 * one.seconds / one.asked for one in self.members if one.seconds is not None and one.asked]
        return float(np.mean(rates)) if rates else None


def open_contenders(paths: Sequence[str | Path], *, opener: Opener) -> tuple[Contender, ...]:
    """Open everything that is to be compared, and agree on an order of labels.

    Args:
        paths: classifier folders, folders that ``train --seeds`` wrote, predictions.parquet of evaluations.
        opener: opens a classifier folder.

    Raises:
        InputError: one of them is none of these, two are the same, they do not have the same labels, or are not of the
            same kind of task.
    """
    places = [Path(path) for path in paths]
    twice = next((path for path, count in Counter(map(Path.resolve, places)).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{twice}: is given twice; give each classifier once")
    names = _names(places)
    contenders = tuple(Contender(name, _members(path, opener)) for name, path in zip(names, places, strict=True))
    labels = contenders[0].members[0].labels
    for contender in contenders:
        for member in contender.members:
            _require_same_labels(contenders[0].name, labels, contender.name, member.labels)
            if member.decision.several != contenders[0].members[0].decision.several:
                raise InputError(
                    f"{contender.name}: is {member.decision.problem}, unlike {contenders[0].name}; compare classifiers "
                    f"of one kind"
                )
            member.adopt(labels)
    return contenders


def _members(path: Path, opener: Opener) -> tuple[Member, ...]:
    if path.suffix == ".parquet":
        return (Recorded(path),)
    folders = seed_folders(path) if (path / SEEDS).is_file() else [path]
    return tuple(Opened(opener(folder)) for folder in folders)


def _names(paths: Sequence[Path]) -> list[str]:
    """Last parts of the paths where these tell them apart, else the paths."""
    short = [path.resolve().name for path in paths]
    return short if len(set(short)) == len(short) else [str(path) for path in paths]


def _require_same_labels(first: str, labels: tuple[str, ...], second: str, others: tuple[str, ...]) -> None:
    missing = [label for label in labels if label not in others]
    added = [label for label in others if label not in labels]
    if missing or added:
        which = f"lacks {listed(missing)}" if missing else f"has {listed(added)} besides"
        raise InputError(f"{second}: {which}, so its labels are not those of {first}: {listed(labels)}")
