"""Windows pooled: known values, one window as none, and a whole network against its windows taken one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from abilities import needs_int8
from test_network import BF16, FP32, TEXTS, build, stir
from tiny import make_backbone
from torch.nn import functional

from pennyweight.cache import Cache
from pennyweight.data.batches import collate, tokenise
from pennyweight.errors import InputError
from pennyweight.model.backbone import find_backbone, load_tokenizer
from pennyweight.model.folding import fold
from pennyweight.model.inference import compute_logits
from pennyweight.model.prefix import open_prefix
from pennyweight.model.quantising import quantise
from pennyweight.model.windows import WindowPooling
from pennyweight.training.batch import Batch
from pennyweight.training.losses import item_loss
from pennyweight.training.objectives import one_pass, r_drop, supervised

KINDS = pytest.mark.parametrize("kind", ["mean", "max", "attention"])
PACKED = replace(FP32, attention="packed")
STARTS = torch.tensor([0, 1, 4, 6])


def windows_of(folder, *, windows: int = 4):
    """Texts of one to four windows of 14 tokens, and the number that fills gaps."""
    tokenizer = load_tokenizer(find_backbone(str(folder)), add_prefix_space=False)
    table = tokenise(TEXTS, tokenizer, max_length=14, windows=windows, overlap=3)
    assert windows == 1 or set(table.windows()) >= {1, 2, 3}
    return table, tokenizer.pad_token_id


def ask(network) -> None:
    """A query that tells windows apart; at zero attention is the mean."""
    stir(network)
    if network.windows.query is not None:
        with torch.no_grad():
            network.windows.query.normal_(std=2.0)


def pooled_by_hand(kind: str, vectors: torch.Tensor, query: torch.Tensor | None) -> torch.Tensor:
    """One text's windows, [windows, hidden] → [hidden]."""
    if kind == "mean":
        return sum(vectors) / len(vectors)
    if kind == "max":
        return torch.stack([column.max() for column in vectors.T])
    scores = torch.stack([torch.dot(query, vector) / math.sqrt(len(query)) for vector in vectors])
    weights = scores.exp() / scores.exp().sum()
    return sum(weight * vector for weight, vector in zip(weights, vectors, strict=True))


@KINDS
def test_pooling_text_by_text(kind):
    torch.manual_seed(0)
    vectors = torch.randn(6, 8)
    pooling = WindowPooling(kind, hidden=8)
    if pooling.query is not None:
        torch.testing.assert_close(pooling(vectors, STARTS), WindowPooling("mean", hidden=8)(vectors, STARTS))
        torch.nn.init.normal_(pooling.query)
    expected = torch.stack([pooled_by_hand(kind, vectors[a:b], pooling.query) for a, b in ((0, 1), (1, 4), (4, 6))])
    torch.testing.assert_close(pooling(vectors, STARTS), expected)


def test_attention_prefers_what_the_query_points_at():
    pooling = WindowPooling("attention", hidden=2)
    with torch.no_grad():
        pooling.query.copy_(torch.tensor([math.sqrt(2) * math.log(3), 0.0]))
    pooled = pooling(torch.tensor([[1.0, 5.0], [0.0, 1.0]]), torch.tensor([0, 2]))
    torch.testing.assert_close(pooled, torch.tensor([[0.75, 4.0]]))  # weights 3 : 1


@KINDS
def test_one_window_comes_out_as_it_is_whatever_its_neighbours(kind):
    torch.manual_seed(0)
    vectors = torch.randn(6, 8) * 1e3
    vectors[5] = torch.inf
    pooling = WindowPooling(kind, hidden=8)
    if pooling.query is not None:
        torch.nn.init.normal_(pooling.query)
    assert torch.equal(pooling(vectors[:5], torch.arange(6)), vectors[:5])
    assert torch.equal(pooling(vectors[:5], None), vectors[:5])
    assert torch.equal(pooling(vectors, STARTS)[0], vectors[0])


def test_the_query_has_a_gradient_where_no_text_has_two_windows():
    """Without one, several processes would wait for each other for ever."""
    pooling = WindowPooling("attention", hidden=4)
    pooling(torch.randn(3, 4), None).sum().backward()
    assert torch.equal(pooling.query.grad, torch.zeros(4))


@KINDS
@pytest.mark.parametrize("machine", [FP32, PACKED, BF16], ids=["padded", "packed", "bf16"])
@pytest.mark.parametrize("head", [{"kind": "linear"}, {"kind": "linear", "pooling": "cls"}, {"kind": "stock"}])
def test_one_window_equals_no_windows(kind, machine, head, tiny_bert):
    network, plain = build(tiny_bert, machine, windows=kind, **head), build(tiny_bert, machine, **head)
    ask(network)
    stir(plain)
    table, pad_id = windows_of(tiny_bert, windows=1)
    ours, theirs = (compute_logits(one, table, batch_size=8, pad_id=pad_id) for one in (network, plain))
    assert np.array_equal(ours, theirs)


