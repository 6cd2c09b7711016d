"""Tokens from the cache: of what has been tokenised before, only the rest is tokenised again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.cache import Cache
from pennyweight.data.batches import TokenTable, offsets_of, prepare_tokenizer, starts_of, tokenise
from pennyweight.errors import RunError

KIND = "tokens"

_FORMAT = "tokens 2"  # a new one whenever `tokenise` or the layout of the payload means something else
_CHUNK = 4000


def tokenise_cached(
    texts: Sequence[str], tokenizer: Any, *, max_length: int, windows: int = 1, overlap: int = 0, cache: Cache
) -> TokenTable:
    """What `tokenise` gives, chunk by chunk of 4,000 consecutive texts from the cache where they are in it.

    A chunk is found by its texts, how they are cut, the tokenizer as it runs and the version of the library that runs
    it. What is missing, damaged or cannot be kept is tokenised, which the tokenizers library does on all cores; so is
    everything by a tokenizer with parts in Python, of which nothing can tell whether they are the same.

    Args:
        texts: the texts, already cleaned.
        tokenizer: a fast tokenizer of Transformers.
        max_length: most tokens of one row, special tokens included.
        windows: most rows of one text.
        overlap: tokens that neighbouring rows of a text have in common.
        cache: where chunks are kept.
    """

    def made(part: Sequence[str]) -> TokenTable:
        return tokenise(part, tokenizer, max_length=max_length, windows=windows, overlap=overlap)

    backend = _backend(tokenizer, max_length=max_length, overlap=overlap if windows > 1 else 0)
    if not texts or backend is None:
        return made(texts)
    settings = [_FORMAT, metadata.version("tokenizers"), backend, str(max_length), str(windows)]
    parts = (texts[start : start + _CHUNK] for start in range(0, len(texts), _CHUNK))
    return _joined([_chunk(part, made, settings=settings, cache=cache) for part in parts])


def _backend(tokenizer: Any, *, max_length: int, overlap: int) -> str | None:
    """SHA-256 of what `tokenise` will run, whatever files and options it was made of; none: it cannot be written."""
    # As `tokenise` does: the backend's own state is part of what is written, and other calls leave it otherwise.
    prepare_tokenizer(tokenizer, max_length=max_length, overlap=overlap)
    backend = tokenizer.backend_tokenizer
    try:
        written = backend.to_str()
    except Exception:  # the library has no narrower one to say that a part of it is written in Python
        return None
    return hashlib.sha256(f"{written}\0{backend.encode_special_tokens}".encode()).hexdigest()


def _chunk(
    texts: Sequence[str], made: Callable[[Sequence[str]], TokenTable], *, settings: Sequence[str], cache: Cache
) -> TokenTable:
    key = _key(texts, settings)
    payload = _load(cache, key)
    if payload is not None:
        return _unpacked(payload, len(texts))
    table = made(texts)
    cache.write(KIND, key, _packed(table))
    return table


def _load(cache: Cache, key: str) -> bytearray | None:
    entry = cache.read(KIND, key)
    if entry is None:
        return None
    try:
        with entry:
            return entry.read_all()
    except RunError as error:  # torn away since it was looked at, as a network drive may: as good as missing
        cache.trouble = cache.trouble or str(error)
        return None


def _key(texts: Sequence[str], settings: Sequence[str]) -> str:
    """SHA-256 of everything the tokens follow from; lengths come first, so that no two lists of texts read alike."""
    digest = hashlib.sha256("\0".join([*settings, str(len(texts))]).encode() + b"\0")
    digest.update(np.fromiter(map(len, texts), dtype="<i8", count=len(texts)).tobytes())
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _packed(table: TokenTable) -> list[bytes]:
    """Rows and full length of each text and the length of each row as int64, then the ids as int32: little-endian."""
    numbers = (_windows(table), table.full_lengths, np.diff(table.offsets))
    return [*(one.astype("<i8").tobytes() for one in numbers), table.ids.astype("<i4").tobytes()]


def _unpacked(payload: bytearray, texts: int) -> TokenTable:
    about = np.frombuffer(payload, dtype="<i8", count=2 * texts).astype(np.int64)
    rows = int(about[:texts].sum())
    lengths = np.frombuffer(payload, dtype="<i8", offset=about.nbytes, count=rows).astype(np.int64)
    ids = np.frombuffer(payload, dtype="<i4", offset=about.nbytes + lengths.nbytes).astype(np.int32)
    return TokenTable(ids, offsets_of(lengths), about[texts:], starts_of(about[:texts]))


def _joined(tables: list[TokenTable]) -> TokenTable:
    return TokenTable(
        ids=np.concatenate([table.ids for table in tables]),
        offsets=offsets_of(np.concatenate([np.diff(table.offsets) for table in tables])),
        full_lengths=np.concatenate([table.full_lengths for table in tables]),
        starts=starts_of(np.concatenate([_windows(table) for table in tables])),
    )


def _windows(table: TokenTable) -> NDArray[np.int64]:
    """Rows of each text, [texts]."""
    windows = table.windows()
    return np.ones(len(table), dtype=np.int64) if windows is None else windows
