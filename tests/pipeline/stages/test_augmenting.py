from __future__ import annotations

import json
import signal
from collections import Counter

import numpy as np
import pytest
from conftest import train_quietly
from tiny import sentences, write_csv

from pennyweight.cache import default_cache
from pennyweight.console import Speaker
from pennyweight.data.filtering import Dropped
from pennyweight.errors import InputError, Interrupted
from pennyweight.pipeline.preparation import Collected, collect
from pennyweight.pipeline.stages import augmenting
from pennyweight.pipeline.stages.augmenting import add_copies, describe_copies

QUIET = Speaker(enabled=False)


def collected_of(recipe) -> Collected:
    return add_copies(recipe, collect(recipe), QUIET)


def test_no_copies_leave_everything_alone(make_recipe):
    recipe = make_recipe()
    before = collect(recipe)
    assert add_copies(recipe, before, QUIET) is before
    assert describe_copies(before) == {}
    assert before.labelled == len(before.texts)
    np.testing.assert_array_equal(before.learnt, before.training)


def test_copies_stand_behind_the_real_items_and_know_them(make_recipe):
    recipe = make_recipe(augmentation={"copies": 3, "operations": ["swap"]})
    before, after = collect(recipe), collected_of(recipe)
    assert after.labelled == len(before.texts)
    np.testing.assert_array_equal(after.learnt, before.training)
    np.testing.assert_array_equal(after.validation, before.validation)
    copies = np.arange(after.labelled, len(after.texts))
    np.testing.assert_array_equal(after.training, np.concatenate([before.training, copies]))
    assert Counter(after.origin[copies].tolist()) == dict.fromkeys(before.training.tolist(), 3)
    for copy in copies.tolist():
        item = int(after.origin[copy])
        assert (after.rows[copy], after.labels[copy]) == (after.rows[item], after.labels[item])
        assert Counter(after.cleaned[copy].split()) == Counter(after.cleaned[item].split())
        assert after.cleaned[copy] != after.cleaned[item]
    assert after.digest != before.digest


def test_the_same_seed_gives_the_same_copies(make_recipe):
    same = {"copies": 2, "thesaurus": "embeddings"}
    one, again = (collected_of(make_recipe(augmentation=same)) for _ in range(2))
    assert one.cleaned == again.cleaned
    other = collected_of(make_recipe(augmentation=same, training={"seed": 1}))
    assert one.cleaned != other.cleaned
    more = collected_of(make_recipe(augmentation={**same, "copies": 3}))
    first = {(more.origin[index], text) for index, text in enumerate(more.cleaned)}
    assert {(one.origin[index], text) for index, text in enumerate(one.cleaned)} <= first


def test_balancing_evens_out_what_is_learnt(make_recipe, tmp_path):
    rows = sentences(120)
    kept = [row for index, row in enumerate(rows) if row[1] == "orchard" or index % 9 < 3]
    recipe = make_recipe(
        data={"source": str(write_csv(tmp_path / "uneven.csv", kept))},
        augmentation={"balance": True, "operations": ["swap", "delete"]},
    )
    before, after = collect(recipe), collected_of(recipe)
    assert np.ptp(np.bincount(before.labels[before.training])) > 10
    assert np.ptp(np.bincount(after.labels[after.training])) == 0
    described = describe_copies(after)["altered_copies"]
    assert described["orchard"] == 0
    assert sum(described.values()) == len(after.texts) - after.labelled


def test_a_copy_equal_to_a_held_out_text_is_left_away(make_recipe, tmp_path, monkeypatch):
    test = write_csv(tmp_path / "test.csv", [("now in the test", "harbour"), ("x", "orchard")])
    recipe = make_recipe(data={"test": str(test)}, augmentation={"copies": 3, "operations": ["swap"]})
    before = collect(recipe)
    validated = before.cleaned[before.validation[0]]
    monkeypatch.setattr(
        augmenting.Augmenter, "copies", lambda *_, **__: ["Now in the  TEST", validated, "something else"]
    )
    after = collected_of(recipe)
    assert set(after.cleaned[after.labelled :]) == {"something else"}
    assert len(after.texts) - after.labelled == len(before.training)


def test_dropping_an_item_drops_its_copies(make_recipe):
    after = collected_of(make_recipe(augmentation={"copies": 2, "operations": ["delete"]}))
    chosen = after.learnt[:3]
    less = after.without(Dropped(chosen, "label noise"))
    assert len(after.training) - len(less.training) == 9
    assert not set(less.origin[less.training]) & set(chosen.tolist())