@KINDS
@pytest.mark.parametrize("machine", [FP32, PACKED, replace(FP32, attention="plain")], ids=["sdpa", "packed", "plain"])
@pytest.mark.parametrize(
    "head", [{"kind": "linear"}, {"kind": "low-rank", "rank": 2, "pooling": "cls"}, {"kind": "stock"}]
)
def test_logits_and_gradients_are_those_of_windows_taken_one_by_one(kind, machine, head, tiny_bert):
    network = build(tiny_bert, machine, windows=kind, **head)
    ask(network)
    table, pad_id = windows_of(tiny_bert)
    items = np.concatenate([np.flatnonzero(table.windows() == count)[:2] for count in (1, 3, 2)])
    labels = torch.tensor([0, 2, 1, 1, 0, 2])

    logits = network(**collate(table, items, pad_id=pad_id))
    functional.cross_entropy(logits, labels).backward()
    ours = {name: parameter.grad.clone() for name, parameter in network.trainable().items()}
    network.zero_grad()

    rows, found = table.unrolled(), []
    for item in items:
        numbers = table.rows(np.array([item]))
        vectors = [network.features(**collate(rows, np.array([one]), pad_id=pad_id))[0] for one in numbers]
        found.append(pooled_by_hand(kind, torch.stack(vectors), network.windows.query))
    expected = network.classify(torch.stack(found))
    functional.cross_entropy(expected, labels).backward()
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)
    for name, parameter in network.trainable().items():
        torch.testing.assert_close(ours[name], parameter.grad, rtol=1e-3, atol=1e-6, msg=name)
        assert ours[name].any(), name


def test_two_passes_of_r_drop_are_of_the_same_windows(tiny_bert):
    """Without dropout both passes agree, and the loss is that of one."""
    network = build(tiny_bert, windows="attention").train()
    ask(network)
    table, pad_id = windows_of(tiny_bert)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    batch = Batch(inputs=collate(table, np.arange(6), pad_id=pad_id), labels=labels)
    loss = supervised(item_loss("cross-entropy"))
    torch.testing.assert_close(r_drop(loss, weight=3.0)(network, batch), one_pass(loss)(network, batch))


def test_checkpointed_gradients_are_the_same(tiny_bert):
    table, pad_id = windows_of(tiny_bert)
    gradients = []
    for checkpointed in (False, True):
        network = build(tiny_bert, windows="attention").train()
        ask(network)
        if checkpointed:
            network.checkpoint_gradients()
        network(**collate(table, np.arange(6), pad_id=pad_id)).logsumexp(dim=1).sum().backward()
        gradients.append({name: parameter.grad for name, parameter in network.trainable().items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)


@pytest.mark.parametrize("machine", [FP32, PACKED], ids=["padded", "packed"])
def test_the_prefix_is_of_windows(machine, tmp_path):
    folder = make_backbone(tmp_path / "bert3", "bert", num_hidden_layers=3)
    network = build(folder, machine, layers=(2,), windows="attention")
    ask(network)
    table, pad_id = windows_of(folder)
    files, cache = find_backbone(str(folder)), Cache(tmp_path / "cache", 10**9)
    prefix = open_prefix(network, files, table.unrolled(), pad_id=pad_id, cache=cache)
    some = np.array([7, 2, 2, 11, 5])
    part = table.take(some)
    whole = compute_logits(network, part, batch_size=3, pad_id=pad_id)
    kept = compute_logits(network, part, batch_size=3, pad_id=pad_id, prefix=prefix.take(table.rows(some)))
    np.testing.assert_allclose(kept, whole, rtol=1e-4, atol=1e-5)
    wrong = compute_logits(network, part, batch_size=3, pad_id=pad_id, prefix=prefix.take(table.rows(some)[::-1]))
    assert not np.allclose(wrong, whole, atol=1e-3)


def test_folded_it_is_the_same(tiny_roberta):
    network = build(tiny_roberta, windows="attention", kind="stock")
    ask(network)
    table, pad_id = windows_of(tiny_roberta)
    ours, folded = (compute_logits(one, table, batch_size=8, pad_id=pad_id) for one in (network, fold(network)))
    np.testing.assert_allclose(folded, ours, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        network.windows.query.zero_()
    assert not np.allclose(compute_logits(network, table, batch_size=8, pad_id=pad_id), ours, atol=1e-3)
    assert fold(network).windows.query is not network.windows.query


@needs_int8
def test_int8_pools_windows_too(tiny_bert):
    network = build(tiny_bert, replace(FP32, attention="plain"), windows="attention")
    ask(network)
    folded = fold(network)
    table, pad_id = windows_of(tiny_bert)
    exact, int8 = (compute_logits(one, table, batch_size=8, pad_id=pad_id) for one in (folded, quantise(folded)))
    assert np.abs(int8 - exact).max() < 0.2 * np.abs(exact).max()


@pytest.mark.parametrize("model", ["distilbert", "deberta-v2"])
def test_architectures_that_are_not_cut_open_have_windows_with_a_head_of_ours(model, tmp_path):
    folder, machine = make_backbone(tmp_path / model, model), replace(FP32, attention="eager")
    network = build(folder, machine, windows="max").eval()
    stir(network)
    table, pad_id = windows_of(folder)
    items = np.array([4, 0, 3])
    with torch.no_grad():
        ours = network.features(**collate(table, items, pad_id=pad_id))
        rows = network.features(**collate(table.unrolled(), np.arange(len(table.unrolled())), pad_id=pad_id))
    expected = torch.stack([rows[table.rows(np.array([item]))].amax(dim=0) for item in items])
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"pools by itself; take head\.kind = 'linear'"):
        build(folder, machine, kind="stock", windows="mean")


def test_a_network_without_windows_refuses_texts_of_several(tiny_bert):
    table, pad_id = windows_of(tiny_bert)
    with pytest.raises(ValueError, match="pools windows"):
        build(tiny_bert)(**collate(table, np.arange(3), pad_id=pad_id))
