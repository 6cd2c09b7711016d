from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import train_quietly
from tiny import LABELS, make_backbone, sentences, write_csv

import pennyweight as package
from pennyweight.cache import default_cache
from pennyweight.classifier import Classifier
from pennyweight.ensemble import Ensemble
from pennyweight.errors import InputError
from pennyweight.evaluation.metrics import log_softmax
from pennyweight.evaluation.pooling import mixture
from pennyweight.manifest import read_manifest
from pennyweight.opening import load
from pennyweight.pipeline.combining.ensembling import make_ensemble
from pennyweight.pipeline.stages.teachers import _find

TEXTS = [text for text, _ in sentences(40, seed=9)]


@pytest.fixture(scope="module")
def other(tmp_path_factory, make_recipe):
    """A classifier of the same backbone, its labels in another order, with another length, and half of it adapted."""
    recipe = make_recipe(
        data={"labels": list(reversed(LABELS))},
        text={"max_length": 20, "cleaning": ["lowercase"]},
        adapters={"targets": ["query@1"], "rank": 2},
        training={"seed": 3},
    )
    return train_quietly(recipe, tmp_path_factory.mktemp("other") / "other").folder


@pytest.fixture(scope="module")
def third(tmp_path_factory, make_recipe):
    """A classifier on a BERT, with its stock head."""
    backbone = make_backbone(tmp_path_factory.mktemp("bert"), "bert")
    recipe = make_recipe(backbone={"name": str(backbone)}, head={"kind": "stock"}, training={"epochs": 1})
    return train_quietly(recipe, tmp_path_factory.mktemp("third") / "third").folder


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    return write_csv(tmp_path_factory.mktemp("held") / "held_out.csv", sentences(120, seed=21))


def reordered(classifier, texts) -> np.ndarray:
    """A classifier's probabilities in the order of `LABELS`."""
    return classifier.predict_proba(texts)[:, [classifier.labels.index(label) for label in LABELS]]


def test_an_ensemble_of_one_is_that_one(trained, tmp_path):
    make_ensemble([trained], tmp_path / "one")
    one, own = load(tmp_path / "one"), Classifier.load(trained)
    assert one.labels == own.labels
    assert one.predict(TEXTS) == own.predict(TEXTS)
    np.testing.assert_allclose(one.predict_proba(TEXTS), own.predict_proba(TEXTS), rtol=1e-6)


def test_the_mean_is_of_probabilities_label_by_label(trained, other, third, tmp_path):
    make_ensemble([trained, other, third], tmp_path / "mean")
    together = load(tmp_path / "mean")
    assert isinstance(together, Ensemble)
    assert together.labels == LABELS
    members = [Classifier.load(folder) for folder in (trained, other, third)]
    assert members[1].labels == LABELS[::-1]
    expected = np.mean([reordered(member, TEXTS) for member in members], axis=0)
    np.testing.assert_allclose(together.predict_proba(TEXTS), expected, atol=1e-6)
    assert together.predict(TEXTS) == [LABELS[index] for index in expected.argmax(axis=1)]


def test_the_members_are_whole_classifiers_without_their_reports(trained, other, tmp_path):
    out = tmp_path / "both"
    make_ensemble([trained, other], out)
    shutil.move(out, tmp_path / "moved")
    for place, source in enumerate((trained, other)):
        member = tmp_path / "moved" / "members" / str(place)
        assert not (member / "report").exists()
        np.testing.assert_array_equal(Classifier.load(member).logits(TEXTS), Classifier.load(source).logits(TEXTS))
    assert len(load(tmp_path / "moved").predict(TEXTS)) == len(TEXTS)


def test_what_members_have_in_common_is_held_once(trained, other, tmp_path):
    make_ensemble([trained, other], tmp_path / "both")
    one, two = (dict(member.network.encoder.named_parameters()) for member in load(tmp_path / "both").members)
    shared = {name for name in one if one[name] is two[name]}
    assert "embeddings.word_embeddings.weight" in shared
    assert "encoder.layer.0.output.LayerNorm.weight" in shared
    assert "encoder.layer.0.attention.self.query.weight" not in shared


@pytest.mark.parametrize("method", ["weighted", "stacked"])
def test_what_is_fitted_is_no_worse_on_its_data_than_any_member(method, trained, other, third, held_out, tmp_path):
    done = make_ensemble([third, trained, other], tmp_path / method, method=method, data=str(held_out))
    fitted = done.manifest.fitted
    assert fitted.examples == 120
    together = load(tmp_path / method)
    texts, labels = (list(part) for part in zip(*sentences(120, seed=21), strict=True))
    truth = np.array([LABELS.index(label) for label in labels])
    logs = log_softmax(together.logits(texts), together.manifest.temperature)
    assert -logs[np.arange(120), truth].mean() == pytest.approx(fitted.log_loss, abs=1e-5)
    assert fitted.log_loss <= min(fitted.member_log_loss) + (1e-3 if method == "weighted" else 0.05)
    if method == "weighted":
        weights = np.array([member.weight for member in done.manifest.members])
        members = [Classifier.load(folder) for folder in (third, trained, other)]
        expected = mixture(np.log(np.stack([reordered(member, texts) for member in members])), weights)
        np.testing.assert_allclose(together.logits(texts), expected, atol=1e-5)
    else:
        assert (tmp_path / method / "stacking.safetensors").stat().st_size > 0


