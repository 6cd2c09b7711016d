"""A bounded store of binary files, found by the content they were computed from; to lose one costs time and no more.

An entry is ``<folder>/<kind>/<key[:2]>/<key>.bin``. Names appear by rename, so that no reader meets half an entry.
Nothing is synced: after a power cut an entry may be damaged, which is seen when it is opened, or missing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pennyweight.cache_entry import (
    HEADER_SIZE,
    Entry,
    Stored,
    entry_path,
    folders,
    open_entry,
    payload_pieces,
    remove,
    reserve,
    stored_files,
    temporary_path,
    write_entry,
)
from pennyweight.errors import InputError, RunError

if TYPE_CHECKING:
    from typing_extensions import Buffer

FOLDER_VARIABLE = "PENNYWEIGHT_CACHE"
LIMIT_VARIABLE = "PENNYWEIGHT_CACHE_BYTES"

KINDS = {
    "logits": "what teachers say of texts",
    "prefix": "what the frozen layers make of texts",
    "tokens": "texts cut into tokens",
}
"""What users may find in the cache."""

_GIGABYTE = 10**9
_DEFAULT_LIMIT = 20 * _GIGABYTE
_LARGEST_LIMIT = 2**63 - 1  # more than any disk, and still a size that can be told in words
_STALE_SECONDS = 3600.0
_LOCK_SECONDS = 30.0
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:([KMGT])(I?))?B?", re.IGNORECASE)


class Usage(NamedTuple):
    """What the entries of one kind take."""

    entries: int
    size: int
    """Bytes, headers included."""
    oldest: float
    """Least recent use of an entry, in seconds since 1970."""
    newest: float
    """Most recent use of an entry, in seconds since 1970."""

    def as_dict(self) -> dict[str, int | str]:
        """For JSON: sizes in bytes, times as ISO 8601 in UTC."""
        oldest, newest = (datetime.fromtimestamp(used, UTC).isoformat("T", "seconds") for used in self[2:])
        return {"entries": self.entries, "bytes": self.size, "oldest": oldest, "newest": newest}


class Cache:
    """The entries under one folder, at most ``limit`` bytes of them; any number of processes may share it.

    Args:
        folder: made when the first entry is written.
        limit: most bytes, headers included; 0 turns the cache off: nothing is read or written.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit
        self.trouble: str | None = None
        """Why the cache could not be used, at the first time that it could not: one line."""
        self._stuck = False

    def read(self, kind: str, key: str) -> Entry | None:
        """Open an entry after a look at all of its bytes; it counts as used now.

        Args:
            kind: what sort of content: a word such as ``tokens``.
            key: SHA-256 of all that the content depends on, in hex.

        Returns:
            The entry; none where there is none that is whole. `trouble` says if the machine is the reason.
        """
        path = entry_path(self.folder, kind, key)
        if not self.limit:
            return None
        try:
            return open_entry(path, kind, key)
        except OSError as error:
            self._note(f"cannot be read: {error.strerror or error}")
            return None

    def write(self, kind: str, key: str, payload: Buffer | Iterable[Buffer]) -> bool:
        """Keep a payload, in place of what the key has; the least recently used entries make room for it.

        Args:
            kind: what sort of content: a word such as ``tokens``.
            key: SHA-256 of all that the content depends on, in hex.
            payload: C-contiguous memory: one piece, or several that are written one behind the other.

        Returns:
            Whether it was kept. Where not, `trouble` says why, unless the cache is off.
        """
        path = entry_path(self.folder, kind, key)
        if not self.limit or self._stuck:
            return False
        pieces = payload_pieces(payload)
        temporary = temporary_path(path)
        try:
            with self._lock():
                size = HEADER_SIZE + sum(map(len, pieces))
                self._make_room(size)
                self._make_folder(path.parent)
                file = reserve(temporary, size)
            write_entry(file, kind, key, pieces)
            with self._lock():  # whoever counts meanwhile might see neither of the names
                os.replace(temporary, path)
        except (OSError, NotImplementedError) as error:  # the latter: file systems that know no locks
            self._stuck = isinstance(error, TimeoutError)
            self._note(f"cannot be written: {getattr(error, 'strerror', None) or error}")
            return False
        finally:
            with contextlib.suppress(OSError):  # renamed, never made, or left for a later process to remove
                os.unlink(temporary)
        return True

    def entries(self) -> list[Stored]:
        """All entries, the least recently used first, not looked into; raises OSError where a folder is unreadable."""
        return sorted((found for found in stored_files(self.folder) if found.whole), key=lambda one: one.used)

    def usage(self) -> dict[str, Usage]:
        """What each kind takes, by name of the kind.

        Raises:
            RunError: a folder cannot be read.
        """
        kinds: dict[str, list[Stored]] = {}
        try:
            for entry in self.entries():
                kinds.setdefault(entry.kind, []).append(entry)
        except OSError as error:
            raise RunError(
                f"cannot read the cache {self.folder}: {error.strerror or error}; another user may own it "
                f"(PENNYWEIGHT_CACHE names another folder)"
            ) from error
        return {
            kind: Usage(len(found), sum(one.size for one in found), found[0].used, found[-1].used)
            for kind, found in sorted(kinds.items())
        }

    def allowance(self) -> int:
        """Most bytes that entries may take now: the limit, or what the disk has to give where that is less.

        The disk is to keep a tenth of itself free, or 10 GB where a tenth is more. Who is about to write more than
        this in all had better write none of it: the last entries would evict the first.
        """
        try:
            return self._allowance(sum(found.size for found in stored_files(self.folder)))
        except OSError as error:
            self._note(f"cannot be read: {error.strerror or error}")
            return 0

    def has_room_for(self, size: int) -> bool:
        """Whether `allowance` is at least ``size`` bytes; where not, `trouble` says so, unless the cache is off."""
        allowed = self.allowance()
        if size > allowed and self.limit:
            self._note(f"cannot hold {size:,} bytes: its {self._bound(allowed)} is {allowed:,} bytes")
        return size <= allowed

    def clear(self, kind: str | None = None) -> int:
        """Remove entries and what broken-off writes have left; other files stay, and no link is followed.

        Args:
            kind: remove this kind alone.

        Returns:
            Bytes freed.

        Raises:
            RunError: something cannot be removed.
        """
        if not self.folder.is_dir():
            return 0
        freed = 0
        try:
            with self._lock():
                for found in stored_files(self.folder, kind):
                    remove(found.path)
                    freed += found.size
                for folder in folders(self.folder, kind):
                    with contextlib.suppress(OSError):  # not empty: it holds something that is not the cache's
                        folder.rmdir()
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RunError(
                f"cannot clear the cache {self.folder}: {reason}; another run may hold it, or user own it"
            ) from error
        return freed

    def _note(self, reason: str) -> None:
        self.trouble = self.trouble or f"the cache {self.folder} {reason}"

    def _lock(self) -> contextlib.AbstractContextManager[object]:
        """One process at a time counts, evicts, reserves and renames; others write and read content meanwhile."""
        from filelock import FileLock

        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileLock(self.folder / "lock", timeout=_LOCK_SECONDS, poll_interval=0.01)

    def _make_folder(self, folder: Path) -> None:
        if folder.is_symlink() or folder.parent.is_symlink():  # what lies behind a link is not counted, nor cleared
            raise OSError(errno.ELOOP, f"{folder} leads elsewhere")
        folder.mkdir(parents=True, exist_ok=True)

    def _allowance(self, taken: int) -> int:
        there = next(folder for folder in (self.folder, *self.folder.parents) if folder.exists())
        disk = shutil.disk_usage(there)
        kept_free = min(disk.total // 10, 10 * _GIGABYTE)
        return max(0, min(self.limit, taken + disk.free - kept_free))

    def _make_room(self, size: int) -> None:
        """Evict until ``size`` more bytes are within the allowance; raises OSError where they cannot be."""
        files = sorted(stored_files(self.folder), key=lambda one: one.used)
        taken = sum(one.size for one in files)
        allowed = self._allowance(taken)
        target = allowed - size if size <= allowed else allowed
        stale = time.time() - _STALE_SECONDS
        for one in files:
            if taken > target if one.whole else one.used < stale:
                remove(one.path)
                taken -= one.size
        if taken > allowed - size:
            reason = f"an entry of {size:,} bytes does not fit its {self._bound(allowed)} of {allowed:,} bytes"
            raise OSError(errno.ENOSPC, reason)

    def _bound(self, allowed: int) -> str:
        return f"limit ({LIMIT_VARIABLE})" if allowed == self.limit else "share of what the disk has free"


def default_cache() -> Cache:
    """The user's cache: where the environment says, how large the environment says, else 20 GB at the usual place.

    ``PENNYWEIGHT_CACHE`` names the folder; without it, it is ``pennyweight`` in ``XDG_CACHE_HOME`` or ``~/.cache``.
    ``PENNYWEIGHT_CACHE_BYTES`` is the limit: bytes, or a number with a unit such as 500MB or 20GB; 0 turns it off.

    Raises:
        InputError: the limit is no size.
    """
    limit = _parse_limit(os.environ.get(LIMIT_VARIABLE, ""))
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not Path(base).is_absolute():  # the specification wants a relative one ignored, as well as an empty one
        base = "~/.cache"
    folder = Path(os.environ.get(FOLDER_VARIABLE) or Path(base, "pennyweight"))
    try:
        return Cache(folder.expanduser().absolute(), limit)
    except RuntimeError:  # a container's nameless user, say, who is to get a run without a cache rather than none
        cache = Cache(folder, 0)
        cache.trouble = f"no cache: {folder} needs a home folder; name another folder in {FOLDER_VARIABLE}"
        return cache


def _parse_limit(text: str) -> int:
    """``20GB`` → 20,000,000,000; binary units as GiB; nothing → the default."""
    if not text.strip():
        return _DEFAULT_LIMIT
    parts = _SIZE.fullmatch(text.strip())
    if parts is None:
        raise InputError(f"{LIMIT_VARIABLE}={text}: give a size such as 500MB or 20GB, or 0 for no cache")
    number, unit, binary = parts[1], (parts[2] or "").upper(), parts[3]
    size = int(Decimal(number) * (1024 if binary else 1000) ** " KMGT".index(unit or " "))
    return min(size, _LARGEST_LIMIT)
