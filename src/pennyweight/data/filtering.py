"""Which texts training goes without, and why: a list that any stage may add to, written beside the report."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.data.inspection import first_occurrences
from pennyweight.data.windows import windows
from pennyweight.data.writers import Kind, open_table
from pennyweight.errors import InputError

TOO_SHORT = "too short"
TOO_LONG = "too long"
OTHER_LANGUAGE = "in another language"
REPEAT = "repeating an earlier text"

Identify = Callable[[str], tuple[str, float]]
"""From a text to its most probable language, as an ISO 639-1 code, and the probability."""

_COLUMNS: dict[str, Kind] = {"row": "int", "label": "text", "reason": "text", "found": "text", "confidence": "float"}
_WINDOW = 4096


@dataclass(frozen=True)
class Dropped:
    """Items that training goes without, for one reason."""

    items: NDArray[np.int64]
    """Indices into the collected items, ascending."""
    reason: str
    """Words behind a number of items: ``too short``."""
    found: tuple[str, ...] = ()
    """What speaks for it, one per item, such as the language found; empty: the reason says all."""
    confidence: tuple[float, ...] = ()
    """Probability of what was found, one per item; empty: none is known."""

    def __len__(self) -> int:
        return len(self.items)


def find_unwanted(
    texts: Sequence[str],
    *,
    shortest: int | None = None,
    longest: int | None = None,
    languages: Sequence[str] = (),
    certainty: float = 0.9,
    drop_repeats: bool = False,
) -> list[Dropped]:
    """Find the texts that a filter passes over, each for the first reason that applies, in the order of the arguments.

    Args:
        texts: cleaned texts, [items].
        shortest: fewest words; none: no limit. Words are what white space separates.
        longest: most words; none: no limit.
        languages: ISO 639-1 codes of the languages wanted; empty: any.
        certainty: a text is in another language from this probability on.
        drop_repeats: whether a text goes that an earlier one equals, which is not dropped itself.

    Returns:
        For each reason that applies to any text, its items, as indices into ``texts``.

    Raises:
        InputError: languages are to be told apart, and py3langid is not installed or does not know one of them.
    """
    words = np.array([len(text.split()) for text in texts], dtype=np.int64)
    kept = np.ones(len(texts), dtype=bool)
    found: list[Dropped] = []

    def drop(items: NDArray[np.int64], reason: str, **details: Any) -> None:
        kept[items] = False
        if len(items):
            found.append(Dropped(items, reason, **details))

    if shortest is not None:
        drop(np.flatnonzero(words < shortest), TOO_SHORT)
    if longest is not None:
        drop(np.flatnonzero(kept & (words > longest)), TOO_LONG)
    if languages:
        identify = _identifier(tuple(languages))
        said = {index: identify(texts[index]) for index in np.flatnonzero(kept).tolist()}
        other = [index for index, (one, sure) in said.items() if one not in languages and sure >= certainty]
        drop(
            np.array(other, dtype=np.int64),
            OTHER_LANGUAGE,
            found=tuple(said[index][0] for index in other),
            confidence=tuple(said[index][1] for index in other),
        )
    if drop_repeats:
        left = np.flatnonzero(kept)
        drop(np.delete(left, first_occurrences(texts[index] for index in left.tolist())), REPEAT)
    return found


def write_dropped(path: Path, dropped: Sequence[Dropped], *, rows: NDArray[np.int64], labels: Sequence[str]) -> None:
    """Write one line for each item that was dropped, by row: what one needs to look it up in the source, and why.

    Args:
        path: a Parquet, CSV, TSV or JSONL file with the columns row, label, reason, found and confidence.
        dropped: what was dropped.
        rows: row of each collected item in its source, from 1, [items].
        labels: label of each collected item, [items].

    Raises:
        RunError: the file cannot be written.
    """
    lines: list[dict[str, Any]] = [
        {
            "row": int(rows[item]),
            "label": labels[item],
            "reason": one.reason,
            "found": one.found[index] if one.found else None,
            "confidence": one.confidence[index] if one.confidence else None,
        }
        for one in dropped
        for index, item in enumerate(one.items.tolist())
    ]
    lines.sort(key=lambda line: line["row"])
    with open_table(path, _COLUMNS) as write:
        for window in windows(lines, _WINDOW):
            write(window)


def counts_by_reason(dropped: Sequence[Dropped]) -> dict[str, int]:
    """Number of items by reason, in the order in which they were dropped."""
    counts: dict[str, int] = {}
    for one in dropped:
        counts[one.reason] = counts.get(one.reason, 0) + len(one)
    return counts


@functools.cache
def _identifier(languages: tuple[str, ...]) -> Identify:
    """What tells languages apart, if it knows those that are wanted."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise InputError("filter.languages needs py3langid: pip install 'pennyweight[languages]'") from None
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    unknown = [one for one in languages if one not in identifier.labels]
    if unknown:
        known = ", ".join(sorted(identifier.labels))
        raise InputError(f"filter.languages: {unknown[0]!r} is not among the languages that can be told apart: {known}")
    identify: Identify = identifier.classify
    return identify
