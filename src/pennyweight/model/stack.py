"""An encoder cut open: embeddings, then one layer after another, so that a part can be computed apart.

This is what the frozen prefix, the first-token shortcut and packed batches stand on. It covers the architectures that
are built as BERT is; of others the whole model is called as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pennyweight.model.adapters import prompt_of
from pennyweight.model.attention import attend
from pennyweight.model.layout import Layout

FAMILY = ("bert", "roberta", "xlm-roberta", "camembert", "electra")
"""Model types whose layers are built as BERT's are."""


class Stack:
    """The layers of an encoder, adapters included; it holds no parameters of its own."""

    def __init__(self, model: Any, prompt: Any = None) -> None:
        """Cut ``model`` open: a Transformers model of `FAMILY`, with or without a stock head and a prompt of PEFT's."""
        self._model = model
        self._prompt = prompt
        self._base = model.base_model
        self._layers = list(self._base.encoder.layer)
        self._projects = hasattr(self._base, "embeddings_project")

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self._layers)

    @property
    def width(self) -> int:
        """Elements of a hidden state."""
        return int(self._base.config.hidden_size)

    @property
    def prompt_length(self) -> int:
        """Vectors that stand before every text."""
        return 0 if self._prompt is None else int(self._prompt.embedding.num_embeddings)

    def lowest_trained(self) -> int:
        """The lowest layer in which something requires a gradient; `depth` where none does, 0 beneath a prompt."""
        if self._prompt is not None:
            return 0
        below = [self._base.embeddings, *([self._base.embeddings_project] if self._projects else [])]
        if any(parameter.requires_grad for module in below for parameter in module.parameters()):
            return 0
        trained = (any(p.requires_grad for p in layer.parameters()) for layer in self._layers)
        return next((index for index, found in enumerate(trained) if found), self.depth)

    def embed(self, input_ids: Tensor, places: Tensor | None = None) -> Tensor:
        """Embeddings of a batch, [texts, length] → [texts, length, width].

        Args:
            input_ids: token numbers.
            places: each token's place in its text, from 0; none: texts begin at the row's begin.
        """
        embeddings = self._base.embeddings
        if places is None:
            hidden: Tensor = embeddings(input_ids=input_ids)
        else:
            padding = getattr(embeddings, "padding_idx", None)  # RoBERTa counts places from behind this number
            hidden = embeddings(input_ids=input_ids, position_ids=places if padding is None else places + padding + 1)
        if self._projects:
            hidden = self._base.embeddings_project(hidden)
        return hidden

    def embed_prompted(self, input_ids: Tensor) -> Tensor:
        """Embeddings of a batch with the prompt before every text, [texts, length] → [texts, prompt + length, width].

        The prompt's vectors stand where those of words do: places are counted from the first of them, as in PEFT.
        """
        words = self._base.embeddings.word_embeddings(input_ids)
        prompt = self._prompt.embedding.weight.to(words.dtype).expand(len(words), -1, -1)
        hidden: Tensor = self._base.embeddings(inputs_embeds=torch.cat([prompt, words], dim=1))
        return hidden

    def run(
        self, hidden: Tensor, layout: Layout, *, first: int = 0, last: int | None = None, first_tokens: bool = False
    ) -> Tensor:
        """Take hidden states through the layers ``first`` up to, not including, ``last``.

        Args:
            hidden: input of layer ``first``, as ``layout`` says.
            layout: how the tokens lie.
            first: number of the first layer to compute.
            last: number of the layer to stop before; none: to the end.
            first_tokens: of the topmost layer, compute what becomes of each text's first token and no more: exact
                where only that is pooled.

        Returns:
            Hidden states in the same layout; with ``first_tokens`` [texts, 1, width], whatever the layout.
        """
        last = self.depth if last is None else last
        whole = last - 1 if first_tokens and last > first else last
        arguments = layout.arguments(self._base.config, hidden)
        for layer in self._layers[first:whole]:
            hidden = layer(hidden, **arguments)
        if not first_tokens:
            return hidden
        if whole < last:
            hidden = _first_tokens(self._layers[whole], hidden, layout, arguments)
        else:
            hidden = layout.first_tokens(hidden)
        return hidden.reshape(-1, 1, hidden.shape[-1])

    def stock_logits(self, first_tokens: Tensor) -> Tensor:
        """Logits of the architecture's own head, fp32 [texts, classes], of [texts, 1, width]."""
        if getattr(self._base, "pooler", None) is None:
            return self._model.classifier(first_tokens.float())  # type: ignore[no-any-return]
        frozen = next(self._base.pooler.parameters()).dtype  # the compute format
        pooled = self._base.pooler(first_tokens.to(frozen)).float()
        return self._model.classifier(self._model.dropout(pooled))  # type: ignore[no-any-return]


def cut_open(encoder: Any) -> Stack | None:
    """The stack of an encoder, adapted by PEFT or not; none where its architecture is not of `FAMILY`."""
    model = encoder.get_base_model() if hasattr(encoder, "get_base_model") else encoder
    known = model.config.model_type in FAMILY and not model.config.is_decoder
    return Stack(model, prompt_of(encoder)) if known else None


def _first_tokens(layer: Any, hidden: Tensor, layout: Layout, arguments: dict[str, Any]) -> Tensor:
    """One layer with the first tokens as its only queries; residual path and feed-forward for them alone."""
    attention = layer.attention.self
    width = attention.attention_head_size
    asking = layout.first_tokens(hidden)
    query, key, value = (
        project(states).unflatten(-1, (-1, width)).transpose(1, 2)
        for project, states in ((attention.query, asking), (attention.key, hidden), (attention.value, hidden))
    )
    context = attend(attention, query, key, value, layout.first_arguments(arguments))
    out = layer.attention.output(context.reshape(asking.shape), asking)
    return layer.feed_forward_chunk(out)  # type: ignore[no-any-return]
