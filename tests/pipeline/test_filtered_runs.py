from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import train_quietly
from tiny import sentences, write_csv

from pennyweight.classifier import Classifier
from pennyweight.console import Speaker
from pennyweight.data.filtering import Dropped
from pennyweight.errors import InputError
from pennyweight.pipeline.preparation import collect
from pennyweight.pipeline.stages.filtering import asked_of, filter_items, say_dropped


def words(text: str) -> int:
    return len(text.split())


def test_without_a_filter_nothing_changes(make_recipe):
    recipe = make_recipe()
    before = collect(recipe)
    after = filter_items(recipe, before)
    assert after is before
    assert after.dropped == ()


def test_only_training_items_are_filtered(make_recipe):
    before = collect(make_recipe())
    recipe = make_recipe(filter={"shortest": 8, "longest": 20})
    after = filter_items(recipe, collect(recipe))
    np.testing.assert_array_equal(after.validation, before.validation)
    assert any(not 8 <= words(before.cleaned[item]) <= 20 for item in before.validation)
    assert all(8 <= words(after.cleaned[item]) <= 20 for item in after.training)
    gone = np.concatenate([one.items for one in after.dropped])
    np.testing.assert_array_equal(np.union1d(after.training, gone), before.training)
    assert len(gone) + len(after.training) == len(before.training)
    assert after.digest != before.digest


def test_a_class_that_loses_all_its_items_is_named(make_recipe, tmp_path):
    rows = [*sentences(30), ("tide", "harbour")]
    source = write_csv(tmp_path / "few.csv", [row for row in rows if row[1] != "harbour" or words(row[0]) < 9])
    recipe = make_recipe(data={"source": str(source), "validation": 0.0}, filter={"shortest": 9})
    with pytest.raises(InputError, match=r"filter: class harbour has no item left to train on, .* too short"):
        filter_items(recipe, collect(recipe))


def test_a_stage_adds_its_own_reason(make_recipe):
    recipe = make_recipe(filter={"shortest": 8})
    collected = filter_items(recipe, collect(recipe))
    chosen = collected.training[:2]
    more = collected.without(Dropped(chosen, "label noise", found=("harbour", "orchard"), confidence=(0.9, 0.8)))
    assert [one.reason for one in more.dropped] == ["too short", "label noise"]
    np.testing.assert_array_equal(more.training, collected.training[2:])


def test_what_was_dropped_is_said_counted_and_listed(make_recipe, tmp_path, capsys):
    recipe = make_recipe(filter={"shortest": 8, "longest": 20}, training={"epochs": 1})
    collected = filter_items(recipe, collect(recipe))
    short, long = (len(one) for one in collected.dropped)
    say_dropped(collected, Speaker())
    said = f"{short + long} training items filtered out: {short} too short, {long} too long; report/filtered.parquet"
    assert said in capsys.readouterr().err
    folder = train_quietly(recipe, tmp_path / "out").folder
    listed = pq.read_table(folder / "report" / "filtered.parquet").to_pylist()
    assert [line["row"] for line in listed] == sorted(
        collected.rows[item] for one in collected.dropped for item in one.items
    )
    assert {line["reason"] for line in listed} == {"too short", "too long"}
    assert f"too short {short}, too long {long}" in (folder / "report" / "report.html").read_text()


def test_no_list_without_a_filter(trained):
    assert not (trained / "report" / "filtered.parquet").exists()
    assert "filtered out" not in (trained / "report" / "report.html").read_text()


def test_lemmas_and_their_language_go_with_the_classifier(make_recipe, tmp_path):
    recipe = make_recipe(text={"cleaning": ["lowercase", "lemmas"], "language": "de"}, training={"epochs": 1})
    assert collect(recipe).cleaned != collect(make_recipe(text={"cleaning": ["lowercase"]})).cleaned
    folder = train_quietly(recipe, tmp_path / "out").folder
    record = json.loads((folder / "classifier.json").read_text())["text"]
    assert (record["cleaning"], record["language"]) == (["lowercase", "lemmas"], "de")
    classifier = Classifier.load(folder, device="cpu")
    lemmatised = classifier.logits(["DIE HÄUSER"])
    record = classifier.manifest.text.model_copy(update={"cleaning": ()})
    classifier.manifest = classifier.manifest.model_copy(update={"text": record})
    np.testing.assert_array_equal(lemmatised, classifier.logits(["der Haus"]))
    assert not np.array_equal(lemmatised, classifier.logits(["die häuser"]))


def test_all_that_a_filter_asks_for_is_asked(make_recipe):
    given = {"shortest": 3, "longest": 90, "languages": ["en", "de"], "certainty": 0.7, "repeats": "drop"}
    assert asked_of(make_recipe(filter=given).filter) == {
        "shortest": 3,
        "longest": 90,
        "languages": ("en", "de"),
        "certainty": 0.7,
        "drop_repeats": True,
    }
    assert asked_of(make_recipe().filter)["drop_repeats"] is False
