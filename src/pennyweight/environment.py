"""What a result depends on besides the recipe: versions, machine and git state."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("pennyweight", "torch", "transformers", "peft", "accelerate", "tokenizers", "datasets", "numpy")


def versions() -> dict[str, str]:
    """Python's version and those of the packages that results depend on."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in PACKAGES}}


def git_state(*, beside: str | None = None) -> dict[str, Any] | None:
    """Commit and whether the tree was changed since, of the repository one stands in; none outside of one.

    Changes under ``beside``, a path from the root of the repository, do not count.
    """
    excluded = ["--", ":/", f":(top,exclude){beside}"] if beside else []
    try:
        commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, timeout=10)
        status = subprocess.run(
            ["git", "status", "--porcelain", *excluded], capture_output=True, text=True, check=False, timeout=10
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    if commit.returncode != 0 or status.returncode != 0:
        return None
    return {"commit": commit.stdout.strip(), "dirty": bool(status.stdout.strip())}


def peak_resident_bytes() -> int | None:
    """Most memory that this process has held at a time, in bytes; none where the system does not say."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what a process's parent held when it started it, too
        peak = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(encoding="ascii", errors="replace"), re.MULTILINE)
        return int(peak[1]) * 1024 if peak else None
    if sys.platform == "win32":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
