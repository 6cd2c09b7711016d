"""Groups of items, such as those of one language, by the values of a column."""

from __future__ import annotations

import math
from typing import Any

from pennyweight.data.labels import is_unicode

NONE = "(none)"
"""The group of the items whose column holds nothing."""


def group_name(value: Any) -> str:
    """The name of the group that a column's value stands for: its text without white space around it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NONE
    name = " ".join(str(value).split())
    return (name if is_unicode(name) else name.encode("utf-8", "replace").decode("utf-8")) or NONE
