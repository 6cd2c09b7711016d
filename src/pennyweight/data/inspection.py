"""What is in the data, before anything is trained on it: classes, lengths, duplicates, leaks; and the split."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.data.cleaning import limit_marks
from pennyweight.errors import InputError

_QUANTILES = {"min": 0.0, "5%": 0.05, "25%": 0.25, "50%": 0.5, "75%": 0.75, "95%": 0.95, "99%": 0.99, "max": 1.0}
_SHOWN_ROWS = 5
_SHOWN_CLASSES = 8


@dataclass(frozen=True)
class Inspection:
    """Counts over the items of one source; each kind of trouble with the numbers of its first rows."""

    items: int
    """Items looked at, leaks included."""
    class_counts: dict[str, int]
    """Items per class, in index order, classes without items included."""
    length_quantiles: dict[str, int]
    """Quantiles of the untruncated lengths, in tokens: min, 5%, 25%, 50%, 75%, 95%, 99%, max."""
    max_length: int
    """Longest text that is read whole, in tokens; what is longer is cut."""
    truncated: int
    """Items longer than `max_length`."""
    duplicates: int
    """Items whose text occurred before with the same label."""
    conflicting: int
    """Items whose text also occurs with another label."""
    leaks: int
    """Items whose text occurs in the evaluation data."""
    truncated_rows: tuple[int, ...]
    """First rows that are cut."""
    duplicate_rows: tuple[int, ...]
    """First rows that repeat an earlier one."""
    conflicting_rows: tuple[int, ...]
    """First rows whose text has several labels."""
    leaked_rows: tuple[int, ...]
    """First rows that occur in the evaluation data."""
    windows_per_text: dict[str, float] | None = None
    """Mean, median, 95 % quantile and most windows of a text, by these names; none: every text is one."""
    labels_per_item: float | None = None
    """Mean number of labels of an item, where it may have several; none: each has one class."""
    without_label: int | None = None
    """Items without any label, where they may have several."""

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as plain values for JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    def lines(self) -> list[str]:
        """Say the same in sentences; troubles that do not occur are left out."""
        quantiles = self.length_quantiles
        kind = "classes" if self.labels_per_item is None else "labels"
        lines = [
            f"{self.items} items in {len(self.class_counts)} {kind}: {_class_list(self.class_counts)}",
            f"tokens per text: median {quantiles['50%']}, 95 % up to {quantiles['95%']}, longest {quantiles['max']}",
        ]
        if self.windows_per_text is not None:
            numbers = ", ".join(f"{name} {number:.3g}" for name, number in self.windows_per_text.items())
            lines.append(f"windows per text: {numbers}")
        if self.labels_per_item is not None:
            lines.append(f"{self.labels_per_item:.2f} labels per item; items without any: {self.without_label}")
        troubles = (
            (self.truncated, f"longer than {self.max_length} tokens, cut there", self.truncated_rows),
            (self.duplicates, "repeating an earlier item (same text, same label)", self.duplicate_rows),
            (self.conflicting, "whose text also occurs with another label", self.conflicting_rows),
            (self.leaks, "whose text also occurs in the validation or test data, left out", self.leaked_rows),
        )
        for count, meaning, rows in troubles:
            if count:
                lines.append(f"{count} {'item' if count == 1 else 'items'} {meaning} ({_row_list(rows, count)})")
        return lines


def inspect(
    texts: Sequence[str],
    labels: NDArray[Any],
    label_names: Sequence[str],
    *,
    token_lengths: NDArray[np.integer[Any]],
    max_length: int,
    rows: Sequence[int] | None = None,
    leaks: NDArray[np.integer[Any]] | None = None,
    windows: NDArray[np.integer[Any]] | None = None,
) -> Inspection:
    """Look through the items of a source.

    Texts count as the same if they are after Unicode normalisation (NFKC), casefolding and collapsing white space.

    Args:
        texts: the texts, [items].
        labels: class indices, int [items], or of several labels which ones apply, bool [items, classes].
        label_names: names in index order.
        token_lengths: untruncated length of each text in tokens (`TokenTable.full_lengths`), [items].
        max_length: longest text that is read whole, in tokens, special tokens included.
        rows: row number of each item; none: numbered from 1.
        leaks: indices of the items that occur in the evaluation data, from `find_leaks`; none: not looked for.
        windows: windows of each text, [items]; none: one each.

    Raises:
        ValueError: the arguments differ in length.
    """
    labels, lengths = np.asarray(labels), np.asarray(token_lengths)
    numbers = np.arange(1, len(texts) + 1) if rows is None else np.asarray(rows)
    if not len(texts) == len(labels) == len(lengths) == len(numbers):
        raise ValueError(
            f"{len(texts)} texts, {len(labels)} labels, {len(lengths)} lengths and {len(numbers)} rows do not match"
        )
    several = labels.ndim == 2
    counts = labels.sum(axis=0) if several else np.bincount(labels, minlength=len(label_names))
    quantiles = np.quantile(lengths, list(_QUANTILES.values()), method="nearest") if len(lengths) else [0] * 8
    duplicate, conflicting = _repeats(texts, labels)
    truncated = np.flatnonzero(lengths > max_length)
    leaked = np.zeros(0, dtype=np.int64) if leaks is None else np.asarray(leaks)

    def first(indices: NDArray[Any]) -> tuple[int, ...]:
        return tuple(int(number) for number in numbers[indices[:_SHOWN_ROWS]])

    return Inspection(
        items=len(texts),
        class_counts={name: int(count) for name, count in zip(label_names, counts, strict=True)},
        length_quantiles={name: int(value) for name, value in zip(_QUANTILES, quantiles, strict=True)},
        max_length=max_length,
        truncated=len(truncated),
        duplicates=len(duplicate),
        conflicting=len(conflicting),
        leaks=len(leaked),
        truncated_rows=first(truncated),
        duplicate_rows=first(duplicate),
        conflicting_rows=first(conflicting),
        leaked_rows=first(leaked),
        windows_per_text=None if windows is None else _windows_per_text(windows),
        labels_per_item=float(labels.sum() / max(len(labels), 1)) if several else None,
        without_label=int((~labels.any(axis=1)).sum()) if several else None,
    )


def _windows_per_text(windows: NDArray[np.integer[Any]]) -> dict[str, float]:
    middle, high = np.quantile(windows, [0.5, 0.95], method="nearest").tolist()
    return {"mean": round(float(windows.mean()), 3), "median": middle, "95 % up to": high, "most": int(windows.max())}


def find_leaks(train_texts: Iterable[str], evaluation_texts: Iterable[str]) -> NDArray[np.int64]:
    """Find the training items whose text occurs in the evaluation data.

    Texts are compared after Unicode normalisation (NFKC), casefolding and collapsing white space, by a 128-bit digest:
    memory is 16 bytes per evaluation text, whatever its length.

    Returns:
        Indices into ``train_texts``, ascending.
    """
    seen = {_key(text) for text in evaluation_texts}
    return np.array([index for index, text in enumerate(train_texts) if _key(text) in seen], dtype=np.int64)


def first_occurrences(texts: Iterable[str]) -> NDArray[np.int64]:
    """Indices of the texts that no earlier one equals, compared as `find_leaks` does, ascending."""
    return np.unique(first_equals(texts))


def first_equals(texts: Iterable[str]) -> NDArray[np.int64]:
    """Of each text the index of the first that it equals, compared as `find_leaks` does, [texts]."""
    first: dict[bytes, int] = {}
    return np.fromiter((first.setdefault(_key(text), index) for index, text in enumerate(texts)), dtype=np.int64)


def split_validation(
    labels: NDArray[np.integer[Any]], label_names: Sequence[str], *, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split items into training and validation, each class in the same proportion.

    Every class gives ``round(fraction * count)`` items to validation, but at least one, and keeps at least one; so
    every class that occurs can be both learnt and judged, however rare.

    Args:
        labels: class indices, [items].
        label_names: names in index order.
        fraction: share of each class that goes to validation, 0 <= fraction < 1; 0: none does.
        seed: seed of the draw.

    Returns:
        Indices of the training items and of the validation items, each ascending.

    Raises:
        InputError: the fraction is out of its range, or a class that occurs has a single item.
    """
    labels = np.asarray(labels)
    if not 0 <= fraction < 1:
        raise InputError(f"data.validation is {fraction}; give a share of at least 0 and below 1")
    if fraction == 0:
        return np.arange(len(labels)), np.zeros(0, dtype=np.int64)
    generator = np.random.default_rng(seed)
    held_out = np.zeros(len(labels), dtype=bool)
    for index in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == index))
        if len(members) < 2:
            raise InputError(
                f"class {label_names[index]} has {len(members)} distinct item, the validation split needs 2 of each; "
                "give more items of it, or train without validation: --set data.validation=0"
            )
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        held_out[members[:count]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def split_several(
    labels: NDArray[np.bool_], *, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split items with several labels into training and validation, so that rare labels occur in both.

    Every item counts as of the rarest of its labels (of equally rare ones the first), those without any as of a class
    of their own, and each such class is split as `split_validation` does; one of a single item stays with training. So
    every label that occurs can be learnt.

    Args:
        labels: which labels apply, [items, classes].
        fraction: share that goes to validation, 0 <= fraction < 1; 0: none does.
        seed: seed of the draw.

    Returns:
        Indices of the training items and of the validation items, each ascending.
    """
    classes = labels.shape[1]
    rarity = np.where(labels, labels.sum(axis=0), len(labels) + 1)
    rarest = np.where(labels.any(axis=1), rarity.argmin(axis=1), classes)
    single = np.flatnonzero(np.bincount(rarest, minlength=classes + 1)[rarest] == 1)
    divisible = np.setdiff1d(np.arange(len(labels)), single)
    names = [*map(str, range(classes)), "none"]
    training, validation = split_validation(rarest[divisible], names, fraction=fraction, seed=seed)
    return np.union1d(divisible[training], single), divisible[validation]


def _repeats(texts: Sequence[str], labels: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the items that repeat an earlier one, and of those whose text has several labels."""
    keys = [_key(text) for text in texts]
    labels_of: dict[bytes, set[Any]] = {}
    duplicates: list[int] = []
    comparable = labels.tolist() if labels.ndim == 1 else [row.tobytes() for row in labels]
    for index, (key, label) in enumerate(zip(keys, comparable, strict=True)):
        known = labels_of.setdefault(key, set())
        if label in known:
            duplicates.append(index)
        known.add(label)
    conflicting = [index for index, key in enumerate(keys) if len(labels_of[key]) > 1]
    return np.array(duplicates, dtype=np.int64), np.array(conflicting, dtype=np.int64)


def _key(text: str) -> bytes:
    folded = unicodedata.normalize("NFKC", limit_marks(text)).casefold()
    return hashlib.blake2b(" ".join(folded.split()).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _class_list(counts: dict[str, int]) -> str:
    shown = ", ".join(f"{name} {count}" for name, count in list(counts.items())[:_SHOWN_CLASSES])
    if len(counts) <= _SHOWN_CLASSES:
        return shown
    return f"{shown}, … (fewest {min(counts.values())}, most {max(counts.values())})"


def _row_list(rows: tuple[int, ...], count: int) -> str:
    listed = ", ".join(map(str, rows))
    if count == 1:
        return f"row {listed}"
    return f"rows {listed}" if len(rows) == count else f"rows {listed}, …"
