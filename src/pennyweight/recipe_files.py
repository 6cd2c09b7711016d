"""Reading recipes: a shipped name or a TOML file, with `section.key=value` changes on top, and errors that help."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pennyweight.errors import InputError
from pennyweight.recipe import Recipe, Section

_WORDS = {
    "bool_type": "should be true or false",
    "int_type": "should be a whole number",
    "float_type": "should be a number",
    "string_type": "should be a text",
    "string_too_short": "should not be empty",
    "too_short": "should hold at least one name",
    "missing": "should be a list of two numbers",
    "tuple_type": "should be a list",
    "dict_type": "should be a table",
    "model_type": "should be a section with keys, not a value",
}


def shipped_recipes() -> dict[str, str]:
    """Names of the recipes in the package, each with the first comment line of its file."""
    folder = resources.files("pennyweight") / "recipes"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    return {
        file.name.removesuffix(".toml"): file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ") for file in files
    }


def load_recipe(name: str | Path, *, changes: Iterable[str] = ()) -> Recipe:
    """Read a recipe by shipped name or by path of a TOML file.

    Args:
        name: a name of `shipped_recipes`, or a path that ends in ``.toml``.
        changes: ``section.key=value`` texts, the value in TOML's notation; a bare word is taken as a string,
            `none` as the absence of a value.

    Raises:
        InputError: unknown recipe, broken TOML, unknown section or key (the nearest known one is named), or a value
            out of its range.
    """
    name = str(name)
    table = _read_table(name)
    for change in changes:
        _apply(table, change)
    return build_recipe(table, where=name)


def build_recipe(table: Mapping[str, Any], *, where: str = "recipe") -> Recipe:
    """Validate a nested table as a `Recipe`; raises InputError naming section, key and remedy."""
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error)}") from None


def _read_table(name: str) -> dict[str, Any]:
    if name.endswith(".toml"):
        path = Path(name)
        try:
            return tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{name}: no such recipe file") from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{name}: cannot be read as a recipe: {error}") from None
        except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a plain ValueError
            raise InputError(f"{name}: not valid TOML: {error}") from None
    known = shipped_recipes()
    if name not in known:
        raise InputError(
            f"unknown recipe {name!r}{_nearest(name, known)}; shipped: {', '.join(known)}; or give a .toml file"
        )
    text = (resources.files("pennyweight") / "recipes" / f"{name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _apply(table: dict[str, Any], change: str) -> None:
    """Set one ``section.key=value`` in ``table``."""
    path, equals, value = change.partition("=")
    section, dot, key = path.strip().partition(".")
    if not (equals and dot and section and key):
        raise InputError(f"--set {change!r}: write it as section.key=value, for example training.epochs=5")
    inner = table.setdefault(section, {})
    if not isinstance(inner, dict):
        raise InputError(f"--set {change!r}: {section!r} is not a section")
    try:
        inner[key] = _parse_value(value.strip())
    except RecursionError:
        raise InputError(f"--set {change[:60]}…: its brackets are nested too deeply to be read") from None


def _parse_value(text: str) -> Any:
    if text == "none":  # TOML has no null; an optional field is unset by this word
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def _explain(error: ValidationError) -> str:
    """The first problem of a validation error in one line, with the number of further ones."""
    problems = error.errors()
    key = problems[0]["loc"][:2]
    # Of a union every branch reports; that a value is not the one word says less than what is wrong with it.
    first = min((one for one in problems if one["loc"][:2] == key), key=lambda one: one["type"] == "literal_error")
    message = _explain_one(first)
    others = {problem["loc"][:2] for problem in problems} - {key}
    return message + (f" (and {len(others)} more)" if others else "")


def _explain_one(problem: Any) -> str:
    names = [str(part) for part in problem["loc"]]
    if problem["type"] == "extra_forbidden":
        known = _fields(names[:-1])
        what = "section" if len(names) == 1 else "key"
        return f"unknown {what} {'.'.join(names)!r}{_nearest(names[-1], known)}; known: {', '.join(known)}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not names or problem["type"] == "value_error":
        return message
    location = ".".join(names[:2])
    given = str(problem["input"]) if isinstance(problem["input"], date) else repr(problem["input"])
    shown = given if len(given) <= 80 else f"{given[:79]}…"
    return f"{location} = {shown}: {_WORDS.get(problem['type'], message[:1].lower() + message[1:])}" + _remedy(problem)


def _remedy(problem: Any) -> str:
    """What else a union accepts, and how a name is written that looks like a number."""
    location, given = ".".join(map(str, problem["loc"][:2])), problem["input"]
    if problem["type"] == "string_type" and isinstance(given, bool | int | float | date):
        text = str(given).lower() if isinstance(given, bool) else str(given)
        return f"; a name like this goes in quotes: '{location}=\"{text}\"'"
    other = {"adapters.rank": "'fill' or 'sensitivity'", "adapters.targets": "'all-linear'"}.get(location)
    return f", or be {other}" if other and problem["type"] != "literal_error" else ""


def _fields(section: list[str]) -> list[str]:
    model: type[Section] = Recipe
    for name in section:
        annotation = model.model_fields[name].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, Section)):
            return []
        model = annotation
    return list(model.model_fields)


def _nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'x'?)`` for the nearest known name, or nothing where none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {close[0]!r}?)" if close else ""
