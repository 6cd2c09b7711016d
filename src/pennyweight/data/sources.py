"""One way to say where data lives: ``starter``, ``hub:<id>[:config]`` or a file; a stream of rows from any of them."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pennyweight.data.readers import Row, read_rows
from pennyweight.errors import InputError

Split = Literal["train", "test"]

_STARTER_SPLITS = ("train", "test")


class Place(NamedTuple):
    """A source, taken apart."""

    kind: Literal["starter", "hub", "file"]
    """Which of the three it is."""
    name: str
    """Hub id, folder or file."""
    config: str | None = None
    """Configuration of a Hub data set, where it is named."""
    split: str | None = None
    """Split, where it is named."""


class Opened(NamedTuple):
    """A source, about to be read."""

    rows: Iterator[Row]
    """Its rows, each once."""
    fingerprint: Callable[[], str]
    """Tells its content from any other: the SHA-256 of a file, which is read whole for it; id, configuration, split
    and revision of a Hub data set."""


def open_source(source: str, *, split: Split) -> Opened:
    """Open a source for streaming; arguments and errors are those of `stream_rows`."""
    place = parse_source(source)
    if place.kind == "hub":
        from pennyweight.data.hub import hub_fingerprint, hub_rows, hub_split

        dataset = hub_split(place.name, place.config, place.split or split)
        return Opened(hub_rows(dataset), lambda: hub_fingerprint(dataset, place.name, place.config))
    path = Path(place.name) if place.kind == "file" else _starter_file(place.split or split)
    return Opened(read_rows(path), lambda: _file_fingerprint(path))


def stream_rows(source: str, *, split: Split) -> Iterator[Row]:
    """Stream the rows of a source.

    Args:
        source: ``starter``, ``hub:<id>[:config]`` (a Hub id or a folder laid out as a data set), each with an optional
            ``@split`` behind it, or the path of a file, which is read whole.
        split: the split to read where the source has several and names none.

    Raises:
        InputError: there is no such source, split or configuration, or its content cannot be read as rows.
        RunError: the Hub cannot be reached, and the data set is not in its local cache.
    """
    return open_source(source, split=split).rows


def parse_source(source: str) -> Place:
    """Take a source apart, without looking whether it exists.

    Raises:
        InputError: nothing is named, or nothing behind ``hub:``, ``:`` or ``@``.
    """
    name, at, split = source.partition("@")
    if name == "starter" and (split or not at):
        return Place("starter", name, split=split or None)
    if source.startswith("hub:"):
        return _parse_hub(source)
    if not source.strip():
        raise InputError("no data source is named; give starter, hub:<id> or a file")
    return Place("file", source)


def _parse_hub(source: str) -> Place:
    name, config, split = source.removeprefix("hub:"), None, None
    # The path of a folder may hold "@" and ":" itself.
    if not _is_folder(name):
        name, split = _cut(name, "@")
    if not _is_folder(name):
        name, config = _cut(name, ":")
    if "" in (name, config, split):
        raise InputError(f"{source}: something is missing; write hub:<id>, hub:<id>:<config> or hub:<id>@<split>")
    return Place("hub", name, config, split)


def _cut(text: str, mark: str) -> tuple[str, str | None]:
    head, found, tail = text.rpartition(mark)
    return (head, tail) if found else (text, None)


def _is_folder(name: str) -> bool:
    try:
        return bool(name) and Path(name).is_dir()
    except OSError:  # longer than a path may be
        return False


def _file_fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return f"SHA-256 {hashlib.file_digest(file, 'sha256').hexdigest()}"


def _starter_file(split: str) -> Path:
    if split not in _STARTER_SPLITS:
        raise InputError(f"starter@{split}: the starter set has the splits {' and '.join(_STARTER_SPLITS)}")
    return Path(str(importlib.resources.files("pennyweight") / "data" / "starter" / f"{split}.jsonl"))
