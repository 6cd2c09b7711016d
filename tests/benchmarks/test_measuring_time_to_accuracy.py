from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from accelerate.state import AcceleratorState
from worded import write_data

from benchmarks import reaching
from benchmarks import time_to_accuracy as measurement
from benchmarks.reaching import RUNNERS, Judge, Setting, Task
from benchmarks.time_to_accuracy import (
    GRIDS,
    SEEDS,
    SETTINGS,
    best_of,
    fewest_items,
    median_seconds,
    reached_sooner,
    run_apart,
    seconds_to,
    summarise,
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), train=320, test=80)


@pytest.fixture(autouse=True)
def one_number_format_each():
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def task(data, contender="tfidf", **changes) -> Task:
    plain = Task(contender, str(data), 320, None, 0.9, Setting(1e-2, 2), seed=0, dropout=False)
    return replace(plain, **changes)


def run(seconds=1.0, *, seed=0, reached=True, items=100, rate=1e-3) -> dict:
    return {
        "seed": seed,
        "setting": {"learning_rate": rate, "epochs": 1},
        "reached": reached,
        "seconds": seconds,
        "items_seen": items,
        "goal": 0.9,
        "accuracy": 0.91 if reached else 0.896,
        "predicting_seconds": 5.0,
        "curve": [(seconds / 2, items // 2, 0.89), (seconds, items, 0.91 if reached else 0.896)],
    }


def test_the_clock_stands_still_while_test_items_are_predicted(data, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(reaching.time, "time", lambda: now[0])
    judge = Judge(task(data), begun=90.0)
    assert judge.seconds() == 10.0
    now[0] = 105.0

    def slow_and_wrong(items):
        now[0] += 1000.0
        logits = np.zeros((len(items), 4))
        logits[np.arange(len(items)), (np.asarray(items.labels) + 1) % 4] = 1
        return logits

    assert judge.look(slow_and_wrong, 32) is False
    assert judge.seconds() == 15.0
    now[0] += 2.0
    assert judge.look(lambda items: np.eye(4)[list(items.labels)], 64) is True
    result = judge.result()
    assert (result["seconds"], result["items_seen"], result["accuracy"]) == (17.0, 64, 1.0)
    assert result["predicting_seconds"] == 1000.0
    assert [point[:2] for point in result["curve"]] == [(15.0, 32), (17.0, 64)]


def test_only_who_is_near_the_goal_predicts_all_test_items(data):
    judge, asked = Judge(task(data, goal=0.9), begun=0.0), []

    def right(items, share):
        asked.append(len(items))
        labels = np.asarray(items.labels)
        return np.eye(4)[np.where(np.arange(len(items)) < share * len(items), labels, (labels + 1) % 4)]

    assert judge.look(lambda items: right(items, 0.5), 32) is False
    assert judge.look(lambda items: right(items, 0.95), 64) is True
    some, again, everything = asked
    assert some == again < everything


def test_a_run_that_cannot_be_the_best_is_given_up(data):
    judge = Judge(task(data, give_up=64), begun=0.0)
    overs = [judge.look(lambda items: np.zeros((len(items), 4)), seen) for seen in (32, 64)]
    assert overs == [False, True]
    assert judge.result()["reached"] is False
    assert fewest_items([run(items=300), run(items=200), run(items=100, reached=False)]) == 200
    assert fewest_items([run(reached=False)]) is None


def test_a_prediction_that_fails_takes_its_time_off_the_clock_too(data, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(reaching.time, "time", lambda: now[0])
    judge = Judge(task(data), begun=0.0)

    def failing(_items):
        now[0] += 50.0
        raise OSError("no memory")

    with pytest.raises(OSError, match="no memory"):
        judge.look(failing, 1)
    assert judge.seconds() == 0.0


def test_every_contender_has_a_setting_a_runner_and_seeds():
    assert set(SETTINGS) == set(RUNNERS) == set(SEEDS)
    assert set(GRIDS) - {"dropout"} <= set(SETTINGS)


@pytest.mark.parametrize("contender", ["pennyweight", "upper_half", "tuned", "notebook", "full"])
def test_contenders_stop_at_the_goal_or_at_their_last_step(data, contender, tiny_bert, monkeypatch):
    """Looks are `INTERVAL` steps apart, from half of the course on, and one is at the end: 320 items are 10 steps."""
    monkeypatch.setattr(reaching, "INTERVAL", 8)
    setting = Setting(1e-3, 2)
    common = {"backbone": str(tiny_bert), "setting": setting, "test_items": 20}
    at_once = RUNNERS[contender](task(data, contender, goal=0.0, **common), 0.0)
    assert (at_once["reached"], at_once["items_seen"], len(at_once["curve"])) == (True, 16 * 32, 1)
    AcceleratorState._reset_state(reset_partial_state=True)
    never = RUNNERS[contender](task(data, contender, goal=1.1, **common), 0.0)
    assert never["reached"] is False
    assert [items for _, items, _ in never["curve"]] == [16 * 32, 20 * 32]


def test_tfidf_runs_in_a_process_of_its_own(data, monkeypatch):
    """The child's answer is one line of JSON, whatever libraries print; its time includes starting."""
    answer = run_apart(task(data))
    assert answer["reached"]
    assert answer["items_seen"] == 320
    assert answer["test_items"] == 80
    assert 0 < answer["seconds"] < 600
    assert len(answer["curve"]) == 1


def test_a_child_that_fails_is_told(data):
    with pytest.raises(RuntimeError, match="tfidf: its process ended with code 1"):
        run_apart(replace(task(data), data="/no/such/folder"))


def test_ratios_are_of_medians_and_only_of_those_who_reach_the_goal():
    content = summarise(
        {
            "notebook": [run(1000.0)],
            "tuned": [run(300.0), run(310.0, seed=1), run(900.0, seed=2)],
            "pennyweight": [run(50.0, seed=1), run(62.0), run(70.0, seed=2)],
            "upper_half": [run(30.0), run(0.0, seed=1, reached=False)],
        }
    )
    assert content["ratios"] == {"pennyweight/notebook": 0.062, "pennyweight/tuned": 0.2}
    assert content["contenders"]["upper_half"]["seconds"] is None
    assert [one["seed"] for one in content["contenders"]["pennyweight"]["runs"]] == [0, 1, 2]
    assert median_seconds([]) is None


def test_who_misses_the_goal_bounds_a_ratio_by_its_whole_course():
    slow = {**run(500.0, reached=False), "curve": [(300.0, 50, 0.89), (400.0, 80, 0.896), (600.0, 100, 0.894)]}
    content = summarise({"tuned": [slow], "pennyweight": [run(60.0)]})
    assert content["ratios"] == {}
    assert content["ratios_at_most"] == {"pennyweight/tuned": 0.1}
    assert content["ratios_at_level"] == {"pennyweight/tuned": 0.15}
    assert content["contenders"]["tuned"]["seconds_to_level"] == 400.0
    assert content["contenders"]["tuned"]["seconds"] is None


def test_a_level_counts_from_the_first_look_that_sees_it():
    assert seconds_to(run(8.0), 0.89) == 4.0
    assert seconds_to(run(8.0), 0.9) == 8.0
    assert seconds_to(run(8.0), 0.95) is None


def test_the_best_rate_sees_the_fewest_items():
    slow, fast, never = run(items=900, rate=1e-3), run(items=300, rate=2e-3), run(items=1, rate=3e-3, reached=False)
    assert best_of([slow, fast, never]) == fast["setting"]
    assert best_of([never]) is None


def test_finished_runs_are_not_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr(measurement, "PATH", tmp_path / "kept.json")
    monkeypatch.setattr(measurement, "data_folder", lambda: tmp_path)
    asked = []

    def fake(given: Task) -> dict:
        asked.append((given.contender, given.seed))
        return {**run(seed=given.seed), "setting": vars(given.setting)}

    monkeypatch.setattr(measurement, "run_apart", fake)
    options = measurement.argparse.Namespace(again=False, quick=False, only=["tfidf"])
    measurement.compare(options)
    assert asked == [("tfidf", seed) for seed in SEEDS["tfidf"]]
    measurement.compare(options)
    assert len(asked) == len(SEEDS["tfidf"])
    options.only, options.again = ["full"], True
    assert measurement.compare(options)["contenders"].keys() == {"tfidf", "full"}
    options.only = ["tfidf"]
    measurement.compare(options)
    assert [name for name, _ in asked].count("tfidf") == 2 * len(SEEDS["tfidf"])
    assert json.loads(measurement.PATH.read_text(encoding="utf-8"))["contenders"].keys() == {"tfidf", "full"}


def test_runs_of_two_machines_are_not_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(measurement, "PATH", tmp_path / "kept.json")
    monkeypatch.setattr(measurement, "data_folder", lambda: tmp_path)
    monkeypatch.setattr(measurement, "run_apart", lambda given: {**run(), "setting": vars(given.setting)})
    options = measurement.argparse.Namespace(again=False, quick=False, only=["tfidf"])
    measurement.compare(options)
    kept = json.loads(measurement.PATH.read_text(encoding="utf-8"))
    kept["machine"]["processor"] = "another"
    measurement.PATH.write_text(json.dumps(kept), encoding="utf-8")
    assert measurement.compare(options)["machine"]["processor"] == "another"  # nothing was run
    options.only = ["full"]
    with pytest.raises(SystemExit, match=r"kept\.json is of another machine; --again"):
        measurement.compare(options)
    options.again = True
    with pytest.raises(SystemExit, match="of another machine"):
        measurement.compare(options)
    options.only = None
    assert measurement.compare(options)["contenders"].keys() == SETTINGS.keys()


def test_a_longer_course_is_tried_only_where_no_shorter_one_reached_the_goal():
    longer = Setting(1e-3, 2)
    assert not reached_sooner([], longer)
    assert not reached_sooner([run(reached=False)], longer)
    assert reached_sooner([run(reached=False), run()], longer)
    assert not reached_sooner([run()], Setting(2e-3, 1))
