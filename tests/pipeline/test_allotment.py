from __future__ import annotations

from conftest import train_quietly

from pennyweight.console import Speaker
from pennyweight.manifest import read_manifest
from pennyweight.pipeline.allotment import allot_recipe
from pennyweight.pipeline.stages.allotting import found_ranks


def test_ranks_are_those_that_training_finds_of_filtered_items_and_copies(make_recipe, tmp_path):
    recipe = make_recipe(
        adapters={"rank": "sensitivity", "targets": "all-linear"},
        budget={"parameters": 4200},
        filter={"longest": 20},
        augmentation={"copies": 2, "operations": ["swap", "delete"]},
        training={"epochs": 1},
    )
    plain = recipe.model_copy(update={"filter": make_recipe().filter, "augmentation": make_recipe().augmentation})
    alone, without = (
        {matrix.name: matrix.rank for matrix in allot_recipe(one, speaker=Speaker(enabled=False)).matrices}
        for one in (recipe, plain)
    )
    assert alone == found_ranks(read_manifest(train_quietly(recipe, tmp_path / "out").folder))
    assert alone != without
