"""How fast this machine multiplies matrices: what a fraction of its peak is a fraction of.

In bf16, or in fp32 where the machine has no instructions for bf16 and nobody would compute in it.

The peak is the best rate among large square products. Those of the network's own shapes are measured beside it: small
operands may stay in a core's own cache, and then be multiplied faster than large ones.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import Measured, Share, float_format, synchronise

SQUARES_CPU = (2048, 3072, 4096)
SQUARES_CUDA = (4096, 8192, 16384)
SECONDS = 0.25


@dataclass(frozen=True)
class Product:
    """[rows, inner] times [inner, columns]."""

    rows: int
    inner: int
    columns: int

    @property
    def name(self) -> str:
        """As results show it."""
        return f"{self.rows}x{self.inner}x{self.columns}"

    @property
    def flops(self) -> int:
        """A multiply-add as two."""
        return 2 * self.rows * self.inner * self.columns

    @property
    def square(self) -> bool:
        """Whether it may be the peak."""
        return self.rows == self.inner == self.columns


def products(*, rows: int, hidden: int, inner: int) -> tuple[Product, ...]:
    """The squares, and the network's own products with ``rows`` tokens in a batch."""
    import torch

    squares = SQUARES_CUDA if torch.cuda.is_available() else SQUARES_CPU
    own = ((hidden, hidden), (hidden, inner), (inner, hidden))
    return tuple(Product(side, side, side) for side in squares) + tuple(Product(rows, *sides) for sides in own)


class Multiplier:
    """Contender that multiplies; a turn takes about a quarter of a second and counts its median product."""

    def __init__(self, product: Product) -> None:
        """Make the operands and multiply them once."""
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.bfloat16 if float_format() == "bf16" else torch.float32
        options: dict[str, Any] = {"dtype": dtype, "device": device}
        self._left = torch.randn(product.rows, product.inner, **options)
        self._right = torch.randn(product.inner, product.columns, **options)
        self._out = torch.empty(product.rows, product.columns, **options)
        self._repeats = 20 if device == "cuda" else 1
        self._product = product
        self._multiply()

    def __call__(self) -> Share:
        """One turn."""
        seconds: list[float] = []
        while sum(seconds) * self._repeats < SECONDS or len(seconds) < 5:
            seconds.append(self._multiply())
        return Share(self._product.flops, statistics.median(seconds))

    def _multiply(self) -> float:
        import torch

        synchronise()
        begun = time.perf_counter()
        for _ in range(self._repeats):
            torch.mm(self._left, self._right, out=self._out)
        synchronise()
        return (time.perf_counter() - begun) / self._repeats


def peak_of(measured: Measured, tried: tuple[Product, ...]) -> Product:
    """The square with the best median rate."""
    return max((one for one in tried if one.square), key=lambda one: measured.spread(one.name)["median"])


def best_of(measured: Measured, tried: tuple[Product, ...]) -> Product:
    """The product with the best median rate, whatever its shape."""
    return max(tried, key=lambda one: measured.spread(one.name)["median"])


def describe_peak(measured: Measured, tried: tuple[Product, ...]) -> dict[str, Any]:
    """What was multiplied how fast, in FLOP per second, and which of it is the peak."""
    rates = {one.name: measured.spread(one.name) for one in tried}
    best = best_of(measured, tried).name
    peak = peak_of(measured, tried).name
    return {
        "format": float_format(),
        "peak_is": f"best of the squares: {peak}",
        "peak_flops": rates[peak],
        "best_of_all": {"shape": best, "flops": rates[best]},
        "shapes": rates,
    }
