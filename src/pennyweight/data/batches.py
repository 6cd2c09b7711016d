"""Tokens as flat arrays, batches as lists of indices: pure functions of their arguments, seed and epoch included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pennyweight.data.balancing import balanced

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
    """The tokens of many texts, end to end in one array.

    A text is one row of tokens, or several: its windows, which overlap, each with special tokens of its own.
    """

    ids: NDArray[np.int32]
    """Token ids of all rows, special tokens included, [sum of lengths]."""
    offsets: NDArray[np.int64]
    """Where each row begins in `ids`, and the end of the last, [rows + 1]."""
    full_lengths: NDArray[np.int64]
    """Tokens each text would have in one piece with nothing cut off, special tokens included, [texts]."""
    starts: NDArray[np.int64] | None = None
    """Number of each text's first row, and the end of the last, [texts + 1]; none: every text is one row."""

    def __len__(self) -> int:
        return len(self.offsets if self.starts is None else self.starts) - 1

    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each text as they stand in the table, all its rows together, [texts]."""
        return np.diff(self.offsets if self.starts is None else self.offsets[self.starts])

    def widths(self) -> NDArray[np.int64]:
        """Tokens of each text's longest row, [texts]."""
        rows = np.diff(self.offsets)
        return rows if self.starts is None else np.maximum.reduceat(rows, self.starts[:-1])

    def windows(self) -> NDArray[np.int64] | None:
        """Rows of each text, [texts]; none: one each."""
        return None if self.starts is None else np.diff(self.starts)

    @cached_property
    def longest(self) -> int:
        """Tokens of the longest row; 0 where there is none."""
        return int(np.diff(self.offsets).max(initial=0))

    def rows(self, items: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        """Numbers of the rows of some texts, in the order of ``items``, [rows of these texts]."""
        if self.starts is None:
            return np.asarray(items, dtype=np.int64)
        first, counts = self.starts[items], self.starts[np.asarray(items) + 1] - self.starts[items]
        ends = np.cumsum(counts, dtype=np.int64)
        return np.repeat(first - ends + counts, counts) + np.arange(ends[-1] if len(ends) else 0)

    def take(self, items: NDArray[np.integer[Any]]) -> TokenTable:
        """The table of some of the texts, in the order of ``items``."""
        rows, windows = self.rows(items), self.windows()
        spans = [self.ids[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        return TokenTable(
            ids=np.concatenate(spans) if spans else self.ids[:0],
            offsets=offsets_of(np.diff(self.offsets)[rows]),
            full_lengths=self.full_lengths[items],
            starts=None if windows is None else starts_of(windows[items]),
        )

    def unrolled(self) -> TokenTable:
        """The table in which every row is a text of its own."""
        return self if self.starts is None else TokenTable(self.ids, self.offsets, np.diff(self.offsets))


def offsets_of(lengths: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Where pieces laid end to end begin, and the end of the last: [n] → [n + 1]."""
    return np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths, dtype=np.int64)])


def starts_of(windows: NDArray[np.integer[Any]]) -> NDArray[np.int64] | None:
    """`TokenTable.starts` of texts of so many rows each, [texts]; none where each has one."""
    return None if (windows == 1).all() else offsets_of(windows)


def tokenise(
    texts: Sequence[str], tokenizer: Any, *, max_length: int, windows: int = 1, overlap: int = 0
) -> TokenTable:
    """Tokenise once, special tokens in, texts cut at ``max_length`` tokens or into windows of as many.

    Of a text only the first ``64 * max_length`` characters per window are looked at, so that a text of megabytes costs
    no more than a long one; its entry in `TokenTable.full_lengths` is then a lower bound.

    Args:
        texts: the texts, already cleaned.
        tokenizer: a fast tokenizer of Transformers.
        max_length: most tokens of one row, special tokens included.
        windows: most rows of one text; what is beyond the last is cut off.
        overlap: tokens that neighbouring rows of a text have in common, special tokens not counted; fewer than a row
            has beside its special tokens.
    """
    ids: list[NDArray[np.int32]] = []
    counts: list[int] = []
    lengths: list[int] = []
    full_lengths: list[int] = []
    longest = max_length * windows * _CHARACTERS_PER_TOKEN
    shared = overlap if windows > 1 else 0
    again = tokenizer.num_special_tokens_to_add(pair=False) + shared
    prepare_tokenizer(tokenizer, max_length=max_length, overlap=shared)
    encode = tokenizer.backend_tokenizer.encode_batch_fast
    for start in range(0, len(texts), _CHUNK):
        kept: list[Any] = []
        for encoding in encode([text[:longest] for text in texts[start : start + _CHUNK]]):
            rest = encoding.overflowing
            kept += [encoding, *rest[: windows - 1]]
            counts.append(min(windows, 1 + len(rest)))
            # Each further piece repeats special tokens, and what it shares with the one before.
            full_lengths.append(len(encoding) + sum(len(piece) - again for piece in rest))
        lengths += map(len, kept)
        ids.append(np.fromiter(chain.from_iterable(piece.ids for piece in kept), dtype=np.int32))
    return TokenTable(
        ids=np.concatenate(ids) if ids else np.zeros(0, dtype=np.int32),
        offsets=offsets_of(np.array(lengths, dtype=np.int64)),
        full_lengths=np.array(full_lengths, dtype=np.int64),
        starts=starts_of(np.array(counts, dtype=np.int64)),
    )


def prepare_tokenizer(tokenizer: Any, *, max_length: int, overlap: int) -> None:
    """Make a tokenizer's backend cut texts at ``max_length`` tokens, pieces sharing ``overlap`` of them.

    With the empty text Transformers sets its backend up; asked directly from then on, the backend tracks no offsets,
    and no lists of attention masks and token types are made that nobody reads. That saves a quarter of the time.
    """
    tokenizer("", truncation=True, max_length=max_length, stride=overlap, padding=False)


def longest_whole(tokenizer: Any, *, max_length: int, windows: int, overlap: int) -> int:
    """Most tokens of a text of which `tokenise` cuts nothing off, as `TokenTable.full_lengths` counts them."""
    inside = max_length - int(tokenizer.num_special_tokens_to_add(pair=False))
    return max_length + (windows - 1) * (inside - overlap)


def epoch_batches(
    lengths: NDArray[np.integer[Any]],
    *,
    batch_size: int,
    seed: int,
    epoch: int,
    order: Order,
    classes: NDArray[np.integer[Any]] | None = None,
) -> list[NDArray[np.int64]]:
    """Deal the items of an epoch into batches: every item once, or, with ``classes``, every class equally often.

    `shuffled` cuts a random permutation into batches. `sorted` cuts it into windows of 64 batches, sorts each window
    by length, cuts that into batches and shuffles these: the items of a batch are alike in length, and as far as that
    leaves room, other items meet in every epoch. On AG News in batches of 32, 1.7 % of the tokens are padding then,
    against 48 % with `shuffled` and 61 % if everything is padded to 128.

    Args:
        lengths: tokens of each item, [items].
        batch_size: items per batch; only the last batch may have fewer.
        seed: seed of the run.
        epoch: number of the epoch, which goes into the seed.
        order: how items are dealt.
        classes: class of each item, [items], where classes are to be balanced; the number of batches stays the same.

    Returns:
        One array of item indices per batch.
    """
    generator = np.random.default_rng([seed, epoch])
    dealt = generator.permutation(len(lengths)) if classes is None else balanced(classes, generator)
    if order == "shuffled":
        return _cut(dealt, batch_size)
    # The short batch comes from its own draw of items, not from the end of a sorted window, whose items are longest.
    whole = len(dealt) - len(dealt) % batch_size
    batches: list[NDArray[np.int64]] = []
    for part in _cut(dealt[:whole], batch_size * _WINDOW):
        batches += _cut(part[np.argsort(lengths[part], kind="stable")], batch_size)
    batches = [batches[index] for index in generator.permutation(len(batches))]
    return batches + ([dealt[whole:]] if whole < len(dealt) else [])


def sequential_batches(
    lengths: NDArray[np.integer[Any]],
    *,
    batch_size: int,
    tokens: int = FORWARD_TOKENS,
    window: int = 4096,
    rows: NDArray[np.integer[Any]] | None = None,
) -> list[NDArray[np.int64]]:
    """Batches for inference: windows of consecutive items, longest first inside each; the caller restores order.

    Args:
        lengths: tokens of each item's longest row, [items].
        batch_size: most items per batch.
        tokens: most tokens per batch, padding included.
        window: items that are looked at together, rounded up to whole batches.
        rows: rows of each item, [items]; none: one each.

    Returns:
        One array of item indices per batch.
    """
    window = -(-window // batch_size) * batch_size
    sizes = lengths if rows is None else lengths * rows
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(lengths), window):
        part = np.arange(start, min(start + window, len(lengths)))
        for batch in _cut(part[np.argsort(-sizes[part], kind="stable")], batch_size):
            batches += split_by_tokens(batch, lengths, tokens=tokens, rows=rows)
    return batches


def split_by_tokens(
    items: NDArray[np.int64],
    lengths: NDArray[np.integer[Any]],
    *,
    tokens: int,
    width: int | None = None,
    rows: NDArray[np.integer[Any]] | None = None,
) -> list[NDArray[np.int64]]:
    """Split a batch that would not fit: items in parts of at most ``tokens`` tokens each, padding included.

    Args:
        items: the batch, [items]; returned as it is where it fits, else longest first.
        lengths: tokens of the longest row of every item of the table, [all items].
        tokens: most tokens of a part; a single item may have more.
        width: length that every row is padded to; none: the longest of the part.
        rows: rows of every item of the table, [all items]; none: one each.
    """
    padded = lengths[items] if width is None else np.full(len(items), width)
    counts = np.ones(len(items), dtype=np.int64) if rows is None else rows[items]
    if int(counts.sum()) * int(padded.max(initial=0)) <= tokens:
        return [items]
    order = np.argsort(-padded, kind="stable")
    parts = []
    while len(order):
        most = tokens // int(padded[order[0]])
        count = max(1, int(np.searchsorted(np.cumsum(counts[order]), most, side="right")))
        parts.append(items[order[:count]])
        order = order[count:]
    return parts


def collate(
    table: TokenTable, indices: NDArray[np.integer[Any]], *, pad_id: int, length: int | None = None
) -> dict[str, torch.Tensor]:
    """Gather a batch as padded tensors.

    Args:
        table: the tokens.
        indices: items of the batch, [batch].
        pad_id: the tokenizer's id for padding.
        length: width to pad to; none: the longest row of the batch, rounded up to a multiple of 4 (though not above
            the longest row of the table), since every new shape costs the CPU's matrix library time and memory.

    Returns:
        ``input_ids`` and ``attention_mask``, both int64 [rows, length], padded on the right. Where items have several
        rows, also ``starts``: the first row of each item, and the end of the last, int64 [batch + 1].

    Raises:
        ValueError: a row is longer than ``length``.
    """
    import torch

    rows, windows = table.rows(indices), table.windows()
    starts = table.offsets[rows]
    lengths = table.offsets[rows + 1] - starts
    longest = int(lengths.max(initial=0))
    width = min(-(-longest // _WIDTH_STEP) * _WIDTH_STEP, table.longest) if length is None else length
    if longest > width:
        raise ValueError(f"a text of {longest} tokens does not fit a fixed length of {width}")
    positions = np.arange(width)
    mask = positions < lengths[:, None]
    ids = np.full(mask.shape, pad_id, dtype=np.int64)
    ids[mask] = table.ids[(starts[:, None] + positions)[mask]]
    batch = {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}
    if windows is not None:
        batch["starts"] = torch.from_numpy(offsets_of(windows[indices]))
    return batch


def _cut(items: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    return [items[start : start + batch_size] for start in range(0, len(items), batch_size)]
