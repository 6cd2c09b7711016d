"""What is printed of an evaluation, where names and numbers are awkward."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from pennyweight.evaluation.groups import GroupMetrics, Groups
from pennyweight.evaluation.metrics import Metrics, StreamingMetrics, wilson
from pennyweight.pipeline.judging.judgement import Judgement
from pennyweight.tables.runs import metrics_table


def judged(names: list[str], items: int = 400) -> Metrics:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, len(names), items)
    logits = generator.normal(size=(items, len(names)))
    logits[np.arange(items), labels] += 2
    metrics = StreamingMetrics(names)
    metrics.update(logits, labels)
    return metrics.result(resamples=100)


@pytest.mark.parametrize("classes", [3, 100])
def test_every_class_has_its_line(classes, capsys):
    names = [f"class-{number}" for number in range(classes)]
    metrics_table(Judgement(judged(names), (), "some data"))
    words = capsys.readouterr().out.split()
    assert [name for name in names if name not in words] == []


def test_of_very_many_classes_the_weakest_are_shown(capsys):
    metrics = judged([f"class-{number}" for number in range(101)])
    metrics_table(Judgement(metrics, (), "some data"))
    out = capsys.readouterr().out
    assert "the 30 weakest of 101" in out
    ranked = [one.label for one in sorted(metrics.per_class, key=lambda one: one.f1.value)]
    shown = [word for word in out.split() if word.startswith("class-")]
    assert shown == ranked[:30]


def test_names_in_brackets_are_names_and_no_markup(capsys):
    groups = Groups("[red]lang", (GroupMetrics("[/b]", 4, wilson(1, 4), 0.25, None),))
    metrics_table(Judgement(judged(["[bold]", "[/x]"]), (), "some data", groups=groups))
    out = capsys.readouterr().out
    for name in ("[bold]", "[/x]", "[red]lang", "[/b]"):
        assert name in out


def test_paths_in_brackets_are_paths_and_no_markup(pennyweight, trained, small_csv, tmp_path):
    source = Path(shutil.copy(small_csv, tmp_path / "m[ox].csv"))
    folder = tmp_path / "rep[v2]"
    code, stdout, stderr = pennyweight("evaluate", trained, "--data", source, "--out", folder)
    assert code == 0, stderr
    assert f"report: {folder}/report.html" in stdout
    assert f"on {source}, " in stdout
    hostile = tmp_path / "m[" / "x].csv"
    hostile.parent.mkdir()
    shutil.copy(small_csv, hostile)
    code, stdout, _ = pennyweight("evaluate", trained, "--data", hostile)
    assert code == 0
    assert str(hostile) in stdout