def test_a_mean_with_data_gets_a_temperature(trained, other, held_out, tmp_path):
    done = make_ensemble([trained, other], tmp_path / "both", data=str(held_out))
    assert [member.weight for member in done.manifest.members] == [0.5, 0.5]
    assert done.manifest.temperature != 1
    assert load(tmp_path / "both").manifest.temperature == done.manifest.temperature


def test_the_command_predicts_and_evaluates_an_ensemble(pennyweight, trained, other, held_out, tmp_path):
    out = tmp_path / "both"
    code, stdout, stderr = pennyweight(
        "ensemble", trained, other, "--out", out, "--data", held_out, "--method", "weighted"
    )
    assert code == 0, stderr
    assert "ensemble of 2, weighted" in stdout
    code, stdout, stderr = pennyweight("evaluate", out, "--data", held_out, "--json", "--out", tmp_path / "report")
    assert code == 0, stderr
    metrics = json.loads(stdout)
    together = package.load(out)
    texts, labels = (list(part) for part in zip(*sentences(120, seed=21), strict=True))
    assert metrics["accuracy"]["value"] == pytest.approx(together.evaluate(texts, labels, resamples=100).accuracy.value)
    assert (tmp_path / "report" / "report.html").is_file()
    predicted = tmp_path / "predicted.jsonl"
    code, _, stderr = pennyweight("predict", out, "--data", held_out, "--out", predicted)
    assert code == 0, stderr
    rows = [json.loads(line) for line in predicted.read_text().splitlines()]
    assert [row["label"] for row in rows] == together.predict(texts)


def test_what_cannot_be_combined_is_refused(refused, trained, other, held_out, make_recipe, small_csv, tmp_path):
    out = tmp_path / "out"
    line = refused("ensemble", trained, "--out", out, "--method", "average")
    assert "'--method'" in line and "'average' is not one of 'mean', 'weighted', 'stacked'" in line
    assert "give --data" in refused("ensemble", trained, other, "--out", out, "--method", "weighted")
    assert "no such classifier folder" in refused("ensemble", trained, tmp_path / "none", "--out", out)
    assert "not empty" in refused("ensemble", trained, other, "--out", trained)
    empty = write_csv(tmp_path / "empty.csv", [])
    assert "empty.csv" in refused("ensemble", trained, other, "--out", out, "--data", empty)
    strange = write_csv(tmp_path / "strange.csv", [("a text", "kitchen")])
    assert "kitchen" in refused("ensemble", trained, other, "--out", out, "--data", strange)
    assert not out.exists()


def test_other_labels_are_refused(trained, tmp_path):
    changed = Path(shutil.copytree(trained, tmp_path / "changed"))
    content = json.loads((changed / "classifier.json").read_text())
    (changed / "classifier.json").write_text(json.dumps({**content, "labels": ["orchard", "harbour", "kitchen"]}))
    with pytest.raises(InputError, match=r"different labels \('kitchen' is not known to all\)"):
        make_ensemble([trained, changed], tmp_path / "out")


def test_an_ensemble_is_no_single_classifier(refused, trained, held_out, tmp_path):
    make_ensemble([trained], tmp_path / "one")
    with pytest.raises(InputError, match="holds an ensemble"):
        Classifier.load(tmp_path / "one")
    assert "holds an ensemble" in refused("quantise", tmp_path / "one", "--data", held_out)
    assert "holds an ensemble" in refused("ensemble", tmp_path / "one", "--out", tmp_path / "two")


def test_damage_is_seen(trained, other, held_out, tmp_path):
    make_ensemble([trained, other], tmp_path / "both", method="stacked", data=str(held_out))

    def damaged(name: str) -> Path:
        return Path(shutil.copytree(tmp_path / "both", tmp_path / name))

    folder = damaged("weights")
    (folder / "members" / "1" / "head.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="truncated or altered"):
        load(folder)
    folder = damaged("member")
    path = folder / "members" / "0" / "classifier.json"
    path.write_text(path.read_text().replace('"temperature":', '"temperature": 3, "was":'))
    with pytest.raises(InputError, match="altered since the ensemble was made"):
        load(folder)
    folder = damaged("stacking")
    (folder / "stacking.safetensors").unlink()
    with pytest.raises(InputError, match="missing"):
        load(folder)
    folder = damaged("gone")
    shutil.rmtree(folder / "members" / "1")
    with pytest.raises(InputError, match="not complete"):
        load(folder)
    folder = damaged("weighing")
    content = json.loads((folder / "classifier.json").read_text())
    content["members"][0]["weight"] = 0.9
    (folder / "classifier.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="weights sum to 1"):
        load(folder)


def test_the_sum_of_the_members_is_planned(trained, other, tmp_path):
    done = make_ensemble([trained, other], tmp_path / "both")
    plans = [read_manifest(folder).plan for folder in (trained, other)]
    assert done.manifest.plan["trainable"] == sum(plan["trainable"] for plan in plans)


def test_an_ensemble_teaches(trained, other, tmp_path):
    """Its logits are log probabilities, label by label in the student's order."""
    make_ensemble([trained, other], tmp_path / "both")
    teacher = _find(str(tmp_path / "both"), LABELS[::-1])
    told = teacher.logits(TEXTS, np.arange(1, len(TEXTS) + 1), device="cpu", cache=default_cache(), progress=len_of)
    expected = load(tmp_path / "both", device="cpu").logits(TEXTS)[:, ::-1]
    np.testing.assert_allclose(told, expected, atol=1e-5)


def len_of(done: int) -> None:
    assert 0 < done <= len(TEXTS)
