"""A nested mapping as TOML text, for people to read and copy."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any


def as_toml(content: Mapping[str, Any], path: tuple[str, ...] = ()) -> str:
    """TOML of a mapping of plain values; nested mappings become tables, and None, which TOML lacks, a comment.

    Args:
        content: strings, numbers, booleans, lists and mappings of them.
        path: names of the tables around ``content``.
    """
    plain = {key: value for key, value in content.items() if not isinstance(value, Mapping)}
    tables = {key: value for key, value in content.items() if isinstance(value, Mapping)}
    lines = [f"[{'.'.join(map(_key, path))}]"] if path and (plain or not tables) else []
    for key, value in plain.items():
        lines.append(f"# {_key(key)} is not set" if value is None else f"{_key(key)} = {_value(value)}")
    blocks = ["\n".join(lines)] if lines else []
    blocks += [as_toml(table, (*path, name)).rstrip("\n") for name, table in tables.items()]
    return "\n\n".join(blocks) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _value(name)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {_value(one)}' for key, one in value.items() if one is not None)}}}"
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
