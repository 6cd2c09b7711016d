from __future__ import annotations

import json

import pytest

from benchmarks import growth
from benchmarks.growth import backbone_of, exponent, grow, memory_growth, plan, plan_alone, predict, write_texts
from benchmarks.processes import Ran
from pennyweight.budget.backbones import read_config


@pytest.mark.parametrize("power", [0.5, 1.0, 1.02, 2.0])
def test_the_exponent_of_a_power_is_that_power(power):
    items = [1_000, 10_000, 66_000, 200_000]
    assert exponent(items, [0.003 * n**power for n in items]) == pytest.approx(power)


def test_no_exponent_where_a_size_took_no_longer_than_the_start():
    assert exponent([1, 2, 3], [0.1, 0.0, 0.2]) is None
    assert exponent([1, 2, 3], [0.1, -0.1, 0.2]) is None


def test_whatever_starting_costs_linear_time_has_exponent_one():
    taken = {64: 5, 1_000: 3, 10_000: 2, 66_000: 1}
    asked: list[int] = []

    def turn(items: int) -> Ran:
        asked.append(items)
        return Ran(30 + 0.01 * min(items, 65_999), 5 + 0.02 * min(items, 65_999), 10**9 + items, "")

    grown = grow("train", turn, taken, limit=65_999)
    assert asked[:4] == [64, 1_000, 10_000, 66_000]
    assert {size: asked.count(size) for size in taken} == taken
    assert grown["exponent"] == pytest.approx(1)
    assert grown["exponent_of_cpu_seconds"] == pytest.approx(1)
    assert (grown["start"]["items"], grown["start"]["seconds"]) == (64, 30.64)
    assert [row["items"] for row in grown["rows"]] == [1_000, 10_000, 65_999]
    assert all({"items", "seconds", "peak_rss_bytes"} <= row.keys() for row in grown["rows"])
    assert grown["memory_last_over_second"] == pytest.approx((10**9 + 66_000) / (10**9 + 10_000))


def test_seconds_are_medians_and_time_told_by_the_process_itself_is_what_is_fitted():
    seconds = iter([9.0, 1.0, 2.0, 3.0, 7.0, 8.0, 100.0, 100.0])
    grown = grow(
        "plan",
        lambda _layers: Ran(next(seconds), 1.0, 1, ""),
        {1: 2, 6: 2, 12: 2, 24: 2},
        alone=lambda layers: Ran(99.0, 1.0, 1, f"{0.5 * layers**2}\n"),
    )
    assert [row["seconds"] for row in grown["rows"]] == [4.5, 51.0, 51.5]
    assert [row["seconds_without_start"] for row in grown["rows"]] == [18.0, 72.0, 288.0]
    assert grown["exponent"] == pytest.approx(2)


def test_memory_growth_compares_the_last_size_with_the_second():
    assert memory_growth([{"peak_rss_bytes": size} for size in (1, 10, 50, 11)]) == pytest.approx(1.1)


def test_every_backbone_has_as_many_layers_as_it_is_named_for(tmp_path):
    folders = [backbone_of(tmp_path, layers) for layers in (6, 48)]
    assert [read_config(str(folder))["num_hidden_layers"] for folder in folders] == [6, 48]


def test_planning_is_run_on_the_backbone_asked_for(tmp_path):
    ran = plan(tmp_path, 2)
    assert "bert-2: " in ran.stdout.replace("\n", " ")
    assert ran.peak_rss_bytes > 100e6
    assert float(plan_alone(tmp_path, 1, 2).stdout) > 0


def test_predicting_repeats_the_texts_it_has(trained, tmp_path, monkeypatch):
    seen: list[list[str]] = []
    monkeypatch.setattr(growth, "write_texts", lambda path, texts: (seen.append(list(texts)), write_texts(path, texts)))
    column = json.loads((trained / "classifier.json").read_text())["text"]["columns"]
    assert column == ["text"]
    ran = predict(trained, ["A ship.", "A plank."], tmp_path, 5)
    assert seen == [["A ship.", "A plank.", "A ship.", "A plank.", "A ship."]]
    assert ran.seconds > 0
    assert [path.name for path in tmp_path.iterdir()] == ["texts-5.parquet"]
