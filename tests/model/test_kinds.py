"""Every kind of adapter: built as planned, folded and saved without a difference, opened by plain PEFT."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from abilities import needs_int8
from test_network import BF16, FP32, table
from tiny import LABELS
from torch import nn

from pennyweight.budget.shapes import read_architecture
from pennyweight.classifier import save_classifier
from pennyweight.data.batches import collate
from pennyweight.environment import versions
from pennyweight.evaluation.decisions import Decision
from pennyweight.model.backbone import find_backbone
from pennyweight.model.folding import fold
from pennyweight.model.inference import compute_logits
from pennyweight.model.network import HeadShape, build_network, open_network
from pennyweight.model.quantising import quantise
from pennyweight.pipeline.planning import plan_architecture
from pennyweight.pipeline.unpacking import adapters_of, draft_manifest
from pennyweight.recipe_files import build_recipe

PAIR = {"targets": "all-linear", "rank": 3}
KINDS = {
    "lora": PAIR,
    "rslora": {**PAIR, "scaling": "rslora", "alpha": 5},
    "pissa": {**PAIR, "init": "pissa", "rank_pattern": {"query": 2}, "alpha_pattern": {"value": 9}},
    "pissa-rslora": {**PAIR, "init": "pissa", "scaling": "rslora", "alpha": 5},
    "dora": {**PAIR, "kind": "dora"},
    "adalora": {**PAIR, "kind": "adalora"},
    "ia3": {"kind": "ia3"},
    "prompt": {"kind": "prompt", "prompt_length": 5},
    "lora+prompt": {**PAIR, "kind": "lora+prompt", "prompt_length": 4},
    "lora+ia3": {**PAIR, "kind": "lora+ia3"},
    "lora+ia3-pissa": {**PAIR, "kind": "lora+ia3", "init": "pissa"},
}
PACKED = replace(FP32, attention="packed")


def recipe_of(folder, name, head="linear", pooling=None):
    return build_recipe(
        {
            "backbone": {"name": str(folder), "precision": "fp32"},
            "data": {"labels": list(LABELS)},
            "text": {"max_length": 40},
            "adapters": KINDS[name],
            "head": {"kind": head, "pooling": pooling},
        }
    )


def build(folder, name, *, head="linear", pooling=None, machine=FP32):
    recipe, files = recipe_of(folder, name, head, pooling), find_backbone(str(folder))
    architecture = read_architecture(files.config, classes=len(LABELS))
    plan = plan_architecture(recipe, architecture, classes=len(LABELS))
    torch.manual_seed(0)
    network = build_network(
        files,
        machine,
        architecture=architecture,
        planned=plan.matrices,
        head=HeadShape(kind=head, classes=len(LABELS), pooling=pooling or "mean"),
        adapters=adapters_of(recipe, plan, steps=20),
        keep_dropout=False,
    )
    return network, plan


def stir(network) -> None:
    """Give adapters something to say that they do not say at first, and prune a few ranks."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.trainable().items():
            noise = torch.randn_like(parameter)
            if "ia3_l" in name or "magnitude" in name:
                parameter.mul_(1 + 0.3 * noise)
            elif not name.startswith("head.") and "modules_to_save" not in name:
                parameter.add_(0.1 * noise)
            if "lora_E" in name:
                parameter.add_(noise)[::2] = 0


def logits(network, folder, **options) -> np.ndarray:
    tokens, pad_id = table(folder)
    return compute_logits(network, tokens, batch_size=8, pad_id=pad_id, **options)


@pytest.fixture(params=["bert", "roberta"])
def folder(request, tiny_bert, tiny_roberta):
    return {"bert": tiny_bert, "roberta": tiny_roberta}[request.param]


@pytest.mark.parametrize("head", ["linear", "stock"])
@pytest.mark.parametrize("name", KINDS)
def test_built_as_planned_and_folded_and_saved_without_a_difference(name, head, folder, tmp_path):
    network, plan = build(folder, name, head=head)
    trained = network.trainable()
    assert sum(parameter.numel() for parameter in trained.values()) == plan.trainable
    assert all(parameter.dtype is torch.float32 for parameter in trained.values())
    before = logits(network, folder)
    stir(network)
    unfolded = logits(network, folder)
    assert np.abs(unfolded - before).max() > 1e-2
    folded = logits(fold(network), folder)
    np.testing.assert_allclose(folded, unfolded, atol=2e-5, rtol=1e-4)
    save(network, tmp_path, name, folder, head)
    opened = opened_from(tmp_path, name, folder, head, FP32)
    np.testing.assert_array_equal(logits(fold(opened), folder), folded)


