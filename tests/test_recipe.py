from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pydantic
import pytest

from pennyweight.errors import InputError
from pennyweight.recipe import Recipe, Section
from pennyweight.recipe_files import build_recipe, load_recipe, shipped_recipes

SYSTEMS = ("qv-dense-r4", "qv-r10", "qkv-r6", "targeted-r12", "qkv-r7")


def sections() -> dict[str, type[Section]]:
    return {name: field.annotation for name, field in Recipe.model_fields.items()}


def test_every_shipped_recipe_is_valid():
    """Found by a recursive glob whose count is asserted, so that none is passed over."""
    root = Path(str(resources.files("pennyweight")))
    found = sorted(root.rglob("*.toml"))
    own = {"quickstart", "ag-news", "emotions", "few-labels", "intents", "long-documents", "noisy-labels"}
    assert len(found) == len(own) + len(SYSTEMS)
    assert {path.stem for path in found} == {*own, *SYSTEMS} == set(shipped_recipes())
    for path in found:
        assert load_recipe(str(path)) == load_recipe(path.stem)


def test_sections():
    inputs = ["backbone", "data", "text", "windows", "filter", "augmentation"]
    learning = ["objective", "training", "teachers", "unlabelled", "evaluation"]
    assert list(sections()) == [*inputs, "budget", "adapters", "head", *learning]


@pytest.mark.parametrize("section", sections())
def test_every_field_is_documented(section):
    fields = sections()[section].model_fields
    assert fields
    for name, field in fields.items():
        assert field.description, f"{section}.{name}"
        assert field.description.rstrip().endswith((".", ")")), f"{section}.{name}"


@pytest.mark.parametrize("section", sections())
def test_recipes_are_frozen(section):
    recipe = Recipe()
    part = getattr(recipe, section)
    with pytest.raises(pydantic.ValidationError):
        setattr(recipe, section, part)
    name = next(iter(type(part).model_fields))
    with pytest.raises(pydantic.ValidationError):
        setattr(part, name, getattr(part, name))


def test_a_recipe_survives_its_own_json():
    for name in shipped_recipes():
        recipe = load_recipe(name)
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
        assert build_recipe(recipe.model_dump(mode="json")) == recipe
        assert build_recipe(recipe.model_dump()) == recipe


@pytest.mark.parametrize("name", SYSTEMS)
def test_what_the_systems_have_in_common(name):
    recipe = load_recipe(name)
    assert recipe.backbone.name == "roberta-base"
    assert recipe.backbone.dropout is True
    assert recipe.data.labels == ("World", "Sports", "Business", "Sci/Tech")
    assert recipe.data.source == "hub:fancyzhx/ag_news"
    assert recipe.text.max_length == 128
    assert recipe.text.order == "shuffled"
    assert recipe.head.kind == "stock"
    assert recipe.training.optimizer == "adamw"
    assert recipe.budget.parameters == 1_000_000


def test_qv_dense_r4_as_stated():
    recipe = load_recipe("qv-dense-r4")
    adapters, text, training = recipe.adapters, recipe.text, recipe.training
    assert (adapters.targets, adapters.rank) == (("query", "value", "output.dense"), 4)
    assert (adapters.alpha, adapters.dropout) == (16, 0.05)
    assert set(text.cleaning) == {"newlines", "html"}
    assert (text.add_prefix_space, text.padding) == (True, "fixed")
    assert (training.epochs, training.batch_size, training.accumulation) == (3, 8, 4)
    assert recipe.evaluation.batch_size == 64
    assert (training.betas, training.epsilon) == ((0.9, 0.999), 1e-8)
    assert (training.schedule, training.warmup, training.label_smoothing) == ("cosine-restarts", 0.15, 0.05)
    assert recipe.backbone.precision == "bf16"
    assert training.metric == "loss"
    assert training.patience is not None


def test_qv_r10_as_stated():
    recipe = load_recipe("qv-r10")
    assert (recipe.adapters.targets, recipe.adapters.rank) == (("query", "value"), 10)


def test_qkv_r6_as_stated():
    recipe = load_recipe("qkv-r6")
    adapters, training = recipe.adapters, recipe.training
    assert (adapters.targets, adapters.rank, adapters.alpha) == (("query", "key", "value"), 6, 14)
    assert recipe.text.cleaning == ("html", "punctuation", "lowercase")
    assert recipe.text.padding == "dynamic"
    assert (training.weight_decay, training.learning_rate, training.schedule) == (0.01, 5e-4, "linear")
    assert (training.batch_size, training.epochs) == (32, 20)
    assert training.patience in (3, 4, 5)


