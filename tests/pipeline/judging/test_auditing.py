from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from bs4 import BeautifulSoup
from conftest import train_quietly
from tiny import sentences, tagged, write_csv

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.evaluation.perturbations import PERTURBATIONS, first_half
from pennyweight.pipeline.judging.auditing import audit_source
from pennyweight.pipeline.judging.comparing import compare_sources
from pennyweight.pipeline.judging.judgement import evaluate_source
from pennyweight.pipeline.judging.pages import write_audit
from pennyweight.pipeline.preparation import schema_of_card

ROWS = sentences(120, seed=21)


@pytest.fixture(scope="module")
def classifier(trained):
    return Classifier.load(trained, device="cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("audited") / "test.csv", ROWS)


@pytest.fixture(scope="module")
def audit(classifier, data):
    return audit_source(classifier, str(data), conditions=tuple(PERTURBATIONS), resamples=500)


def test_every_condition_is_the_evaluation_of_its_texts(audit, classifier):
    truth = [label for _, label in ROWS]
    plain = classifier.evaluate([text for text, _ in ROWS], truth)
    assert audit.metrics.confusion == plain.confusion
    assert {one.name for one in audit.conditions} == PERTURBATIONS.keys()
    for one in audit.conditions:
        texts = [PERTURBATIONS[one.name](text, seed=0) for text, _ in ROWS]
        expected = classifier.evaluate(texts, truth)
        assert one.accuracy == expected.accuracy, one.name
        assert one.macro_f1 == pytest.approx(expected.macro_f1.value)
        assert one.ece == pytest.approx(expected.ece)
        assert one.changed == sum(made != text for made, (text, _) in zip(texts, ROWS, strict=True))
        difference = expected.accuracy.value - plain.accuracy.value
        assert one.against_clean.accuracy.value == pytest.approx(difference)
        lost, gained = one.against_clean.only_second, one.against_clean.only_first
        assert gained - lost == round(120 * difference)


def test_texts_that_do_not_change_are_not_computed_again(classifier, data, monkeypatch):
    asked = []
    compute = classifier.logits_of
    monkeypatch.setattr(classifier, "logits_of", lambda table: asked.append(len(table)) or compute(table))
    found = audit_source(classifier, str(data), conditions=("no-title", "lower"), resamples=500)
    assert [one.changed for one in found.conditions] == [0, 120]  # each text is one sentence
    assert asked == [120, 120]
    assert found.conditions[0].against_clean.p == 1


def test_parts_of_the_items_add_up(audit, classifier):
    assert sum(part.items for part in audit.lengths) == sum(part.items for part in audit.classes) == 120
    right = sum(part.accuracy.value * part.items for part in audit.lengths)
    assert right == pytest.approx(120 * audit.metrics.accuracy.value)
    assert audit.length_unit == "tokens"
    lengths = classifier.tokenise([text for text, _ in ROWS]).full_lengths
    assert audit.lengths[0].name.split("–")[0] == str(lengths.min())
    assert audit.lengths[-1].name.split("–")[-1] == str(lengths.max())
    recall = {one.label: one.recall for one in audit.metrics.per_class}
    assert {part.name: part.accuracy.value for part in audit.classes} == pytest.approx(recall)


def test_the_title_is_the_first_of_several_columns(make_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr("pennyweight.pipeline.run.write_report", lambda folder, _: folder / "report.html")
    rows = [(f"Notice {number}", text, label) for number, (text, label) in enumerate(ROWS)]
    rows[5] = ("Only a title: the ship", "", rows[5][2])
    source = write_csv(tmp_path / "two.csv", rows, ("title", "body", "label"))
    recipe = make_recipe(data={"source": str(source), "text": ["title", "body"]}, training={"epochs": 1})
    own = Classifier.load(train_quietly(recipe, tmp_path / "out").folder, device="cpu")
    found = audit_source(own, str(source), conditions=("no-title",), resamples=500)
    texts = [body or title for title, body, _ in rows]
    assert found.conditions[0].accuracy == own.evaluate(texts, [row[2] for row in rows]).accuracy
    assert found.conditions[0].changed == 119


def test_the_page_and_the_numbers(audit, tmp_path):
    page = write_audit(tmp_path / "out", audit)
    soup = BeautifulSoup(page.read_text(), "html.parser")
    first = [row.find("td").get_text() for row in soup.find("table").find_all("tr")[1:]]
    assert first == ["clean", *PERTURBATIONS]
    assert len(soup("svg")) == 2
    told = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert told == json.loads(json.dumps(audit.as_dict()))
    assert [one["name"] for one in told["conditions"]] == list(PERTURBATIONS)
    assert told["clean"]["ece_uncalibrated"] == audit.metrics.ece_uncalibrated
    assert sorted(path.name for path in (tmp_path / "out" / "plots").iterdir()) == ["audit-1.png", "audit-2.png"]


def test_other_labels_by_a_mapping(classifier, tmp_path):
    names = {"orchard": "fruit", "harbour": "sea", "workshop": "tools"}
    rows = [(text, names[label]) for text, label in ROWS] + [("Nothing of the kind.", "weather")] * 4
    source = write_csv(tmp_path / "other.csv", rows)
    mapping = {"fruit": "orchard", "sea": "harbour", "tools": "workshop"}
    schema = schema_of_card(classifier.manifest, mapping=mapping)
    judged = evaluate_source(classifier, str(source), schema=schema)
    plain = classifier.evaluate([text for text, _ in ROWS], [label for _, label in ROWS])
    assert judged.metrics.confusion == plain.confusion
    assert judged.unmapped == {"weather": 4}
    assert judged.as_dict()["unmapped"] == {"weather": 4}
    found = audit_source(classifier, str(source), schema=schema, conditions=(), resamples=500)
    assert found.metrics.confusion == plain.confusion
    assert found.unmapped == {"weather": 4}
    with pytest.raises(InputError, match="has no label 'boats'"):
        evaluate_source(classifier, str(source), schema=schema_of_card(classifier.manifest, mapping={"sea": "boats"}))


def test_unknown_conditions_are_refused(classifier, data):
    with pytest.raises(InputError, match="no condition 'typo'; there are typos, upper"):
        audit_source(classifier, str(data), conditions=("typo",))
    with pytest.raises(InputError, match="name each condition once"):
        audit_source(classifier, str(data), conditions=("upper", "upper"))


@pytest.fixture(scope="module")
def tagger(make_recipe, tmp_path_factory):
    """A classifier of several labels per text, and its data."""
    folder = tmp_path_factory.mktemp("tagger")
    source = write_csv(folder / "tagged.csv", [(text, "|".join(labels)) for text, labels in tagged()], ("text", "tags"))
    data = {"source": str(source), "label": "tags", "task": "multi-label", "validation": 0.25}
    recipe = make_recipe(data=data, training={"epochs": 4, "learning_rate": 0.02})
    return train_quietly(recipe, folder / "out").folder, source


def test_several_labels_are_right_where_all_are(tagger):
    folder, source = tagger
    own = Classifier.load(folder, device="cpu")
    found = audit_source(own, str(source), conditions=("upper",), resamples=500)
    texts, truth = zip(*tagged(), strict=True)
    for metrics, made in (
        (found.metrics, texts),
        (found.conditions[0], [text.upper() for text in texts]),
    ):
        expected = own.evaluate(made, truth)
        assert metrics.accuracy == expected.accuracy
        assert metrics.ece == pytest.approx(expected.ece)
    given = [set(own.predict([text])[0]) == set(labels) for text, labels in tagged()]
    assert found.metrics.accuracy.value == pytest.approx(np.mean(given))
    against = found.conditions[0].against_clean
    assert against.only_first - against.only_second == round(len(texts) * against.accuracy.value)
    recall = {one.label: one.recall for one in found.metrics.per_class if one.support}
    assert {part.name: part.accuracy.value for part in found.classes} == pytest.approx(recall)
    assert "all labels" in found.evaluated_on


def test_several_labels_compared(tagger, trained, tmp_path):
    folder, source = tagger
    shutil.copytree(folder, tmp_path / "other")
    table = json.loads((tmp_path / "other" / "classifier.json").read_text())
    table["thresholds"] = [0.9] * 3
    (tmp_path / "other" / "classifier.json").write_text(json.dumps(table))
    found = compare_sources([folder, tmp_path / "other"], str(source), opener=Classifier.load, resamples=500)
    texts, truth = zip(*tagged(), strict=True)
    for standing, place in zip(found.standings, (folder, tmp_path / "other"), strict=True):
        expected = Classifier.load(place).evaluate(texts, truth)
        assert standing.accuracy == expected.accuracy
        assert standing.macro_f1.value == pytest.approx(expected.macro_f1.value)
    (pair,) = found.pairs
    assert pair.only_first != pair.only_second
    with pytest.raises(InputError, match="is multi-label, unlike classifier"):
        compare_sources([trained, folder], str(source), opener=Classifier.load)


def test_one_class_and_one_item(classifier, tmp_path):
    source = write_csv(tmp_path / "one.csv", [ROWS[0]])
    found = audit_source(classifier, str(source), conditions=tuple(PERTURBATIONS), resamples=200)
    assert found.metrics.examples == 1
    assert [part.items for part in found.lengths] == [1]
    assert all(np.isfinite([one.accuracy.low, one.against_clean.accuracy.high]).all() for one in found.conditions)
    assert first_half(ROWS[0][0]) != ROWS[0][0]
    write_audit(tmp_path / "out", found)
