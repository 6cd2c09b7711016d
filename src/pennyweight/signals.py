"""Being asked to stop: SIGINT and SIGTERM collected, so that work ends where it can be gone on with."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def stop_requests() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM instead of dying in the middle of a step; a second one has its usual effect.

    A signal that is ignored stays so, as SIGINT is where a script starts a command with ``&``; so does the handler of
    one that was not set from Python, which Python could not set again.

    Yields:
        The signals that have come so far; in any other than the main thread, which alone gets signals, always empty.
    """
    requests: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield requests
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    previous = {number: handler for number, handler in handlers.items() if handler not in (None, signal.SIG_IGN)}

    def request(number: int, _frame: FrameType | None) -> None:
        requests.append(number)
        signal.signal(number, previous[signal.Signals(number)])

    for number in previous:
        signal.signal(number, request)
    try:
        yield requests
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
