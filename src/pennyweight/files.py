"""Files are written whole or not at all: to a temporary name beside the target, synced, then renamed."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pennyweight.errors import InputError, RunError

if TYPE_CHECKING:
    from filelock import BaseFileLock

_LOCK_SECONDS = 0.1  # long enough to try again where a lock is given back in the same moment
_LOCK_ATTEMPTS = 10


@contextlib.contextmanager
def atomic_writer(path: Path) -> Iterator[IO[bytes]]:
    """Open a binary file that takes the name ``path`` only once it is complete and on disk.

    Raises:
        RunError: the file cannot be written (disk full, no permission); nothing is left behind.
    """
    temporary = ""
    made_folder = not path.parent.exists()
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o666 & ~_umask())
            rename(Path(temporary), path)
    finally:
        if temporary:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        if made_folder and not path.exists():
            with contextlib.suppress(OSError):  # there is none, or something else stands in it by now
                path.parent.rmdir()


def write_bytes(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically; raises RunError as `atomic_writer` does."""
    with atomic_writer(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write UTF-8 text to ``path`` atomically; raises RunError as `atomic_writer` does."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON to ``path`` atomically; raises RunError as `atomic_writer` does."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def writing(path: Path, *, remedy: str = "free some space or choose another folder") -> Iterator[None]:
    """Turn whatever the machine refuses meanwhile into a RunError that says what could not be written."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; {remedy}") from error


def rename(path: Path, target: Path) -> None:
    """Give a file another name in the same file system, replacing what has it; durable, even through a power cut."""
    os.replace(path, target)
    _sync_folder(target.parent)


@contextlib.contextmanager
def held(lock: Path, *, refusal: str) -> Iterator[None]:
    """Hold a lock file, in a folder that is made if need be; a killed process holds nothing.

    Raises:
        InputError: another process holds it; the message is ``refusal``.
        RunError: the file cannot be made.
    """
    from filelock import FileLock, Timeout

    with writing(lock, remedy="choose another folder"):
        holder = FileLock(lock)
        try:
            _acquire(holder, lock)
        except Timeout:
            raise InputError(refusal) from None
    try:
        yield
    finally:
        _release(holder, lock)


def _acquire(holder: BaseFileLock, lock: Path) -> None:
    """Lock the file of that name, and not one that lost it to another process's release; raises filelock's Timeout."""
    from filelock import Timeout

    for _ in range(_LOCK_ATTEMPTS):
        lock.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # who held it before removed it just now, or the folder
            holder.acquire(timeout=_LOCK_SECONDS, poll_interval=0.01)
            descriptor = holder._context.lock_file_fd  # not public, but the only way to tell which file is locked
            assert descriptor is not None
            if os.path.samestat(os.fstat(descriptor), lock.stat()):
                return
        holder.release()
    raise Timeout(str(lock))


def _release(holder: BaseFileLock, lock: Path) -> None:
    """Remove a lock file that is held and give it back, so that nobody can hold a file that is removed afterwards."""
    from filelock import UnixFileLock

    try:
        if isinstance(holder, UnixFileLock):
            lock.unlink(missing_ok=True)
    finally:
        holder.release()
    if os.name == "nt":  # where no file can be removed that is open, by its holder neither
        with contextlib.suppress(OSError):
            lock.unlink(missing_ok=True)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the file system lets a folder be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
