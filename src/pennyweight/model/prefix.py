"""What the frozen layers below the lowest adapter make of every text: computed once, kept on disk, read ever after.

Nothing below the lowest adapted layer changes while a classifier learns, so that later epochs, later runs and runs of
other seeds start from there. Entries are read by position rather than mapped: a mapped file's pages would count as
this process's memory, and each page's first touch costs more than its read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pennyweight.cache import Cache
from pennyweight.data.batches import TokenTable, collate, sequential_batches
from pennyweight.errors import RunError
from pennyweight.model.backbone import BackboneFiles
from pennyweight.model.chunks import Chunks
from pennyweight.model.device import Machine
from pennyweight.model.network import Network
from pennyweight.model.prepacking import PrepackedLinear

KIND = "prefix"

_FORMAT = "prefix 1"  # a new one whenever the layout of the payload means something else
_CHUNK_TOKENS = 1 << 17
_BATCH = 64


@dataclass(frozen=True)
class Prefix:
    """The input of the lowest trained layer for each text of a token table."""

    offsets: NDArray[np.int64]
    """Where each text's tokens begin among those of all texts, and the end of the last, [texts + 1]."""
    firsts: NDArray[np.int64]
    """First text of each chunk, [chunks]."""
    chunks: Chunks
    """On disk: hidden states of their texts' tokens, end to end."""
    width: int
    dtype: torch.dtype
    items: NDArray[np.int64]
    """Which texts stand here, in this order."""
    lost: Callable[[RunError], None]
    """Told, in the thread that gathers, why texts could not be read."""

    def take(self, items: NDArray[np.int64]) -> Prefix:
        """The prefix of some of the texts, in the order of ``items``."""
        return replace(self, items=self.items[items])

    def gather(self, indices: NDArray[np.int64], *, length: int) -> Tensor | None:
        """Hidden states of some texts, [texts, length, width], zeros behind a text's end.

        None where a disk fails or another process has evicted a chunk; `lost` is told.
        """
        # By numpy alone: an operator of torch would start threads of its own in a thread that makes batches ahead.
        rows = np.zeros((len(indices), length, self.width), dtype=f"i{self.dtype.itemsize}")
        size = self.width * self.dtype.itemsize
        texts = self.items[indices]
        chunks = np.searchsorted(self.firsts, texts, side="right") - 1
        try:
            for row, text, chunk in zip(rows, texts.tolist(), chunks.tolist(), strict=True):
                begin = self.offsets[text] - self.offsets[self.firsts[chunk]]
                count = self.offsets[text + 1] - self.offsets[text]
                self.chunks.read_into(chunk, row[:count].data, int(begin) * size)
        except RunError as error:
            self.lost(error)
            return None
        return torch.from_numpy(rows).view(self.dtype)

    def put_in(self, batch: dict[str, Tensor], indices: NDArray[np.int64]) -> dict[str, Tensor]:
        """A batch with the prefix of its rows in place of their tokens; as it is where that cannot be read.

        Args:
            batch: what `collate` made.
            indices: the texts that its rows are of.
        """
        hidden = self.gather(indices, length=batch["input_ids"].shape[1])
        if hidden is None:
            return batch
        return {**{name: tensor for name, tensor in batch.items() if name != "input_ids"}, "prefix": hidden}

    def close(self) -> None:
        """Close the cache's files; they are opened again where something is read."""
        self.chunks.close()

    @property
    def bytes(self) -> int:
        """What the chunks take on disk."""
        return self.chunks.bytes


