"""Output that grows on disk before it takes its name, so that a run that is stopped or killed can be gone on with.

Beside the file to be written stands a folder, its name with ``.partial`` behind it: the rows so far and a journal,
which says how many of them are safely on disk. The journal is replaced only after they are, so that whatever a killed
process left behind the end that the journal names is cut off and written again: no row is lost, none is doubled.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO

from pydantic import TypeAdapter, ValidationError

from pennyweight.data.writers import Encoding, Rows
from pennyweight.errors import InputError
from pennyweight.files import held, rename, write_json, writing

SUFFIX = ".partial"
JOURNAL, ROWS, WHOLE, LOCK = "journal.json", "rows", "whole", "lock"
SECONDS_BETWEEN_JOURNALS = 1.0


@dataclass(frozen=True)
class Journal:
    """What is known of an unfinished output."""

    command: Mapping[str, str]
    """What the output depends on, by a name for the user."""
    rows: int = 0
    """Rows that are safely on disk."""
    size: int = 0
    """Where they end in the file of rows, in bytes."""
    skipped: int | None = None
    """Rows of the source that were passed over, once all the others are on disk; none: there is more to do."""


class Partial:
    """An output under way; `open_partial` makes it."""

    def __init__(self, out: Path, encoding: Encoding, journal: Journal) -> None:
        self.journal = journal
        self._out = out
        self._encoding = encoding
        self._folder = partial_folder(out)
        self._rows = journal.rows
        self._saved_at = time.monotonic()
        self._file: IO[bytes] | None = None

    def write(self, rows: Rows) -> None:
        """Append rows, and save from time to time."""
        with self._writing():
            file = self._opened()
            file.write(self._encoding.encode(rows))
            self._rows += len(rows)
        if time.monotonic() - self._saved_at >= SECONDS_BETWEEN_JOURNALS:
            self.save()

    def save(self, *, skipped: int | None = None) -> None:
        """Bring all rows written so far safely to disk; with ``skipped``, there are no more to come."""
        with self._writing():
            file = self._opened()
            file.flush()
            os.fsync(file.fileno())
            self.journal = replace(self.journal, rows=self._rows, size=file.tell(), skipped=skipped)
            write_json(self._folder / JOURNAL, asdict(self.journal))
        self._saved_at = time.monotonic()

    def finish(self) -> None:
        """Give the complete output its name, unless a process that was killed right afterwards had done so."""
        assert self.journal.skipped is not None, "there is more to do"
        self.close()
        rows, whole = self._folder / ROWS, self._folder / WHOLE
        with self._writing():
            if not rows.exists():
                return
            if self._encoding.convert is None:
                rename(rows, self._out)
                return
            self._encoding.convert(rows, whole)
            with whole.open("rb") as file:
                os.fsync(file.fileno())
            rename(whole, self._out)

    def close(self) -> None:
        """Close the file of rows; what was not saved before may be lost, and is not counted either."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _opened(self) -> IO[bytes]:
        """The file of rows, at first cut off behind those that the journal knows."""
        if self._file is None:
            path = self._folder / ROWS
            self._file = path.open("r+b" if self.journal.size else "wb")
            self._file.truncate(self.journal.size)
            self._file.seek(self.journal.size)
            if not self.journal.size:
                self._file.write(self._encoding.header)
        return self._file

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        return writing(self._out, remedy="free some space, then the same command with --resume goes on")


def partial_folder(out: Path) -> Path:
    """Where the output ``out`` grows before it takes its name."""
    return out.with_name(out.name + SUFFIX)


@contextlib.contextmanager
def open_partial(
    out: Path, encoding: Encoding, command: Mapping[str, str], *, resume: bool = False
) -> Iterator[Partial]:
    """Begin an output, or go on with what there is of it; keeps other processes from writing it meanwhile.

    When the ``with`` is left without an error, the output takes its name. When it is left by one, the rows that were
    saved stay to be gone on with, except after an InputError: what was given could not be used, and with something
    else given it would be another output.

    Args:
        out: the file to be written.
        encoding: how its rows become bytes.
        command: what the output depends on, by a name for the user, each as a digest or a word.
        resume: whether going on is wanted; where nothing was begun, that begins.

    Raises:
        InputError: there is an unfinished output and it is not to be gone on with, or was begun by another command;
            another process is writing it; or something else is in its place.
        RunError: a file cannot be written.
    """
    folder = partial_folder(out)
    absent = [parent for parent in out.parents if not parent.exists()]
    _require_nothing_else(folder)
    refusal = f"--out {out}: another process is writing it; wait for it, or give another file"
    try:
        with held(folder / LOCK, refusal=refusal):
            partial = Partial(out, encoding, _open_journal(out, command, resume=resume))
            try:
                yield partial
                partial.finish()
            except BaseException as error:
                partial.close()
                if isinstance(error, InputError) or not partial.journal.rows:
                    _clear(folder)
                raise
            _clear(folder)
    finally:
        for made in (folder, *absent):
            with contextlib.suppress(OSError):  # it is not there, or not empty
                made.rmdir()


def _open_journal(out: Path, command: Mapping[str, str], *, resume: bool) -> Journal:
    folder = partial_folder(out)
    begun = _read_journal(folder)
    if begun is None or not _holds_rows(folder, begun, out):
        _clear(folder)
        journal = Journal(dict(command))
        write_json(folder / JOURNAL, asdict(journal))
        return journal
    changed = next((name for name, value in command.items() if begun.command.get(name) != value), None)
    if not resume and changed is None:
        raise InputError(
            f"--out {out}: {folder} holds {begun.rows:,} rows of an unfinished run; go on with --resume, or remove it"
        )
    if not resume:
        raise InputError(
            f"--out {out}: {folder} holds an unfinished run of another command ({changed} differs); remove it, or give "
            f"another file"
        )
    if changed is not None:
        raise InputError(
            f"--resume: {changed} changed since {folder} was begun; restore it, or remove {folder} and begin anew"
        )
    return begun


def _read_journal(folder: Path) -> Journal | None:
    path = folder / JOURNAL
    if not path.exists():
        return None
    try:
        return TypeAdapter(Journal).validate_json(path.read_bytes(), strict=True)
    except (OSError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error.strerror
        raise InputError(f"{path}: cannot be read ({reason}); remove {folder} and begin anew") from None


def _holds_rows(folder: Path, journal: Journal, out: Path) -> bool:
    """Whether there is anything to go on with; raises InputError where rows that should be there are not."""
    rows = folder / ROWS
    if journal.skipped is not None and not rows.exists():
        return out.exists()  # its process was killed after the output took its name
    if journal.rows and not (rows.exists() and rows.stat().st_size >= journal.size):
        raise InputError(f"{rows}: shorter than when it was saved; remove {folder} and begin anew")
    return journal.rows > 0 or journal.skipped is not None


def _require_nothing_else(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is in the way; move it away, or give another --out")
    if not folder.exists() or (folder / JOURNAL).exists():
        return
    for path in folder.iterdir():
        if path not in (*_own_files(folder), folder / LOCK):
            raise InputError(f"{folder}: holds something else ({path.name}); move it away, or give another --out")


def _own_files(folder: Path) -> list[Path]:
    """Those of an output, the journal last, and what a process killed while writing the journal left of it."""
    return [*folder.glob(f".{JOURNAL}.*"), folder / ROWS, folder / WHOLE, folder / JOURNAL]


def _clear(folder: Path) -> None:
    for path in _own_files(folder):
        path.unlink(missing_ok=True)
