"""Teachers and texts without labels: the items of both ways, and the recipes that they are trained by."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.teaching import ROWS, common, draw, line, merged
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


@pytest.mark.parametrize("name", list(ROWS))
def test_both_ways_are_recipes_within_their_budgets(name, tmp_path):
    row = ROWS[name]
    base = merged(common(tmp_path, tmp_path / "train.parquet", seed=3), row.base)
    own = {"teachers": {"sources": ["t"]}} if row.teacher else {"unlabelled": {"source": "u"}}
    for changes in (base, merged(base, merged(row.on, own))):
        recipe = changed(row.recipe, changes)
        assert recipe.training.seed == 3
        plan = plan_recipe(recipe)
        assert plan.trainable <= recipe.budget.parameters
    assert ("75,000" in name) == (plan.budget == 75_000)


def test_a_row_in_words():
    found = {"off": 0.88, "on": 0.89, "difference": 0.01, "low": 0.002, "high": 0.018, "p": 0.012}
    assert line("x", found) == "x: 88.00 % without, 89.00 % with, +1.00 points (+0.20 to +1.80), p 0.012"
