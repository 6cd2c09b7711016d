from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.harness import Apart, Measured, Share, alternate, apart, data_folder, empty_cache, keep, spread, timed


class Counter:
    """What `Apart` puts into another process."""

    def __init__(self, start: int) -> None:
        if start < 0:
            raise ValueError("a counter cannot start below 0")
        self.count = start

    def add(self, number: int) -> int:
        self.count += number
        print("noise on stdout")  # noqa: T201 - what libraries do
        return self.count

    def process(self) -> int:
        return os.getpid()

    def in_a_child(self) -> int:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            return pool.apply(abs, (-self.count,))

    def die(self) -> None:
        os._exit(3)


def test_who_begins_rotates_and_everyone_has_every_turn():
    order = []
    contenders = {name: lambda name=name: (order.append(name), Share(6.0, 2.0))[1] for name in "abc"}
    said = []
    measured = alternate(contenders, 4, say=said.append)
    assert "".join(order) == "abc" + "bca" + "cab" + "abc"
    assert {name: len(shares) for name, shares in measured.shares.items()} == {"a": 4, "b": 4, "c": 4}
    assert measured.rates("b") == [3.0] * 4
    assert said[-1] == "round 4 of 4: a 3.0, b 3.0, c 3.0"


def test_a_ratio_is_taken_round_by_round():
    """A machine that slows down to a tenth for both leaves the ratio alone; the ratio of medians would move."""
    fast = (Share(10, 1), Share(10, 10), Share(10, 10))
    slow = (Share(5, 1), Share(5, 10), Share(5, 10))
    measured = Measured({"fast": fast, "slow": slow})
    assert measured.ratio("fast", "slow") == {"median": 2.0, "low": 2.0, "high": 2.0, "n": 3}
    uneven = Measured({"a": (Share(1, 1), Share(4, 1), Share(9, 1)), "b": (Share(1, 1), Share(1, 1), Share(3, 1))})
    assert uneven.ratio("a", "b")["median"] == 3.0


def test_spread_is_median_and_quartiles():
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == {"median": 3.0, "low": 2.0, "high": 4.0, "n": 5}
    assert spread([4.0, 2.0]) == {"median": 3.0, "low": 2.0, "high": 4.0, "n": 2}
    assert spread([7.0]) == {"median": 7.0, "low": 7.0, "high": 7.0, "n": 1}


def test_timed_counts_what_the_work_says():
    share = timed(lambda: 12)
    assert share.work == 12
    assert share.seconds > 0


def test_an_object_lives_in_a_process_of_its_own(capfd):
    with apart({"one": (Counter, {"start": 1}), "two": (Counter, {"start": 10})}) as counters:
        assert counters["one"].call("add", 2) == 3
        assert counters["two"].call("add", 2) == 12
        assert counters["one"].call("add", 2) == 5
        processes = {os.getpid(), counters["one"].call("process"), counters["two"].call("process")}
        assert len(processes) == 3
    written = capfd.readouterr()
    assert written.out == ""  # stdout is for the result
    assert "noise on stdout" in written.err


def test_an_object_apart_may_start_processes_as_loaders_do():
    with apart({"one": (Counter, {"start": 4})}) as counters:
        assert counters["one"].call("in_a_child") == 4


def test_what_fails_apart_is_told_here():
    with pytest.raises(RuntimeError, match="a counter cannot start below 0"):
        Apart(Counter, start=-1)
    counter = Apart(Counter, start=0)
    with pytest.raises(RuntimeError, match="has no attribute 'subtract'"):
        counter.call("subtract", 1)
    counter.close()
    dying = Apart(Counter, start=0)
    with pytest.raises(RuntimeError, match="ended with code 3"):
        dying.call("die")
    dying.close()


def test_a_result_on_a_gpu_stands_beside_that_on_a_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    read = lambda: json.loads((tmp_path / "some.json").read_text())  # noqa: E731
    keep("some", {"machine": {"gpu": None}, "rate": 1})
    assert read() == {"machine": {"gpu": None}, "rate": 1, "gpu": "not measured"}
    keep("some", {"machine": {"gpu": "a card"}, "rate": 50})
    assert (read()["rate"], read()["gpu"]["rate"]) == (1, 50)
    keep("some", {"machine": {"gpu": None}, "rate": 2})
    assert (read()["rate"], read()["gpu"]["rate"]) == (2, 50)


@pytest.mark.parametrize("before", [None, "/somewhere"])
def test_the_cache_is_empty_for_a_while(before, monkeypatch):
    monkeypatch.delenv("PENNYWEIGHT_CACHE", raising=False)
    if before:
        monkeypatch.setenv("PENNYWEIGHT_CACHE", before)
    with empty_cache():
        assert list(Path(os.environ["PENNYWEIGHT_CACHE"]).iterdir()) == []
        assert os.environ["PENNYWEIGHT_CACHE"] != before
    assert os.environ.get("PENNYWEIGHT_CACHE") == before


def test_without_data_the_remedy_is_named(monkeypatch):
    monkeypatch.delenv("PENNYWEIGHT_DATA", raising=False)
    with pytest.raises(SystemExit, match="PENNYWEIGHT_DATA must name the folder"):
        data_folder()
    monkeypatch.setenv("PENNYWEIGHT_DATA", "/no/such/folder")
    with pytest.raises(SystemExit, match="there is no folder agnews in PENNYWEIGHT_DATA=/no/such/folder"):
        data_folder()


def test_the_machine_is_described():
    described = harness.surroundings(("pytest", "no-such-package"))
    assert described["machine"]["cores"] == os.cpu_count()
    assert described["machine"]["memory_gib"] > 0
    assert described["versions"]["pytest"]
    assert "no-such-package" not in described["versions"]


def test_what_is_trained_on_the_way_is_kept_by_the_code_that_trained_it(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    module = tmp_path / "package" / "one.py"
    module.write_text("first")
    monkeypatch.setattr(harness, "SOURCE", tmp_path)
    folders = []
    for text in ("first", "second", "first"):
        module.write_text(text)
        harness.code_digest.cache_clear()
        folders.append(harness.runs_of("some"))
    harness.code_digest.cache_clear()
    assert folders[0] == folders[2] != folders[1]
    assert folders[0].parent == harness.RUNS / "some"
