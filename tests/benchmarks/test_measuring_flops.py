"""The count of needed operations, against what PyTorch counts while a real model computes."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForSequenceClassification

from benchmarks.flops import ENDINGS, KINDS, Encoder, adapters_by_kind, needed_flops

LAYERS, HIDDEN, INNER, CLASSES = 3, 32, 64, 4
NAMES = {kind: ending for ending, kind in ENDINGS.items()}


def adapted(kind, targets):
    common = {"num_hidden_layers": LAYERS, "hidden_size": HIDDEN, "intermediate_size": INNER, "num_attention_heads": 4}
    config = AutoConfig.for_model(kind, vocab_size=50, num_labels=CLASSES, max_position_embeddings=40, **common)
    config._attn_implementation = "eager"
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    names = [f"{kind}.encoder.layer.{layer}.{NAMES[which]}" for layer, which in targets]
    lora = LoraConfig(task_type=TaskType.SEQ_CLS, r=2, target_modules=names)
    model = get_peft_model(model, lora)
    if kind == "roberta":
        assert any("classifier" in name for name, p in model.named_parameters() if p.requires_grad)
    return model.eval(), names


def counted(model, texts, length):
    """Forward and backward, as PyTorch counts its matrix products."""
    ids = torch.full((texts, length), 7)
    with FlopCounterMode(display=False) as forward:
        loss = model(input_ids=ids, labels=torch.zeros(texts, dtype=torch.long)).loss
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize(
    "targets",
    [
        [(layer, which) for layer in range(LAYERS) for which in ("query", "value")],
        [(layer, which) for layer in range(LAYERS) for which in KINDS],
        [(1, "query"), (2, "value")],
        [(1, "key")],
        [(1, "value"), (2, "query")],
        [(1, "attention.output")],
        [(2, "up")],
        [(2, "down")],
        [(0, "down"), (2, "key")],
    ],
    ids=lambda targets: "+".join(f"{layer}{which}" for layer, which in targets[:3]),
)
def test_every_token_as_pytorch_counts_it(kind, targets):
    """Texts of one length and every token computed: exactly what autograd does with frozen weights."""
    model, names = adapted(kind, targets)
    forward, backward = counted(model, 5, 11)
    encoder = Encoder(LAYERS, HIDDEN, INNER, CLASSES, dense_head=True, dense_head_learns=kind == "roberta")
    ranks = adapters_by_kind((name, layer, 2) for name, (layer, _) in zip(names, targets, strict=True))
    assert set(ranks) == set(targets)
    needed = needed_flops([11] * 5, encoder, ranks, first_token_only=False)
    assert (needed.forward, needed.backward) == (forward, backward)


def first_tokens_only(model, ids):
    """A BERT whose last layer is computed for first tokens alone, written out."""
    bert = model.get_base_model().bert
    hidden = bert.embeddings(input_ids=ids)
    for layer in bert.encoder.layer[:-1]:
        hidden = layer(hidden)
    last = bert.encoder.layer[-1]
    asking, heads = last.attention.self, 4
    query, key, value = (
        project(states).unflatten(-1, (heads, -1)).transpose(1, 2)
        for project, states in ((asking.query, hidden[:, :1]), (asking.key, hidden), (asking.value, hidden))
    )
    weights = (query @ key.mT * asking.attention_head_size**-0.5).softmax(-1)
    context = (weights @ value).transpose(1, 2).flatten(2)
    out = last.feed_forward_chunk(last.attention.output(context, hidden[:, :1]))
    return model.get_base_model().classifier(bert.pooler(out))


@pytest.mark.parametrize("which", [("query", "value"), KINDS], ids=["query+value", "all six"])
def test_first_tokens_alone_as_pytorch_counts_it(which):
    targets = [(layer, one) for layer in range(LAYERS) for one in which]
    model, _ = adapted("bert", targets)
    ids = torch.randint(5, 50, (5, 11))
    assert torch.allclose(first_tokens_only(model, ids), model(input_ids=ids).logits, atol=1e-5)
    with FlopCounterMode(display=False) as forward:
        logits = first_tokens_only(model, ids)
    with FlopCounterMode(display=False) as backward:
        logits.sum().backward()
    encoder = Encoder(LAYERS, HIDDEN, INNER, CLASSES, dense_head=True, dense_head_learns=False)
    needed = needed_flops([11] * 5, encoder, dict.fromkeys(targets, 2))
    assert (needed.forward, needed.backward) == (forward.get_total_flops(), backward.get_total_flops())


def test_true_lengths_add_up():
    """A batch costs what its texts cost one by one, the lowest layer and all."""
    encoder = Encoder(LAYERS, HIDDEN, INNER, CLASSES, dense_head=True, dense_head_learns=False)
    ranks = {(1, "query"): 4, (2, "value"): 3}
    batch = needed_flops([5, 9, 30], encoder, ranks)
    single = [needed_flops([length], encoder, ranks) for length in (5, 9, 30)]
    assert batch.forward == sum(one.forward for one in single)
    assert batch.backward == sum(one.backward for one in single)


def test_a_kept_prefix_saves_the_forward_of_the_layers_below_and_nothing_else():
    encoder = Encoder(LAYERS, HIDDEN, INNER, CLASSES, dense_head=True, dense_head_learns=False)
    ranks = {(2, "query"): 4}
    whole = needed_flops([8, 16], encoder, ranks)
    later = needed_flops([8, 16], encoder, ranks, prefix_kept=True)
    rows, squares = 24, 8 * 8 + 16 * 16
    a_layer = 2 * rows * (4 * HIDDEN**2 + 2 * HIDDEN * INNER) + 4 * squares * HIDDEN
    assert whole.forward - later.forward == 2 * a_layer
    assert whole.backward == later.backward


def test_a_matrix_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"pooler\.dense is no matrix"):
        adapters_by_kind([("pooler.dense", 0, 4)])
