"""Where adapters begin, if that follows from the training texts."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from pennyweight.data.batches import FORWARD_TOKENS, TokenTable, collate, epoch_batches, split_by_tokens
from pennyweight.errors import InputError
from pennyweight.model.eva import begin_with_inputs
from pennyweight.model.network import Network
from pennyweight.recipe import Recipe

_BATCHES = 8  # a thousand tokens each or more: directions change little beyond


def begin_adapters(recipe: Recipe, network: Network, table: TokenTable, *, pad_id: int) -> None:
    """Put the recipe's first factors in, where they are made from texts; otherwise they are in already.

    They follow from recipe, texts and seed alone, so that a resumed run makes the same.

    Args:
        recipe: says how factors begin.
        network: freshly built.
        table: tokens of the training texts.
        pad_id: token number that fills the gaps.

    Raises:
        InputError: a matrix sees too few vectors for so many ranks.
    """
    if recipe.adapters.init != "eva":
        return
    table = table.unrolled()  # of a text in several windows, each counts by itself
    training, lengths = recipe.training, table.lengths()
    dealt = epoch_batches(lengths, batch_size=training.batch_size, seed=training.seed, epoch=0, order=recipe.text.order)

    def batches() -> Iterator[dict[str, Tensor]]:
        for indices in dealt[:_BATCHES]:
            for part in split_by_tokens(indices, lengths, tokens=FORWARD_TOKENS, width=None):
                inputs = collate(table, part, pad_id=pad_id)
                yield {name: tensor.to(network.machine.device) for name, tensor in inputs.items()}

    left = begin_with_inputs(network, batches())
    if left:
        raise InputError(
            f"adapters.init = 'eva' wants a matrix to see twice as many vectors as it has ranks, and {left[0]} sees "
            f"fewer: lower the rank, or leave adapters.init at 'default'"
        )
