"""Backbone, budget and head."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import StrictBool, model_validator

from pennyweight.recipe.fields import (
    AboveZero,
    Attention,
    HeadKind,
    Pooling,
    Positive,
    Precision,
    Probability,
    Section,
)


class Backbone(Section):
    """The frozen encoder and how it is held in memory."""

    name: str = "minilm"
    """Alias (`minilm`, `roberta-base`, `roberta-large`), Hub id, or folder with config.json and model.safetensors."""
    revision: str | None = None
    """Branch, tag or commit on the Hub; none: the default branch. Of no meaning for a folder."""
    dropout: StrictBool = False
    """Keep the backbone's own dropout on while training. Off is faster and, on a frozen backbone, as accurate."""
    precision: Precision = "auto"
    """Number format of the frozen weights and of the matrix products. `auto`: bf16 where this machine is fast at it.
    `nf4`: the encoder's matrices in 4 bits, its embeddings in bf16, products as `auto` (QLoRA, Dettmers et al. 2023,
    arXiv 2305.14314); takes the extra `4bit`."""
    attention: Attention = "auto"
    """How attention is computed: `plain` matmul and softmax, `packed` texts without padding, PyTorch's fused `sdpa`, or
    Transformers' own `eager`. `auto`: plain on bf16 CPUs, packed on CUDA in bf16, sdpa elsewhere; eager where the
    architecture has a way of its own (DeBERTa, MPNet)."""


class Budget(Section):
    """What the classifier may weigh."""

    parameters: Positive = 1_000_000
    """Most trainable parameters, head included; a plan above it is refused."""


class Head(Section):
    """From the encoder's output to one logit per class; counted in the budget."""

    kind: HeadKind = "linear"
    """`stock`: the architecture's own; `linear`: one matrix; `low-rank`: two thin ones."""
    pooling: Pooling | None = None
    """Vector that stands for the text: first token's, or mean over tokens. None: `mean`; a stock head has its own."""
    rank: Positive | None = None
    """Inner width of a low-rank head."""
    dropout: Probability | None = None
    """Probability of dropping an element in the head. None: 0, or a stock head's own where `backbone.dropout` is on."""
    start: Literal["random", "probe"] = "random"
    """What a linear head begins with: `random` weights, or `probe`: logistic regression on what the network makes of
    the training texts before it learns (arXiv 2202.10054), so that its first steps do not spoil what it knows."""
    probe_strength: AboveZero = 10.0
    """How closely a probe follows the training items: C of logistic regression on vectors of length 1."""

    @model_validator(mode="after")
    def _no_dead_options(self) -> Self:
        if self.kind == "stock" and self.pooling is not None:
            raise ValueError("head.pooling has no meaning with head.kind = 'stock': leave it out")
        if self.start == "probe" and self.kind != "linear":
            raise ValueError("head.start = 'probe' fits a linear head: set head.kind = 'linear', or leave it out")
        if (self.kind == "low-rank") != (self.rank is not None):
            raise ValueError("head.rank goes with head.kind = 'low-rank', and only with it")
        return self