def save(network, out, name, folder, head):
    recipe, files = recipe_of(folder, name, head), find_backbone(str(folder))
    architecture = read_architecture(files.config, classes=len(LABELS))
    plan = plan_architecture(recipe, architecture, classes=len(LABELS))
    context = {"plan": plan, "architecture": architecture, "labels": LABELS, "decision": Decision()}
    context["environment"] = {"versions": versions()}
    return save_classifier(out, network, draft_manifest(recipe, files, **context))


def opened_from(out, name, folder, head, machine):
    shape = HeadShape(kind=head, classes=len(LABELS))
    kind = recipe_of(folder, name).adapters.kind
    return open_network(find_backbone(str(folder)), machine, folder=out, head=shape, hidden=32, kind=kind)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "lora"])
def test_in_bf16_what_is_saved_is_what_was_trained(name, tiny_roberta, tmp_path):
    network, _ = build(tiny_roberta, name, machine=BF16)
    stir(network)
    folded = logits(fold(network), tiny_roberta)
    save(network, tmp_path, name, tiny_roberta, "linear")
    opened = opened_from(tmp_path, name, tiny_roberta, "linear", BF16)
    np.testing.assert_array_equal(logits(fold(opened), tiny_roberta), folded)
    exact, _ = build(tiny_roberta, name)
    trained = network.trainable()
    with torch.no_grad():
        for key, parameter in exact.trainable().items():
            parameter.copy_(trained[key])
    if "pissa" not in name:  # which begins at other directions where W is rounded
        truth = logits(exact, tiny_roberta)
        assert np.abs(folded - truth).mean() < 0.03 * max(1.0, np.abs(truth).mean())


@pytest.mark.parametrize("name", KINDS)
def test_a_new_network_computes_what_the_frozen_backbone_does(name, tiny_roberta):
    """But for the vectors of a prompt, which are there from the start."""
    if "prompt" in name:
        pytest.skip("a prompt is never silent")
    plain, _ = build(tiny_roberta, "lora")
    network, _ = build(tiny_roberta, name)
    network.head.load_state_dict(plain.head.state_dict())
    np.testing.assert_allclose(logits(network, tiny_roberta), logits(plain, tiny_roberta), atol=1e-5)


