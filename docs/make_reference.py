"""Write docs/recipe-reference.md from the types of `pennyweight.recipe` and the shipped recipes.

`python docs/make_reference.py` writes the page; with `--check` it exits 1 if the page is not what it would write.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from pennyweight.recipe import Recipe, Section
from pennyweight.recipe_files import shipped_recipes

PAGE = Path(__file__).parent / "recipe-reference.md"
SIGNS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
PLAIN = {
    str: "text",
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    NoneType: "none",
}
HEADER = """\
# Recipe reference

<!-- Written by docs/make_reference.py from the types in src/pennyweight/recipe/; change those, then run it. -->

A recipe is a TOML file of sections. What is left out takes its default, so a recipe states only what it wants
otherwise. An unknown section or key is an error that names the nearest known one.

On the command line `--set section.key=value` changes one key. The value is written as in TOML; a single word needs no
quotes, and `none` stands for no value. In Python a section is a keyword: `pennyweight.plan("quickstart",
adapters={"rank": 4})`. [Plan a budget](plan-a-budget.md) shows selectors and ranks at work.
"""


def page() -> str:
    """The whole page, ending in one newline."""
    parts = [HEADER, "## Shipped recipes", _recipes()]
    for name, field in Recipe.model_fields.items():
        section = field.annotation
        assert isinstance(section, type)
        assert issubclass(section, Section)
        parts += [f"## `[{name}]`", _prose(section.__doc__ or ""), _table(section)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def type_words(annotation: Any) -> str:
    """A type in plain words, with its bounds: ``whole number ≥ 1``, ``"cls" or "mean"``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _bounded(type_words(arguments[0]), list(_flat(arguments[1:])))
    if origin is Literal:
        return " or ".join(f'`"{one}"`' for one in arguments)
    if origin in (Union, UnionType):
        return " or ".join(type_words(one) for one in arguments)
    if origin is dict:
        return f"table: selector = {type_words(arguments[1])}"
    return _list_words(arguments) if origin is tuple else PLAIN[annotation]


def _list_words(elements: tuple[Any, ...]) -> str:
    words = [type_words(one) for one in elements if one is not Ellipsis]
    if elements[-1] is Ellipsis:
        return "name or list of names" if words[0] == "name" else f"list of {words[0]}"
    return f"list of {len(words)}, each a {words[0]}" if len(set(words)) == 1 else f"list: {'; '.join(words)}"


def _flat(metadata: tuple[Any, ...]) -> Iterator[Any]:
    """The bounds in an annotation's extras; pydantic's `Field` holds its own inside."""
    for one in metadata:
        yield from one.metadata if isinstance(one, FieldInfo) else (one,)


def _bounded(words: str, metadata: list[Any]) -> str:
    bounds = [f"{SIGNS[type(one)][0]} {getattr(one, SIGNS[type(one)][1]):,}" for one in metadata if type(one) in SIGNS]
    least = max((one.min_length for one in metadata if isinstance(one, MinLen)), default=0)
    if least > 1:
        words = f"list of {least} names or more"
    elif least == 1:
        words = "name" if words == "text" else words
    return f"{words} {', '.join(bounds)}" if bounds else words


def _default(value: Any) -> str:
    """A default as one would write it in TOML."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, tuple):
        return f"`[{', '.join(_default(one).strip('`') for one in value)}]`"
    if isinstance(value, dict):
        return "`{}`" if not value else f"`{value}`"
    return f"`{value:_}`" if isinstance(value, int) else f"`{value:g}`"


def _table(section: type[Section]) -> str:
    hints = get_type_hints(section, include_extras=True)
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, field in section.model_fields.items():
        words = type_words(hints[name])
        default = _line(_default(field.default))
        rows.append(f"| `{name}` | {words} | {default} | {_line(field.description or '')} |")
    return "\n".join(rows)


def _recipes() -> str:
    rows = ["| name | what it is |", "|---|---|"]
    return "\n".join(rows + [f"| `{name}` | {text} |" for name, text in shipped_recipes().items()])


def _prose(docstring: str) -> str:
    return "\n\n".join(_line(paragraph) for paragraph in docstring.split("\n\n") if paragraph.strip())


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description="Write docs/recipe-reference.md.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if the page is out of date")
    if not parser.parse_args().check:
        PAGE.write_text(page(), encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page():
        sys.exit("docs/recipe-reference.md is not up to date: run `make docs`")


if __name__ == "__main__":
    main()
