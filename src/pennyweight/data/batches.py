"""Tokens as flat arrays, batches as lists of indices: pure functions of their arguments, seed and epoch included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Order = Literal["sorted", "shuffled"]

FORWARD_TOKENS = 16_384
"""Most tokens of one forward pass unless told otherwise: enough to keep a machine busy, few enough for its memory."""

_CHUNK = 2000
_CHARACTERS_PER_TOKEN = 64
_WINDOW = 64
_WIDTH_STEP = 4


@dataclass(frozen=True)
class TokenTable:
    """The tokens of many texts, end to end in one array."""

    ids: NDArray[np.int32]
    """Token ids of all texts, special tokens included, [sum of lengths]."""
    offsets: NDArray[np.int64]
    """Where each text begins in `ids`, and the end of the last, [texts + 1]."""
    full_lengths: NDArray[np.int64]
    """Tokens each text would have if none were cut off, special tokens included, [texts]."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text as they stand in the table, [texts]."""
        return np.diff(self.offsets)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest text; 0 where there is none."""
        return int(self.lengths().max(initial=0))

    def take(self, items: NDArray[np.integer[Any]]) -> TokenTable:
        """The table of some of the texts, in the order of ``items``."""
        spans = [self.ids[self.offsets[item] : self.offsets[item + 1]] for item in items]
        lengths = self.lengths()[items]
        return TokenTable(
            ids=np.concatenate(spans) if spans else self.ids[:0],
            offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
            full_lengths=self.full_lengths[items],
        )


def tokenise(texts: Sequence[str], tokenizer: Any, *, max_length: int) -> TokenTable:
    """Tokenise once, special tokens in, texts cut at ``max_length`` tokens.

    Of a text only the first ``64 * max_length`` characters are looked at, so that a text of megabytes costs no more
    than a long one; its entry in `TokenTable.full_lengths` is then a lower bound.

    Args:
        texts: the texts, already cleaned.
        tokenizer: a fast tokenizer of Transformers.
        max_length: most tokens of one text, special tokens included.
    """
    ids: list[NDArray[np.int32]] = []
    lengths: list[int] = []
    full_lengths: list[int] = []
    longest = max_length * _CHARACTERS_PER_TOKEN
    special = tokenizer.num_special_tokens_to_add(pair=False)
    # With this text Transformers sets its backend up; asked directly from then on, the backend tracks no offsets, and
    # no lists of attention masks and token types are made that nobody reads. That saves a quarter of the time.
    tokenizer("", truncation=True, max_length=max_length, padding=False)
    encode = tokenizer.backend_tokenizer.encode_batch_fast
    for start in range(0, len(texts), _CHUNK):
        encodings = encode([text[:longest] for text in texts[start : start + _CHUNK]])
        ids.append(np.fromiter(chain.from_iterable(encoding.ids for encoding in encodings), dtype=np.int32))
        for encoding in encodings:
            lengths.append(len(encoding))
            # Each piece that was cut off carries special tokens of its own.
            full_lengths.append(len(encoding) + sum(len(piece) - special for piece in encoding.overflowing))
    return TokenTable(
        ids=np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32),
        offsets=np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64),
        full_lengths=np.array(full_lengths, dtype=np.int64),
    )


def epoch_batches(
    lengths: NDArray[np.integer[Any]], *, batch_size: int, seed: int, epoch: int, order: Order
) -> list[NDArray[np.int64]]:
    """Deal every item into batches, once per epoch.

    `shuffled` cuts a random permutation into batches. `sorted` cuts it into windows of 64 batches, sorts each window
    by length, cuts that into batches and shuffles these: the items of a batch are alike in length, and as far as that
    leaves room, other items meet in every epoch. On 66,000 items of AG News in batches of 32, 1.7 % of the tokens are
    padding then, against 48 % with `shuffled` and 61 % if everything is padded to 128.

    Args:
        lengths: tokens of each item, [items].
        batch_size: items per batch; only the last batch may have fewer.
        seed: seed of the run.
        epoch: number of the epoch, which goes into the seed.
        order: how items are dealt.

    Returns:
        One array of item indices per batch.
    """
    generator = np.random.default_rng([seed, epoch])
    dealt = generator.permutation(len(lengths))
    if order == "shuffled":
        return _cut(dealt, batch_size)
    window = batch_size * _WINDOW
    # The short batch comes from its own draw of items, not from the end of a sorted window, whose items are longest.
    whole = len(dealt) - len(dealt) % batch_size
    batches: list[NDArray[np.int64]] = []
    for start in range(0, whole, window):
        part = dealt[start : min(start + window, whole)]
        batches += _cut(part[np.argsort(lengths[part], kind="stable")], batch_size)
    batches = [batches[index] for index in generator.permutation(len(batches))]
    return batches + ([dealt[whole:]] if whole < len(dealt) else [])


def sequential_batches(
    lengths: NDArray[np.integer[Any]], *, batch_size: int, tokens: int = FORWARD_TOKENS, window: int = 4096
) -> list[NDArray[np.int64]]:
    """Batches for inference: windows of consecutive items, longest first inside each; the caller restores order.

    Args:
        lengths: tokens of each item, [items].
        batch_size: most items per batch.
        tokens: most tokens per batch, padding included.
        window: items that are looked at together, rounded up to whole batches.

    Returns:
        One array of item indices per batch.
    """
    window = -(-window // batch_size) * batch_size
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(lengths), window):
        part = np.arange(start, min(start + window, len(lengths)))
        for batch in _cut(part[np.argsort(-lengths[part], kind="stable")], batch_size):
            batches += split_by_tokens(batch, lengths, tokens=tokens)
    return batches


def split_by_tokens(
    items: NDArray[np.int64], lengths: NDArray[np.integer[Any]], *, tokens: int, width: int | None = None
) -> list[NDArray[np.int64]]:
    """Split a batch that would not fit: items in parts of at most ``tokens`` tokens each, padding included.

    Args:
        items: the batch, [items]; returned as it is where it fits, else longest first.
        lengths: tokens of every item of the table, [all items].
        tokens: most tokens of a part; a single item may have more.
        width: length that everything is padded to; none: the longest of the part.
    """
    padded = lengths[items] if width is None else np.full(len(items), width)
    if len(items) * int(padded.max(initial=0)) <= tokens:
        return [items]
    ordered = items[np.argsort(-padded, kind="stable")]
    parts = []
    while len(ordered):
        count = max(1, tokens // int(lengths[ordered[0]] if width is None else width))
        parts.append(ordered[:count])
        ordered = ordered[count:]
    return parts


def collate(
    table: TokenTable, indices: NDArray[np.integer[Any]], *, pad_id: int, length: int | None = None
) -> dict[str, torch.Tensor]:
    """Gather a batch as padded tensors.

    Args:
        table: the tokens.
        indices: items of the batch, [batch].
        pad_id: the tokenizer's id for padding.
        length: width to pad to; none: the longest item of the batch, rounded up to a multiple of 4 (though not above
            the longest item of the table), since every new shape costs the CPU's matrix library time and memory.

    Returns:
        ``input_ids`` and ``attention_mask``, both int64 [batch, length], padded on the right.

    Raises:
        ValueError: an item is longer than ``length``.
    """
    import torch

    starts = table.offsets[indices]
    lengths = table.offsets[np.asarray(indices) + 1] - starts
    longest = int(lengths.max(initial=0))
    width = min(-(-longest // _WIDTH_STEP) * _WIDTH_STEP, table.longest) if length is None else length
    if longest > width:
        raise ValueError(f"a text of {longest} tokens does not fit a fixed length of {width}")
    positions = np.arange(width)
    mask = positions < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = table.ids[(starts[:, None] + positions)[mask]]
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def _cut(items: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    return [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
