"""Which items an epoch shows where every class is to come equally often."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Sampler = Literal["uniform", "balanced"]


def balanced(classes: NDArray[np.integer[Any]], generator: np.random.Generator) -> NDArray[np.int64]:
    """As many items as there are, each class equally often to within one, in random order.

    A class's items come in rounds, each in an order of its own, so that none comes twice before all have come once.
    """
    present = generator.permutation(np.unique(classes))
    each, over = divmod(len(classes), max(len(present), 1))
    drawn = [np.zeros(0, dtype=np.int64)]
    for place, number in enumerate(present):
        members = np.flatnonzero(classes == number)
        wanted = each + (place < over)
        rounds = np.tile(members, (-(-wanted // len(members)), 1))
        drawn.append(generator.permuted(rounds, axis=1).ravel()[:wanted])
    return generator.permutation(np.concatenate(drawn))
