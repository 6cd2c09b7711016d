from __future__ import annotations

import builtins
import socket
from pathlib import Path

import pytest
from tiny import LABELS, make_backbone, with_labels

from pennyweight.api import changed, plan
from pennyweight.budget.backbones import read_config
from pennyweight.budget.shapes import read_architecture
from pennyweight.errors import BudgetError, InputError
from pennyweight.model.backbone import find_backbone
from pennyweight.model.device import choose_machine
from pennyweight.model.network import build_network
from pennyweight.pipeline.planning import label_names, plan_architecture, plan_recipe
from pennyweight.pipeline.unpacking import adapters_of, head_of
from pennyweight.recipe_files import load_recipe, shipped_recipes

PUBLISHED = {
    "qv-dense-r4": 999_172,
    "qv-r10": 962_308,
    "qkv-r6": 925_444,
    "targeted-r12": 796_420,
    "qkv-r7": 980_740,
    "ag-news": 998_404,
}


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*_arguments, **_options):
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)


@pytest.fixture
def no_weights(monkeypatch):
    opened: list[str] = []
    really = builtins.open
    monkeypatch.setattr(
        builtins, "open", lambda file, *rest, **more: (opened.append(str(file)), really(file, *rest, **more))[1]
    )
    yield
    assert not [name for name in opened if name.endswith((".safetensors", ".bin"))]


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_published_counts_need_neither_network_nor_weights(name, count, no_network, no_weights):
    counted = plan_recipe(load_recipe(name))
    assert counted.trainable == count
    assert counted.within_budget
    assert sum(counted.groups.values()) == count
    assert sum(matrix.parameters for matrix in counted.matrices) == counted.groups["adapters"]


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"rank": 8, "targets": ["query", "value"]}, 888_580),
        ({"rank": 4, "targets": ["query", "key", "value"]}, 814_852),
        ({"rank": 2, "targets": ["query"]}, 630_532),
        ({"rank": 4, "targets": ["query", "key", "value", "intermediate.dense"]}, 999_172),
        ({"rank": 4, "targets": ["query", "value"]}, 741_124),
        ({"rank": 5, "targets": ["query", "key", "value"]}, 870_148),
    ],
)
def test_other_settings_of_the_systems(changes, count):
    assert plan("qv-r10", adapters=changes).trainable == count


@pytest.mark.parametrize(
    ("rank", "targets", "count"),
    [
        (4, ["query", "key", "value", "output.dense"], 2_331_652),
        (8, ["query", "key", "value"], 2_233_348),
        (8, ["query", "key", "value", "output.dense"], 3_609_604),
    ],
)
def test_roberta_large_is_over_the_budget_by_its_head_alone(rank, targets, count):
    counted = plan("qkv-r6", backbone={"name": "roberta-large"}, adapters={"rank": rank, "targets": targets})
    assert counted.trainable == count
    assert not counted.within_budget
    assert counted.largest_rank is None
    assert "no uniform rank fits beside a head of 1,053,700" in counted.refusal()


def test_over_budget_names_the_excess_and_the_largest_rank():
    counted = plan("qv-dense-r4", adapters={"rank": 5})
    assert counted.trainable == 1_100_548
    with pytest.raises(BudgetError) as caught:
        counted.require_within_budget()
    assert "100,548 more than 1,000,000" in str(caught.value)
    assert "largest uniform rank that fits is 4" in str(caught.value)


def test_fill_leaves_no_room_for_one_rank_more():
    filled = plan("ag-news")
    assert {matrix.rank for matrix in filled.matrices} == {6}
    assert len(filled.matrices) == 72
    assert plan("ag-news", adapters={"rank": 6}).trainable == filled.trainable
    assert not plan("ag-news", adapters={"rank": 7}).within_budget


def test_fill_around_ranks_already_given():
    given = {"query@0": 40, "value@-1": 1}
    filled = plan("ag-news", adapters={"rank": "fill", "rank_pattern": given})
    ranks = {matrix.name: matrix.rank for matrix in filled.matrices}
    assert ranks["encoder.layer.0.attention.self.query"] == 40
    assert ranks["encoder.layer.11.attention.self.value"] == 1
    [common] = set(ranks.values()) - {40, 1}
    assert filled.within_budget
    assert not plan("ag-news", adapters={"rank": common + 1, "rank_pattern": given}).within_budget


def test_fill_without_room():
    with pytest.raises(BudgetError, match="rank 1 on 72 matrices"):
        plan("ag-news", budget={"parameters": 5000})


def test_alpha_by_pattern():
    counted = plan("ag-news", adapters={"rank": 3, "alpha": 12, "alpha_pattern": {"query@1": 99}})
    alphas = {matrix.name: matrix.alpha for matrix in counted.matrices}
    assert alphas.pop("encoder.layer.1.attention.self.query") == 99
    assert set(alphas.values()) == {12}


@pytest.mark.parametrize("key", ["targets", "rank_pattern", "alpha_pattern"])
def test_a_pattern_that_matches_nothing_names_its_key_and_near_misses(key):
    wrong = ["querry"] if key == "targets" else {"querry": 3}
    with pytest.raises(InputError, match=f"^adapters.{key}: 'querry' matches no matrix.*near: query"):
        plan("ag-news", adapters={key: wrong})


def test_a_pattern_for_a_matrix_without_an_adapter_is_refused():
    with pytest.raises(InputError, match="rank_pattern: 'key' matches no matrix"):
        plan("qv-r10", adapters={"rank_pattern": {"key": 3}})


def built_count(recipe, classes: int) -> int:
    files = find_backbone(recipe.backbone.name)
    architecture = read_architecture(files.config, classes=classes)
    planned = plan_architecture(recipe, architecture, classes=classes)
    network = build_network(
        files,
        choose_machine(precision=recipe.backbone.precision, attention="plain", packable=True),
        architecture=architecture,
        planned=planned.matrices,
        head=head_of(recipe, classes=classes),
        adapters=adapters_of(recipe, planned, steps=10),
        keep_dropout=recipe.backbone.dropout,
    )
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("name", shipped_recipes())
def test_what_is_built_is_what_was_planned_for_every_recipe(name, six_layers):
    sections = {"backbone": {"name": str(six_layers)}, "budget": {"parameters": 60_000}}
    recipe = changed(with_labels(load_recipe(name)), sections)
    assert built_count(recipe, len(label_names(recipe))) == plan_recipe(recipe).trainable


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> dict[str, Path]:
    kinds = ("bert", "roberta", "distilbert", "electra", "deberta-v2", "albert")
    return {kind: make_backbone(tmp_path_factory.mktemp("several") / kind, kind) for kind in kinds}


@pytest.mark.parametrize("head", [{"kind": "linear"}, {"kind": "low-rank", "rank": 3}, {"kind": "stock"}])
@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra", "deberta-v2", "albert"])
def test_what_is_built_is_what_was_planned_for_every_architecture(kind, head, several, make_recipe):
    table = {"name": str(several[kind])}
    recipe = make_recipe(backbone=table, adapters={"targets": "all-linear", "rank": 3}, head=head)
    assert read_config(recipe.backbone.name)["model_type"] == kind
    counted = plan_recipe(recipe)
    assert counted.trainable == built_count(recipe, len(LABELS))
    assert counted.groups["head"] > 0
    assert counted.groups["adapters"] > 0