def test_what_synonyms_there_are(make_recipe, monkeypatch):
    def missing():
        raise InputError("NLTK finds no WordNet")

    monkeypatch.setattr(augmenting, "open_wordnet", missing)
    with pytest.raises(InputError, match="NLTK finds no WordNet"):
        collected_of(make_recipe(augmentation={"copies": 1, "thesaurus": "wordnet"}))
    _, source = augmenting.augmenter_of(make_recipe(augmentation={"copies": 1}))
    assert source.startswith(", synonyms from the embeddings of ")
    monkeypatch.setattr(augmenting, "open_wordnet", lambda: lambda word: ("synonym",))
    augmenter, source = augmenting.augmenter_of(make_recipe(augmentation={"copies": 1, "operations": ["synonyms"]}))
    assert source == ", synonyms from WordNet"
    assert augmenter.copies("ship", 1, seed="") == ["synonym"]


def test_a_run_with_copies_reports_real_items_and_reuses_the_caches(make_recipe, tmp_path, trained):
    recipe = make_recipe(
        adapters={"targets": ["query@1", "value@1"]},
        augmentation={"copies": 2, "thesaurus": "embeddings"},
        training={"epochs": 1},
    )
    outcome = train_quietly(recipe, tmp_path / "one")
    assert outcome.fitted.total_steps == -(-72 * 3 // 16)
    page = (outcome.folder / "report" / "report.html").read_text()
    assert '<td class="number">90</td><td>items</td>' in page
    assert "altered copies" in page
    before = {kind: used.entries for kind, used in default_cache().usage().items()}
    again = train_quietly(recipe, tmp_path / "two")
    assert {kind: used.entries for kind, used in default_cache().usage().items()} == before
    assert {"tokens", "prefix"} <= before.keys()
    weights = "adapter_model.safetensors"
    assert (outcome.folder / weights).read_bytes() == (again.folder / weights).read_bytes()
    assert again.judgement.metrics.examples == 18


def test_what_learnt_is_judged_without_its_copies(make_recipe, tmp_path):
    recipe = make_recipe(
        data={"validation": 0.0},
        augmentation={"copies": 1, "operations": ["swap"]},
        training={"epochs": 1},
    )
    outcome = train_quietly(recipe, tmp_path / "out")
    assert outcome.judgement.metrics.examples == 90
    manifest = json.loads((outcome.folder / "classifier.json").read_text())
    assert manifest["recipe"]["augmentation"]["copies"] == 1


class StoppedAfter(Speaker):
    """Stands for a machine that asks to stop after a given step."""

    def __init__(self, step: int) -> None:
        super().__init__(enabled=False)
        self.step = step

    def bar(self, what, total):
        made = super().bar(what, total)
        made.update = lambda done, _note: signal.raise_signal(signal.SIGTERM) if done == self.step else None
        return made


def test_a_run_of_all_of_this_is_gone_on_with_exactly(make_recipe, tmp_path):
    from pennyweight.pipeline.run import train_recipe

    recipe = make_recipe(
        text={"cleaning": ["lemmas"]},
        filter={"shortest": 6, "repeats": "drop"},
        augmentation={"copies": 1, "balance": True, "thesaurus": "embeddings"},
        training={"sampler": "balanced"},
        evaluation={"augmented_copies": 2},
    )
    whole = train_quietly(recipe, tmp_path / "whole")
    with pytest.raises(Interrupted):
        train_recipe(recipe, tmp_path / "halved", speaker=StoppedAfter(7), cpu=True)
    again = train_quietly(recipe, tmp_path / "halved", resume=True)
    assert again.fitted.steps == whole.fitted.steps > 7
    for name in ("adapter_model.safetensors", "head.safetensors", "report/metrics.json", "report/filtered.parquet"):
        assert (again.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name
    other = make_recipe(augmentation={"copies": 2})
    with pytest.raises(InputError, match="begun with another recipe"):
        train_quietly(other, tmp_path / "halved", resume=True)


def test_copies_with_nothing_to_alter_are_counted(make_recipe, tmp_path, capsys):
    rows = [(f"{'苹果' * (number + 1)}", "orchard") for number in range(6)] + [
        (f"seven b {n}", "harbour") for n in range(6)
    ]
    source = str(write_csv(tmp_path / "unspaced.csv", rows))
    data = {"source": source, "validation": 0, "labels": "auto"}
    recipe = make_recipe(data=data, augmentation={"copies": 1, "operations": ["swap"]})
    add_copies(recipe, collect(recipe), Speaker())
    assert "12 altered copies of 12 training items; 6 are like their texts" in capsys.readouterr().err
