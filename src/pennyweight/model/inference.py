"""Logits of many texts, or the vectors behind them, batch by batch, in the texts' own order."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from pennyweight.data.batches import TokenTable, collate, sequential_batches
from pennyweight.model.network import Network
from pennyweight.model.prefix import Prefix


def compute_logits(
    network: Network,
    table: TokenTable,
    *,
    batch_size: int,
    pad_id: int,
    prefix: Prefix | None = None,
    part: int = 0,
    parts: int = 1,
) -> np.ndarray:
    """Logits of every text of ``table``, [n, classes], fp32, in the table's order; dropout is off meanwhile.

    Args:
        network: the network; left in the mode it was in.
        table: tokenised texts.
        batch_size: most texts per forward pass; texts of similar length go together.
        pad_id: token number that fills the gaps.
        prefix: what the frozen layers make of the rows of ``table``, in its order; none: that is computed too.
        part: which of several processes this is; it computes every ``parts``-th batch and leaves the others 0, so
            that the sum over processes is the whole.
        parts: number of processes.
    """
    logits = np.zeros((len(table), network.shape.classes), dtype=np.float32)
    _compute(network, network, table, logits, batch_size=batch_size, pad_id=pad_id, prefix=prefix, share=(part, parts))
    return logits


def compute_features(
    network: Network, table: TokenTable, *, batch_size: int, pad_id: int, prefix: Prefix | None = None
) -> np.ndarray:
    """What the head sees of every text of ``table``, [n, hidden], fp32; arguments as of `compute_logits`."""
    hidden = network.encoder.get_base_model().config.hidden_size
    features = np.zeros((len(table), hidden), dtype=np.float32)
    _compute(network, network.features, table, features, batch_size=batch_size, pad_id=pad_id, prefix=prefix)
    return features


def _compute(
    network: Network,
    forward: Callable[..., Tensor],
    table: TokenTable,
    out: np.ndarray,
    *,
    batch_size: int,
    pad_id: int,
    prefix: Prefix | None,
    share: tuple[int, int] = (0, 1),
) -> None:
    """Fill the rows of ``out`` with what ``forward`` makes of the texts, of every ``share[1]``-th batch."""
    was_training = network.training
    network.eval()
    device = network.machine.device
    part, parts = share
    with torch.inference_mode():
        batches = sequential_batches(table.widths(), batch_size=batch_size, rows=table.windows())
        for indices in batches[part::parts]:
            batch = collate(table, indices, pad_id=pad_id)
            if prefix is not None:
                batch = prefix.put_in(batch, table.rows(indices))
            output = forward(**{name: tensor.to(device) for name, tensor in batch.items()})
            out[indices] = output.cpu().numpy()
    network.train(was_training)
