from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from abilities import needs_int8
from conftest import train_quietly
from scipy.special import softmax
from tiny import sentences, write_csv

from pennyweight.classifier import Classifier
from pennyweight.data.augmentation import Augmenter
from pennyweight.errors import InputError
from pennyweight.evaluation.calibration import fit_temperature
from pennyweight.pipeline.judging.judgement import evaluate_source
from pennyweight.pipeline.preparation import collect
from pennyweight.predictor import Predictor

TEXTS = [text for text, _ in sentences(40, seed=5)]


@pytest.fixture(scope="module")
def averaged(make_recipe, tmp_path_factory):
    """A folder whose classifier averages over three copies, two kinds of them."""
    recipe = make_recipe(
        evaluation={"augmented_copies": 3, "augmented_strength": 0.3}, training={"learning_rate": 0.02}
    )
    return train_quietly(recipe, tmp_path_factory.mktemp("averaged") / "out").folder


def test_the_folder_alone_says_how_copies_are_made(averaged):
    record = json.loads((averaged / "classifier.json").read_text())["copies"]
    assert record == {"count": 3, "operations": ["swap", "delete"], "strength": 0.3}
    classifier = Classifier.load(averaged, device="cpu")
    plain = classifier.with_copies(0)
    augmenter = Augmenter(("swap", "delete"), 0.3)
    for text in TEXTS[:5]:
        readings = softmax(plain.logits([text, *augmenter.copies(text, 3, seed="")]).astype(np.float64), axis=1)
        np.testing.assert_allclose(softmax(classifier.logits([text]), axis=1)[0], readings.mean(axis=0), atol=1e-5)
    assert np.abs(softmax(classifier.logits(TEXTS), axis=1) - softmax(plain.logits(TEXTS), axis=1)).max() > 1e-3


def test_no_copies_are_as_none(averaged, tmp_path):
    plain = Classifier.load(averaged, device="cpu").with_copies(0)
    assert plain.copies == 0
    folder = shutil.copytree(averaged, tmp_path / "none")
    content = json.loads((folder / "classifier.json").read_text())
    (folder / "classifier.json").write_text(json.dumps({**content, "copies": None}))
    np.testing.assert_array_equal(plain.logits(TEXTS), Classifier.load(folder, device="cpu").logits(TEXTS))


def test_training_does_not_depend_on_copies_at_prediction(averaged, make_recipe, tmp_path):
    folder = train_quietly(make_recipe(training={"learning_rate": 0.02}), tmp_path / "out").folder
    for name in ("adapter_model.safetensors", "head.safetensors"):
        assert (folder / name).read_bytes() == (averaged / name).read_bytes()
    np.testing.assert_array_equal(
        Classifier.load(folder, device="cpu").logits(TEXTS),
        Classifier.load(averaged, device="cpu").with_copies(0).logits(TEXTS),
    )


def test_the_order_and_company_of_texts_do_not_matter(averaged):
    classifier = Classifier.load(averaged, device="cpu")
    together = classifier.logits(TEXTS)
    np.testing.assert_allclose(classifier.logits(TEXTS[::-1])[::-1], together, atol=1e-5)
    np.testing.assert_allclose(classifier.logits(TEXTS[7:8]), together[7:8], atol=1e-5)
    assert classifier.logits([]).shape == (0, 3)


def test_the_temperature_is_that_of_averages(averaged, make_recipe):
    collected = collect(make_recipe())
    classifier = Classifier.load(averaged, device="cpu")
    logits = classifier.logits([collected.texts[item] for item in collected.validation])
    expected = fit_temperature(logits, collected.labels[collected.validation])
    assert classifier.manifest.temperature == pytest.approx(expected, rel=1e-6)
    recorded = json.loads((averaged / "report" / "metrics.json").read_text())
    truth = collected.labels[collected.validation].tolist()
    again = classifier.evaluate([collected.texts[item] for item in collected.validation], truth, resamples=100)
    assert again.as_dict()["log_loss"] == pytest.approx(recorded["log_loss"], rel=1e-6)


@needs_int8
def test_int8_averages_too(averaged):
    classifier = Classifier.load(averaged, device="cpu", precision="int8")
    assert classifier.copies == 3
    own = Classifier.load(averaged, device="cpu")
    assert np.abs(classifier.predict_proba(TEXTS) - own.predict_proba(TEXTS)).max() < 0.1


def test_synonyms_come_from_the_backbone(make_recipe, tmp_path):
    recipe = make_recipe(
        evaluation={"augmented_copies": 2, "augmented_operations": ["synonyms"], "augmented_strength": 1.0},
        training={"epochs": 1, "learning_rate": 0.02},
    )
    folder = train_quietly(recipe, tmp_path / "out").folder
    classifier = Classifier.load(folder, device="cpu")
    copies = classifier._with_copies(TEXTS)
    assert copies[::3] == TEXTS
    assert any(copies[place] != copies[place + 1] for place in range(0, len(copies), 3))
    recorded = json.loads((folder / "report" / "metrics.json").read_text())
    collected = collect(recipe)
    truth = collected.labels[collected.validation].tolist()
    again = classifier.evaluate([collected.texts[item] for item in collected.validation], truth, resamples=100)
    assert again.as_dict()["confusion"] == recorded["confusion"]


def test_the_flag_overrides(pennyweight, trained, averaged, tmp_path):
    data = write_csv(tmp_path / "test.csv", sentences(30, seed=8))
    code, out, _ = pennyweight("evaluate", averaged, "--data", data, "--json")
    assert code == 0
    assert json.loads(out)["evaluated_on"].endswith("30 items, each averaged with 3 altered copies")
    code, out, _ = pennyweight("evaluate", averaged, "--data", data, "--copies", 0, "--json")
    assert json.loads(out)["evaluated_on"].endswith("30 items")
    expected = evaluate_source(Classifier.load(trained, device="cpu").with_copies(2), str(data), resamples=100)
    code, out, _ = pennyweight("evaluate", trained, "--data", data, "--copies", 2, "--json")
    assert json.loads(out)["confusion"] == expected.as_dict()["confusion"]
    for name, flags in (("three", ()), ("none", ("--copies", 0))):
        code, _, _ = pennyweight("predict", averaged, "--data", data, "--out", tmp_path / f"{name}.parquet", *flags)
        assert code == 0
    three, none = (pq.read_table(tmp_path / f"{name}.parquet").to_pandas() for name in ("three", "none"))
    classifier = Classifier.load(averaged, device="cpu")
    texts = [text for text, _ in sentences(30, seed=8)]
    np.testing.assert_allclose(three.filter(like="p_"), classifier.predict_proba(texts), atol=1e-6)
    np.testing.assert_allclose(none.filter(like="p_"), classifier.with_copies(0).predict_proba(texts), atol=1e-6)


def test_what_cannot_average_says_so():
    class Fixed(Predictor):
        precision = "fp32"
        computing = "on paper"

        def tokenise(self, texts):
            return texts

        def logits_of(self, tokens):
            return np.zeros((len(tokens), 2))

    assert Fixed().copies == 0
    with pytest.raises(InputError, match="--copies 2: this averages over no copies"):
        Fixed().with_copies(2)
