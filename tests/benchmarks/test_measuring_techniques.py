from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks import techniques as measurement
from benchmarks.drawing import filled, read_results, technique_tables
from benchmarks.teaching import of_today
from benchmarks.teaching_rows import ROWS
from benchmarks.technique_arms import Answer, Items, judged_items, merged, recipe_table, skewed
from benchmarks.technique_page import PAGE, teaching_lines, technique_lines, tuning_lines
from benchmarks.technique_rows import Technique, chosen
from benchmarks.techniques import all_techniques, content, measured, technique_names
from pennyweight.recipe_files import build_recipe


@pytest.mark.parametrize("technique", all_techniques(), ids=lambda one: one.name)
def test_every_row_is_a_recipe_that_exists_and_switches_something(technique, tmp_path):
    (tmp_path / "labels.json").write_text('{"go_emotions": ["joy", "anger"]}')
    items = Items(technique.items.name, "agnews", 100, technique.items.labels, task=technique.items.task)
    on, off = (
        build_recipe(recipe_table(items, merged(technique.items.changes, one), tmp_path, seed=1))
        for one in (technique.on, technique.off)
    )
    assert on.training.seed == off.training.seed == 1
    assert on != off or technique.procedure is not None
    assert on.backbone == off.backbone or technique.room in ("Objectives", "Precision")


def test_names_are_distinct_and_chosen_by_name():
    known = {name: room for room, name in technique_names()}
    assert len(known) == len(technique_names())
    assert chosen(["DoRA"], known) == ["DoRA"]
    assert chosen(None, known) == list(known)
    with pytest.raises(ValueError, match="no technique is called 'magic'"):
        chosen(["magic"], known)


def test_a_row_compares_seed_by_seed(tmp_path, monkeypatch):
    truth = np.arange(60) % 4
    monkeypatch.setattr(measurement, "judged_items", lambda *_: ([], truth))

    def answer(_items, changes, _data, *, seed):
        wrong = 30 if not changes else 10
        predicted = np.where((np.arange(60) + seed) % 60 < wrong, (truth + 1) % 4, truth)
        return Answer(predicted, 2.0 if changes else 1.0, 10)

    monkeypatch.setattr(measurement, "answer", answer)
    origin = {"processor": "some", "format": "bf16", "git": {"commit": 40 * "a", "dirty": False}}
    monkeypatch.setattr(measurement, "origin", lambda: origin)
    row = measured(Technique("better", "Room", {"text": {"max_length": 64}}), tmp_path, quick=False)
    assert (row["off"], row["on"], row["seeds"]) == (0.5, pytest.approx(5 / 6), 3)
    assert row["difference"] == pytest.approx(1 / 3) and row["low"] > 0 and row["p"] < 1e-4
    assert (row["seconds"], row["seconds_off"], row["trainable"]) == (2.0, 1.0, 10)
    listed = content({"better": row}, ["better", "other"])["techniques"]
    assert [one["name"] for one in listed] == ["better"] and listed[0]["p_corrected"] == row["p"]
    lines = "\n".join(technique_lines({"techniques": {"techniques": listed}}, [("Room", "better"), ("Room", "other")]))
    assert "| better | news, 5,000 | 50.00 | 83.33 | **+33.33 (" in lines and "| other | not measured |" in lines
    place = f"1 on {row['origin']['processor']} in {row['format']}"
    assert lines.endswith(f"Rows: {place}, commit {row['origin']['git']['commit'][:7]}.")


def test_every_second_class_is_thinned_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = [index % 4 for index in range(400)]
    pq.write_table(pa.table({"text": [str(one) for one in range(400)], "label": labels}), tmp_path / "train.parquet")
    kept = pq.read_table(skewed(tmp_path / "train.parquet", count=200)).column("label").to_pylist()
    assert np.bincount(kept).tolist() == [50, 5, 50, 5]


