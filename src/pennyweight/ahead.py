"""Overlapping work: a stream computed ahead of its consumer, or finished behind its producer, in a thread."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")

THREAD_NAME = "pennyweight-overlap"
_END: Any = object()


@contextlib.contextmanager
def ahead(items: Iterable[T], *, depth: int = 2) -> Iterator[Iterator[T]]:
    """Run an iterable in a thread of its own, at most ``depth`` items ahead of whoever takes them.

    The thread starts with the ``with`` and has ended when the ``with`` is left, however it is left; an item that is
    being computed then is waited for, and a generator is closed. What the iterable raises is raised where its next
    item is taken, after the items before it; it is the same exception. Whatever is bound to a thread (the grad mode
    of torch, the current device of CUDA) is in the iterable as it is in any new thread.

    Args:
        items: what to compute ahead; nothing else may take from it meanwhile.
        depth: items that wait or are being computed at any time, 1 or more.

    Yields:
        An iterator over the items, in order; for one consumer.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=THREAD_NAME) as pool:
        coming = deque(pool.submit(next, iterator, _END) for _ in range(depth))
        try:
            yield _taken(coming, lambda: pool.submit(next, iterator, _END))
        finally:
            pool.shutdown(cancel_futures=True)
            if hasattr(iterator, "close"):
                iterator.close()


def _taken(coming: deque[Future[T]], submit: Callable[[], Future[T]]) -> Iterator[T]:
    while (item := coming.popleft().result()) is not _END:
        coming.append(submit())
        yield item


@contextlib.contextmanager
def behind(work: Callable[[T], None], *, depth: int = 2) -> Iterator[Callable[[T], None]]:
    """Do some work on each item in a thread of its own, at most ``depth`` items behind whoever hands them over.

    When the ``with`` is left without an error, all items are worked off; when it is left by one, those not begun are
    dropped. Either way the thread has ended then. What ``work`` raises is raised, the same exception, by a later call
    or at the end of the ``with``; no item after the failed one is worked on.

    Args:
        work: what to do with each item, in order.
        depth: items that wait or are being worked on at any time, 1 or more.

    Yields:
        A function that takes one item, and waits while ``depth`` others are under way.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix=THREAD_NAME) as pool:
        under_way: deque[Future[None]] = deque()

        def hand_over(item: T) -> None:
            if len(under_way) == depth:
                under_way[0].result()
                under_way.popleft()
            under_way.append(pool.submit(_after, under_way[-1] if under_way else None, work, item))

        try:
            yield hand_over
            for done in under_way:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _after(previous: Future[None] | None, work: Callable[[T], None], item: T) -> None:
    if previous is not None:
        previous.result()  # raises what the item before this one failed with
    work(item)
