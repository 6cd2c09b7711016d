"""The door: ``pennyweight``, ``python -m pennyweight`` and ``accelerate launch -m pennyweight`` enter here."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; Ctrl-C while its modules load is no traceback, as it is none later."""
    try:
        from pennyweight.cli import main as command
    except KeyboardInterrupt:
        sys.exit(130)
    command()


if __name__ == "__main__":
    main()
