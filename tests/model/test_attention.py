"""Our attention against the definition and PyTorch's own, with gradients; and as Transformers calls it."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention as reference
from transformers import AttentionInterface

from pennyweight.model.attention import (
    LONGEST_PLAIN,
    NAMES,
    PlainAttention,
    Spans,
    has_fused_attention,
    has_packed_kernel,
    packed_attention,
    plain_attention,
    register_attention,
)
from pennyweight.model.layout import pack

TOLERANCE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 3e-2, "atol": 3e-2}}


def parts(dtype, *, queries=None, length=13, seed=0):
    torch.manual_seed(seed)
    made = [torch.randn(3, n, 4 * 8) for n in (queries or length, length, length)]
    views = [one.to(dtype).requires_grad_() for one in made]
    return views, [one.view(3, -1, 4, 8).transpose(1, 2) for one in views]


def lengths_mask(length=13):
    return (torch.arange(length) < torch.tensor([[length], [length - 4], [2]]))[:, None, None, :]


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("queries", "length"), [(None, 13), (None, 32), (1, 13)])
def test_values_and_gradients_are_pytorchs(dtype, masked, queries, length):
    mask = lengths_mask(length) if masked else None
    results = []
    for attend in (
        lambda q, k, v: PlainAttention.apply(q, k, v, mask, 0.3),
        lambda q, k, v: reference(q.float(), k.float(), v.float(), attn_mask=mask, scale=0.3).to(dtype),
    ):
        leaves, (q, k, v) = parts(dtype, queries=queries, length=length)
        context = attend(q, k, v)
        torch.manual_seed(9)
        (context.float() * torch.randn(context.shape)).sum().backward()
        results.append([context.detach(), *(leaf.grad for leaf in leaves)])
    for mine, other in zip(*results, strict=True):
        torch.testing.assert_close(mine, other, **TOLERANCE[dtype])


def test_gradients_against_finite_differences():
    _, views = parts(torch.float64, length=5)
    inputs = [view.detach().clone().requires_grad_() for view in views]
    mask = lengths_mask(5)
    assert torch.autograd.gradcheck(lambda *qkv: PlainAttention.apply(*qkv, mask, 0.4), inputs)


def test_what_is_hidden_has_no_say():
    _, (q, k, v) = parts(torch.float32)
    mask = lengths_mask()
    seen = PlainAttention.apply(q, k, v, mask, 0.3)
    hidden = ~mask.transpose(2, 3).expand_as(v)
    changed = PlainAttention.apply(q, k.masked_fill(hidden, 50.0), v.masked_fill(hidden, -70.0), mask, 0.3)
    torch.testing.assert_close(seen, changed)
    assert not torch.allclose(seen, PlainAttention.apply(q, k, v, None, 0.3))


def test_a_mask_may_differ_from_query_to_query():
    _, (q, k, v) = parts(torch.float32)
    mask = torch.ones(13, 13, dtype=torch.bool).tril()[None, None].expand(3, 1, -1, -1)
    torch.testing.assert_close(PlainAttention.apply(q, k, v, mask, 0.3), reference(q, k, v, attn_mask=mask, scale=0.3))


def test_a_bias_instead_of_a_mask_and_dropout_go_to_pytorch():
    _, (q, k, v) = parts(torch.float32)
    bias = torch.randn(3, 1, 13, 13)
    module = torch.nn.Module()
    module.is_causal = False
    context, _ = plain_attention(module, q, k, v, bias, scaling=0.3)
    torch.testing.assert_close(context.transpose(1, 2), reference(q, k, v, attn_mask=bias, scale=0.3))
    torch.manual_seed(0)
    one, _ = plain_attention(module, q, k, v, None, scaling=0.3, dropout=0.5)
    assert not torch.allclose(one, plain_attention(module, q, k, v, None, scaling=0.3)[0])


@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize("length", [LONGEST_PLAIN, LONGEST_PLAIN + 1])
def test_long_texts_go_to_pytorch_where_there_is_no_backward_pass(learns, length, monkeypatch):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, length, 8, requires_grad=learns) for _ in range(3))
    mask = torch.arange(length) < torch.tensor([[length], [5]])
    taken = []
    monkeypatch.setattr(
        PlainAttention,
        "apply",
        lambda *given: taken.append(1) or reference(*given[:3], attn_mask=given[3], scale=given[4]),
    )
    module = torch.nn.Module()
    module.is_causal = False
    context, _ = plain_attention(module, q, k, v, mask[:, None, None], scaling=0.3)
    assert bool(taken) is (learns or length <= LONGEST_PLAIN)
    expected = reference(q, k, v, attn_mask=mask[:, None, None], scale=0.3)
    torch.testing.assert_close(context.transpose(1, 2), expected)


@pytest.mark.parametrize("queries", [None, 1])
def test_packed_texts_see_themselves_alone(queries):
    mask = lengths_mask()
    _, (q, k, v) = parts(torch.float32, queries=queries)
    expected = reference(q, k, v, attn_mask=mask, scale=0.3).transpose(1, 2)
    kept = mask[:, 0, 0].long()
    (keys, _, layout), (values, *_) = (pack(one.transpose(1, 2).flatten(2), kept) for one in (k, v))
    asking = q.transpose(1, 2).flatten(2)
    if queries is None:
        queries_packed, starts, longest = pack(asking, kept)[0], layout.starts, 13
        expected = expected[kept.bool()]
    else:
        queries_packed, starts, longest = asking.view(1, 3, -1), torch.arange(4, dtype=torch.int32), 1
        expected = expected[:, 0]
    heads = [one.unflatten(-1, (4, 8)).transpose(1, 2) for one in (queries_packed, keys, values)]
    context, _ = packed_attention(
        torch.nn.Module(),
        *heads,
        None,
        scaling=0.3,
        spans=Spans(starts, layout.starts, longest, 13),
    )
    torch.testing.assert_close(context[0], expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="the kernel for packed texts needs CUDA")
def test_the_kernel_for_packed_texts_is_the_reference():
    torch.manual_seed(0)
    starts = torch.tensor([0, 5, 6, 30], dtype=torch.int32)
    heads = [torch.randn(1, 4, 30, 16) for _ in range(3)]
    slow, _ = packed_attention(torch.nn.Module(), *heads, None, spans=Spans(starts, starts, 24, 24))
    there = [one.cuda().bfloat16() for one in heads]
    fast, _ = packed_attention(torch.nn.Module(), *there, None, spans=Spans(starts.cuda(), starts.cuda(), 24, 24))
    torch.testing.assert_close(fast.float().cpu(), slow, rtol=3e-2, atol=3e-2)


def test_packed_texts_refuse_what_they_do_not_know():
    q = torch.zeros(1, 1, 2, 4)
    starts = torch.tensor([0, 2], dtype=torch.int32)
    with pytest.raises(ValueError, match="dropout"):
        packed_attention(torch.nn.Module(), q, q, q, None, dropout=0.1, spans=Spans(starts, starts, 2, 2))


def test_transformers_knows_them_by_name():
    register_attention()
    known = AttentionInterface()
    assert known[NAMES["plain"]] is plain_attention
    assert known[NAMES["packed"]] is packed_attention


@pytest.mark.parametrize(
    ("varlen", "there"),
    [
        (None, False),
        (SimpleNamespace(varlen_attn=lambda query, key, value, starts, is_causal=False: query), False),
        (SimpleNamespace(varlen_attn=lambda query, key, value, starts, *, scale=None: query), True),
    ],
)
def test_the_packed_kernel_is_there_where_its_scale_can_be_chosen(varlen, there, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.nn.attention.varlen", varlen)
    assert has_packed_kernel() is there


@pytest.mark.parametrize(
    ("model_type", "fused"),
    [("roberta", True), ("bert", True), ("distilbert", True), ("deberta-v2", False), ("mpnet", False)],
)
def test_which_architectures_transformers_has_fused_attention_for(model_type, fused):
    assert has_fused_attention(model_type) is fused
