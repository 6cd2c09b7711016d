"""What tests of stages share: a person or machine that stops a run, the trained tensors, texts without labels."""

from __future__ import annotations

import signal
from pathlib import Path

from tiny import sentences, write_csv

from pennyweight.console import Bar, Speaker

WEIGHTS = ("adapter_model.safetensors", "head.safetensors")


def weights(folder: Path) -> list[bytes]:
    """The files of a classifier's trained tensors."""
    return [(folder / name).read_bytes() for name in WEIGHTS]


def sixty_texts(folder: Path) -> str:
    """A file of sixty texts without labels."""
    rows = [(text,) for text, _ in sentences(150)[90:]]
    return str(write_csv(folder / "texts.csv", rows, header=("text",)))


class Stopping(Speaker):
    """Asks for a stop, once, when the work whose name begins with ``what`` has come to ``done``."""

    def __init__(self, what: str, done: int) -> None:
        super().__init__(enabled=False)
        self.what, self.done, self.asked = what, done, False

    def bar(self, what: str, total: int) -> Bar:
        made = super().bar(what, total)

        def update(done: int, note: str) -> None:
            if not self.asked and what.startswith(self.what) and done >= self.done:
                self.asked = True
                signal.raise_signal(signal.SIGTERM)

        made.update = update
        return made
