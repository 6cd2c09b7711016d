from __future__ import annotations

import pytest

from pennyweight.errors import InputError
from pennyweight.recipe_files import build_recipe


def test_r_drop_is_refused_where_nothing_is_dropped():
    table = {"objective": {"r_drop": 1.0}}
    with pytest.raises(InputError, match=r"objective\.r_drop .* set adapters\.dropout"):
        build_recipe(table)
    for section, change in (
        ("adapters", {"dropout": 0.1}),
        ("head", {"dropout": 0.1}),
        ("backbone", {"dropout": True}),
    ):
        assert build_recipe({**table, section: change}).objective.r_drop == 1.0


def test_an_objective_outside_its_range_is_refused():
    for key, value in (
        ("gamma", -0.1),
        ("q", 0),
        ("q", 1.1),
        ("r_drop", -1),
        ("loss", "hinge"),
        ("class_weights", [1, 0]),
    ):
        with pytest.raises(InputError, match=rf"objective\.{key}"):
            build_recipe({"objective": {key: value}})


def test_a_contrastive_stage_needs_pairs_in_its_batches():
    with pytest.raises(InputError, match=r"set training\.batch_size to 4 or more"):
        build_recipe({"objective": {"contrastive_epochs": 1}, "training": {"batch_size": 3}})
    assert build_recipe({"training": {"batch_size": 3}}).training.batch_size == 3


def test_a_first_stage_on_texts_has_keys_that_something_reads_and_adapters_that_others_can_take():
    texts = {"source": "more.csv", "contrastive_epochs": 1}
    assert build_recipe({"unlabelled": texts}).unlabelled.contrastive_temperature == 0.05
    for key in ("contrastive_temperature", "contrastive_learning_rate"):
        build_recipe({"unlabelled": {**texts, key: 0.01}})
        with pytest.raises(InputError, match=rf"unlabelled\.{key} has no meaning without .*contrastive_epochs"):
            build_recipe({"unlabelled": {"source": "more.csv", key: 0.01}})
    with pytest.raises(InputError, match=r"unlabelled\.contrastive_epochs .* 'pissa'"):
        build_recipe({"unlabelled": texts, "adapters": {"init": "pissa"}})


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("objective", {"contrastive_epochs": 1}),
        ("head", {"start": "probe"}),
        ("unlabelled", {"source": "more.csv"}),
    ],
)
def test_what_is_made_for_one_class_per_text_is_refused_for_several_labels(section, keys):
    table = {"adapters": {"dropout": 0.1}, section: keys}
    build_recipe(table)
    with pytest.raises(
        InputError, match=rf"{section}\.{next(iter(keys))} has a meaning with data\.task = 'single-label'"
    ):
        build_recipe({**table, "data": {"task": "multi-label"}})


@pytest.mark.parametrize("loss", ["cross-entropy", "focal", "gce"])
def test_losses_class_weights_and_smoothing_go_with_several_labels(loss):
    table = {"data": {"task": "multi-label"}, "objective": {"class_weights": "balanced", "loss": loss}}
    recipe = build_recipe({**table, "training": {"label_smoothing": 0.1, "metric": "micro_f1"}})
    assert recipe.evaluation.thresholds == "tuned"


def test_classes_are_evened_out_once():
    build_recipe({"training": {"sampler": "balanced"}, "objective": {"class_weights": [1, 2]}})
    with pytest.raises(InputError, match=r"turn the imbalance round: leave one of them out"):
        build_recipe({"training": {"sampler": "balanced"}, "objective": {"class_weights": "balanced"}})


@pytest.mark.parametrize(
    ("section", "keys"),
    [
        ("objective", {"loss": "focal"}),
        ("objective", {"class_weights": "balanced"}),
        ("training", {"label_smoothing": 0.1}),
    ],
)
def test_ways_to_learn_from_labels_are_refused_where_teachers_alone_are_learnt_from(section, keys):
    (key,) = keys
    teachers = {"sources": ["teacher"], "mixture": 1.0}
    with pytest.raises(InputError, match=rf"{section}\.{key} is of the loss against labels"):
        build_recipe({"teachers": teachers, section: keys})
    build_recipe({"teachers": {**teachers, "mixture": 0.9}, section: keys})
    with pytest.raises(InputError, match="is of the loss against labels"):
        build_recipe({"teachers": teachers, section: keys, "unlabelled": {"source": "more.csv"}})
    for other in (
        {"unlabelled": {"source": "more.csv", "labels": "hard"}},
        {"filter": {"label_noise": "drop"}},
        {"adapters": {"rank": "sensitivity"}},
    ):
        build_recipe({"teachers": teachers, section: keys, **other})
