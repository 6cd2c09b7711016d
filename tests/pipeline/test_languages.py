"""Texts of many languages and scripts go through a whole run, and each language is judged by itself."""

from __future__ import annotations

import pyarrow.parquet as pq
from conftest import train_quietly
from tiny import table_of

from pennyweight.recipe_files import build_recipe


def test_every_language_has_its_line(minilm, real_data, tmp_path, pennyweight):
    """Four sentences of each of 26 languages train and three judge, on seven topics: that it runs, not how well."""
    paths = {}
    for part, step in (("train", 193), ("test", 67)):
        table = pq.read_table(real_data / "sib200" / f"{part}.parquet")
        paths[part] = tmp_path / f"{part}.parquet"
        pq.write_table(table.take(list(range(0, table.num_rows, step))), paths[part])
    table = table_of(minilm, paths["train"], epochs=1)
    table["data"] |= {"labels": list("0123456"), "test": str(paths["test"]), "groups": "lang", "validation": 0}
    table["text"] |= {"cleaning": ["html", "newlines", "unicode", "punctuation"], "max_length": 64}
    table["adapters"] = {"targets": ["query@4:", "value@4:"], "rank": 4}
    outcome = train_quietly(build_recipe(table), tmp_path / "out")
    groups = outcome.judgement.groups.groups
    languages = set(pq.read_table(paths["test"])["lang"].to_pylist())
    assert {one.group for one in groups} == languages
    assert len(languages) == 26
    assert [one.accuracy.value for one in groups] == sorted(one.accuracy.value for one in groups)
    assert sum(one.examples for one in groups) == outcome.judgement.metrics.examples
    code, stdout, _ = pennyweight("evaluate", outcome.folder, "--data", paths["test"], "--by", "lang")
    assert code == 0
    assert [name for name in languages if name not in stdout] == []
