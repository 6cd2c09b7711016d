"""Texts of several windows, from the recipe to the folder that predicts by itself."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from conftest import train_quietly
from safetensors.torch import load_file
from tiny import FILLERS, LABELS, WORDS, table_of, write_csv

from pennyweight.classifier import Classifier
from pennyweight.data.readers import read_rows
from pennyweight.errors import InputError
from pennyweight.manifest import FORMAT, WindowsRecord, read_manifest
from pennyweight.pipeline.planning import plan_recipe
from pennyweight.recipe_files import build_recipe

WINDOWS = {"count": 4, "overlap": 4, "pooling": "attention"}


@pytest.fixture(scope="module")
def late_csv(tmp_path_factory):
    """Texts of 60 words whose class only the last fifteen tell."""
    generator = random.Random(1)
    rows = []
    for number in range(120):
        label = LABELS[number % 3]
        fillers = [generator.choice(FILLERS.split()) for _ in range(45)]
        own = [generator.choice(WORDS[label].split()) for _ in range(15)]
        rows.append((" ".join([*fillers, *own]), label))
    return write_csv(tmp_path_factory.mktemp("late") / "late.csv", rows)


@pytest.fixture(scope="module")
def table(tiny_bert, late_csv):
    table = table_of(tiny_bert, late_csv, epochs=6, batch_size=8)
    table["text"]["max_length"] = 32
    table["adapters"]["targets"] = ["query@1:", "value@1:", "dense@1:"]
    table["windows"] = dict(WINDOWS)
    return table


@pytest.fixture(scope="module", params=["linear", "stock"])
def outcome(request, table, tmp_path_factory):
    recipe = build_recipe({**table, "head": {"kind": request.param}})
    return train_quietly(recipe, tmp_path_factory.mktemp("long") / request.param)


def test_what_stands_late_in_a_text_is_learnt(outcome, table, tmp_path):
    """The same recipe without windows never sees it."""
    assert outcome.judgement.metrics.accuracy.value > 0.8
    blind = train_quietly(build_recipe({**table, "windows": {}}), tmp_path / "blind")
    assert blind.judgement.metrics.accuracy.value < 0.65


def test_the_folder_predicts_by_itself(outcome, late_csv):
    manifest = read_manifest(outcome.folder)
    assert manifest.format == FORMAT >= 2
    assert manifest.text.windows == WindowsRecord(**WINDOWS)
    assert manifest.plan["groups"]["windows"] == 32
    assert "head.safetensors" in manifest.files
    tensors = load_file(outcome.folder / "head.safetensors")
    assert tensors["windows.query"].any()
    assert ("out.weight" in tensors) == (manifest.head.kind == "linear")

    classifier = Classifier.load(outcome.folder, device="cpu")
    rows = {number: row.values["text"] for number, row in enumerate(read_rows(late_csv), start=1)}
    told = list(read_rows(outcome.folder / "report" / "predictions.parquet"))
    texts = [rows[row.values["row"]] for row in told]
    probabilities = classifier.predict_proba(texts)
    expected = [[row.values[f"p_{label}"] for label in classifier.labels] for row in told]
    np.testing.assert_allclose(probabilities, expected, atol=1e-5)

    text = manifest.text.model_copy(update={"windows": None})
    cut = Classifier.load(outcome.folder, device="cpu")
    cut.manifest = manifest.model_copy(update={"text": text})
    assert np.abs(cut.predict_proba(texts) - probabilities).max() > 0.1


def test_a_file_is_predicted_window_by_window(outcome, late_csv, pennyweight, tmp_path):
    written = tmp_path / "predicted.jsonl"
    code, _, stderr = pennyweight("predict", outcome.folder, "--data", late_csv, "--out", written)
    assert code == 0, stderr
    classifier = Classifier.load(outcome.folder, device="cpu")
    texts = [row.values["text"] for row in read_rows(late_csv)]
    assert [json.loads(line)["label"] for line in written.read_text().splitlines()] == classifier.predict(texts)


def test_what_it_says_of_the_data_and_of_itself(outcome):
    page = (outcome.folder / "report" / "report.html").read_text(encoding="utf-8")
    assert "windows per text" in page
    assert "32 in the query of the windows" in page
    card = (outcome.folder / "README.md").read_text(encoding="utf-8")
    assert "read in up to 4 windows of 32 tokens" in card
    environment = read_manifest(outcome.folder).environment
    assert 50e6 < environment["peak_resident_bytes"] < 64e9
    assert environment["peak_device_bytes"] is None
    assert "peak resident" in page


def test_the_query_is_in_the_plan_and_in_the_budget(table):
    plan = plan_recipe(build_recipe(table))
    assert plan.groups["windows"] == plan.windows == 32
    mean = plan_recipe(build_recipe({**table, "windows": {"count": 4, "overlap": 4}}))
    assert plan.trainable == mean.trainable + 32
    assert "windows" not in mean.groups
    assert plan.work == mean.work
    tight = {**table, "budget": {"parameters": mean.trainable}}
    assert not plan_recipe(build_recipe(tight)).within_budget
    filled = plan_recipe(build_recipe({**tight, "adapters": {**table["adapters"], "rank": "fill"}}))
    assert filled.within_budget
    assert filled.matrices[0].rank == table["adapters"]["rank"] - 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"count": 1, "pooling": "max"},
            "windows.pooling has no meaning without windows.count above 1",
        ),
        ({"count": 2, "overlap": 15}, "windows of text.max_length = 32 tokens may share 14 at most"),
        ({"count": 0}, "windows.count"),
        ({"count": 257}, "windows.count"),
        ({"count": 2, "overlap": -1}, "windows.overlap"),
        ({"count": 2, "pooling": "sum"}, "windows.pooling"),
    ],
)
def test_windows_that_cannot_be_are_refused(table, changes, message):
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        build_recipe({**table, "windows": changes})


def test_windows_of_the_smallest_size_advance(table, tmp_path):
    """Two tokens beside the special ones: hundreds of windows, of which the first three are read."""
    text, windows = {**table["text"], "max_length": 4}, {"count": 3, "overlap": 0, "pooling": "max"}
    training = {**table["training"], "epochs": 1}
    recipe = build_recipe({**table, "text": text, "windows": windows, "training": training})
    outcome = train_quietly(recipe, tmp_path / "out")
    classifier = Classifier.load(outcome.folder, device="cpu")
    tokens = classifier.tokenise(["ship rope tide gull anchor mast quay net", "", "ship"])
    assert tokens.windows().tolist() == [3, 1, 1]
    assert classifier.predict(["", "ship"])


def test_an_altered_record_is_refused(outcome):
    content = json.loads((outcome.folder / "classifier.json").read_text())
    for changes in ({"overlap": 15}, {"count": 1}, {"pooling": "sum"}):
        content["text"]["windows"] = {**WINDOWS, **changes}
        broken = outcome.folder.with_name("broken")
        broken.mkdir(exist_ok=True)
        (broken / "classifier.json").write_text(json.dumps(content))
        with pytest.raises(InputError, match=r"text\.windows|windows of 32 tokens cannot overlap by 15"):
            read_manifest(broken)


def test_a_contrastive_first_stage_reads_windows_from_the_kept_output_of_frozen_layers(table, tmp_path):
    """Kept or computed anew, the vectors that the head is fitted to are the same."""
    objective = {"contrastive_epochs": 1}
    folders = []
    for kept in (True, False):
        training = {**table["training"], "epochs": 1, "prefix_cache": kept}
        recipe = build_recipe({**table, "objective": objective, "training": training})
        folders.append(train_quietly(recipe, tmp_path / str(kept)).folder)
    ours, theirs = (load_file(folder / "head.safetensors") for folder in folders)
    for name, tensor in ours.items():
        np.testing.assert_allclose(theirs[name], tensor, rtol=1e-2, atol=1e-4)


def test_fixed_padding_small_parts_and_the_shuffled_order_change_nothing_but_rounding(table, tmp_path):
    """One step over all items: however they are cut into parts, the gradient is the same."""
    training = {"epochs": 1, "batch_size": 96, "learning_rate": 1e-3}
    base = build_recipe({**table, "training": training})
    fixed = {**table["text"], "padding": "fixed", "order": "shuffled"}
    other = build_recipe({**table, "text": fixed, "training": {**training, "forward_tokens": 300}})
    files = [train_quietly(one, tmp_path / name).folder for name, one in (("a", base), ("b", other))]
    ours, theirs = (load_file(folder / "adapter_model.safetensors") for folder in files)
    for name, tensor in ours.items():
        np.testing.assert_allclose(theirs[name], tensor, rtol=1e-3, atol=2e-5)
