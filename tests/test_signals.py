"""Requests to stop: collected once, then back to what was before."""

from __future__ import annotations

import signal
import threading

import pytest

from pennyweight.signals import stop_requests

STOPS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def _handlers_come_back():
    before = [signal.getsignal(number) for number in STOPS]
    yield
    assert [signal.getsignal(number) for number in STOPS] == before


@pytest.mark.parametrize("number", STOPS)
def test_the_first_request_is_collected(number):
    with stop_requests() as requested:
        assert not requested
        signal.raise_signal(number)
        assert requested == [number]


def test_the_second_one_has_its_usual_effect():
    with pytest.raises(KeyboardInterrupt), stop_requests() as requested:
        signal.raise_signal(signal.SIGINT)
        assert requested
        signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", STOPS)
@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_signal_that_is_ignored_stays_so(number, handler):
    before = signal.signal(number, handler)
    try:
        with stop_requests() as requested:
            assert (signal.getsignal(number) == handler) == (handler == signal.SIG_IGN)
            signal.raise_signal(number)
            assert requested == ([] if handler == signal.SIG_IGN else [number])
        assert signal.getsignal(number) == handler
    finally:
        signal.signal(number, before)


def test_a_handler_that_was_not_set_from_python_is_left_alone(monkeypatch):
    really = signal.getsignal
    foreign = really(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(signal, "getsignal", lambda number: None if number == signal.SIGTERM else really(number))
        with stop_requests() as requested:
            assert really(signal.SIGTERM) == foreign
            signal.raise_signal(signal.SIGINT)
            assert requested == [signal.SIGINT]


def test_elsewhere_than_in_the_main_thread_nothing_is_collected():
    found: list[object] = []

    def work() -> None:
        with stop_requests() as requested:
            found.append(list(requested))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [[]]
