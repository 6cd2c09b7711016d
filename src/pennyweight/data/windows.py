"""Streams cut into windows, so that memory holds one window at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def windows(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut a stream into lists of ``size`` items, the last one shorter (`itertools.batched` of Python 3.12)."""
    iterator = iter(items)
    while window := list(itertools.islice(iterator, size)):
        yield window
