"""Data sets from the Hugging Face Hub, its local cache, or a folder laid out like one. No remote code is run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import datasets.config
import huggingface_hub
import pyarrow as pa
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

from pennyweight.data.readers import Row
from pennyweight.errors import InputError, RunError

_BATCH = 1024
_REACH_SECONDS = 10.0
_AS_FILE = "download the data set and give it as a file (CSV, TSV, JSONL, Parquet) instead"


def hub_split(name: str, config: str | None, split: str) -> datasets.Dataset:
    """Load one split of a data set.

    Args:
        name: id on the Hub (owner/name), or a folder.
        config: configuration, for a data set that has several.
        split: the split.

    Raises:
        InputError: there is no such data set, configuration or split, or it cannot be read as a table.
        RunError: the Hub cannot be reached, and the data set is not in its local cache.
    """
    splits = _load(name, config)
    if split not in splits:
        raise InputError(
            f"hub:{name} has no split {split!r}; it has {', '.join(map(str, splits))}: name one as hub:{name}@<split>"
        )
    dataset: datasets.Dataset = splits[split]
    if len(dataset) == 0:
        raise InputError(f"hub:{name}@{split} holds no rows; choose another split")
    return dataset


def hub_rows(dataset: datasets.Dataset) -> Iterator[Row]:
    """Stream the rows of a split; columns of class labels, or of lists of them, come as label names."""
    named = {column: names for column, feature in dataset.features.items() if (names := _names_of(feature))}
    number = 0
    for batch in _batches(dataset):
        for values in batch.to_pylist():
            number += 1
            for column, names in named.items():
                value = values[column]
                several = isinstance(value, list)
                values[column] = [_name(one, names) for one in value] if several else _name(value, names)
            yield Row(number, values)


def _batches(dataset: datasets.Dataset) -> Iterator[pa.RecordBatch]:
    """Batches of a split as Arrow has them, so that pictures or sounds beside the text are not decoded.

    They are read from the cache's files, not mapped: of a mapping, whatever was read counts as memory ever after.
    """
    if not dataset.cache_files:
        yield from dataset.data.to_reader(max_chunksize=_BATCH)
    for file in dataset.cache_files:
        with pa.OSFile(file["filename"]) as stream, pa.ipc.open_stream(stream) as batches:
            yield from batches


def hub_fingerprint(dataset: datasets.Dataset, name: str, config: str | None) -> str:
    """Which data these are: id, configuration, split, rows, and the revision where `datasets` knows it.

    The cache of `datasets` keeps each revision in a folder that bears its name: a commit, or a digest of the files.
    """
    revisions = {Path(file["filename"]).parent.name for file in dataset.cache_files}
    parts = [name, config or "default", str(dataset.split), f"{len(dataset)} rows", *sorted(revisions)]
    return " ".join(parts)


def _names_of(feature: Any) -> list[str]:
    """The class names of a column, or of the lists in it; empty where it has none."""
    own = feature.feature if isinstance(feature, datasets.List) else feature
    return list(own.names or ()) if isinstance(own, datasets.ClassLabel) else []


def _name(index: int | None, names: list[str]) -> str | None:
    """Name of a class; -1 stands for "not labelled" on the Hub."""
    return None if index is None or index < 0 else names[index]


def _load(name: str, config: str | None) -> Any:
    unreachable = None if Path(name).is_dir() else _why_unreachable(name)
    if unreachable is None:
        return _load_known(name, config)
    try:
        with _offline():
            return datasets.load_dataset(name, config)
    except Exception as error:
        raise RunError(f"hub:{name}: the Hub cannot be reached ({unreachable}); {_AS_FILE}") from error


def _load_known(name: str, config: str | None) -> Any:
    try:
        return datasets.load_dataset(name, config)
    except (HfHubHTTPError, ConnectionError, TimeoutError) as error:
        raise RunError(f"hub:{name}: the download broke off ({_one_line(error)}); try again, or {_AS_FILE}") from error
    except Exception as error:
        # Builders raise whatever their parsers do; all of it is about this data set.
        reason = _one_line(error.__cause__ or error)
        raise InputError(
            f"hub:{name} cannot be loaded: {reason}; name a configuration as hub:<id>:<config>, or {_AS_FILE}"
        ) from error


def _why_unreachable(name: str) -> str | None:
    """Ask the Hub once for the data set; returns None if it is there, or else why nobody answered.

    One request of ten seconds at most decides: `datasets` itself would go on trying for half a minute.
    """
    if datasets.config.HF_HUB_OFFLINE:
        return "offline mode is on"
    try:
        huggingface_hub.HfApi(endpoint=datasets.config.HF_ENDPOINT).dataset_info(name, timeout=_REACH_SECONDS)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InputError(
            f"hub:{name}: the Hub has no such data set, or it is not public; check the id (owner/name)"
        ) from error
    except Exception as error:  # the errors of whichever HTTP library the Hub's client was built on
        return _one_line(error)
    return None


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Let `datasets` look into its cache alone."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
