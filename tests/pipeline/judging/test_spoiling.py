from __future__ import annotations

import shutil

import pytest
from tiny import sentences, write_csv

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.evaluation.perturbations import PERTURBATIONS
from pennyweight.opening import load
from pennyweight.pipeline.combining.ensembling import make_ensemble
from pennyweight.pipeline.judging import spoiling
from pennyweight.pipeline.judging.auditing import audit_source
from pennyweight.pipeline.judging.choosing import choose_classifier
from pennyweight.pipeline.judging.spoiling import CONDITIONS, conditions_for, paraphrase

WORDS = {"ship": ("boat",), "hammer": ("mallet",), "apple": ("pear",)}


def thesaurus(word):
    return WORDS.get(word, ())


def absent(*_arguments, **_options):
    raise InputError("there is no thesaurus")


@pytest.fixture
def wordnet(monkeypatch):
    monkeypatch.setattr(spoiling, "open_wordnet", lambda: thesaurus)


@pytest.fixture
def no_thesaurus(monkeypatch):
    monkeypatch.setattr(spoiling, "open_wordnet", absent)
    monkeypatch.setattr("pennyweight.model.neighbours.open_neighbours", absent)


@pytest.fixture(scope="module")
def classifier(trained):
    return Classifier.load(trained, device="cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("spoilt") / "test.csv", sentences(60, seed=21))


def test_words_are_replaced_in_their_case_and_marks():
    one = paraphrase(thesaurus, "a test")
    assert one("Ship, at  the quay.") == "Boat, at the quay."
    assert one("Nothing  known here.") == "Nothing  known here."
    long = one("ship " * 20)
    assert sorted(long.split()) == ["boat"] * 2 + ["ship"] * 18
    assert one("ship " * 20) == long


def test_synonyms_are_a_condition_like_the_others(wordnet, classifier, data):
    found = audit_source(classifier, str(data), resamples=200)
    assert [one.name for one in found.conditions] == list(CONDITIONS) == [*PERTURBATIONS, "synonyms"]
    last = found.conditions[-1]
    texts, truth = zip(*sentences(60, seed=21), strict=True)
    made = [paraphrase(thesaurus, "")(text) for text in texts]
    assert last.changed == sum(new != old for new, old in zip(made, texts, strict=True)) > 0
    assert last.accuracy == classifier.evaluate(made, truth).accuracy
    assert last.meaning.endswith("from WordNet")
    assert found.not_measured == {}


def test_without_wordnet_the_backbone_s_own_words(classifier, monkeypatch):
    monkeypatch.setattr(spoiling, "open_wordnet", absent)
    monkeypatch.setattr("pennyweight.model.neighbours.open_neighbours", lambda _files, **_options: thesaurus)
    (one,) = conditions_for(["synonyms"], [classifier]).perturbations
    assert one.meaning.endswith(f"from the embeddings of {classifier.manifest.backbone.name}")
    assert one("A ship waits.") == "A boat waits."


def test_without_any_thesaurus_it_is_said(no_thesaurus, classifier, trained, seeded, data):
    found = audit_source(classifier, str(data), resamples=200)
    assert [one.name for one in found.conditions] == list(PERTURBATIONS)
    assert found.not_measured == {"synonyms": "there is no thesaurus"}
    choice = choose_classifier([trained, seeded], [(str(data), None)], opener=Classifier.load, resamples=200)
    assert choice.not_measured == {"synonyms": "there is no thesaurus"}
    assert [cell.condition for cell in choice.cells] == ["clean", *PERTURBATIONS]
    with pytest.raises(InputError, match="no thesaurus"):
        audit_source(classifier, str(data), conditions=("synonyms",))
    with pytest.raises(InputError, match="no thesaurus"):
        conditions_for(["synonyms"], [])


def test_words_come_from_where_the_backbone_now_lies(trained, tiny_roberta, monkeypatch, tmp_path):
    monkeypatch.setattr(spoiling, "open_wordnet", absent)
    moved = shutil.copytree(tiny_roberta, tmp_path / "moved")
    ensemble = tmp_path / "ensemble"
    make_ensemble([trained, trained], ensemble)
    for folder in (trained, ensemble):
        (one,) = conditions_for(["synonyms"], [load(folder, backbone=moved, device="cpu")]).perturbations
        assert one.meaning.endswith(f"from the embeddings of {moved}")
