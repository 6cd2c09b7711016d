"""Alter each fast path once, and see that a test fails: ``python tools/mutate.py [NAME …]``.

Every mutation of ``mutations.toml`` is made in a copy of the repository; the tests that guard it are run there, and
must pass before and fail with it. Exit code 1 where one survives. It takes about ten minutes, so it is no part of
`make test`; that only checks that what is to be altered still stands in the code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "src/pennyweight"


@dataclass(frozen=True)
class Mutation:
    """One alteration of the code."""

    name: str
    file: str
    """Within the package."""
    old: str
    """What stands there once."""
    new: str
    tests: str
    """Files of tests, separated by spaces."""


def read_mutations() -> list[Mutation]:
    """What ``mutations.toml`` lists."""
    listed = tomllib.loads(Path(__file__).with_suffix(".toml").with_stem("mutations").read_text(encoding="utf-8"))
    return [
        Mutation(file=file["name"], tests=file["tests"], **mutation)
        for file in listed["file"]
        for mutation in file["mutation"]
    ]


def main() -> int:
    """Make the mutations named, or all."""
    wanted = [one for one in read_mutations() if not sys.argv[1:] or any(word in one.name for word in sys.argv[1:])]
    with tempfile.TemporaryDirectory(prefix="pennyweight-mutations-") as scratch:
        copy = Path(scratch) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "demo"))
        for tests in sorted({one.tests for one in wanted}):
            if not passes(copy, tests):
                print(f"{tests}: fails before anything is altered")
                return 1
        survivors = [one.name for one in wanted if survives(copy, one)]
    print(f"{len(wanted) - len(survivors)} of {len(wanted)} mutations make a test fail")
    return 1 if survivors else 0


def survives(copy: Path, mutation: Mutation) -> bool:
    """Whether the tests pass with the mutation, and say so; the copy is as before afterwards."""
    path = copy / PACKAGE / mutation.file
    before = path.read_text(encoding="utf-8")
    if before.count(mutation.old) != 1:
        raise SystemExit(f"{mutation.name}: {mutation.file} has its text {before.count(mutation.old)} times")
    path.write_text(before.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        survived = passes(copy, mutation.tests)
    finally:
        path.write_text(before, encoding="utf-8")
    print(f"{'SURVIVES' if survived else 'fails'}: {mutation.name}", flush=True)
    return survived


def passes(copy: Path, tests: str) -> bool:
    """Whether the tests pass on the code of the copy."""
    environment = {**os.environ, "PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests.split()]
    done = subprocess.run(command, cwd=copy, env=environment, stdout=subprocess.DEVNULL, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"pytest ended with code {done.returncode} on {tests}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
