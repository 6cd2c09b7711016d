from __future__ import annotations

import pytest

from pennyweight.data.group_names import NONE, group_name


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("eng_Latn", "eng_Latn"),
        ("  two   words\n", "two words"),
        ("中文", "中文"),
        (3, "3"),
        (False, "False"),
        (None, NONE),
        (float("nan"), NONE),
        ("", NONE),
        ("half \ud800", "half ?"),
    ],
)
def test_a_value_names_its_group(value, name):
    assert group_name(value) == name