@pytest.mark.parametrize("machine", [FP32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", KINDS)
def test_a_training_step_moves_all_that_is_trained_and_nothing_else(name, machine, tiny_bert):
    network, _ = build(tiny_bert, name, machine=machine)
    stir(network)
    network.train()
    before = {key: parameter.detach().clone() for key, parameter in network.named_parameters()}
    tokens, pad_id = table(tiny_bert)
    optimizer = torch.optim.SGD(network.trainable().values(), lr=0.1)
    network(**collate(tokens, np.arange(8), pad_id=pad_id)).logsumexp(dim=1).sum().backward()
    optimizer.step()
    moved = {key for key, parameter in network.named_parameters() if not torch.equal(parameter, before[key])}
    # What scales a key's bias shifts all scores of a query alike, and softmax takes that away: but rounding is left.
    assert moved == network.trainable().keys()


@pytest.mark.parametrize("head", ["linear", "stock"])
@pytest.mark.parametrize("name", KINDS)
def test_plain_peft_opens_it(name, head, tiny_roberta, tmp_path):
    """As docs/adapters.md says: of two kinds, scaling vectors first, then the pairs, then the prompt."""
    from peft import PeftModel
    from transformers import AutoModel, AutoModelForSequenceClassification

    network, _ = build(tiny_roberta, name, head=head)
    stir(network)
    save(network, tmp_path, name, tiny_roberta, head)
    if head == "stock":
        model = AutoModelForSequenceClassification.from_pretrained(tiny_roberta, num_labels=len(LABELS))
    else:
        model = AutoModel.from_pretrained(tiny_roberta)
    if (tmp_path / "ia3").exists():
        model = PeftModel.from_pretrained(model, tmp_path / "ia3").merge_and_unload()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*rank_pattern keys did not match.*")  # AdaLoRA's own, in PEFT too
        model = PeftModel.from_pretrained(model, tmp_path)
    if (tmp_path / "prompt").exists():
        model = PeftModel.from_pretrained(model.merge_and_unload(), tmp_path / "prompt")
    model.eval()
    tokens, pad_id = table(tiny_roberta)
    batch = collate(tokens, np.arange(12), pad_id=pad_id)
    with torch.no_grad():
        out = model(**batch)
        if head == "stock":
            theirs = out.logits
        else:
            own = batch["attention_mask"].unsqueeze(-1)
            states = out.last_hidden_state[:, -own.shape[1] :]
            theirs = network.head((states * own).sum(1) / own.sum(1))
    np.testing.assert_allclose(logits(network, tiny_roberta)[:12], theirs.numpy(), atol=3e-5)


@needs_int8
@pytest.mark.parametrize("name", ["dora", "ia3", "prompt", "lora+ia3"])
def test_folded_it_can_be_quantised(name, tiny_roberta):
    network, _ = build(tiny_roberta, name)
    stir(network)
    folded = fold(network)
    exact, rough = logits(folded, tiny_roberta), logits(quantise(folded), tiny_roberta)
    assert 0 < np.abs(rough - exact).max() < 0.25 * np.abs(exact).max()


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_prompt_is_not_pooled_and_padding_changes_nothing(pooling, tiny_roberta):
    network, _ = build(tiny_roberta, "prompt", pooling=pooling)
    stir(network)
    network.eval()
    tokens, pad_id = table(tiny_roberta)
    short, long = (collate(tokens, np.arange(6), pad_id=pad_id, length=length) for length in (None, 60))
    with torch.no_grad():
        features = network.features(**short)
        torch.testing.assert_close(network.features(**long), features, atol=1e-5, rtol=1e-5)
        hidden, layout = network._begin(network.stack, short["attention_mask"], short["input_ids"], None)
        states = network.stack.run(hidden, layout)[:, 5:]
        weights = short["attention_mask"].unsqueeze(-1)
        pooled = states[:, 0] if pooling == "cls" else (states * weights).sum(1) / weights.sum(1)
    torch.testing.assert_close(features, pooled, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["prompt", "lora+prompt"])
@pytest.mark.parametrize("head", ["linear", "stock"])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_prompt_before_packed_texts(name, head, pooling, tiny_roberta):
    pooling = None if head == "stock" else pooling
    padded, packed = (build(tiny_roberta, name, head=head, pooling=pooling, machine=m)[0] for m in (FP32, PACKED))
    for network in (padded, packed):
        stir(network)
    np.testing.assert_allclose(logits(packed, tiny_roberta), logits(padded, tiny_roberta), atol=1e-5)


def test_beneath_a_prompt_nothing_is_frozen(tiny_roberta, monkeypatch):
    monkeypatch.setitem(KINDS, "high", {**KINDS["lora+prompt"], "targets": ["query@1"]})
    assert build(tiny_roberta, "high")[0].frozen_layers == 0
    assert build(tiny_roberta, "prompt")[0].frozen_layers == 0


def test_pissa_begins_with_the_largest_directions_and_leaves_the_matrix_alone(tiny_roberta):
    network, _ = build(tiny_roberta, "pissa")
    plain, _ = build(tiny_roberta, "lora")
    layer, other = (
        one.encoder.get_base_model().get_submodule("encoder.layer.0.intermediate.dense") for one in (network, plain)
    )
    weight = layer.base_layer.weight
    assert torch.equal(weight, other.base_layer.weight)
    best = torch.linalg.svdvals(weight)[:3].square().sum()
    product = layer.scaling["default"] * layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    torch.testing.assert_close((product * weight).sum(), product.square().sum(), rtol=1e-4, atol=1e-4)  # a projection
    assert product.square().sum() > 0.9 * best


def test_dropout_reaches_every_kind_that_has_it(tiny_roberta, monkeypatch):
    for name in ("lora", "pissa", "dora", "adalora", "lora+ia3"):
        monkeypatch.setitem(KINDS, name, {**KINDS[name], "dropout": 0.5})
        network, _ = build(tiny_roberta, name)
        stir(network)
        network.train()
        tokens, pad_id = table(tiny_roberta)
        batch = collate(tokens, np.arange(4), pad_id=pad_id)
        with torch.no_grad():
            assert not torch.allclose(network(**batch), network(**batch)), name


def test_magnitudes_begin_as_the_exact_lengths_of_rows(tiny_roberta):
    network, _ = build(tiny_roberta, "dora", machine=BF16)
    layers = [
        module for module in network.encoder.modules() if isinstance(module, nn.Module) and hasattr(module, "lora_A")
    ]
    for layer in layers:
        length = layer.get_base_layer().weight.float().norm(dim=1)
        assert torch.equal(layer.lora_magnitude_vector["default"].weight, length)
