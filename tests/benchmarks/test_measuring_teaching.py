"""Teachers and texts without labels: the items of both ways, and the recipes that they are trained by."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import train_quietly
from tiny import sentences

from benchmarks import teaching
from benchmarks.answers import packed
from benchmarks.items import LABELS
from benchmarks.teaching import answers_of, common, described, draw, line, measured_draws, with_names
from benchmarks.teaching_rows import ROWS
from benchmarks.technique_arms import merged
from pennyweight import load
from pennyweight.api import changed
from pennyweight.pipeline.planning import plan_recipe


def test_no_item_is_in_two_files_and_texts_have_no_labels(tmp_path):
    source = tmp_path / "train.parquet"
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(100)], "label": [n % 4 for n in range(100)]}), source)
    files = draw(source, tmp_path / "drawn", {"labelled": 3, "texts": 10, "teacher": 5}, seed=0)
    tables = {name: pq.read_table(file) for name, file in files.items()}
    assert {name: len(table) for name, table in tables.items()} == {"labelled": 12, "texts": 40, "teacher": 20}
    assert tables["texts"].column_names == ["text"]
    assert sorted(tables["labelled"]["label"].to_pylist()) == sorted([0, 1, 2, 3] * 3)
    texts = [text for table in tables.values() for text in table["text"].to_pylist()]
    assert len(set(texts)) == 72
    again = draw(source, tmp_path / "again", {"labelled": 3, "texts": 10}, seed=0)
    assert pq.read_table(again["texts"]) == tables["texts"]


def test_texts_that_say_what_a_class_is_about_come_after_the_labelled_items(tmp_path):
    source = tmp_path / "labelled.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "label": pa.array([1, 0], pa.int32())}), source)
    table = pq.read_table(with_names(source, (("zero", "none"), ("one",))))
    assert table.to_pydict() == {"text": ["a", "b", "zero", "none", "one"], "label": [1, 0, 0, 0, 1]}
    assert pq.read_table(source).num_rows == 2


@pytest.mark.parametrize("name", list(ROWS))
def test_both_ways_are_recipes_within_their_budgets(name, tmp_path):
    row = ROWS[name]
    base = merged(common(tmp_path, tmp_path / "train.parquet", seed=3), row.base)
    texts = {"unlabelled": {"source": "u"}} if row.texts else {}
    own = {**({"teachers": {"sources": ["t"]}} if row.teacher else {}), **texts}
    if row.texts_for_both:
        base = merged(base, texts)
    for changes in (base, merged(base, merged(row.on, own))):
        recipe = changed(row.recipe, changes)
        assert recipe.training.seed == 3
        plan = plan_recipe(recipe)
        assert plan.trainable <= recipe.budget.parameters
        assert plan.trainable * row.together <= 1_000_000
    assert ("student" in name) == (plan.budget == 75_000)


def test_draws_of_several_sittings_are_judged_together():
    """Ten items, three draws: half, four and three of them are right without, nine with."""
    name, row = next(iter(ROWS.items()))
    answers = {
        str(seed): {
            "off": packed(np.arange(10) < wrong),
            "on": packed(np.arange(10) < 9),
            "test_items": 10,
        }
        for seed, wrong in enumerate((5, 4, 3))
    }
    found = described(row, answers)
    assert found["seeds"] == [[0.5, 0.4, 0.3], [0.9, 0.9, 0.9]]
    assert (found["off"], found["on"], found["test_items"]) == (pytest.approx(0.4), pytest.approx(0.9), 10)
    assert found["difference"] == pytest.approx(0.5) and found["low"] > 0.1
    kept = json.loads(json.dumps({name: found}))
    assert (answers_of(name, kept), measured_draws(name, kept)) == (answers, 3)
    assert answers_of(name, {}) == {}
    del kept[name]["settings"]["together"], kept[name]["answers"]
    assert (answers_of(name, kept), measured_draws(name, kept)) == ({}, 3), "it was kept before rows had these"
    kept[name]["settings"]["labels"] += 1
    assert (answers_of(name, kept), measured_draws(name, kept)) == ({}, 0), "it was another row"


def test_a_row_in_words():
    found = {"off": 0.88, "on": 0.89, "difference": 0.01, "low": 0.002, "high": 0.018, "p": 0.012}
    assert line("x", found) == "x: 88.00 % without, 89.00 % with, +1.00 points (+0.20 to +1.80), p 0.012"


def test_both_ways_learn_from_the_same_items_and_are_told_apart(tmp_path, monkeypatch):
    """What is trained is only written down; the way with the technique is right where the other is wrong."""
    trained = []

    def written_down(recipe, changes, folder):
        trained.append((folder.name, changed(recipe, changes)))
        truth = np.array(LABELS * 5)
        return (np.roll(truth, 1) if folder.name == "off" else truth), truth

    source = tmp_path / "agnews" / "train.parquet"
    source.parent.mkdir()
    rows = 4 * (1250 + 3750 + 2000)
    pq.write_table(
        pa.table({"text": [f"text {n}" for n in range(rows)], "label": [n % 4 for n in range(rows)]}), source
    )

    def written_down_once(row, changes, folder, data):
        return written_down(row.recipe, changes, folder / "on")[0]

    monkeypatch.setattr(teaching, "predicted", written_down)
    monkeypatch.setattr(teaching, "together", written_down_once)
    monkeypatch.setattr(teaching, "runs_of", lambda name: tmp_path / "runs" / name)
    for name, row in ROWS.items():
        trained.clear()
        told = json.loads(json.dumps(teaching.drawn(name, 0, tmp_path, quick=True)))
        found = teaching.described(row, {"0": told})
        assert (found["off"], found["on"], found["test_items"]) == (0.0, 1.0, 20)
        assert found["seeds"] == [[0.0], [1.0]]
        assert [folder for folder, _ in trained] == (["teacher"] if row.teacher else []) + ["off", "on"]
        off, on = (recipe for _, recipe in trained[-2:])
        assert (off.data.source != on.data.source) == bool(row.named)
        assert off.data == on.data.model_copy(update={"source": off.data.source})
        assert off.adapters == on.adapters
        assert bool(on.teachers.sources) == bool(row.teacher)
        assert bool(on.unlabelled.source) == bool(row.texts)
        assert off.unlabelled.source == (on.unlabelled.source if row.texts_for_both else None)
        assert not off.teachers.sources


def test_networks_together_are_of_seeds_of_their_own_and_one_classifier(tmp_path, monkeypatch, make_recipe):
    """Small networks of other data: what their mean says is what is found."""
    members = []

    def trained(recipe, changes, folder):
        members.append((changes["training"]["seed"], train_quietly(make_recipe(training=changes["training"]), folder)))

    texts = [text for text, _ in sentences(20)]
    path = tmp_path / "agnews" / "test.parquet"
    path.parent.mkdir()
    pq.write_table(pa.table({"text": texts, "label": [0] * 20}), path)
    monkeypatch.setattr(teaching, "predicted", trained)
    row = replace(next(row for row in ROWS.values() if row.together == 3), together=2)
    found = teaching.together(row, {"training": {"seed": 1, "epochs": 1}}, tmp_path, tmp_path)
    assert [seed for seed, _ in members] == [1, 101]
    shares = [load(outcome.folder).predict_proba(texts) for _, outcome in members]
    names = np.array(load(members[0][1].folder).labels, dtype=object)
    assert (found == names[np.mean(shares, axis=0).argmax(axis=1)]).all()
