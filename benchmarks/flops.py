"""How many floating-point operations a batch really needs, whatever a contender spends on it.

Counted are the matrix products of an encoder built as BERT is, a multiply-add as two, from the true lengths of the
texts. What is not needed is not counted: padding; gradients of frozen weights; gradients that reach nothing that
learns; all but the first token in the last layer, where the head looks at that token alone. Embeddings, norms, softmax,
activations and biases, below one per cent together, are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["query", "key", "value", "attention.output", "up", "down"]
KINDS: tuple[Kind, ...] = ("query", "key", "value", "attention.output", "up", "down")
ENDINGS: Mapping[str, Kind] = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "attention.output",
    "intermediate.dense": "up",
    "output.dense": "down",
}


@dataclass(frozen=True)
class Encoder:
    """The sizes that matter."""

    layers: int
    hidden: int
    inner: int
    """Width within the feed-forward part."""
    classes: int
    dense_head: bool
    """Whether a square matrix stands between the first token and the classifier, as BERT's pooler does."""
    dense_head_learns: bool
    """Whether that matrix is trained, as RoBERTa's is, and not frozen, as BERT's is."""

    def sizes(self, kind: Kind) -> tuple[int, int]:
        """Input and output width of a matrix."""
        if kind == "up":
            return self.hidden, self.inner
        return (self.inner, self.hidden) if kind == "down" else (self.hidden, self.hidden)


Adapters = Mapping[tuple[int, Kind], int]
"""(layer, matrix) → rank of its LoRA pair."""


@dataclass(frozen=True)
class Needed:
    """FLOPs of a batch."""

    forward: int
    backward: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.forward + self.backward

    def __add__(self, other: Needed) -> Needed:
        """Sum."""
        return Needed(self.forward + other.forward, self.backward + other.backward)


def needed_flops(
    lengths: Iterable[int],
    encoder: Encoder,
    adapters: Adapters,
    *,
    first_token_only: bool = True,
    prefix_kept: bool = False,
) -> Needed:
    """FLOPs that one training step on texts of these lengths needs.

    Args:
        lengths: tokens of each text.
        encoder: the sizes.
        adapters: where LoRA pairs are.
        first_token_only: the head looks at the first token, so the last layer is needed for that token alone.
        prefix_kept: the output of the layers below the lowest adapted one is at hand and not computed.
    """
    tokens = list(lengths)
    lowest = min((layer for layer, _ in adapters), default=encoder.layers)
    needed = _head(len(tokens), encoder, flowing=bool(adapters))
    for layer in range(lowest if prefix_kept else 0, encoder.layers):
        narrow = first_token_only and layer == encoder.layers - 1
        ranks = {kind: adapters.get((layer, kind), 0) for kind in KINDS}
        needed += _layer(tokens, encoder, ranks, flowing=layer > lowest, narrow=narrow)
    return needed


def adapters_by_kind(ranks: Iterable[tuple[str, int, int]]) -> dict[tuple[int, Kind], int]:
    """(matrix name, layer, rank) triples, as a plan holds them, by layer and kind; ValueError for another matrix."""
    found: dict[tuple[int, Kind], int] = {}
    for name, layer, rank in ranks:
        kind = next((kind for ending, kind in ENDINGS.items() if name.endswith(ending)), None)
        if kind is None:
            raise ValueError(f"{name} is no matrix of an encoder built as BERT is")
        found[layer, kind] = rank
    return found


def _layer(tokens: list[int], encoder: Encoder, ranks: Mapping[Kind, int], *, flowing: bool, narrow: bool) -> Needed:
    """One layer; ``flowing``: a gradient is wanted for its input; ``narrow``: only first tokens leave it."""
    rows = sum(tokens)
    asking = len(tokens) if narrow else rows
    scores = sum(tokens) if narrow else sum(length * length for length in tokens)
    product = 2 * scores * encoder.hidden  # Q Kᵀ costs as much as the weights' product with V
    wants = {kind: flowing or ranks[kind] > 0 for kind in ("query", "key", "value")}
    within = any(wants.values())
    after = within or ranks["attention.output"] > 0
    inputs: dict[Kind, tuple[int, bool]] = {
        "query": (asking, flowing),
        "key": (rows, flowing),
        "value": (rows, flowing),
        "attention.output": (asking, within),
        "up": (asking, after),
        "down": (asking, after or ranks["up"] > 0),
    }
    needed = Needed(0, 0)
    for kind, (count, input_flows) in inputs.items():
        needed += _matrix(count, *encoder.sizes(kind), rank=ranks[kind], input_flows=input_flows)
    # Gradients of the scores serve query and key; one product more for each of query, key and value that is wanted.
    of_scores = wants["query"] or wants["key"]
    return needed + Needed(2 * product, product * (of_scores + wants["query"] + wants["key"] + wants["value"]))


def _matrix(rows: int, fan_in: int, fan_out: int, *, rank: int, input_flows: bool) -> Needed:
    """A frozen matrix with its LoRA pair (rank 0: none)."""
    thin = 2 * rows * rank
    backward = 2 * rows * fan_in * fan_out if input_flows else 0
    if rank:
        backward += thin * fan_out + thin * fan_out + thin * fan_in + (thin * fan_in if input_flows else 0)
    return Needed(2 * rows * fan_in * fan_out + thin * (fan_in + fan_out), backward)


def _head(texts: int, encoder: Encoder, *, flowing: bool) -> Needed:
    """Pooler or dense layer, where there is one, and classifier; the classifier always learns."""
    classifier = 2 * texts * encoder.hidden * encoder.classes
    dense = 2 * texts * encoder.hidden**2 if encoder.dense_head else 0
    behind = flowing or (encoder.dense_head and encoder.dense_head_learns)
    backward = classifier + (classifier if behind else 0)
    backward += (dense if encoder.dense_head_learns else 0) + (dense if flowing else 0)
    return Needed(classifier + dense, backward)
