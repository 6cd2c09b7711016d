from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import LABELS

from pennyweight.api import train
from pennyweight.classifier import Classifier
from pennyweight.console import Speaker
from pennyweight.errors import InputError, Interrupted
from pennyweight.evaluation.decisions import Decision
from pennyweight.evaluation.label_metrics import StreamingLabelMetrics
from pennyweight.evaluation.significance import over_seeds
from pennyweight.pipeline import seeds as seeds_module
from pennyweight.pipeline.judging.contenders import Recorded
from pennyweight.pipeline.seed_folders import seed_folders
from pennyweight.pipeline.seeds import train_seeds
from pennyweight.recipe_files import build_recipe


def quietly(recipe, out, **options):
    return train_seeds(recipe, out, speaker=Speaker(enabled=False), cpu=True, **options)


def test_each_seed_is_a_run_of_its_own(seeded):
    summary = json.loads((seeded / "seeds.json").read_text())
    assert summary["seeds"] == [0, 1]
    folders = seed_folders(seeded)
    assert [folder.name for folder in folders] == ["seed-0", "seed-1"]
    opened = [Classifier.load(folder, device="cpu") for folder in folders]
    assert [one.manifest.recipe["training"]["seed"] for one in opened] == [0, 1]
    logits = [one.logits(["A ship at the quay."]) for one in opened]
    assert not np.array_equal(*logits)
    for name in ("accuracy", "macro_f1", "log_loss", "ece"):
        reported = [json.loads((folder / "report" / "metrics.json").read_text())[name] for folder in folders]
        values = [one["value"] if isinstance(one, dict) else one for one in reported]
        expected = over_seeds(values, least=0, most=np.inf if name == "log_loss" else 1)
        assert summary["metrics"][name] == {**vars(expected), "values": values}


def test_no_mean_lies_outside_its_interval_where_texts_have_several_labels():
    """Some figures of theirs, such as labels per item, are greater than 1."""
    judged = []
    for seed in range(2):
        generator = np.random.default_rng(seed)
        labels = generator.random((40, 4)) < 0.6
        metrics = StreamingLabelMetrics(("a", "b", "c", "d"), Decision("multi-label", 1.0, None), resamples=20)
        metrics.update(labels + generator.normal(size=labels.shape) - 0.5, labels)
        judged.append(SimpleNamespace(judgement=SimpleNamespace(metrics=metrics.result())))
    found = seeds_module._metrics(judged)
    assert found["labels_per_item"].mean > 1
    assert all(one.low <= one.mean <= one.high for one in found.values())


def test_pooled_figures_are_those_of_the_predictions(seeded):
    pooled = json.loads((seeded / "seeds.json").read_text())["pooled"]
    tables = [Recorded(folder / "report" / "predictions.parquet") for folder in seed_folders(seeded)]
    for table in tables:
        table.adopt(LABELS)
    examples = tables[0].examples(LABELS)
    truth = np.array([one.label for one in examples])
    predicted = np.array([table.answer(examples, [""] * 60).logits.argmax(axis=1) for table in tables])
    right = predicted == truth
    assert pooled["items"] == 60
    assert pooled["accuracy"]["value"] == pytest.approx(right.mean())
    assert pooled["agreement"] == pytest.approx((predicted[0] == predicted[1]).mean())
    assert pooled["always_right"] == pytest.approx(right.all(axis=0).mean())
    assert pooled["never_right"] == pytest.approx((~right).all(axis=0).mean())
    assert pooled["accuracy"]["low"] <= pooled["accuracy"]["value"] <= pooled["accuracy"]["high"]


def test_what_is_finished_is_left_alone(make_recipe, tmp_path, monkeypatch):
    """Interrupted in the second of two, gone on with, then one more seed."""
    recipe, out = make_recipe(training={"epochs": 1, "seed": 4}), tmp_path / "out"
    begun = []
    plain = seeds_module.train_recipe
    monkeypatch.setattr("pennyweight.pipeline.run.write_report", lambda folder, _: folder / "report.html")

    def noted(recipe, out, **options):
        begun.append((out.name, (out / "classifier.json").exists()))
        if begun == [("seed-4", False), ("seed-5", False)]:
            raise Interrupted("stopped")
        return plain(recipe, out, **options)

    monkeypatch.setattr(seeds_module, "train_recipe", noted)
    with pytest.raises(Interrupted):
        quietly(recipe, out, seeds=2)
    assert not (out / "seeds.json").exists()
    with pytest.raises(InputError, match="is not empty; go on with --resume"):
        quietly(recipe, out, seeds=2)
    first = quietly(recipe, out, seeds=2, resume=True)
    assert begun[2:] == [("seed-4", True), ("seed-5", False)]
    assert first.pooled is None  # each was judged on a validation split of its own
    before = {path: path.stat().st_mtime_ns for path in out.glob("seed-*/*.safetensors")}
    more = quietly(recipe, out, seeds=3, resume=True)
    assert begun[4:] == [("seed-4", True), ("seed-5", True), ("seed-6", False)]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert more.metrics["accuracy"].values[:2] == first.metrics["accuracy"].values
    assert json.loads((out / "seeds.json").read_text())["seeds"] == [4, 5, 6]


def test_from_python(seeded):
    """Of finished runs the outcome is read back."""
    summary = (seeded / "seeds.json").read_text()
    recipe = build_recipe(json.loads((seeded / "seed-0" / "classifier.json").read_text())["recipe"])
    outcome = train(recipe, seeded, seeds=2, resume=True)
    assert [one.folder.name for one in outcome.outcomes] == ["seed-0", "seed-1"]
    assert outcome.metrics["accuracy"].mean == np.mean([o.judgement.metrics.accuracy.value for o in outcome.outcomes])
    assert (seeded / "seeds.json").read_text() == summary


@pytest.mark.parametrize(
    ("seed", "seeds", "message"), [(0, 1, "give two or more"), (0, -3, "give two or more"), (2**31 - 2, 3, "beyond")]
)
def test_numbers_that_cannot_be(make_recipe, tmp_path, seed, seeds, message):
    with pytest.raises(InputError, match=message):
        quietly(make_recipe(training={"seed": seed}), tmp_path / "out", seeds=seeds)
    assert not (tmp_path / "out").exists()


def test_folders_that_cannot_be(make_recipe, trained, seeded, tmp_path):
    with pytest.raises(InputError, match="holds a single run"):
        quietly(make_recipe(), trained, seeds=2, resume=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file"):
        quietly(make_recipe(), tmp_path / "file", seeds=2)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty; give a new folder"):
        quietly(make_recipe(), tmp_path / "other", seeds=2)
    with pytest.raises(InputError, match=r"begun with another recipe"):
        quietly(make_recipe(training={"epochs": 3}), seeded, seeds=2, resume=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ('{"seeds": 3}', "cannot be read"),
        ('{"seeds": [0, 1]}', "seed-0: has no classifier.json"),
        ('{"seeds": []}', "fewer than two"),
        ("[]", "cannot"),
    ],
)
def test_a_damaged_summary_is_refused(tmp_path, content, message):
    (tmp_path / "seeds.json").write_text(content)
    with pytest.raises(InputError, match=message):
        seed_folders(tmp_path)
