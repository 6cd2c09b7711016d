"""The files of the cache: where they stand, what they look like, how one is checked when it is opened, and is read.

64 bytes of header come first, then the payload. The header binds the file to its kind and key and carries the
payload's CRC-32, so that a file that is cut short, damaged, misplaced or of another format is seen. CRC-32 is for
accidents, not for attackers, who could write any header; of what the standard library has it is the fastest, at twice
the speed of SHA-256.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import re
import secrets
import stat
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

from pennyweight.errors import RunError

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MAGIC = b"pwcache\0"
_VERSION = 1
_HEADER = struct.Struct("<8sIIQ32s8x")  # magic, version, CRC-32 and length of the payload, identity
HEADER_SIZE = _HEADER.size
_BLOCK = 1 << 20
_EXTRA_FLAGS = sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK"))
_SEEKING = threading.Lock()
_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
_KEY = re.compile(r"[0-9a-f]{64}")
_SHARD = re.compile(r"[0-9a-f]{2}")
_FILE = re.compile(r"([0-9a-f]{64})\.bin|\.([0-9a-f]{64})\.[0-9]+-[0-9a-f]{8}\.tmp")


class Stored(NamedTuple):
    """A file of the cache, as it stands on disk."""

    kind: str
    key: str
    size: int
    """Bytes, header included."""
    used: float
    """When it was last written or read, in seconds since 1970."""
    path: str

    @property
    def whole(self) -> bool:
        """Whether it is an entry; otherwise it is being written, or was when its process died."""
        return self.path.endswith(".bin")


class Entry:
    """An entry, open for reads at any position, from any thread.

    Where the system is POSIX it goes on working after another process has evicted it: the open file keeps the content.
    """

    def __init__(self, file: io.FileIO, path: Path, size: int) -> None:
        self.path = path
        self.size = size
        """Bytes of the payload."""
        self._file = file

    def read_into(self, buffer: Buffer, offset: int) -> None:
        """Fill a writable buffer with the payload from byte ``offset`` on.

        Raises:
            ValueError: the payload ends before the buffer does, or the entry is closed.
            RunError: the file cannot be read any more.
        """
        view = memoryview(buffer)
        if offset < 0 or offset + view.nbytes > self.size:
            raise ValueError(f"bytes {offset} to {offset + view.nbytes} of an entry of {self.size}")
        if not view.nbytes:
            return
        try:
            _fill(self._file.fileno(), view.cast("B"), HEADER_SIZE + offset)
        except OSError as error:
            reason = error.strerror or error
            raise RunError(f"cannot read {self.path}: {reason}; run `pennyweight cache clear`, then again") from error

    def pread(self, offset: int, length: int) -> bytearray:
        """``length`` bytes of the payload from byte ``offset`` on; raises as `read_into` does."""
        content = bytearray(length)
        self.read_into(content, offset)
        return content

    def read_all(self) -> bytearray:
        """The whole payload; raises as `read_into` does."""
        return self.pread(0, self.size)

    def close(self) -> None:
        """Let go of the file; an entry that is dropped does so by itself."""
        self._file.close()

    def __enter__(self) -> Entry:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def entry_path(root: Path, kind: str, key: str) -> Path:
    """Where an entry stands; raises ValueError where kind is no word or key no SHA-256."""
    if not (_KIND.fullmatch(kind) and _KEY.fullmatch(key)):
        raise ValueError(f"{kind!r} and {key!r} do not name an entry")
    return root / kind / key[:2] / f"{key}.bin"


def temporary_path(entry: Path) -> Path:
    """A name beside an entry's that nobody else takes."""
    return entry.with_name(f".{entry.stem}.{os.getpid()}-{secrets.token_hex(4)}.tmp")


def folders(root: Path, kind: str | None = None) -> list[Path]:
    """The cache's own folders under its root, of one kind or all, inner ones first; links are no folders."""
    kinds = [one for one in _subfolders(root, _KIND) if kind in (None, one.name)]
    return [*(shard for one in kinds for shard in _subfolders(one, _SHARD)), *kinds]


