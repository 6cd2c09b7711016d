"""The items that a classifier got wrong with the greatest confidence."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

_LONGEST_TEXT = 400


@dataclass(frozen=True)
class Mistake:
    """An item that was classified wrongly: its row in the evaluated data (from 1) and the probability it was given."""

    row: int
    text: str
    label: str
    predicted: str
    confidence: float


class WorstMistakes:
    """Keeps the mistakes made with the greatest confidence, a bounded number of them, while items stream past."""

    def __init__(self, capacity: int = 20) -> None:
        """Keep at most ``capacity`` mistakes, their texts cut to what a report shows."""
        self._capacity = capacity
        self._heap: list[tuple[float, int, Mistake]] = []

    def offer(self, *, row: int, text: str, label: str, predicted: str, confidence: float) -> None:
        """Consider one item; where ``predicted`` equals ``label`` it is no mistake and passes by."""
        if predicted == label or self._capacity < 1:
            return
        rank = (confidence, -row)
        if len(self._heap) == self._capacity and rank <= self._heap[0][:2]:
            return
        entry = (*rank, Mistake(row, excerpt(text), label, predicted, confidence))
        if len(self._heap) == self._capacity:
            heapq.heapreplace(self._heap, entry)
        else:
            heapq.heappush(self._heap, entry)

    def ranked(self) -> list[Mistake]:
        """The mistakes kept, the most confident first; equal confidences by row."""
        return [mistake for *_, mistake in sorted(self._heap, key=lambda entry: (-entry[0], -entry[1]))]


def excerpt(text: str) -> str:
    """A text as far as a report shows it."""
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT].rstrip() + " …"
