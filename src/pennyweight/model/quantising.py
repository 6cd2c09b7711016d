"""Encoder matrices in int8, their inputs quantised on the way: PyTorch's own oneDNN products, for CPUs with VNNI or AMX.

Weights have one scale per output row, ±127 at its largest; inputs one scale and zero point per slice of tokens, taken
from what stands in it (dynamic quantisation). Products are summed in int32 and leave in the compute format. Embeddings,
LayerNorm, attention's own products, pooler and head stay as they are. Measured against torchao and ONNX Runtime in
docs/LOG.md.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from pennyweight.errors import InputError
from pennyweight.model.network import Network

ROWS = 512
"""Tokens per slice: few enough that what is made of one slice stays in a core's cache until it is used."""

Activation = Literal["none", "gelu"]


class Quantised:
    """An input in eight bits: x ≈ scale · (values − zero)."""

    def __init__(self, rows: Tensor, lowest: float, highest: float) -> None:
        """Quantise ``rows``, [n, in], whose elements lie between ``lowest`` and ``highest``."""
        low, high = min(lowest, 0.0), max(highest, 0.0)  # zero has to be exact
        self.scale = max((high - low) / 255, 1e-12)
        self.zero = round(-low / self.scale)
        self.values = torch.empty(rows.shape, dtype=torch.uint8)
        zero = torch.tensor(float(self.zero), dtype=rows.dtype)
        for place in range(0, len(rows), ROWS):
            exact = torch.add(zero, rows[place : place + ROWS], alpha=1 / self.scale)
            self.values[place : place + ROWS].copy_(exact.round_().clamp_(0, 255))
