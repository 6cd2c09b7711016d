from __future__ import annotations

import tomllib

import pytest

from pennyweight.evaluation.toml_text import as_toml

RECIPE = {
    "name": 'a "quoted" \\ name\nof two lines\x7f',
    "backbone": {"name": "minilm", "dropout": False},
    "empty": {},
    "adapters": {
        "rank": 8,
        "alpha": 16.0,
        "targets": ["query", "key"],
        "rank_pattern": {"layer.5.*": 12, "ключ": 1},
        "nested": {"deeper": {"value": 1e-05}},
    },
    "training": {"learning_rate": 0.001, "betas": (0.9, 0.999), "steps": [{"at": 1, "by": None}], "huge": float("inf")},
}


def test_text_reads_back_as_what_was_written():
    expected = {**RECIPE, "training": {**RECIPE["training"], "betas": [0.9, 0.999], "steps": [{"at": 1}]}}
    assert tomllib.loads(as_toml(RECIPE)) == expected


def test_what_is_not_set_becomes_a_comment():
    text = as_toml({"data": {"limit": None, "source": "starter"}})
    assert text == '[data]\n# limit is not set\nsource = "starter"\n'
    assert tomllib.loads(text) == {"data": {"source": "starter"}}


@pytest.mark.parametrize("content", [{}, {"a": {}}, {"a": {"b": {}}}])
def test_empty_mappings(content):
    assert tomllib.loads(as_toml(content)) == content
