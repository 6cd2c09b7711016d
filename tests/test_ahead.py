"""Threads beside a loop: order, bounds, errors, and that nothing runs on afterwards."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time

import pytest

from pennyweight.ahead import THREAD_NAME, ahead, behind

SECONDS = 10.0
"""How long a test waits for what must happen at once, before it fails."""


@pytest.fixture(autouse=True)
def _nothing_runs_on():
    yield
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


class BrokenError(Exception):
    pass


def failing_after(items: int, error: BaseException):
    yield from range(items)
    raise error


class Closable:
    """An endless stream that notes how far it was read, and that it was closed."""

    def __init__(self) -> None:
        self.begun = 0
        self.closed = threading.Event()

    def items(self):
        try:
            for number in itertools.count():
                self.begun = number + 1
                yield number
        finally:
            self.closed.set()


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_items_come_in_order_and_none_is_lost(count, depth):
    with ahead(range(count), depth=depth) as items:
        assert list(items) == list(range(count))
        assert list(items) == []


def test_items_are_computed_in_another_thread_while_the_consumer_works():
    """The second item is computed before the first one is done with: neither could go on otherwise."""
    reached = threading.Event()

    def stream():
        yield threading.current_thread()
        reached.set()
        yield threading.current_thread()

    with ahead(stream(), depth=1) as items:
        first = next(items)
        assert reached.wait(SECONDS)
        assert first is next(items) is not threading.current_thread()


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_than_depth_items_are_ahead(depth):
    stream = Closable()
    with ahead(stream.items(), depth=depth) as items:
        for taken in range(1, 20):
            assert next(items) == taken - 1
            while stream.begun < taken + depth:
                time.sleep(0.001)
            time.sleep(0.01)  # enough for one more, if it were begun
            assert stream.begun == taken + depth


def test_an_error_comes_after_the_items_before_it_and_is_the_same_exception():
    error = BrokenError("at item 3")
    with ahead(failing_after(3, error), depth=5) as items:
        assert [next(items) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(BrokenError) as raised:
            next(items)
        assert raised.value is error
        assert any(entry.name == "failing_after" for entry in raised.traceback)
        assert next(items, None) is None


def test_an_error_of_the_consumer_closes_the_stream():
    stream = Closable()
    with pytest.raises(BrokenError), ahead(stream.items()) as items:
        assert next(items) == 0
        raise BrokenError
    assert stream.closed.is_set()


def test_a_consumer_that_stops_early_closes_the_stream():
    stream = Closable()
    with ahead(stream.items()) as items:
        assert list(itertools.islice(items, 3)) == [0, 1, 2]
    assert stream.closed.is_set()


def test_a_stream_nobody_takes_from_ends():
    stream = Closable()
    with ahead(stream.items(), depth=3):
        pass
    assert stream.closed.is_set()
    assert stream.begun <= 3


def test_an_error_in_closing_is_raised():
    def stream():
        try:
            yield from itertools.count()
        finally:
            raise BrokenError("while closing")

    with pytest.raises(BrokenError, match="while closing"), ahead(stream()) as items:
        next(items)


def test_stages_follow_one_another():
    with ahead(range(50)) as numbers, ahead(number**2 for number in numbers) as squares:
        assert list(squares) == [number**2 for number in range(50)]


@pytest.mark.parametrize("stage", ["first", "second", "consumer"])
def test_whichever_stage_fails_all_of_them_end(stage):
    stream = Closable()

    def first():
        for number in stream.items():
            if number == 7 and stage == "first":
                raise BrokenError(stage)
            yield number

    def second(numbers):
        for number in numbers:
            if number == 7 and stage == "second":
                raise BrokenError(stage)
            yield number

    with pytest.raises(BrokenError, match=stage), ahead(first()) as numbers, ahead(second(numbers)) as same:
        for number in same:
            if number == 7 and stage == "consumer":
                raise BrokenError(stage)


def test_an_uncaught_error_lets_the_process_end():
    """A thread that waited for a consumer that is gone would keep the interpreter from exiting."""
    code = """
import itertools
from pennyweight.ahead import ahead, behind
with ahead(itertools.count()) as items, behind(lambda item: None) as hand_over:
    for item in items:
        hand_over(item)
        if item == 100:
            raise SystemExit(7)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 7


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_work_is_done_in_order_and_all_of_it(depth):
    done: list[int] = []
    with behind(done.append, depth=depth) as hand_over:
        for number in range(100):
            hand_over(number)
    assert done == list(range(100))


def test_the_producer_goes_on_while_work_is_done():
    go_on = threading.Event()
    done: list[int] = []

    def work(number: int) -> None:
        assert go_on.wait(SECONDS)
        done.append(number)

    with behind(work, depth=2) as hand_over:
        hand_over(0)
        hand_over(1)
        assert done == []
        go_on.set()
    assert done == [0, 1]


def test_the_producer_waits_while_depth_items_are_under_way():
    done: list[int] = []
    with behind(done.append, depth=2) as hand_over:
        for number in range(50):
            hand_over(number)
            assert len(done) >= number - 1


@pytest.mark.parametrize("depth", [1, 3])
def test_no_item_is_worked_on_after_one_that_failed(depth):
    error, seen = BrokenError("at item 3"), []

    def work(number: int) -> None:
        seen.append(number)
        if number == 3:
            raise error

    with pytest.raises(BrokenError) as raised, behind(work, depth=depth) as hand_over:
        try:
            for number in range(50):
                hand_over(number)
        finally:
            time.sleep(0.05)  # enough for those that wait, if they were worked on
    assert raised.value is error
    assert seen == [0, 1, 2, 3]


def test_the_last_item_may_fail_too():
    def work(_number: int) -> None:
        raise BrokenError

    with pytest.raises(BrokenError), behind(work, depth=5) as hand_over:
        hand_over(0)


def test_a_failed_worker_goes_on_refusing():
    seen = []

    def work(number: int) -> None:
        seen.append(number)
        raise BrokenError

    with pytest.raises(BrokenError), behind(work, depth=1) as hand_over:
        hand_over(0)
        for number in (1, 2):
            with pytest.raises(BrokenError):
                hand_over(number)
    assert seen == [0]


def test_what_was_not_begun_is_dropped_when_the_producer_fails():
    begun, go_on = threading.Event(), threading.Event()
    done: list[int] = []

    def work(number: int) -> None:
        begun.set()
        assert go_on.wait(SECONDS)
        done.append(number)

    with pytest.raises(BrokenError), behind(work, depth=5) as hand_over:
        for number in range(5):
            hand_over(number)
        assert begun.wait(SECONDS)
        threading.Timer(0.5, go_on.set).start()
        raise BrokenError
    assert done == [0]
