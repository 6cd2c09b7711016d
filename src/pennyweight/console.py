"""What a person sees while work goes on: a Rich progress bar on a terminal, plain lines elsewhere; all on stderr."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0


class Speaker:
    """Says lines and shows progress; silent in all processes but the first."""

    def __init__(self, *, enabled: bool = True) -> None:
        self.enabled = enabled
        self.console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

    def say(self, line: str) -> None:
        """One line."""
        if self.enabled:
            self.console.print(line)

    def bar(self, what: str, total: int) -> Bar:
        """A progress bar over ``total`` units; use it in a ``with``."""
        return Bar(self, what, total)


class Bar:
    """Progress of one long piece of work: how much is done, a short note, the time left."""

    def __init__(self, speaker: Speaker, what: str, total: int) -> None:
        self._speaker = speaker
        self._what = what
        self._total = total
        self._first: tuple[float, int] | None = None  # when the first update came, and how much was done by then
        self._spoken = time.monotonic()
        self._progress: Progress | None = None
        if speaker.enabled and speaker.console.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=speaker.console,
            )
            self._task = self._progress.add_task(what, total=total, note="")

    def update(self, done: int, note: str) -> None:
        """``done`` units so far, with a note such as ``loss 0.31, 210 examples/s``."""
        if self._progress is not None:
            self._progress.update(self._task, completed=done, note=note)
            return
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        if now - self._spoken >= SECONDS_BETWEEN_LINES:
            self._spoken = now
            parts = (f"{self._what} {done}/{self._total}", note, self._left(now, done))
            self._speaker.say("  ".join(part for part in parts if part))

    def say(self, line: str) -> None:
        """A line that stays, above the bar."""
        self._speaker.say(line)

    def _left(self, now: float, done: int) -> str:
        """The time left by the rate since the first update; what a resumed run had done before is no speed of it."""
        assert self._first is not None
        then, before = self._first
        return f"{(now - then) / (done - before) * (self._total - done):.0f} s left" if done > before else ""

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
