"""What tests of the cache put into it and find in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from pennyweight.cache import Cache
from pennyweight.cache_entry import HEADER_SIZE, entry_path, stored_files

GB = 10**9


def key_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def place(cache: Cache, name: object, kind: str = "tokens") -> Path:
    return entry_path(cache.folder, kind, key_of(name))


def put(cache: Cache, name: object, size: int = 1000, *, used: float | None = None, kind: str = "tokens") -> None:
    """An entry of ``size`` bytes on disk, last used ``used`` seconds after 1970."""
    assert cache.write(kind, key_of(name), bytes(size - HEADER_SIZE)), cache.trouble
    if used is not None:
        os.utime(place(cache, name, kind), (used, used))


def names_in(cache: Cache, names: list[object]) -> list[object]:
    return [name for name in names if place(cache, name).exists()]


def size_of(cache: Cache) -> int:
    return sum(found.size for found in stored_files(cache.folder))
