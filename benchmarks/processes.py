"""Commands run as their users run them, each in a fresh process: how long they took and how much memory they held.

The measuring process has to stay small: Linux counts what it holds when it starts another as that one's memory too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PENNYWEIGHT = (str(Path(sysconfig.get_path("scripts")) / "pennyweight"),)
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Ran:
    """One run of a command, from its start to its end."""

    seconds: float
    cpu_seconds: float
    """Of all its threads together, in user and in system mode."""
    peak_rss_bytes: int
    """Most memory it held."""
    stdout: str


def run(arguments: Sequence[object], *, environment: Mapping[str, str] | None = None) -> Ran:
    """Run a command and wait for it.

    Args:
        arguments: the program and what it is given.
        environment: variables that are set for it besides those that are set already.

    Raises:
        RuntimeError: it did not end with code 0; the message holds the end of what it said on stderr.
    """
    with tempfile.TemporaryFile() as said:
        begun = time.perf_counter()
        process = subprocess.Popen(
            [str(one) for one in arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            env={**os.environ, **(environment or {})},
        )
        assert process.stdout is not None
        with process.stdout:
            stdout = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)  # it is waited for: Popen must not try again
        if process.returncode != 0:
            said.seek(0)
            end = said.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(map(str, arguments))} ended with code {process.returncode}:\n{end}")
    return Ran(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * _RSS_UNIT, stdout.decode())


def small_classifier(folder: Path) -> Path:
    """Train a classifier of the default backbone on 64 items of the starter set: as large as any, and soon there."""
    changes = ("--set", "data.limit=64", "--set", "training.epochs=1")
    run([*PENNYWEIGHT, "train", "quickstart", *changes, "--out", folder])
    return folder
