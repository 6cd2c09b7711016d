"""Windows measured: every way is the same recipe but for its windows, and a comparison says what was counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.windows import WAYS, against, changes_of, drawn, line
from pennyweight.api import changed
from pennyweight.pipeline.planning import plan_recipe


def test_ways_differ_in_their_windows_alone():
    recipes = {name: changed("long-documents", changes_of(name, Path("a"), Path("b"), 7)) for name in WAYS}
    assert recipes["cut"].windows.count == 1
    assert {(one.windows.count, one.windows.pooling) for one in recipes.values()} == {
        (1, "mean"),
        (4, "mean"),
        (4, "max"),
        (4, "attention"),
    }
    assert len({str(one.model_copy(update={"windows": None})) for one in recipes.values()}) == 1
    counts = {name: plan_recipe(recipe).trainable for name, recipe in recipes.items()}
    assert counts == {"cut": 302_612, "mean": 302_612, "max": 302_612, "attention": 302_996}


def test_a_comparison_counts_what_only_one_gets_right():
    first = np.repeat([True, True, False, False], [50, 2, 12, 36])
    second = np.repeat([True, False, True, False], [50, 2, 12, 36])
    row = against(first, second)
    assert (row["right_only_with_windows"], row["right_only_when_cut"]) == (12, 2)
    assert (row["cut"], row["windows"], row["difference"]) == pytest.approx((0.52, 0.62, 0.1))
    assert row["p"] == pytest.approx(2 * sum([1, 14, 91]) / 2**14)
    assert row["low"] < 0.1 < row["high"]
    assert line("max", row).startswith("max: 62.00 % in windows, 52.00 % cut, +10.00 points (")


def test_documents_to_judge_on_are_drawn_once_and_stay_in_order(tmp_path):
    source = tmp_path / "all.parquet"
    pq.write_table(pa.table({"text": [f"text {n}" for n in range(50)], "label": list(range(50))}), source)
    assert drawn(source, tmp_path / "none.parquet", None) == source
    parts = [pq.read_table(drawn(source, tmp_path / name / "some.parquet", 20)) for name in ("a", "b")]
    assert parts[0] == parts[1]
    labels = parts[0]["label"].to_pylist()
    assert labels == sorted(set(labels))
    assert len(labels) == 20
