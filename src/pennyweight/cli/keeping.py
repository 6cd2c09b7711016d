"""Commands for what is kept on disk."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from pennyweight.cli.flags import AsJson
from pennyweight.cli.printing import print_json
from pennyweight.errors import InputError

if TYPE_CHECKING:
    from pennyweight.cache import Cache


def cache_list(as_json: AsJson = False) -> None:
    """Show where the cache is, how large it may be, and what is in it."""
    cache = _cache()
    usage = cache.usage()
    if as_json:
        kinds = {kind: used.as_dict() for kind, used in usage.items()}
        print_json({"folder": str(cache.folder), "limit": cache.limit, "kinds": kinds})
    else:
        from pennyweight.tables.runs import cache_table

        cache_table(cache, usage)


def cache_clear(
    kind: Annotated[
        str | None, typer.Argument(metavar="[KIND]", help="logits, prefix or tokens; all, if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Remove what is in the cache; it is computed again where it is needed."""
    from pennyweight.cache import KINDS

    cache = _cache()
    known = sorted(KINDS.keys() | cache.usage().keys())
    if kind is not None and kind not in known:
        raise InputError(f"cache clear {kind}: no such kind; there are {', '.join(known)}")
    freed = cache.clear(kind)
    if as_json:
        print_json({"folder": str(cache.folder), "freed": freed})
    else:
        from pennyweight.tables.runs import size_words

        typer.echo(f"{size_words(freed)} freed: {cache.folder}")


def _cache() -> Cache:
    """The user's cache; raises InputError where a file is in its place."""
    from pennyweight.cache import default_cache

    cache = default_cache()
    if os.path.exists(cache.folder) and not os.path.isdir(cache.folder):  # noqa: PTH110, PTH112 - say no where pathlib raises
        raise InputError(f"{cache.folder} is no folder, so that there is no cache")
    return cache
