from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import train_quietly
from safetensors.torch import load_file
from tiny import LABELS, make_backbone, sentences, write_csv

from pennyweight.classifier import Classifier
from pennyweight.errors import InputError
from pennyweight.manifest import read_manifest
from pennyweight.pipeline.combining.merged import compare_merged, judge_members, notes_on_reading
from pennyweight.pipeline.combining.merging import Blend, merge_classifiers

TEXTS = [text for text, _ in sentences(30, seed=9)]


@pytest.fixture(scope="module")
def turned(tmp_path_factory, make_recipe):
    """The same task learnt from another seed, its labels in another order."""
    recipe = make_recipe(data={"labels": list(reversed(LABELS))}, training={"seed": 5})
    return train_quietly(recipe, tmp_path_factory.mktemp("turned") / "turned").folder


@pytest.fixture(scope="module")
def task_data(tmp_path_factory):
    """Another task on the same kind of texts: whether one is of the harbour."""
    rows = [(text, "ship" if label == "harbour" else "land") for text, label in sentences()]
    return write_csv(tmp_path_factory.mktemp("task") / "task.csv", rows)


@pytest.fixture(scope="module")
def task(tmp_path_factory, make_recipe, task_data):
    recipe = make_recipe(data={"source": str(task_data), "labels": ["ship", "land"]}, training={"seed": 6})
    return train_quietly(recipe, tmp_path_factory.mktemp("task") / "task").folder


@pytest.fixture(scope="module")
def stock(tmp_path_factory, make_recipe):
    """Two classifiers with the stock head, their labels in different orders."""
    folders = []
    for seed, labels in ((0, LABELS), (1, LABELS[1:] + LABELS[:1])):
        recipe = make_recipe(
            data={"labels": list(labels)}, head={"kind": "stock"}, training={"epochs": 1, "seed": seed}
        )
        folders.append(train_quietly(recipe, tmp_path_factory.mktemp("stock") / f"stock{seed}").folder)
    return folders


def by_name(classifier: Classifier) -> np.ndarray:
    return classifier.logits(TEXTS)[:, [classifier.labels.index(label) for label in LABELS]]


@pytest.mark.parametrize("method", ["linear", "ties", "cat", "svd"])
def test_merging_one_or_one_with_itself_changes_nothing(method, trained, stock, tmp_path):
    own = Classifier.load(trained)
    for name, folders in {"one": [trained], "twice": [trained, trained], "stock": [stock[0], stock[0]]}.items():
        merge_classifiers(folders, tmp_path / name, Blend(method, density=1.0))
        found, own = Classifier.load(tmp_path / name), Classifier.load(folders[0])
        np.testing.assert_allclose(found.logits(TEXTS), own.logits(TEXTS), atol=2e-4)
        assert found.manifest.temperature == pytest.approx(own.manifest.temperature)


def test_heads_of_the_same_labels_are_averaged_label_by_label(trained, turned, tmp_path):
    assert merge_classifiers([trained, turned], tmp_path / "out", Blend(weights=(1, 3))) == [tmp_path / "out"]
    found = Classifier.load(tmp_path / "out")
    assert found.labels == LABELS
    head, one, other = (load_file(folder / "head.safetensors") for folder in (tmp_path / "out", trained, turned))
    for name in ("out.weight", "out.bias"):
        torch.testing.assert_close(head[name], 0.25 * one[name] + 0.75 * other[name].flip(0))
    record = found.manifest.environment["merged"]
    assert record["weights"] == [0.25, 0.75]
    assert record["of"] == [trained.name, turned.name]


def test_stock_heads_too(stock, tmp_path):
    merge_classifiers(stock, tmp_path / "out", Blend("cat"))
    found = Classifier.load(tmp_path / "out")
    heads = [
        {name: tensor for name, tensor in load_file(folder / "adapter_model.safetensors").items() if "lora" not in name}
        for folder in (tmp_path / "out", *stock)
    ]
    key = "base_model.model.classifier.out_proj.bias"
    torch.testing.assert_close(heads[0][key], (heads[1][key] + heads[2][key][[2, 0, 1]]) / 2)
    key = "base_model.model.classifier.dense.weight"
    torch.testing.assert_close(heads[0][key], (heads[1][key] + heads[2][key]) / 2)
    assert found.manifest.plan["modules"][0]["rank"] == 8
    assert np.isfinite(found.logits(TEXTS)).all()


def test_the_head_of_lowest_rank_is_multiplied_out(make_recipe, trained, tmp_path):
    recipe = make_recipe(head={"kind": "low-rank", "rank": 2}, training={"epochs": 1})
    low = train_quietly(recipe, tmp_path / "low").folder
    merge_classifiers([low], tmp_path / "out", Blend())
    found = Classifier.load(tmp_path / "out")
    assert found.manifest.head.kind == "linear"
    np.testing.assert_allclose(found.logits(TEXTS), Classifier.load(low).logits(TEXTS), atol=1e-4)
    merge_classifiers([low, trained], tmp_path / "mixed", Blend())
    assert Classifier.load(tmp_path / "mixed").labels == LABELS


