"""Saved folders of every format ever written open, and predict what they predicted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pennyweight.classifier import Classifier
from pennyweight.manifest import FORMAT

FOLDERS = sorted((Path(__file__).parent / "formats").glob("v*"))


def test_there_is_a_folder_of_every_format():
    assert [folder.name for folder in FOLDERS] == [f"v{number}" for number in range(1, FORMAT + 1)]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_opens_and_predicts_the_same(folder):
    stored = json.loads((folder / "predictions.json").read_text(encoding="utf-8"))
    classifier = Classifier.load(folder / "classifier", backbone=str(folder / "backbone"), device="cpu")
    np.testing.assert_allclose(classifier.logits(stored["texts"]), stored["logits"], atol=1e-5)
    np.testing.assert_allclose(classifier.predict_proba(stored["texts"]), stored["probabilities"], atol=1e-5)
    assert classifier.predict(stored["texts"]) == stored["labels"]
    assert len(set(stored["labels"])) == 3


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_is_small_and_says_nothing_of_the_machine_it_was_made_on(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 150_000
    for path in files:
        assert str(Path(__file__).parent.parent).encode() not in path.read_bytes(), path
