"""The command: one short function per subcommand, which parses, calls one function and prints.

Nothing heavy is imported before it is needed: ``--help`` loads neither torch nor transformers.
"""

from __future__ import annotations

import sys
import traceback
from typing import NoReturn

import typer
from typer.exceptions import TyperException

from pennyweight.cli.adopting import adopt, fold
from pennyweight.cli.allotting import allot
from pennyweight.cli.combining import ensemble, merge
from pennyweight.cli.comparing import audit, choose, compare
from pennyweight.cli.judging import evaluate, quantise
from pennyweight.cli.keeping import cache_clear, cache_list
from pennyweight.cli.making import plan, recipes, train
from pennyweight.cli.using import predict
from pennyweight.errors import Interrupted, PennyweightError

app = typer.Typer(
    help="Plan, train, judge and use text classifiers that weigh what you say they may weigh.",
    epilog="--debug anywhere shows a traceback with an error.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_MAKING = (plan, allot, train, ensemble, merge, adopt, fold)
_JUDGING = (evaluate, compare, audit, choose, quantise)
for _command in (*_MAKING, *_JUDGING, predict, recipes):
    app.command()(_command)

_cache = typer.Typer(help="Show or clear what is kept on disk to save time.")
_cache.command("list")(cache_list)
_cache.command("clear")(cache_clear)
app.add_typer(_cache, name="cache")


def main(arguments: list[str] | None = None) -> None:
    """Run the command; an error meant for the user becomes one line and an exit code (2 input, 1 refused or failed)."""
    given = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in given
    try:
        code = app([one for one in given if one != "--debug"] or ["--help"], standalone_mode=False)
        if code == Interrupted.exit_code:  # Ctrl-C where nothing had been done yet that could be gone on with
            _fail("stopped", code, debug=debug)
        sys.exit(code)
    except TyperException as error:
        words = error.format_message().rstrip(".").replace("Value error, ", "")
        _fail(f"{words}; --help says what can be given", 2, debug=debug)
    except PennyweightError as error:
        _fail(str(error), error.exit_code, debug=debug)
    except (OSError, MemoryError) as error:
        _fail(f"the machine failed: {error or 'out of memory'}", 1, debug=debug)


def _fail(message: str, code: int, *, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    typer.echo(f"pennyweight: {' '.join(message.split())}", err=True)
    sys.exit(code)
