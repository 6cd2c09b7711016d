from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import train_quietly
from tiny import LABELS, make_backbone, sentences

from pennyweight.classifier import Classifier

TEXTS = [text for text, _ in sentences(20, seed=9)]


def by_transformers_alone(folder) -> np.ndarray:
    """Probabilities as the pipeline of Transformers gives them, in the order of `LABELS`."""
    from transformers import pipeline

    ask = pipeline("text-classification", model=str(folder), device="cpu", top_k=None)
    answers = ask(TEXTS, truncation=True)
    return np.array([[{one["label"]: one["score"] for one in text}[label] for label in LABELS] for text in answers])


def before_temperature(folder) -> np.ndarray:
    logits = Classifier.load(folder, precision="fp32", device="cpu").logits(TEXTS).astype(np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    "kind,head",
    [
        ("roberta", {"kind": "stock"}),
        ("bert", {"kind": "stock"}),
        ("distilbert", {"kind": "stock"}),
        ("distilbert", {"kind": "linear", "pooling": "cls"}),
        ("electra", {"kind": "linear", "pooling": "cls"}),
        ("electra", {"kind": "low-rank", "pooling": "cls", "rank": 2}),
    ],
    ids=lambda part: part if isinstance(part, str) else part["kind"],
)
def test_transformers_alone_gives_the_same_probabilities(kind, head, pennyweight, make_recipe, tmp_path):
    backbone = make_backbone(tmp_path / "backbone", kind)
    targets = ["q_lin", "v_lin"] if kind == "distilbert" else ["query", "value"]
    recipe = make_recipe(
        backbone={"name": str(backbone)}, head=head, adapters={"targets": targets}, training={"epochs": 1}
    )
    folder = train_quietly(recipe, tmp_path / "classifier").folder
    code, stdout, stderr = pennyweight("fold", folder, "--out", tmp_path / "plain", "--json")
    assert code == 0, stderr
    assert json.loads(stdout)["class"].endswith("ForSequenceClassification")
    expected = before_temperature(folder)
    assert np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(by_transformers_alone(tmp_path / "plain"), expected, atol=2e-5)


def test_the_folder_knows_its_labels_and_its_longest_text(trained_stock, pennyweight, tmp_path):
    code, stdout, stderr = pennyweight("fold", trained_stock, "--out", tmp_path / "plain")
    assert code == 0, stderr
    config = json.loads((tmp_path / "plain" / "config.json").read_text())
    assert config["id2label"] == {str(index): label for index, label in enumerate(LABELS)}
    assert "pennyweight" not in (tmp_path / "plain" / "config.json").read_text().lower().replace(str(tmp_path), "")
    assert json.loads((tmp_path / "plain" / "tokenizer_config.json").read_text())["model_max_length"] == 48
    assert "cleaned before (lowercase)" in stdout
    assert "before the temperature" in stdout


@pytest.fixture(scope="module")
def trained_stock(tmp_path_factory, make_recipe):
    recipe = make_recipe(head={"kind": "stock"}, text={"cleaning": ["lowercase"]}, training={"epochs": 1})
    return train_quietly(recipe, tmp_path_factory.mktemp("stock") / "stock").folder


def test_what_has_no_counterpart_is_refused(refused, trained, make_recipe, trained_stock, tmp_path):
    out = tmp_path / "out"
    assert "mean over tokens" in refused("fold", trained, "--out", out)
    recipe = make_recipe(head={"kind": "linear", "pooling": "cls"}, training={"epochs": 1})
    first = train_quietly(recipe, tmp_path / "first").folder
    assert "head that bends" in refused("fold", first, "--out", out)
    assert "not empty" in refused("fold", trained_stock, "--out", trained)
    assert not out.exists()


def test_windows_have_no_counterpart(refused, make_recipe, tmp_path):
    recipe = make_recipe(
        head={"kind": "stock"}, text={"max_length": 10}, windows={"count": 2, "overlap": 2}, training={"epochs": 1}
    )
    folder = train_quietly(recipe, tmp_path / "windows").folder
    assert "several windows of a text" in refused("fold", folder, "--out", tmp_path / "out")
