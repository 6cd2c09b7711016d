from __future__ import annotations

import pytest
import torch
from tiny import config_of
from transformers import AutoModelForSequenceClassification

from pennyweight.budget.backbones import read_config
from pennyweight.budget.shapes import layer_of, make_config, read_architecture
from pennyweight.errors import InputError

ARCHITECTURES = ("bert", "roberta", "distilbert", "electra", "deberta-v2", "albert")


@pytest.mark.parametrize(
    ("alias", "layers", "hidden", "total", "stock_head"),
    [
        ("minilm", 6, 384, 22_713_216, 1_540),
        ("roberta-base", 12, 768, 124_055_040, 593_668),
        ("roberta-large", 24, 1024, 354_310_144, 1_053_700),
    ],
)
def test_the_aliases_are_as_published(alias, layers, hidden, total, stock_head):
    read = read_architecture(read_config(alias), classes=4)
    assert (read.layers, read.hidden, read.stock_head) == (layers, hidden, stock_head)
    assert read.total == total
    assert len(read.matrices) == 6 * layers


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_shapes_are_those_of_the_model_when_it_is_built(kind):
    read = read_architecture(config_of(kind), classes=5)
    built = AutoModelForSequenceClassification.from_config(make_config(config_of(kind), num_labels=5))
    base = dict(built.base_model.named_modules())
    for matrix in read.matrices:
        assert tuple(base[matrix.name].weight.shape) == (matrix.fan_out, matrix.fan_in)
    linear = {name for name, module in base.items() if isinstance(module, torch.nn.Linear) and "pooler" not in name}
    assert {matrix.name for matrix in read.matrices} == linear
    whole = sum(parameter.numel() for parameter in built.parameters())
    assert read.total + read.stock_head == whole
    assert read.hidden == 32
    head = [getattr(built, name) for name in read.head_modules]
    assert sum(parameter.numel() for child in head for parameter in child.parameters()) == read.stock_head


def test_nothing_is_allocated(monkeypatch):
    """A backbone of 100 layers, 8,192 wide, would take 300 GB."""
    config = config_of("bert", hidden_size=8192, num_hidden_layers=100, num_attention_heads=64, intermediate_size=32768)
    read = read_architecture(config, classes=2)
    assert read.total > 80e9
    assert read.layers == 100


@pytest.mark.parametrize(
    ("kind", "positions"),
    [("bert", 140), ("roberta", 138), ("distilbert", 140), ("electra", 140), ("albert", 140), ("deberta-v2", 140)],
)
def test_the_longest_input_is_as_long_as_the_model_takes(kind, positions):
    assert read_architecture(config_of(kind), classes=2).positions == positions
    model = AutoModelForSequenceClassification.from_config(make_config(config_of(kind), num_labels=2)).eval()
    tokens = torch.full((1, positions + 1), 7)
    assert model(input_ids=tokens[:, :-1]).logits.shape == (1, 2)
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=tokens)


def test_relative_positions_limit_nothing():
    config = config_of("deberta-v2", position_biased_input=False)
    assert read_architecture(config, classes=2).positions is None


def test_the_aliases_take_512_tokens():
    assert {read_architecture(read_config(alias), classes=2).positions for alias in ("minilm", "roberta-base")} == {512}


def test_the_number_of_classes_enters_the_stock_head():
    sizes = [read_architecture(config_of("roberta"), classes=classes).stock_head for classes in (2, 3)]
    assert sizes[1] - sizes[0] == 32 + 1


def test_an_unknown_architecture_is_refused():
    with pytest.raises(InputError, match="'no-such-model': Transformers does not know"):
        read_architecture({"model_type": "no-such-model"}, classes=2)


def test_an_architecture_that_cannot_classify_is_refused():
    with pytest.raises(InputError, match="cannot classify sequences"):
        read_architecture({"model_type": "vit"}, classes=2)


def test_remote_code_is_not_looked_at():
    config = config_of("bert", auto_map={"AutoConfig": "evil.Config"}, id2label={"0": "x"}, label2id={"x": 0})
    assert read_architecture(config, classes=3) == read_architecture(config_of("bert"), classes=3)


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("encoder.layer.11.output.dense", 11),
        ("encoder.layer.0.attention.self.query", 0),
        ("encoder.albert_layer_groups.0.albert_layers.0.ffn", 0),
        ("embeddings_project", None),
        ("layer12.dense", None),
    ],
)
def test_layer_of(name, layer):
    assert layer_of(name) == layer


def test_layers_that_share_their_weights_are_counted_as_often_as_they_are_passed():
    sizes = {
        "vocab_size": 50,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "embedding_size": 16,
    }
    shared = {"model_type": "albert", "num_hidden_layers": 6, "num_hidden_groups": 1, **sizes}
    architecture = read_architecture(shared, classes=2)
    assert (architecture.layers, architecture.repeats) == (1, 6)
    own = {"model_type": "bert", "num_hidden_layers": 6, **sizes}
    assert read_architecture(own, classes=2).repeats == 1


@pytest.mark.parametrize(
    "broken",
    [
        {"model_type": "bert", "num_attention_heads": 0},
        {"model_type": "bert", "hidden_size": "abc"},
        {"model_type": ["bert"]},
        {"model_type": "bert", "hidden_size": 33},
    ],
)
def test_a_broken_configuration_is_one_line_for_the_user(broken):
    with pytest.raises(InputError, match=r"^backbone of type .*[^\n]$"):
        read_architecture(broken, classes=2)
