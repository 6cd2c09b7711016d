"""From the vectors of a text's windows to one vector of the text: mean, maximum, or attention by a learned query.

Encoding pieces of a document and pooling what comes of them is how hierarchical classifiers read long text (Pappagari
et al. 2019, arXiv 1910.10781; Yang et al. 2016, ACL N16-1174, for attention with a learned query); here the encoder
learns through the pooling, all windows at once.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

WindowPoolingKind = Literal["mean", "max", "attention"]


class WindowPooling(nn.Module):
    """Pools windows in fp32; of a text of one window the result is that window's vector, bit by bit."""

    def __init__(self, kind: WindowPoolingKind, *, hidden: int) -> None:
        """Begin with a query of zeros, [hidden], where there is one: every window then has the same weight."""
        super().__init__()
        self.kind = kind
        self.query = nn.Parameter(torch.zeros(hidden)) if kind == "attention" else None

    def forward(self, vectors: Tensor, starts: Tensor | None) -> Tensor:
        """Pool each text's windows.

        Args:
            vectors: one vector per window, a text's windows side by side, fp32 [windows, hidden].
            starts: number of each text's first window, and the end of the last, int64 [texts + 1]; none: every text
                has one window.

        Returns:
            fp32 [texts, hidden].
        """
        if starts is None:
            if self.query is None:
                return vectors
            # By way of the query all the same: processes that share their gradients expect one of every parameter.
            starts = torch.arange(len(vectors) + 1, device=vectors.device)
        counts = starts.diff()
        places = torch.arange(int(counts.max()), device=vectors.device)
        there = places < counts.unsqueeze(1)
        # Padded to the most windows of a text, so that nothing is summed in an order that may differ next time.
        padded = vectors[(starts[:-1].unsqueeze(1) + places).clamp(max=len(vectors) - 1)]
        if self.kind == "max":
            return padded.masked_fill(~there.unsqueeze(-1), -torch.inf).amax(dim=1)
        weights = self._weights(padded, there)
        pooled: Tensor = (padded.masked_fill(~there.unsqueeze(-1), 0.0) * weights.unsqueeze(-1)).sum(dim=1)
        return pooled

    def _weights(self, padded: Tensor, there: Tensor) -> Tensor:
        """Weight of each window, [texts, windows], each row summing to 1; where there is no window, 0."""
        if self.query is None:
            return there / there.sum(dim=1, keepdim=True)
        scores: Tensor = padded @ self.query * self.query.shape[0] ** -0.5
        return scores.masked_fill(~there, -torch.inf).softmax(dim=1)
