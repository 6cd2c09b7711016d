"""Tokens from the cache: of what has been tokenised before, only the rest is tokenised again."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pennyweight.cache import Cache
from pennyweight.data.batches import TokenTable, tokenise
from pennyweight.errors import RunError

KIND = "tokens"

_FORMAT = "tokens 1"  # a new one whenever `tokenise` or the layout of the payload means something else
_CHUNK = 4000


def tokenise_cached(texts: Sequence[str], tokenizer: Any, *, max_length: int, cache: Cache) -> TokenTable:
    """What `tokenise` gives, chunk by chunk of 4,000 consecutive texts from the cache where they are in it.

    A chunk is found by its texts, the length they are cut at, the tokenizer as it runs and the version of the library
    that runs it. What is missing, damaged or cannot be kept is tokenised, which the tokenizers library does on all
    cores; so is everything by a tokenizer with parts in Python, of which nothing can tell whether they are the same.

    Args:
        texts: the texts, already cleaned.
        tokenizer: a fast tokenizer of Transformers.
        max_length: most tokens of one text, special tokens included.
        cache: where chunks are kept.
    """
    backend = _backend(tokenizer, max_length=max_length)
    if not texts or backend is None:
        return tokenise(texts, tokenizer, max_length=max_length)
    tables = [
        _chunk(texts[start : start + _CHUNK], tokenizer, max_length=max_length, backend=backend, cache=cache)
        for start in range(0, len(texts), _CHUNK)
    ]
    return _joined(tables)


def _backend(tokenizer: Any, *, max_length: int) -> str | None:
    """SHA-256 of what `tokenise` will run, whatever files and options it was made of; none: it cannot be written."""
    # As `tokenise` does: the backend's own state is part of what is written, and other calls leave it otherwise.
    tokenizer("", truncation=True, max_length=max_length, padding=False)
    backend = tokenizer.backend_tokenizer
    try:
        written = backend.to_str()
    except Exception:  # the library has no narrower one to say that a part of it is written in Python
        return None
    return hashlib.sha256(f"{written}\0{backend.encode_special_tokens}".encode()).hexdigest()


def _chunk(texts: Sequence[str], tokenizer: Any, *, max_length: int, backend: str, cache: Cache) -> TokenTable:
    key = _key(texts, backend=backend, max_length=max_length)
    payload = _load(cache, key)
    if payload is not None:
        return _unpacked(payload, len(texts))
    table = tokenise(texts, tokenizer, max_length=max_length)
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


def _key(texts: Sequence[str], *, backend: str, max_length: int) -> str:
    """SHA-256 of everything the tokens follow from; lengths come first, so that no two lists of texts read alike."""
    settings = [_FORMAT, metadata.version("tokenizers"), backend, str(max_length), str(len(texts))]
    digest = hashlib.sha256("\0".join(settings).encode() + b"\0")
    digest.update(np.fromiter(map(len, texts), dtype="<i8", count=len(texts)).tobytes())
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _packed(table: TokenTable) -> list[bytes]:
    """Lengths and full lengths as int64, then the ids as int32, all little-endian."""
    lengths, full_lengths = (numbers.astype("<i8").tobytes() for numbers in (table.lengths(), table.full_lengths))
    return [lengths, full_lengths, table.ids.astype("<i4").tobytes()]


def _unpacked(payload: bytearray, texts: int) -> TokenTable:
    numbers = np.frombuffer(payload, dtype="<i8", count=2 * texts).astype(np.int64)
    ids = np.frombuffer(payload, dtype="<i4", offset=numbers.nbytes).astype(np.int32)
    return TokenTable(ids=ids, offsets=_offsets(numbers[:texts]), full_lengths=numbers[texts:])


def _joined(tables: list[TokenTable]) -> TokenTable:
    return TokenTable(
        ids=np.concatenate([table.ids for table in tables]),
        offsets=_offsets(np.concatenate([table.lengths() for table in tables])),
        full_lengths=np.concatenate([table.full_lengths for table in tables]),
    )


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])