def test_what_the_systems_tried_besides_is_switched_on_by_key():
    eda = load_recipe("qkv-r6", changes=["augmentation.copies=1"])
    assert eda.augmentation.operations == ("synonyms", "insert", "swap", "delete")
    cleaning = 'text.cleaning=["html", "punctuation", "lowercase", "lemmas"]'
    assert load_recipe("qkv-r6", changes=[cleaning]).text.cleaning[-1] == "lemmas"
    filtered = load_recipe("qv-r10", changes=["filter.shortest=5", "filter.repeats=drop", "filter.languages=en"])
    assert (filtered.filter.shortest, filtered.filter.repeats, filtered.filter.languages) == (5, "drop", ("en",))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"filter": {"shortest": 5, "longest": 4}}, r"filter\.shortest = 5 and filter\.longest = 4 leave no text"),
        ({"filter": {"languages": ["english"]}}, r"filter\.languages = 'english'"),
        ({"augmentation": {"copies": -1}}, r"augmentation\.copies = -1"),
        ({"augmentation": {"operations": []}}, r"augmentation\.operations = \[\]"),
        ({"augmentation": {"operations": ["swap", "swap"]}}, "'swap' is given twice"),
        ({"augmentation": {"strength": 0.0}}, r"augmentation\.strength = 0\.0"),
        ({"evaluation": {"augmented_operations": ["insert"]}}, r"evaluation\.augmented_operations = 'insert'"),
        ({"text": {"language": "EN"}}, r"text\.language = 'EN'"),
        ({"data": {"task": "multi-label"}, "augmentation": {"balance": True}}, r"augmentation\.balance has a meaning"),
        ({"data": {"task": "multi-label"}, "training": {"sampler": "balanced"}}, r"training\.sampler has a meaning"),
        ({"training": {"sampler": "weighted"}}, r"training\.sampler = 'weighted'"),
    ],
)
def test_what_cannot_be_done_to_texts_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        build_recipe(change)


def test_targeted_r12_as_stated():
    recipe = load_recipe("targeted-r12")
    adapters, training = recipe.adapters, recipe.training
    assert (adapters.rank, adapters.alpha, adapters.dropout) == (12, 32, 0.05)
    assert (training.batch_size, training.accumulation, training.epochs) == (16, 2, 5)
    assert (training.learning_rate, training.weight_decay) == (3e-5, 0.1)
    assert (training.schedule, training.warmup) == ("cosine", 0.15)
    assert (training.metric, training.keep) == ("accuracy", "best")


def test_targeted_r12_names_eight_matrices():
    from pennyweight.api import plan

    attention = {(layer, "query") for layer in (0, 1, 5, 10)} | {(0, "key"), (0, "value")}
    expected = {f"encoder.layer.{layer}.attention.self.{name}" for layer, name in attention}
    expected |= {f"encoder.layer.{layer}.output.dense" for layer in (10, 11)}
    assert {matrix.name for matrix in plan("targeted-r12").matrices} == expected


def test_qkv_r7_as_stated():
    recipe = load_recipe("qkv-r7")
    adapters, training = recipe.adapters, recipe.training
    assert (adapters.targets, adapters.rank) == (("query", "key", "value"), 7)
    assert (adapters.alpha, adapters.dropout) == (32, 0.1)
    # The defaults of Hugging Face's Trainer.
    assert (training.epochs, training.batch_size, training.learning_rate) == (3, 8, 5e-5)
    assert (training.schedule, training.warmup, training.weight_decay) == ("linear", 0, 0)
    assert (training.gradient_clip, training.label_smoothing, training.keep) == (1.0, 0, "last")


def test_ag_news_spends_its_million_on_all_matrices():
    recipe = load_recipe("ag-news")
    assert (recipe.adapters.targets, recipe.adapters.rank) == ("all-linear", "fill")
    assert recipe.head.kind == "linear"


def test_quickstart_needs_no_network():
    recipe = load_recipe("quickstart")
    assert (recipe.backbone.name, recipe.data.source, recipe.data.test) == ("minilm", "starter", "starter@test")


def test_the_functions_take_paths(tmp_path):
    from pennyweight.api import changed, plan

    path = tmp_path / "mine.toml"
    path.write_text("[adapters]\nrank = 2\n")
    assert plan(path) == plan(str(path)) == plan(load_recipe(path))
    assert plan(path, adapters={"rank": 3}).trainable > plan(path).trainable
    assert changed(path, {"data": {"source": tmp_path / "my.csv"}}).data.source == str(tmp_path / "my.csv")
    assert changed(path, {"adapters": {"rank": np.int64(3)}}).adapters.rank == 3
    with pytest.raises(InputError, match="rank"):
        changed(path, {"adapters": {"rank": True}})


@pytest.mark.parametrize("keys", [3, None, "epochs=3", [("epochs", 3)]])
def test_a_section_is_changed_by_a_mapping(keys, tmp_path):
    from pennyweight.api import plan, train

    with pytest.raises(InputError, match=r"training=.*: a section is changed by key"):
        plan("quickstart", training=keys)
    with pytest.raises(InputError, match=r"training=.*: a section is changed by key"):
        train("quickstart", tmp_path / "out", training=keys)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("recipe", [None, 3, {"training": {"epochs": 3}}])
def test_what_is_no_recipe_at_all(recipe):
    from pennyweight.api import plan

    with pytest.raises(InputError, match="a recipe is a shipped name, the path of a TOML file or a Recipe"):
        plan(recipe)


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipe_is_planned_without_its_data(name):
    """Its labels are known, or its data come with the package."""
    data = load_recipe(name).data
    assert data.labels != "auto" or data.source == "starter"
