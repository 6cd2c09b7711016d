"""A folded network as a plain Transformers model for classification, where there is one that computes the same."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pennyweight.budget.shapes import make_config
from pennyweight.errors import InputError
from pennyweight.model.network import Network


class _Head(NamedTuple):
    """An architecture's own head, logits = W₂ f(W₁ x + b₁) + b₂ of the first token x: where its parts are."""

    inner: str
    outer: str
    norm: str
    """The last LayerNorm of the encoder, whose output is x."""
    function: str
    """f, which is the identity on large numbers."""


_HEADS = {
    "distilbert": _Head("pre_classifier", "classifier", "distilbert.transformer.layer.{}.output_layer_norm", "relu"),
    "electra": _Head("classifier.dense", "classifier.out_proj", "electra.encoder.layer.{}.output.LayerNorm", "gelu"),
}
_SURELY = 9.0
"""GELU(z) is z, to the last bit of fp32, from here on."""


def as_stock_model(network: Network) -> Any:
    """The model of Transformers that computes the logits of a folded network in fp32.

    A network with the architecture's own head is one already. A linear or low-rank head upon the first token is made
    the outer matrix of the architecture's head, where that lets x pass: its inner matrix becomes the identity, with a
    bias that lifts every element beyond where the function between them bends, and the outer bias takes that back. A
    LayerNorm's output is bounded by |scale| √(width − 1) + |bias|, so that this is exact but for rounding.

    Raises:
        InputError: the head or the pooling has no counterpart in the architecture.
    """
    if network.head is None:
        return network.encoder
    kind = network.encoder.config.model_type
    if network.shape.pooling != "cls":
        raise InputError(
            f"fold: a head upon the mean over tokens has no counterpart in Transformers' {kind} for classification; "
            f"train with head.kind = 'stock' (--set head.kind=stock --set head.pooling=none)"
        )
    if kind not in _HEADS:
        raise InputError(
            f"fold: Transformers' {kind} for classification has a head that bends what goes through, so a "
            f"{network.shape.kind} one has no counterpart in it; train with head.kind = 'stock'"
        )
    return _lifted(network, _HEADS[kind])


def _lifted(network: Network, head: _Head) -> Any:
    """A fresh model around the network's encoder, whose head computes what the network's own does."""
    from transformers import AutoModelForSequenceClassification

    config = make_config(network.encoder.config.to_dict(), num_labels=network.shape.classes)
    model = AutoModelForSequenceClassification.from_config(config).float().eval()
    model.base_model.load_state_dict(network.encoder.state_dict())
    weight, bias = _dense(network.head)
    norm = model.get_submodule(head.norm.format(config.num_hidden_layers - 1))
    width = weight.shape[1]
    lift = norm.weight.abs() * (width - 1) ** 0.5 + norm.bias.abs() + (_SURELY if head.function == "gelu" else 0.0)
    inner, outer = model.get_submodule(head.inner), model.get_submodule(head.outer)
    with torch.no_grad():
        inner.weight.copy_(torch.eye(width))
        inner.bias.copy_(lift)
        outer.weight.copy_(weight)
        outer.bias.copy_((bias.double() - weight.double() @ inner.bias.double()).float())
    return model.requires_grad_(False)


def _dense(head: nn.Module | None) -> tuple[Tensor, Tensor]:
    """Weight [classes, hidden] and bias [classes] of a linear or low-rank head."""
    assert head is not None
    state = head.state_dict()
    weight = state["out.weight"]
    return (weight @ state["down.weight"] if "down.weight" in state else weight), state["out.bias"]
