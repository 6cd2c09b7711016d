from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import train_quietly
from tiny import LABELS, sentences, write_csv

from pennyweight.classifier import Classifier
from pennyweight.errors import BudgetError, InputError, RunError
from pennyweight.evaluation.calibration import fit_temperature
from pennyweight.pipeline import run as run_module
from pennyweight.pipeline import workbench
from pennyweight.pipeline.judging.judgement import evaluate_source
from pennyweight.pipeline.preparation import collect


def log_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "report" / "log.jsonl").read_text().splitlines()]


def scores(folder, name: str) -> list[float]:
    return [record[name] for record in log_of(folder) if record["event"] == "validation"]


def test_what_a_run_leaves_behind(make_recipe, trained):
    names = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    weights = {"classifier.json", "adapter_config.json", "adapter_model.safetensors", "head.safetensors", "README.md"}
    assert {name for name in names if "/" not in name} == weights
    report = {"report.html", "metrics.json", "predictions.parquet", "log.jsonl"}
    assert {f"report/{name}" for name in report} <= names
    assert any(name.startswith("report/plots/") for name in names)
    assert not any(path.name.startswith(".") for path in trained.rglob("*"))

    manifest = json.loads((trained / "classifier.json").read_text())
    assert manifest["format"] == 2
    assert manifest["labels"] == list(LABELS)
    assert manifest["plan"]["trainable"] == manifest["plan"]["groups"]["adapters"] + manifest["plan"]["groups"]["head"]
    assert manifest["recipe"] == make_recipe().model_dump(mode="json")
    assert manifest["environment"]["steps"] == 10
    card = (trained / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: peft\n")
    assert f"{manifest['plan']['trainable']:,} parameters" in card


def test_the_log_tells_every_step_and_validation(trained):
    steps = [record for record in log_of(trained) if record["event"] == "step"]
    assert [record["step"] for record in steps] == list(range(1, 11))
    assert all(np.isfinite(record["loss"]) and record["gradient_norm"] > 0 for record in steps)
    assert [record["step"] for record in log_of(trained) if record["event"] == "validation"] == [5, 10]


def test_the_judgement_is_what_the_saved_classifier_says(make_recipe, trained):
    collected = collect(make_recipe())
    texts = [collected.texts[index] for index in collected.validation]
    truth = collected.labels[collected.validation]
    classifier = Classifier.load(trained, device="cpu")
    again = classifier.evaluate(texts, truth.tolist(), resamples=100)
    recorded = json.loads((trained / "report" / "metrics.json").read_text())
    assert again.as_dict()["confusion"] == recorded["confusion"]
    assert again.accuracy.value == recorded["accuracy"]["value"]
    predictions = pq.read_table(trained / "report" / "predictions.parquet").to_pylist()
    assert [row["row"] for row in predictions] == collected.rows[collected.validation].tolist()
    assert [row["predicted"] for row in predictions] == classifier.predict(texts)


@pytest.mark.parametrize(
    ("precision", "attention", "targets"),
    [
        ("fp32", "sdpa", "all-linear"),
        ("bf16", "plain", "all-linear"),
        ("bf16", "sdpa", ["query@1:", "output.dense@1:"]),
    ],
)
def test_what_is_recorded_is_what_evaluating_gives(precision, attention, targets, make_recipe, tmp_path):
    """Adapters that are large beside what bf16 rounds off, so that folding them shows."""
    test = write_csv(tmp_path / "test.csv", sentences(60, seed=11))
    recipe = make_recipe(
        backbone={"precision": precision, "attention": attention},
        adapters={"targets": targets},
        training={"learning_rate": 0.02},
        data={"test": str(test)},
    )
    folder = train_quietly(recipe, tmp_path / "out").folder
    classifier = Classifier.load(folder, device="cpu")
    evaluated = evaluate_source(classifier, str(test), resamples=100).as_dict()
    assert classifier.manifest.metrics == {**evaluated, "evaluated_on": classifier.manifest.metrics["evaluated_on"]}
    collected = collect(recipe)
    logits = classifier.logits([collected.texts[index] for index in collected.validation])
    expected = fit_temperature(logits, collected.labels[collected.validation])
    assert classifier.manifest.temperature == pytest.approx(expected, rel=1e-6 if targets == "all-linear" else 0.03)


@pytest.mark.parametrize("metric", ["loss", "macro_f1"])
def test_the_best_validation_is_kept_and_the_last_where_asked(metric, make_recipe, tmp_path):
    training = {"epochs": 3, "learning_rate": 0.02, "metric": metric, "schedule": "constant", "gradient_clip": None}
    best = train_quietly(make_recipe(training={**training, "keep": "best"}), tmp_path / "best")
    last = train_quietly(make_recipe(training={**training, "keep": "last"}), tmp_path / "last")
    values = scores(best.folder, metric)
    assert values == scores(last.folder, metric)
    pick = min if metric == "loss" else max
    assert values.index(pick(values)) < 2, "the check needs a run whose last validation is not its best"
    assert best.fitted.best_step == 5 * (values.index(pick(values)) + 1)
    assert last.fitted.best_step is None
    for outcome, value in ((best, pick(values)), (last, values[-1])):
        metrics = outcome.judgement.metrics
        judged = metrics.log_loss_uncalibrated if metric == "loss" else metrics.macro_f1.value
        assert judged == pytest.approx(value, abs=1e-6)


def test_stopping_early(make_recipe, tmp_path):
    training = {"epochs": 30, "learning_rate": 0.3, "metric": "loss", "patience": 2, "schedule": "constant"}
    outcome = train_quietly(make_recipe(training=training), tmp_path / "out")
    values = scores(outcome.folder, "loss")
    assert outcome.fitted.stopped_early
    assert outcome.fitted.steps == 5 * len(values) < outcome.fitted.total_steps == 150
    assert values.index(min(values)) == len(values) - 3
    assert outcome.fitted.best_step == 5 * (len(values) - 2)


def test_the_plateau_schedule_halves_the_rate(make_recipe, tmp_path):
    training = {"epochs": 5, "learning_rate": 0.3, "metric": "loss", "schedule": "plateau", "warmup": 0.0}
    outcome = train_quietly(make_recipe(training=training), tmp_path / "out")
    values, expected, best = scores(outcome.folder, "loss"), [0.3], np.inf
    for value in values:
        expected.append(expected[-1] if value < best else expected[-1] / 2)
        best = min(best, value)
    assert expected[-1] < 0.3, "the check needs a run that stops improving"
    rates = [record["learning_rate"] for record in log_of(outcome.folder) if record["event"] == "step"]
    assert rates == pytest.approx(np.repeat(expected[:-1], 5))


def test_the_temperature_is_that_of_the_validation_split(make_recipe, trained):
    collected = collect(make_recipe())
    classifier = Classifier.load(trained, device="cpu")
    logits = classifier.logits([collected.texts[index] for index in collected.validation])
    expected = fit_temperature(logits, collected.labels[collected.validation])
    assert classifier.manifest.temperature == pytest.approx(expected, rel=1e-6)
    assert expected != 1.0


def test_no_temperature_where_it_is_not_asked_for(make_recipe, tmp_path):
    recipe = make_recipe(evaluation={"temperature_scaling": False}, training={"epochs": 1})
    folder = train_quietly(recipe, tmp_path / "out").folder
    assert Classifier.load(folder, device="cpu").manifest.temperature == 1.0


def test_without_a_validation_split(make_recipe, small_csv, tmp_path):
    recipe = make_recipe(data={"validation": 0}, training={"epochs": 1})
    outcome = train_quietly(recipe, tmp_path / "out")
    assert outcome.judgement.metrics.examples == 90
    assert "training items" in outcome.judgement.evaluated_on
    assert outcome.fitted.best_step is None
    assert scores(outcome.folder, "loss") == []
    assert Classifier.load(outcome.folder, device="cpu").manifest.temperature == 1.0


def test_leaks_are_dropped_from_training_and_said(make_recipe, tmp_path, capsys):
    rows = sentences(60)
    test = [(text.upper(), label) for text, label in rows[:7]] + sentences(12, seed=99)
    train_csv, test_csv = write_csv(tmp_path / "train.csv", rows), write_csv(tmp_path / "test.csv", test)
    recipe = make_recipe(data={"source": str(train_csv), "test": str(test_csv)}, training={"epochs": 1})
    collected = collect(recipe)
    assert collected.leaked.tolist() == list(range(7))
    used = {*collected.training.tolist(), *collected.validation.tolist()}
    assert used == set(range(7, 60))
    outcome = run_module.train_recipe(recipe, tmp_path / "out", cpu=True)
    assert "7 leaked items dropped from training" in capsys.readouterr().err
    assert outcome.judgement.metrics.examples == 19
    assert str(test_csv) in outcome.judgement.evaluated_on


def test_a_text_on_both_sides_of_the_split_is_dropped_from_training(make_recipe, tmp_path):
    rows = [row for row in sentences(30) for _ in range(2)]
    source = write_csv(tmp_path / "twice.csv", rows)
    collected = collect(make_recipe(data={"source": str(source), "validation": 0.3}))
    held_out = {collected.cleaned[index] for index in collected.validation}
    assert len(collected.leaked) > 0
    assert not held_out & {collected.cleaned[index] for index in collected.training}
    parts = [collected.training, collected.validation, collected.leaked]
    assert sorted(np.concatenate(parts).tolist()) == list(range(60))


def test_over_budget_is_refused_before_anything_is_loaded(make_recipe, tmp_path, monkeypatch):
    def loading(*_arguments, **_options):
        raise AssertionError("data or weights were loaded")

    for name in ("collect_all", "set_up"):
        monkeypatch.setattr(run_module, name, loading)
    with pytest.raises(BudgetError, match="over budget"):
        train_quietly(make_recipe(budget={"parameters": 100}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_count_other_than_planned_stops_the_run(make_recipe, tmp_path, monkeypatch):
    build = workbench.build_network

    def one_too_many(*arguments, **options):
        network = build(*arguments, **options)
        next(p for p in network.parameters() if not p.requires_grad).requires_grad_(True)
        return network

    monkeypatch.setattr(workbench, "build_network", one_too_many)
    with pytest.raises(RunError, match="trainable parameters but the plan says"):
        train_quietly(make_recipe(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_repeated_texts_stay_on_one_side_of_the_split(make_recipe, tmp_path):
    """Twenty copies of each of nine texts: all copies of a held-out text are left out, and every class is learnt."""
    texts = {"red": ("apples glow", "cherries shine", "roses burn"), "blue": ("seas roll", "skies open", "ice cracks")}
    lines = [f"{text},{label}" for label, own in texts.items() for text in own for _ in range(20)]
    data = tmp_path / "data.csv"
    data.write_text("text,label\n" + "\n".join(lines) + "\n")
    recipe = make_recipe(data={"source": str(data), "labels": "auto", "validation": 0.3})
    collected = collect(recipe)
    sides = [{collected.cleaned[i] for i in part} for part in (collected.training, collected.validation)]
    assert not sides[0] & sides[1]
    assert (len(collected.training), len(collected.validation), len(collected.leaked)) == (80, 2, 38)
    assert set(collected.labels[collected.training]) == {0, 1}
    data.write_text("text,label\n" + "same,red\n" * 20 + "other,blue\n" * 20)
    with pytest.raises(InputError, match="1 distinct item"):
        collect(recipe)
