"""What may go wrong, in the user's words: each message is one line and carries its remedy.

The command line prints the message alone and exits with ``exit_code``; a traceback is shown only with ``--debug``.
"""

from __future__ import annotations

from collections.abc import Collection


class PennyweightError(Exception):
    """Root of every error that is meant for the user: a run that was refused or that failed (exit code 1)."""

    exit_code = 1


class InputError(PennyweightError):
    """What the user gave cannot be used: a flag, a recipe key, a column, a row, a folder (exit code 2)."""

    exit_code = 2


class BudgetError(PennyweightError):
    """A plan needs more trainable parameters than its budget allows (exit code 1)."""


class RunError(PennyweightError):
    """The machine failed, not the input: a full disk, a lost connection, a count that does not add up (exit code 1)."""


class Interrupted(PennyweightError):  # noqa: N818 - not an error: the user asked for it
    """A run was asked to stop, by Ctrl-C or SIGTERM, and has saved what it can be gone on with from (exit code 130)."""

    exit_code = 130


def require_one_of(name: str, value: str, known: Collection[str]) -> None:
    """Raises InputError where a word is none of those that are known."""
    if value not in known:
        raise InputError(f"{name} = {value!r:.60}: give one of {', '.join(known)}")
