"""What a backbone's weights and an optimizer's state take in memory, by arithmetic alone."""

from __future__ import annotations

from collections.abc import Iterable

from pennyweight.budget.plan import PlannedMatrix
from pennyweight.budget.selectors import Matrix

STATE_BYTES = {"adamw": 8, "adamw-8bit": 2 + 8 / 256, "sgd": 4, "rmsprop": 8, "muon": 4}
"""Bytes of state for each trained parameter; of Muon, which leaves vectors to AdamW, for those of matrices."""
LEAST_IN_8_BITS = 4096
"""Elements that a tensor has at least whose moments ``adamw-8bit`` keeps in 8 bits, with a scale for each 256."""
_AVERAGES = 8
"""Bytes of AdaLoRA's two averages of an element."""
_INNER = 256
"""Scales of NF4's blocks that share a scale of their own."""


def nf4_block(width: int) -> int | None:
    """Elements that share a scale in NF4, by the number of a matrix's inputs; none: it is not kept in 4 bits.

    A block may not reach into the next row: bitsandbytes' decoder for CPUs (0.50) would take it for another.
    """
    return next((block for block in (64, 32) if width % block == 0), None)


def backbone_bytes(total: int, matrices: Iterable[Matrix]) -> dict[str, int]:
    """Bytes of a frozen backbone by number format.

    In NF4 an element of a matrix takes half a byte, a block of them (`nf4_block`) a scale of one byte, and 256 scales
    four bytes more; all else, nearly all of it embeddings, is counted with two bytes.

    Args:
        total: parameters of the base model.
        matrices: every linear map of the encoder.
    """
    four_bits = 2 * total
    for matrix in matrices:
        block, count = nf4_block(matrix.fan_in), matrix.fan_in * matrix.fan_out
        if block is not None:
            four_bits += count // 2 + count // block + 4 * -(-count // (block * _INNER)) - 2 * count
    return {"fp32": 4 * total, "bf16": 2 * total, "nf4": four_bits}


def state_bytes(
    optimizer: str, planned: Iterable[PlannedMatrix], *, others: Iterable[int] = (), undecided: int = 0
) -> int:
    """Bytes that an optimizer remembers of the trained parameters.

    Args:
        optimizer: its name in the recipe.
        planned: adapted matrices; of AdaLoRA's, with the two averages of each element that its pruning goes by.
        others: parameters of what else is trained, each counted as one matrix: the head, a prompt.
        undecided: most parameters of pairs whose ranks are not found yet; counted with the most that they may take.
    """
    tensors = list(others)
    vectors = []
    averages = 0
    for matrix in planned:
        factors = [matrix.rank * matrix.fan_in, matrix.rank * matrix.fan_out] if matrix.kind != "ia3" else []
        tensors += factors
        vectors.append(matrix.parameters - sum(factors))
        averages += _AVERAGES * matrix.parameters * (matrix.kind == "adalora")
    each = STATE_BYTES[optimizer]
    if optimizer == "adamw-8bit":
        moments = sum(int(size * (each if size >= LEAST_IN_8_BITS else 8)) for size in (*tensors, *vectors))
        return moments + 8 * undecided + averages
    return int(each * (sum(tensors) + undecided) + STATE_BYTES[_of_vectors(optimizer)] * sum(vectors)) + averages


def _of_vectors(optimizer: str) -> str:
    return "adamw" if optimizer == "muon" else optimizer
