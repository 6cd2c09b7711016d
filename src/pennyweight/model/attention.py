"""Attention by device, known to Transformers by name, so that every architecture that asks its interface has it."""

from __future__ import annotations

import inspect
import sys
from typing import Any, NamedTuple

import torch
from torch import Tensor

NAMES = {"plain": "pennyweight_plain", "packed": "pennyweight_packed", "sdpa": "sdpa", "eager": "eager"}
"""What Transformers calls each kind of attention."""


SOFTMAX_PART = 1 << 18
"""Scores that are taken to fp32 at a time: few enough to stay in the cache, and to need no new pages."""
LONGEST_PLAIN = 96
"""Most keys for which plain products are faster than the fused kernel where there is no backward pass to come."""


def has_fused_attention(model_type: str) -> bool:
    """Whether Transformers computes the attention of an architecture that it knows by PyTorch's fused kernel."""
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    model: Any = MODEL_MAPPING[CONFIG_MAPPING[model_type]]
    one = model[0] if isinstance(model, tuple) else model
    return bool(one._supports_sdpa)


class PlainAttention(torch.autograd.Function):
    """softmax(scale · Q Kᵀ + mask) V by plain matrix products, [batch, heads, length, width] in and out.

    On CPUs in bf16 the products run on the matrix unit, which PyTorch's fused kernel does not use in its backward
    pass. Softmax is computed in fp32 wherever the bf16 kernel would fall out of its vector loop.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        """Compute the context vectors; ``mask`` is true where a key may be seen, [batch, 1 or heads, 1 or q, k]."""
        q, k, v = (tensor.reshape(-1, *tensor.shape[2:]) for tensor in (query, key, value))
        scores = torch.baddbmm(q.new_empty(()), q, k.transpose(1, 2), beta=0, alpha=scale)
        if mask is not None:
            _hide(scores.view(*query.shape[:3], key.shape[2]), mask)
        weights = _softmax(scores)
        ctx.save_for_backward(q, k, v, weights)
        ctx.scale, ctx.shapes = scale, (query.shape, key.shape, value.shape)
        return torch.bmm(weights, v).view(*query.shape[:3], value.shape[-1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of query, key and value."""
        q, k, v, weights = ctx.saved_tensors
        query, key, value = ctx.shapes
        outer = gradients[0].reshape(*q.shape[:2], v.shape[-1])
        needs_query, needs_key, needs_value = ctx.needs_input_grad[:3]
        grad_value = torch.bmm(weights.transpose(1, 2), outer).view(value) if needs_value else None
        if not (needs_query or needs_key):
            return None, None, grad_value, None, None
        inner = torch.bmm(outer, v.transpose(1, 2))
        inner = torch.ops.aten._softmax_backward_data(inner, weights, -1, weights.dtype)
        none = q.new_empty(())
        grad_query = torch.baddbmm(none, inner, k, beta=0, alpha=ctx.scale).view(query) if needs_query else None
        grad_key = torch.baddbmm(none, inner.mT, q, beta=0, alpha=ctx.scale).view(key) if needs_key else None
        return grad_query, grad_key, grad_value, None, None


def _hide(scores: Tensor, mask: Tensor) -> None:
    """Take from sight what ``mask`` forbids; columns that all rows may see, usually nearly all, are left alone."""
    hidden = ~mask
    columns = hidden.flatten(0, -2).any(dim=0)
    first = int(columns.to(torch.uint8).argmax()) if bool(columns.any()) else mask.shape[-1]
    scores[..., first:].masked_fill_(hidden[..., first:], torch.finfo(scores.dtype).min)


