"""Entries of the cache that belong together, read by number; only some of their files are open at a time."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from pennyweight.cache_entry import HEADER_SIZE, Entry
from pennyweight.errors import RunError

if TYPE_CHECKING:
    from typing_extensions import Buffer

MOST_OPEN = 64
"""Files that are open at a time; some systems allow a process 256 in all."""


class Chunks:
    """Any number of entries, read from any thread.

    Args:
        most_open: files that are open at a time, 1 or more; those read last stay.
    """

    def __init__(self, *, most_open: int = MOST_OPEN) -> None:
        self._most_open = most_open
        self._about: list[tuple[Path, int]] = []
        self._open: dict[int, Entry] = {}
        self._lock = threading.Lock()

    def add(self, entry: Entry) -> None:
        """Take over an entry, which has been looked through; its number is how many were added before."""
        with self._lock:
            self._keep(len(self._about), entry)
            self._about.append((entry.path, entry.size))

    def read_into(self, number: int, buffer: Buffer, offset: int) -> None:
        """Fill a writable buffer with an entry's payload from byte ``offset`` on.

        Raises:
            RunError: the file cannot be read any more, or was closed meanwhile and is no longer there.
        """
        with self._lock:  # while it reads, too: another thread would close the file
            entry = self._open.pop(number, None) or _reopened(*self._about[number])
            self._keep(number, entry)
            entry.read_into(buffer, offset)

    def close(self) -> None:
        """Close all files; one that is read again is opened again."""
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def __len__(self) -> int:
        return len(self._about)

    @property
    def bytes(self) -> int:
        """What the payloads take in all."""
        return sum(size for _, size in self._about)

    def _keep(self, number: int, entry: Entry) -> None:
        """Hold a file open as the one read last, and close the one not read for longest."""
        self._open[number] = entry
        if len(self._open) > self._most_open:
            self._open.pop(next(iter(self._open))).close()


def _reopened(path: Path, size: int) -> Entry:
    """An entry that was looked through before: nobody writes into one, so that its length is all that is checked."""
    try:
        file = io.FileIO(path, "r", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NOFOLLOW", 0)))
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    if os.fstat(file.fileno()).st_size != HEADER_SIZE + size:
        file.close()
        raise RunError(f"cannot read {path}: it has changed")
    return Entry(file, path, size)
