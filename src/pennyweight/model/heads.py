"""From one vector per text to logits: the heads that are not the architecture's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from pennyweight.model.windows import WindowPoolingKind


@dataclass(frozen=True)
class HeadShape:
    """Which head, and its sizes."""

    kind: Literal["stock", "linear", "low-rank"]
    classes: int
    pooling: Literal["cls", "mean"] = "mean"
    """Of no meaning for a stock head."""
    rank: int | None = None
    dropout: float | None = None
    windows: WindowPoolingKind | None = None
    """How the vectors of a text's windows become one; none: a text is one window."""

    @property
    def stock_classes(self) -> int | None:
        """Number of classes where the architecture's own head is used, else none."""
        return self.classes if self.kind == "stock" else None


class LinearHead(nn.Module):
    """logits = W dropout(x) + b; hidden · classes + classes parameters."""

    def __init__(self, hidden: int, classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, classes)

    def forward(self, pooled: Tensor) -> Tensor:
        """[batch, hidden] → [batch, classes]."""
        logits: Tensor = self.out(self.dropout(pooled))
        return logits


class LowRankHead(nn.Module):
    """logits = B A dropout(x) + b; rank · (hidden + classes) + classes parameters."""

    def __init__(self, hidden: int, classes: int, *, rank: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.down = nn.Linear(hidden, rank, bias=False)
        self.out = nn.Linear(rank, classes)

    def forward(self, pooled: Tensor) -> Tensor:
        """[batch, hidden] → [batch, classes]."""
        logits: Tensor = self.out(self.down(self.dropout(pooled)))
        return logits


def make_head(
    kind: Literal["linear", "low-rank"], *, hidden: int, classes: int, rank: int | None, dropout: float
) -> nn.Module:
    """A freshly initialised head in fp32 (PyTorch's default initialisation)."""
    if kind == "linear":
        return LinearHead(hidden, classes, dropout=dropout)
    assert rank is not None
    return LowRankHead(hidden, classes, rank=rank, dropout=dropout)