def _softmax(scores: Tensor) -> Tensor:
    """Softmax over the last dimension of [n, q, k]; where it is made in fp32, part by part into ``scores`` itself."""
    if scores.dtype is not torch.bfloat16 or scores.shape[-1] % 32 == 0:
        return torch.softmax(scores, dim=-1)
    for part in torch.split(scores, max(1, SOFTMAX_PART // max(1, scores[0].numel()))):
        part.copy_(torch.softmax(part, dim=-1, dtype=torch.float32))
    return scores


def plain_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[Tensor, Tensor | None]:
    """`PlainAttention` as Transformers calls it; where that is slower or does not do, PyTorch's own attention.

    Args:
        module: the attention layer.
        query: [batch, heads, q, width].
        key: [batch, heads, k, width].
        value: [batch, heads, k, width].
        attention_mask: true where a key may be seen, or a bias in the format of the query; none: all may be seen.
        scaling: factor of the scores; none: one over the root of the width.
        dropout: probability of dropping an attention weight.
        kwargs: what else the architecture passes.

    Returns:
        The context, [batch, q, heads, width], and no attention weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    learns = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value))
    slower = not learns and key.shape[2] > LONGEST_PLAIN
    biased = attention_mask is not None and attention_mask.dtype is not torch.bool
    if slower or biased or dropout > 0 or key.shape[1] != query.shape[1] or kwargs.get("is_causal"):
        context, weights = sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return context, weights
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    context = PlainAttention.apply(query, key, value, attention_mask, scale)  # type: ignore[no-untyped-call]
    return context.transpose(1, 2), None


def plain_mask(**arguments: Any) -> Tensor | None:
    """The mask of `plain_attention`: true where a key may be seen; one row for all queries, where padding is all."""
    from transformers.masking_utils import bidirectional_mask_function, sdpa_mask

    padding = arguments.get("attention_mask")
    whole = arguments["mask_function"] is bidirectional_mask_function
    if whole and padding is not None and padding.shape[-1] == arguments["kv_length"]:
        seen = padding[:, None, None, :].bool()
        return None if bool(seen.all()) else seen
    mask: Tensor | None = sdpa_mask(**arguments)
    return mask


class Spans(NamedTuple):
    """Where packed texts begin and end."""

    queries: Tensor
    """Where each text's queries begin, and the end of the last, int32 [texts + 1]."""
    keys: Tensor
    """The same of keys and values."""
    longest_query: int
    """Most queries of a text."""
    longest_key: int
    """Most keys of a text."""


def has_packed_kernel() -> bool:
    """Whether this PyTorch has CUDA's kernel for packed texts, and lets its scale be chosen; older ones do not."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return "scale" in inspect.signature(varlen_attn).parameters


def packed_attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    spans: Spans,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention of packed texts, each to itself alone, as Transformers calls it.

    On CUDA this is one kernel over all texts (`torch.nn.attention.varlen`, FlashAttention of Dao 2023, arXiv
    2307.08691), which takes half precision; elsewhere text after text.

    Args:
        module: the attention layer.
        query: [1, heads, query tokens, width].
        key: [1, heads, tokens, width].
        value: [1, heads, tokens, width].
        attention_mask: none; padding does not exist here.
        spans: where the texts lie.
        kwargs: ``scaling``, and what else the architecture passes.

    Returns:
        The context, [1, query tokens, heads, width], and no attention weights.

    Raises:
        ValueError: a mask or dropout was asked for.
    """
    if kwargs.get("dropout") or attention_mask is not None:
        raise ValueError("packed attention knows neither dropout of attention weights nor masks")
    q, k, v = (tensor[0].transpose(0, 1) for tensor in (query, key, value))
    scale = kwargs.get("scaling")
    if query.device.type == "cuda" and query.dtype in (torch.bfloat16, torch.float16):
        from torch.nn.attention.varlen import varlen_attn

        context = varlen_attn(q, k, v, *spans, scale=scale)
        assert isinstance(context, Tensor)
        return context[None], None
    texts = zip(_texts(q, spans.queries), _texts(k, spans.keys), _texts(v, spans.keys), strict=True)
    parts = [torch.nn.functional.scaled_dot_product_attention(*text, scale=scale) for text in texts]
    return torch.cat(parts, dim=1).transpose(0, 1)[None], None


def _texts(rows: Tensor, starts: Tensor) -> list[Tensor]:
    """[tokens, heads, width] → of each text [heads, tokens of the text, width]."""
    return [part.transpose(0, 1) for part in torch.split(rows, starts.diff().tolist())]


def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, arguments: dict[str, Any]) -> Tensor:
    """Attention of one layer by the implementation its configuration names, as the layer itself would call it.

    Returns:
        The context, [batch, q, heads, width].
    """
    from transformers import AttentionInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    own = getattr(sys.modules[type(module).__module__], "eager_attention_forward", sdpa_attention_forward)
    implementation = AttentionInterface().get(module.config._attn_implementation, own)
    dropout = module.dropout.p if module.training else 0.0
    context: Tensor = implementation(
        module, query, key, value, dropout=dropout, scaling=module.scaling, is_causal=False, **arguments
    )[0]
    return context


def register_attention() -> None:
    """Make Transformers know our attention by its names."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAMES["plain"], plain_attention)
    AttentionMaskInterface.register(NAMES["plain"], plain_mask)
    AttentionInterface.register(NAMES["packed"], packed_attention)