def test_other_tasks_share_the_adapter_and_keep_their_heads(trained, task, tmp_path):
    written = merge_classifiers([trained, task], tmp_path / "out", Blend())
    assert written == [tmp_path / "out" / trained.name, tmp_path / "out" / "task"]
    one, other = (load_file(folder / "adapter_model.safetensors") for folder in written)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    for source, folder in zip((trained, task), written, strict=True):
        assert Classifier.load(folder).labels == Classifier.load(source).labels
        kept, own = (load_file(place / "head.safetensors") for place in (folder, source))
        assert all(torch.equal(kept[name], own[name]) for name in own)


def test_the_command_tells_before_and_after(pennyweight, trained, task, task_data, small_csv, tmp_path):
    out = tmp_path / "out"
    code, stdout, stderr = pennyweight(
        *("merge", trained, task, "--out", out, "--method", "cat"),
        *("--data", small_csv, "--data", task_data, "--json"),
    )
    assert code == 0, stderr
    told = json.loads(stdout)
    assert told["folders"] == [str(out / trained.name), str(out / "task")]
    for source, folder, data, row in zip(
        (trained, task), told["folders"], (small_csv, task_data), told["judged"], strict=True
    ):
        _, printed, _ = pennyweight("evaluate", folder, "--data", data, "--json")
        assert json.loads(printed)["accuracy"] == row["after"]
        _, printed, _ = pennyweight("evaluate", source, "--data", data, "--json")
        assert json.loads(printed)["accuracy"] == row["before"]
    code, stdout, stderr = pennyweight("merge", trained, trained, "--out", tmp_path / "same", "--data", small_csv)
    assert code == 0, stderr
    assert "accuracy before" in stdout


def test_data_that_cannot_be_judged_on_are_refused_before_anything_is_written(
    refused, trained, task, task_data, small_csv, tmp_path
):
    out = tmp_path / "out"
    told = refused("merge", trained, task, "--out", out, "--method", "cat", "--data", small_csv)
    assert "different labels; give --data for each of the 2" in told
    refused("merge", trained, task, "--out", out, "--method", "cat", "--data", task_data, "--data", small_csv)
    assert not out.exists()


def test_numbers_in_the_data_of_one_mean_its_own_labels(trained, turned, tmp_path):
    """The merged classifier has the first one's order of labels; the second one's data are numbered by the second's."""
    folders = [trained, turned]
    merged = merge_classifiers(folders, tmp_path / "out", Blend())
    sources = []
    for place, folder in enumerate(folders):
        order = read_manifest(folder).labels
        rows = [(text, order.index(label)) for text, label in sentences(60, seed=3)]
        sources.append(str(write_csv(tmp_path / f"numbered{place}.csv", rows)))
    first, second = compare_merged(folders, judge_members(folders, sources), merged, sources)
    assert first.after == second.after
    assert second.before.value > 0.45


def test_a_merged_folder_is_plain_peft(stock, tmp_path, tiny_roberta):
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    merge_classifiers(stock, tmp_path / "out", Blend("svd", rank=3))
    base = AutoModelForSequenceClassification.from_pretrained(tiny_roberta, num_labels=3)
    model = PeftModel.from_pretrained(base, str(tmp_path / "out")).eval()
    tokens = AutoTokenizer.from_pretrained(tiny_roberta)(
        TEXTS, padding=True, truncation=True, max_length=48, return_tensors="pt"
    )
    with torch.inference_mode():
        logits = model(**{name: tokens[name] for name in ("input_ids", "attention_mask")}).logits.numpy()
    np.testing.assert_allclose(Classifier.load(tmp_path / "out").logits(TEXTS), logits, atol=1e-4)


def test_what_cannot_be_merged_is_refused(refused, trained, stock, task, make_recipe, small_csv, tmp_path):
    out = tmp_path / "out"

    def rejected(*arguments: object) -> str:
        return refused("merge", *arguments, "--out", out)

    assert "not one of 'linear', 'ties'" in rejected(trained, trained, "--method", "average")
    assert "3 are given for 2" in rejected(trained, trained, "--weights", "1,2,3")
    assert "numbers of 0 or more" in rejected(trained, trained, "--weights", "-1,2")
    assert "give numbers" in rejected(trained, trained, "--weights", "a,b")
    assert "numbers of 0 or more" in rejected(trained, trained, "--weights", "nan,1")
    assert "no meaning with --method linear" in rejected(trained, trained, "--density", "0.5")
    assert "above 0" in rejected(trained, trained, "--method", "ties", "--density", "0")
    assert "--rank goes with" in rejected(trained, trained, "--rank", "3")
    assert "one for each" in rejected(trained, trained, trained, "--data", small_csv, "--data", small_csv)
    assert "another kind" in rejected(trained, stock[0])
    elsewhere = make_recipe(
        backbone={"name": str(make_backbone(tmp_path / "other", "roberta", seed=8))}, training={"epochs": 1}
    )
    folder = train_quietly(elsewhere, tmp_path / "elsewhere").folder
    assert "pennyweight ensemble" in rejected(trained, folder)
    assert not out.exists()


