"""What lines say of work that goes on, where no terminal is."""

from __future__ import annotations

import pytest

from pennyweight import console
from pennyweight.console import SECONDS_BETWEEN_LINES, Speaker


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand: ``clock[0]`` is the time in seconds."""
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    return now


def lines_of(updates, clock, capsys, *, total: int) -> list[str]:
    """What is said of updates: seconds since the start, units done, a note."""
    start = clock[0]
    with Speaker().bar("counting", total) as bar:
        for seconds, done, note in updates:
            clock[0] = start + seconds
            bar.update(done, note)
    return capsys.readouterr().err.splitlines()


def test_the_time_left_follows_from_the_rate(clock, capsys):
    updates = [(1, 1, "loss 2"), (21, 41, "loss 1")]
    assert lines_of(updates, clock, capsys, total=101) == ["counting 41/101  loss 1  30 s left"]


def test_what_was_done_before_a_resumed_run_is_no_speed_of_it(clock, capsys):
    assert lines_of([(2, 901, ""), (22, 911, "")], clock, capsys, total=931) == ["counting 911/931  40 s left"]


def test_a_first_step_that_is_large_says_nothing_of_the_rate(clock, capsys):
    updates = [(15, 4000, ""), (30, 8000, "")]
    assert lines_of(updates, clock, capsys, total=10_000) == ["counting 4000/10000", "counting 8000/10000  8 s left"]


def test_lines_keep_their_distance(clock, capsys):
    updates = [(second, second + 1, "") for second in range(61)]
    assert len(lines_of(updates, clock, capsys, total=100)) == 60 / SECONDS_BETWEEN_LINES


def test_whoever_is_not_to_speak_is_silent(clock, capsys):
    speaker = Speaker(enabled=False)
    with speaker.bar("counting", 10) as bar:
        clock[0] += 60
        bar.update(5, "")
        bar.say("a line")
    assert capsys.readouterr().err == ""
