"""What is written of an item's labels: one name, or a list of them, or such a list as one text where files need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pennyweight.data.label_sets import joined
from pennyweight.data.writers import Kind
from pennyweight.evaluation.decisions import Decision


@dataclass(frozen=True)
class Answers:
    """Turns decisions into the values of a table's row."""

    labels: tuple[str, ...]
    """Label names in index order."""
    decision: Decision
    separator: str | None = None
    """Of several labels: what stands between them in one text; none: they are written as a list."""

    @property
    def kinds(self) -> Mapping[str, Kind]:
        """The kind of value of each field."""
        lists = self.decision.several and self.separator is None
        joined_ids: Kind = "text" if self.decision.several else "int"
        return {
            "label": "texts" if lists else "text",
            "label_id": "ints" if lists else joined_ids,
            "confidence": "float",
        }

    def named(self, decided: Any) -> Any:
        """The name of a class index, or the names of a row of truth values."""
        if not self.decision.several:
            return self.labels[int(decided)]
        chosen = np.flatnonzero(decided).tolist()
        return [self.labels[index] for index in chosen] if self.separator is None else self._joined(self.labels, chosen)

    def numbered(self, decided: Any) -> Any:
        """The class index, or the indices, in the same form as `named`."""
        if not self.decision.several:
            return int(decided)
        chosen: list[int] = np.flatnonzero(decided).tolist()
        return chosen if self.separator is None else self._joined([str(one) for one in range(len(self.labels))], chosen)

    def _joined(self, names: Sequence[str], chosen: Sequence[int]) -> str:
        assert self.separator is not None
        return joined(names, chosen, self.separator)

    def of(self, probabilities: np.ndarray) -> list[dict[str, Any]]:
        """The fields label, label_id and confidence of each item, from probabilities [n, classes]."""
        decided = self.decision.decide(probabilities)
        sure = self.decision.confidence(probabilities, decided)
        return [
            {"label": self.named(one), "label_id": self.numbered(one), "confidence": float(confidence)}
            for one, confidence in zip(decided, sure, strict=True)
        ]