def test_a_lower_rank_is_named(trained, make_recipe, tmp_path):
    folder = train_quietly(make_recipe(adapters={"rank": 2}, training={"epochs": 1}), tmp_path / "low").folder
    with pytest.raises(InputError, match="--method cat"):
        merge_classifiers([trained, folder], tmp_path / "out", Blend())
    merge_classifiers([trained, folder], tmp_path / "out", Blend("cat"))
    assert {module["rank"] for module in read_manifest(tmp_path / "out").plan["modules"]} == {6}


def test_windows_are_merged_unless_a_query_weighs_them(make_recipe, tmp_path):
    folders = {}
    for pooling in ("mean", "attention"):
        windows = {"count": 3, "overlap": 2, "pooling": pooling}
        recipe = make_recipe(text={"max_length": 10}, windows=windows, training={"epochs": 1})
        folders[pooling] = train_quietly(recipe, tmp_path / pooling).folder
    merge_classifiers([folders["mean"]] * 2, tmp_path / "out", Blend())
    found, own = Classifier.load(tmp_path / "out"), Classifier.load(folders["mean"])
    np.testing.assert_allclose(found.logits(TEXTS), own.logits(TEXTS), atol=2e-4)
    with pytest.raises(InputError, match="pennyweight ensemble"):
        merge_classifiers([folders["attention"]], tmp_path / "refused", Blend())


def test_temperatures_are_averaged_by_weight(trained, turned, tmp_path):
    hot = tmp_path / "hot"
    shutil.copytree(turned, hot)
    manifest = json.loads((hot / "classifier.json").read_text())
    (hot / "classifier.json").write_text(json.dumps({**manifest, "temperature": 9.0}))
    merge_classifiers([trained, hot], tmp_path / "out", Blend(weights=(1, 3)))
    expected = 0.25 * read_manifest(trained).temperature + 0.75 * 9.0
    assert read_manifest(tmp_path / "out").temperature == pytest.approx(expected)


def test_that_texts_were_read_otherwise_is_said(trained, make_recipe, task, tmp_path):
    recipe = make_recipe(text={"cleaning": ["lowercase"], "max_length": 16}, training={"epochs": 1})
    other = train_quietly(recipe, tmp_path / "other").folder
    written = merge_classifiers([trained, other], tmp_path / "out", Blend())
    assert read_manifest(written[0]).text == read_manifest(trained).text
    assert notes_on_reading([trained, other], written) == [
        f"texts are read as {trained} reads them; the others were trained with another cleaning, max_length"
    ]
    assert notes_on_reading([trained, trained], [tmp_path]) == []
    copied = tmp_path / "copied"
    shutil.copytree(trained, copied)
    manifest = json.loads((copied / "classifier.json").read_text())
    (copied / "classifier.json").write_text(json.dumps({**manifest, "copies": {"count": 3}}))
    assert notes_on_reading([copied, trained], [tmp_path]) == [
        f"texts are read as {copied} reads them; the others were trained with another number of altered copies"
    ]
    assert notes_on_reading([other, task], [tmp_path / "one", tmp_path / "two"]) == []


def test_a_rank_that_no_matrix_can_have_is_refused(trained, tmp_path):
    with pytest.raises(InputError, match="--rank 1000: no matrix that is merged can have a rank above 32; give 32"):
        merge_classifiers([trained, trained], tmp_path / "out", Blend("svd", rank=1000))
    assert not (tmp_path / "out").exists()


def test_the_record_of_a_merge_names_what_had_a_say(trained, tmp_path):
    for method, density in (("linear", None), ("ties", 0.5)):
        merge_classifiers([trained, trained], tmp_path / method, Blend(method))
        assert read_manifest(tmp_path / method).environment["merged"]["density"] == density


def test_density_is_the_share_of_elements_that_ties_keeps(trained, tmp_path):
    for density in (0.5, 1.0):
        merge_classifiers([trained, trained], tmp_path / str(density), Blend("ties", density=density))
    half, whole = (load_file(tmp_path / str(d) / "adapter_model.safetensors") for d in (0.5, 1.0))
    for name, tensor in half.items():
        left = (tensor != 0).sum().item() / (whole[name] != 0).sum().item()
        assert left == pytest.approx(0.5, abs=0.05), name