def open_prefix(
    network: Network,
    files: BackboneFiles,
    table: TokenTable,
    *,
    pad_id: int,
    cache: Cache,
    progress: Callable[[int], None] = lambda _texts: None,
    lost: Callable[[RunError], None] = lambda _error: None,
) -> Prefix | None:
    """Find the prefix of every text in the cache, computing what is missing.

    Args:
        network: the network to be trained; its frozen layers draw no dropout.
        files: what identifies the backbone.
        table: tokenised texts of one row each; of windows, `TokenTable.unrolled`.
        pad_id: token number that fills the gaps.
        cache: where the chunks are kept, by the digests of weights and tokens.
        progress: told the number of texts done, after each batch that is computed; what it raises ends the work, and
            the chunks done are kept.
        lost: told later why texts cannot be read any more; in the thread that gathers, each time.

    Returns:
        The prefix; none where there is nothing to save (the lowest layer is trained, or the architecture is not known
        layer by layer), or where the cache cannot hold it all: the cache's ``trouble`` says why.
    """
    stack = network.stack
    if stack is None or not len(table) or network.frozen_layers == 0:
        return None
    width, dtype = stack.width, network.machine.dtype
    if not cache.has_room_for(int(table.offsets[-1]) * width * dtype.itemsize):
        return None
    firsts, chunks = _chunk_starts(table.offsets), Chunks()
    for first, end in zip(firsts.tolist(), [*firsts[1:].tolist(), len(table)], strict=True):
        chunk = table.take(np.arange(first, end))
        key = _key(files, chunk, layer=network.frozen_layers, machine=network.machine)
        entry = cache.read(KIND, key)
        if entry is None:
            states = _computed(network, chunk, width=width, pad_id=pad_id, progress=_counting_from(first, progress))
            entry = cache.read(KIND, key) if cache.write(KIND, key, states) else None
        if entry is None:
            return None
        chunks.add(entry)
        progress(end)
    forget_orders(network)
    return Prefix(table.offsets, firsts, chunks, width, dtype, np.arange(len(table)), lost)


def _counting_from(first: int, progress: Callable[[int], None]) -> Callable[[int], None]:
    return lambda texts: progress(first + texts)


def forget_orders(network: Network) -> None:
    """Drop the ordered copies of a network's matrices; of those that are used again they are made anew."""
    for module in network.encoder.modules():
        if isinstance(module, PrepackedLinear):
            module.forget()


def _computed(
    network: Network, table: TokenTable, *, width: int, pad_id: int, progress: Callable[[int], None]
) -> NDArray[Any]:
    """Hidden states of all tokens of ``table``, end to end, as integers of the same bits."""
    device = network.machine.device
    flat = torch.empty(int(table.offsets[-1]), width, dtype=network.machine.dtype)
    was_training, done = network.training, 0
    network.eval()
    try:
        for indices in sequential_batches(table.lengths(), batch_size=_BATCH):
            batch = {name: tensor.to(device) for name, tensor in collate(table, indices, pad_id=pad_id).items()}
            positions = np.concatenate([np.arange(table.offsets[i], table.offsets[i + 1]) for i in indices])
            with torch.inference_mode():
                hidden = network.prefix(**batch)[batch["attention_mask"].bool()].cpu()
                flat[torch.from_numpy(positions)] = hidden
            done += len(indices)
            progress(done)
    finally:
        network.train(was_training)
    return flat.view(_as_bytes(flat.dtype)).numpy()


def _key(files: BackboneFiles, chunk: TokenTable, *, layer: int, machine: Machine) -> str:
    """SHA-256 of all that the chunk's hidden states depend on: backbone, layer, machine, PyTorch, tokens."""
    config = json.dumps(dict(files.config), sort_keys=True, default=str)
    computed = f"{files.digest}\n{layer}\n{machine.line()}\n{torch.__version__}\n"
    digest = hashlib.sha256(f"{_FORMAT}\n{config}\n{computed}".encode())
    digest.update(chunk.offsets.astype("<i8").tobytes())
    digest.update(chunk.ids.astype("<i4").tobytes())
    return digest.hexdigest()


def _chunk_starts(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """First texts of chunks of about 131,072 tokens; where chunks end does not depend on what follows."""
    starts = [0]
    while True:
        following = int(np.searchsorted(offsets, offsets[starts[-1]] + _CHUNK_TOKENS))
        if following >= len(offsets) - 1:
            return np.array(starts, dtype=np.int64)
        starts.append(following)


def _as_bytes(dtype: torch.dtype) -> torch.dtype:
    """An integer format of the same width, which numpy knows."""
    return {2: torch.int16, 4: torch.int32}[dtype.itemsize]