def test_many_hot_truth(tmp_path):
    (tmp_path / "labels.json").write_text('{"go_emotions": ["joy", "anger", "fear"]}')
    (tmp_path / "some").mkdir()
    pq.write_table(pa.table({"text": ["a", "b"], "labels": [[0, 2], []]}), tmp_path / "some" / "test.parquet")
    texts, truth = judged_items(Items("some", "some", None, "go_emotions", task="multi-label"), tmp_path)
    assert texts == ["a", "b"] and truth.tolist() == [[True, False, True], [False, False, False]]


def test_few_of_each_class_where_the_file_is_in_order_of_class(tmp_path):
    every = Items("long", "some", None, per_class=100, judged=3_000)
    assert recipe_table(every, {}, tmp_path, seed=0)["data"]["limit_per_class"] == 100
    assert "limit" not in recipe_table(every, {}, tmp_path, seed=0)["data"]
    assert (every.described(), every.few().described()) == ("long, 100 of a class", "long, 12 of a class")
    plain = Items("news", "agnews", 5_000)
    assert (plain.described(), plain.few().described()) == ("news, 5,000", "news, 240")


def test_the_same_part_of_the_test_items_is_judged_every_time(tmp_path):
    (tmp_path / "some").mkdir()
    table = pa.table({"text": [str(one) for one in range(50)], "label": list(range(50))})
    pq.write_table(table, tmp_path / "some" / "test.parquet")
    some = Items("some", "some", None, judged=10)
    texts, truth = judged_items(some, tmp_path)
    assert texts == [str(one) for one in truth] and len(set(texts)) == 10 and truth.tolist() == sorted(truth)
    assert judged_items(some, tmp_path)[0] == texts


def test_the_page_is_drawn_from_the_results():
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, technique_tables(read_results())) == page


def test_draws_are_told_by_their_mean_least_and_greatest():
    row = {"seeds": [[0.5, 0.7], [0.8, 0.9]], "difference": 0.25, "low": 0.1, "high": 0.4, "p": 0.0001}
    lines = teaching_lines({"few": row}, ["few", "more"])
    few = "| few | 60.00 % (50.00 to 70.00) | 85.00 % (80.00 to 90.00) | +25.00 (+10.00 to +40.00) | < 0.001 | 2 |"
    assert lines[2:] == [few, "| more | not measured | | | | |", "", "Draws: 2 of a commit that was not kept."]
    origin = {"processor": "a CPU", "format": "bf16", "git": {"commit": "0123456789", "dirty": True}}
    kept = {**row, "answers": {"0": {"origin": origin}}}
    told = "Draws: 1 on a CPU in bf16, commit 0123456 and changes; 1 of a commit that was not kept."
    assert teaching_lines({"few": kept}, ["few"])[-1] == told


def test_a_row_that_is_another_today_is_not_drawn():
    name, row = next(iter(ROWS.items()))
    settings = json.loads(json.dumps(asdict(row)))
    found = {"seeds": [[0.5], [0.6]], "settings": settings}
    assert of_today({name: found}) == {name: found}
    assert of_today({name: {**found, "settings": {**settings, "labels": 3}}, "of old": found}) == {}


def test_adapters_stand_beside_full_tuning():
    full = {"accuracy": 0.9336, "low": 0.92, "high": 0.94, "seeds": [0.9], "seconds": [600], "trainable": 1234}
    lines = tuning_lines({"full_tuning": {"ways": {"full": full}}})
    assert lines[2:] == [
        "| `ag-news` on MiniLM | not measured | | | |",
        "| every weight of MiniLM, by Trainer | 1,234 | 93.36 % (92.00 to 94.00) | 1 | 10 |",
    ]
    difference = {"difference": -0.002, "low": -0.01, "high": 0.004, "p": 0.53}
    runs = {"full": {"0": {"origin": None}}, "adapters": {"0": {"origin": None}, "1": {"origin": None}}}
    both = {"ways": {"full": full, "adapters": full}, "difference": difference, "within": True, "runs": runs}
    told = "Adapters against all weights: -0.20 points (-1.00 to +0.40, p 0.530), within the interval of the latter."
    assert tuning_lines({"full_tuning": both})[-2:] == [told, "Runs: 2 of a commit that was not kept."]