def stored_files(root: Path, kind: str | None = None) -> Iterator[Stored]:
    """Entries and temporary files: regular files that are named and placed as only the cache names and places them."""
    for folder in folders(root, kind):
        for item in _scan(folder):
            named = _FILE.fullmatch(item.name)
            key = named and (named[1] or named[2])
            if key and key.startswith(folder.name) and item.is_file(follow_symlinks=False):
                with contextlib.suppress(FileNotFoundError):  # evicted, cleared or renamed meanwhile
                    about = item.stat(follow_symlinks=False)
                    yield Stored(folder.parent.name, key, about.st_size, about.st_mtime, item.path)


def remove(path: str) -> None:
    """Remove a file that another process may have removed already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def open_entry(path: Path, kind: str, key: str) -> Entry | None:
    """Open an entry after a look at all of its bytes; what is no whole entry of this kind and key is removed.

    Returns:
        The entry; none where there was none that is whole.

    Raises:
        OSError: the file cannot be read, or is a link.
    """
    try:
        file = io.FileIO(path, "r", opener=lambda name, flags: os.open(name, flags | _EXTRA_FLAGS))
    except FileNotFoundError:
        return None
    with contextlib.ExitStack() as on_refusal:
        on_refusal.callback(file.close)
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise OSError(errno.EINVAL, f"{path} is no file")
        size = about.st_size - HEADER_SIZE
        if size < 0 or _read_header(file.fileno()) != _header(kind, key, size, _checksum(file.fileno(), size)):
            with contextlib.suppress(OSError):  # a later write replaces it as well
                if os.path.samestat(about, path.lstat()):  # another process may have replaced it by a whole one
                    os.unlink(path)
            return None
        with contextlib.suppress(OSError):  # a folder that can only be read serves all the same
            os.utime(file.fileno() if os.utime in os.supports_fd else path)
        on_refusal.pop_all()
    return Entry(file, path, size)


def payload_pieces(payload: Buffer | Iterable[Buffer]) -> list[memoryview]:
    """One buffer or several as bytes; raises TypeError where one is not C-contiguous or is no memory."""
    try:
        views = [memoryview(cast("Buffer", payload))]
    except TypeError:
        views = [memoryview(piece) for piece in cast("Iterable[Buffer]", payload)]
    return [view.cast("B") for view in views if view.nbytes]


def reserve(temporary: Path, size: int) -> io.FileIO:
    """Make a new file that counts its full size from the start; raises OSError."""
    file = io.FileIO(temporary, "x")
    try:
        file.truncate(size)
    except OSError:
        file.close()
        raise
    return file


def write_entry(file: io.FileIO, kind: str, key: str, pieces: list[memoryview]) -> None:
    """Write header and payload and close the file; raises OSError."""
    checksum = 0
    for piece in pieces:
        checksum = zlib.crc32(piece, checksum)
    with io.BufferedWriter(file) as buffered:
        buffered.write(_header(kind, key, sum(map(len, pieces)), checksum))
        buffered.writelines(pieces)


def _header(kind: str, key: str, size: int, checksum: int) -> bytes:
    return _HEADER.pack(_MAGIC, _VERSION, checksum, size, hashlib.sha256(f"{kind}/{key}".encode()).digest())


def _read_header(descriptor: int) -> bytes:
    header = bytearray(HEADER_SIZE)
    _fill(descriptor, memoryview(header), 0)
    return bytes(header)


def _checksum(descriptor: int, size: int) -> int:
    checksum = 0
    block = memoryview(bytearray(min(size, _BLOCK)))
    for start in range(0, size, _BLOCK):
        part = block[: size - start]
        _fill(descriptor, part, HEADER_SIZE + start)
        checksum = zlib.crc32(part, checksum)
    return checksum


def _fill(descriptor: int, view: memoryview, position: int) -> None:
    """Read until ``view`` is full; the system may give less at a time. Raises OSError where the file ends before."""
    while view:
        if hasattr(os, "preadv"):
            count = os.preadv(descriptor, [view], position)
        else:  # Windows
            with _SEEKING:
                os.lseek(descriptor, position, os.SEEK_SET)
                content = os.read(descriptor, len(view))
            count = len(content)
            view[:count] = content
        if not count:
            raise OSError(errno.EIO, "the file ends too early")
        view, position = view[count:], position + count


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return list(items)
    except (FileNotFoundError, NotADirectoryError):  # not made yet, or cleared meanwhile
        return []


def _subfolders(folder: Path, name: re.Pattern[str]) -> list[Path]:
    found = [item for item in _scan(folder) if name.fullmatch(item.name) and item.is_dir(follow_symlinks=False)]
    return [Path(item.path) for item in found]
